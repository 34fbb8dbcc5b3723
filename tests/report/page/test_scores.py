"""The scores in the page."""

import math

from tests.support.pages import ODD, Rain, cells, charts, described, evaluation, fading, of, page, read

import pytest


@pytest.fixture(scope="module")
def rain():
    return evaluation((ODD, "second"), rain=Rain())


@pytest.fixture(scope="module")
def digits():
    return evaluation(missing=False)


def test_scores_are_those_of_the_evaluation(rain, digits, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    heads, rows = cells(of("scores", root), "Rain, means over the lead times")
    assert list(rows) == [ODD, "second", "persistence"]
    value = rain.scores["second"]["csi@2mmh"]["mean_over_leads"]
    assert rows["second"][heads.index("CSI 2 mm/h") - 1].startswith(f"{value:.3f}")
    marked = {name: cell for name, row in rows.items() for cell in row[:1]}
    best = max(rain.scores, key=lambda name: rain.scores[name]["csi@0.5mmh"]["mean_over_leads"])
    assert [name for name, cell in marked.items() if "\u2605" in cell] == [best]
    heads, rows = cells(of("scores", root), "All scores, over all lead times and pixels")
    assert heads[1:4] == list(rain.scores)
    names = [row[-1] for row in rows.values()]
    assert names == list(rain.scores["second"])
    assert rows["FSS at 2 mm/h, windows of 16 x 16 px"][-1] == "fss@2mmh_16px"
    assert rows["CSI-M, maxima of 4 x 4 px"][-1] == "csi_mean_pool4"
    heads, rows = cells(of("leads", root), "CSI at 2 mm/h by lead time (min); higher is better")
    assert heads[1:] == ["+5", "+10", "+15", "+20"]
    titles = [tag.all("title")[0].text() for tag in of("leads", root).all("svg", role="img")]
    assert titles[:3] == ["CSI at 0.5 mm/h", "CSI at 2 mm/h", "CSI at 5 mm/h"]
    assert {"Bias at 2 mm/h", "MAE", "MSE per frame"} <= set(titles)

    root = read(page(tmp_path, digits))
    heads, rows = cells(of("leads", root), "MSE per frame by lead time (frames); lower is better")
    found = [float(cell.split()[0]) for cell in rows["model"]]
    assert found == pytest.approx(digits.scores["model"]["mse_per_frame"]["per_lead"], rel=1e-3)
    assert "Rain" not in of("scores", root).text()


def test_scores_that_are_not_numbers(tmp_path):
    result = evaluation(rain=Rain(), more={"nan": fading(math.nan), "inf": fading(math.inf)})
    root = read(page(tmp_path, result, rain=Rain()))
    assert "nan: no value." in described(charts(of("leads", root))["MAE"])
    text = of("scores", root).text() + of("leads", root).text()
    assert "NaN" not in text
    assert "Infinity" not in (tmp_path / "report.html").read_text()
