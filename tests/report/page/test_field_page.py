"""The page of an evaluation of fields in their own units."""

import base64
import json

from convlstm.report import map_drawing, write_page
from convlstm.report.page import films, frames
from convlstm.report.shown_sequences import selected, shown
from tests.support.pages import cells, charts, names, of, picture, read
from tests.support.sea import Sea, evaluation

import numpy as np
import pytest

DATA = Sea()


@pytest.fixture(scope="module")
def result():
    return evaluation(DATA)


@pytest.fixture(scope="module")
def root(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, result, record={"data": {"name": "fields"}}, fields=DATA)
    return read(path)


def test_scores_of_fields_come_first(root, result):
    assert names(root) == ["scores", "leads", "forecasts", "runs"]
    captions = [caption.text() for caption in of("scores", root).all("caption")]
    assert captions[:3] == [
        "sst (degC), means over the lead times", "u10 (m s-1), means over the lead times",
        "Frames on the model's scale, 0 to 1, means",
    ]  # fmt: skip
    heads, rows = cells(of("scores", root), captions[0])
    assert heads == ["forecaster", "RMSE degC", "skill vs persistence", "MAE degC", "bias degC", "correlation"]
    rmse = result.scores["model"]["field_rmse[sst degC]"]["mean_over_leads"]
    assert float(rows["model"][0].split()[0]) == pytest.approx(rmse, rel=1e-3)
    drawn = charts(of("leads", root))
    assert [title for title in drawn if title.endswith("u10")] == [
        "RMSE of u10", "MAE of u10", "Mean error of u10", "Correlation of u10",
    ]  # fmt: skip
    assert "On the model's scale" in [head.text() for head in of("leads", root).all("h3")]
    heads, _ = cells(of("leads", root), "RMSE of sst by lead time (h); lower is better")
    assert heads == ["forecaster", "+6", "+12", "+18"]


def test_no_field_is_called_rain(root):
    header = root.all("header")[0].text()
    assert "3 frames ahead (+18 h); fields: sea surface temperature (sst, degC), u10 (m s-1)" in header
    text = " ".join((header, of("scores", root).text(), of("forecasts", root).text()))
    assert not any(word in text for word in ("rain", "CSI", "FSS", "mm/h"))


def test_each_field_has_films_in_its_colours(root, result):
    articles = {tag.attributes["data-sequence"]: tag for tag in root.all("article")}
    best = result.best[0].example
    assert f"{best.index}, sst" in articles
    article = articles[f"{best.index}, u10"]
    content = json.loads(article.all("script", class_="film-data")[0].words)
    assert content["labels"][-1].startswith("forecast, +18 h, 2020-03-0")
    assert content["scores"][1][0].startswith("RMSE ")
    assert content["scores"][1][0].endswith(" m s-1")
    stored = json.loads(root.all("script", id="pictures")[0].words)
    scale = films.field_scales(one for _, example in selected(result) for one in shown(example, DATA))["u10"]
    wind = shown(best, DATA)[1]
    at = content["panels"][1]["frames"][2]
    expected = 255 * scale.colours(scale.norm(wind.forecasts["model"][0, ..., 0]))[..., :3]
    np.testing.assert_allclose(picture(films.source(stored[at])), expected, atol=0.51)


def test_best_and_worst_are_chosen_by_the_error_of_the_first_field(root, result):
    assert "Best and worst are those of model by RMSE of sst" in of("forecasts", root).text()
    errors = []
    for case in (*result.best, *result.worst):
        temperature = shown(case.example, DATA)[0]
        difference = temperature.forecasts["model"] - temperature.truth
        errors.append(np.sqrt(np.nanmean(difference**2)))
        assert case.score == pytest.approx(errors[-1], rel=1e-5)
    assert errors[0] < errors[1]


def test_the_key_has_the_ends_of_the_colours(root):
    keys = root.all("div", class_="key")
    assert [key.all("span")[0].text() for key in keys] == ["sea surface temperature (degC)", "u10 (m s-1)"]
    low, high = keys[1].all("img")[0].attributes["alt"].removeprefix("colours from ").split(" to ")
    assert float(low) == -float(high)
    assert "missing" in keys[0].text()


def test_land_is_hatched_in_the_pictures(result):
    scale = films.field_scales(shown(result.examples[0], DATA))["sst"]
    drawn = picture(films.source(base64.b64encode(frames.map_png(np.full((12, 12, 1), np.nan), scale)).decode()))
    found = {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in drawn.reshape(-1, 3).tolist()}
    assert found == {map_drawing.MISSING, map_drawing.HATCH}
