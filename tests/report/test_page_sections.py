"""report.html: rain by scale, and what is said of ensembles; what is bad or odd input for any section."""

from __future__ import annotations

import json
import math
import shlex
import sys

from convlstm.architectures.ensemble import Ensemble
from convlstm.report.rain_scores import observed_share
from tests.support import tiny
from tests.support.pages import ODD, Rain, cells, evaluation, fading, of, page, read, run

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rain():
    """Whole frames, which have spectra."""
    return evaluation(("a", "b"), rain=Rain(), missing=False)


@pytest.fixture(scope="module")
def members():
    return Ensemble([tiny.Fade(0.9, 0.0), tiny.Fade(0.6, 0.01), tiny.Fade(1.2, 0.0)])


def charts(section):
    return {tag.all("title")[0].text(): tag for tag in section.all("svg", role="img")}


def told(svg):
    return svg.all("desc")[0].text()


def names(root):
    return [tag.attributes["id"] for tag in root.all("section")]


# Scales.


def test_fss_is_told_by_scale(rain, tmp_path):
    section = of("scales", read(page(tmp_path, rain, rain=Rain())))
    found = charts(section)
    assert [name for name in found if name.startswith("FSS")] == [f"FSS at {at} mm/h" for at in ("0.5", "2", "5", "10")]
    values = [rain.scores["b"][f"fss@2mmh_{scale}px"]["overall"] for scale in (1, 4, 16, 64)]
    words = told(found["FSS at 2 mm/h"])
    assert words.startswith("fractions skill score against side of the window (km); higher is better. ")
    assert f"b: from {values[0]:.4g} at 2 to {float(f'{values[-1]:.4g}'):#.4g} at 128." in words
    useful = 0.5 + observed_share(rain.scores, "@2mmh") / 2
    assert f"useful skill: from {useful:.4f}" in words
    heads, rows = cells(section, "FSS at 2 mm/h, by side of the window; higher is better")
    assert heads == ["forecaster", "2 km", "8 km", "32 km", "128 km"]
    assert [float(cell.split()[0]) for cell in rows["b"]] == pytest.approx(values, abs=6e-4)
    assert "useful" in section.all("ul", class_="legend")[0].text()


def test_spectra_are_told_by_wavelength(rain, tmp_path):
    section = of("scales", read(page(tmp_path, rain, rain=Rain())))
    found = charts(section)
    assert [name for name in found if name.startswith("Power")] == [f"Power at +{at} min" for at in (5, 15, 20)]
    words = told(found["Power at +5 min"])
    power = "power of log(1 + rain rate in mm/h)"
    assert words.startswith(f"{power} against wavelength (km); as the truth is best. truth: ")
    # From long waves at the left to short ones at the right.
    path = next(tag for tag in found["Power at +5 min"].all("path") if tag.attributes["class"] == "line truth")
    first, last = (float(path.attributes["d"][1:].split("L")[k].split()[0]) for k in (0, -1))
    assert first < last
    assert rain.spectra["a"]["wavelength_km"][0] > rain.spectra["a"]["wavelength_km"][-1]
    heads, rows = cells(section, f"{power} at +5 min, by wavelength")
    assert list(rows) == ["truth", "a", "b", "persistence"]
    assert (heads[1], heads[-1]) == ("64 km", f"{rain.spectra['a']['wavelength_km'][-1]:.3g} km")
    assert float(rows["b"][0]) == pytest.approx(rain.spectra["b"]["forecast"][0, 0], rel=1e-3)
    assert float(rows["truth"][0]) == pytest.approx(rain.spectra["b"]["target"][0, 0], rel=1e-3)


def test_scales_without_a_grid_or_a_clock_are_counted(tmp_path):
    silent = Rain(pixel_km=None, frame_interval=None, timed=False)
    section = of("scales", read(page(tmp_path, evaluation(rain=silent, missing=False), rain=silent)))
    assert "against side of the window (px)" in told(charts(section)["FSS at 2 mm/h"])
    assert "against wavelength (px)" in told(charts(section)["Power at +1 frame"])


def test_scales_that_are_not_there_are_not_told(rain, tmp_path):
    assert "scales" not in names(read(page(tmp_path, evaluation())))
    torn = of("scales", read(page(tmp_path, evaluation(rain=Rain()), rain=Rain())))
    assert not [name for name in charts(torn) if name.startswith("Power")]
    high = Rain(thresholds=(0.5, 2.0, 900.0))
    section = of("scales", read(page(tmp_path, evaluation(rain=high), rain=high)))
    assert "FSS at 900 mm/h" not in charts(section)
    assert "Not defined here: FSS at 900 mm/h." in section.text()
    dry = Rain(thresholds=(900.0,))
    assert "scales" not in names(read(page(tmp_path, evaluation(rain=dry), rain=dry)))


# Ensembles.


def test_errors_of_an_ensemble(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    root = read(page(tmp_path, result, rain=Rain()))
    section, score = of("ensemble", root), result.scores["ensemble"]
    assert "ensemble: 3 members" in section.text()
    found = charts(section)
    crps = told(found["CRPS"])
    assert "lower is better; of a single forecast its mean absolute error. model: from" in crps
    _, rows = cells(section, "CRPS by lead time (min); lower is better; of a single forecast its mean absolute error")
    values = {"ensemble": score["crps_mmh"], "model": result.scores["model"]["mae_mmh"]}
    for name, value in values.items():
        assert [float(cell.split()[0]) for cell in rows[name]] == pytest.approx(value["per_lead"], rel=2e-3)
    _, rows = cells(section, "Error and spread (mm/h) by lead time (min); equal is best")
    assert list(rows) == ["error of the mean", "spread"]
    assert [float(cell) for cell in rows["error of the mean"]] == pytest.approx(
        score["rmse_of_mean_mmh"]["per_lead"], rel=2e-3
    )
    wide = math.sqrt(4 / 3) * np.array(score["spread_mmh"]["per_lead"])
    assert [float(cell) for cell in rows["spread"]] == pytest.approx(wide.tolist(), rel=2e-3)
    assert (
        len([tag for tag in found["Error and spread"].all("path") if tag.attributes["class"] == "line c1 broken"]) == 1
    )
    ratio = found["Spread-skill ratio"]
    assert [tag for tag in ratio.all("path") if tag.attributes["class"] == "mark"]
    assert f"ensemble: from {score['spread_skill']['per_lead'][0]:.4g}" in told(ratio)
    # They are not among the scores of all.
    assert not {"CRPS", "spread"} & set(charts(of("leads", root)))
    heads, rows = cells(of("scores", root), "All scores, over all lead times and pixels")
    places = [heads.index(name) - 1 for name in ("model", "ensemble", "persistence")]
    assert [rows["CRPS"][place] == "-" for place in places] == [True, False, True]


def test_reliability_and_ranks(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    section, metrics = of("ensemble", read(page(tmp_path, result, rain=Rain()))), result.ensembles["ensemble"]
    found = charts(section)
    assert [name for name in found if name.startswith("Event")][1] == "Event: 2 mm/h or more"
    heads, rows = cells(section, "Event: 2 mm/h or more, ensemble")
    table = metrics.reliability()["@2mmh"]
    assert heads == ["probability", "observed frequency", "pixels"]
    assert list(rows) == ["0", "0.333", "0.667", "1"]
    assert [int(row[1].replace(",", "")) for row in rows.values()] == table["count"].tolist()
    assert [float(row[0]) for row in rows.values()] == pytest.approx(table["observed"], abs=6e-4)
    svg = found["Event: 2 mm/h or more"]
    assert len([tag for tag in svg.all("path") if "faint" in tag.attributes["class"]]) == 4
    assert "reliable: from 0.000 at 0 to 1.000 at 1. ensemble: from" in told(svg)
    counts = metrics.rank_histogram()
    shares = counts / counts.sum()
    bars = [tag for tag in found["ensemble"].all("path") if tag.attributes["class"].startswith("bar")]
    assert [float(tag.text().partition(": ")[2]) for tag in bars] == pytest.approx(shares, rel=1e-3)
    words = told(found["ensemble"])
    assert f"Below all members {shares[0]:.1%}, above all {shares[-1]:.1%}; flat would be 25.0%" in words
    assert "share of the pixels with 0.5 mm/h or more against members below the truth" in words
    _, rows = cells(section, "Rank histogram of ensemble")
    assert [row[0] for row in rows.values()] == [f"{share:.2%}" for share in shares]


def test_probabilities_given_seldom_have_no_point(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    metrics = result.ensembles["ensemble"]
    metrics._events[:, 1, 1] = 0
    metrics._events[0, 1, 1] = [5, 4]
    section = of("ensemble", read(page(tmp_path, result, rain=Rain())))
    titles = [tag.text() for tag in charts(section)["Event: 2 mm/h or more"].all("title")]
    assert not [title for title in titles if title.startswith("ensemble, 0.333")]
    assert [title for title in titles if title.startswith("ensemble, 0.666")]


def test_ensembles_of_frames_and_several(members, tmp_path):
    more = {"first": members, ODD: Ensemble([tiny.Fade(0.5, 0.0), tiny.Fade(0.7, 0.0)])}
    section = of("ensemble", read(page(tmp_path, evaluation(more=more))))
    found = charts(section)
    assert f"{ODD}: 2 members" in section.text()
    assert "(intensity) against lead time (frames)" in told(found["CRPS"])
    assert "model: from" in told(found["CRPS"])
    assert f"{ODD}, spread: from" in told(found["Error and spread"])
    assert "Event: 0.5 or more" in found
    assert {"first", ODD} <= set(found)
    assert "share of the pixels against" in told(found["first"])
    assert "ensemble" not in names(read(page(tmp_path, evaluation())))


def test_an_ensemble_of_nothing_but_nan(tmp_path):
    blank = Ensemble([tiny.Fade(math.nan, 0.0), tiny.Fade(math.nan, 0.0)])
    result = evaluation(rain=Rain(), more={"ensemble": blank})
    found = charts(of("ensemble", read(page(tmp_path, result, rain=Rain()))))
    assert "ensemble: no value." in told(found["CRPS"])
    assert "no value" in found["ensemble"].text()


# Bad and odd input.


def test_one_lead_of_one_sequence(tmp_path):
    root = read(page(tmp_path, evaluation(rain=Rain(), sequences=1, horizon=1, keep=1), rain=Rain()))
    assert "1 sequence of split test, 1 frame ahead" in root.all("header")[0].text()
    assert root.all("input")[0].attributes["max"] == "3"


def test_three_hundred_leads(tmp_path):
    root = read(page(tmp_path, evaluation(rain=Rain(), sequences=1, horizon=300, size=(8, 8), keep=1), rain=Rain()))
    assert root.all("input")[0].attributes["max"] == "302"
    content = json.loads(root.all("script", class_="film-data")[0].words)
    assert len(content["labels"]) == len(content["panels"][0]["frames"]) == 303
    heads, _ = cells(of("leads", root), "MSE per frame by lead time (min); lower is better")
    assert heads[-1] == "+1500"


@pytest.mark.parametrize(("size", "wide"), [((2, 200), True), ((200, 2), False), ((1, 1), False), ((2, 2), False)])
def test_frames_of_odd_sizes(size, wide, tmp_path):
    for rain in (None, Rain()):
        root = read(page(tmp_path, evaluation(rain=rain, size=size, horizon=2, missing=False), rain=rain))
        panels = root.all("article")[0].all("div")
        assert any(tag.attributes["class"] == ("panels wide" if wide else "panels") for tag in panels)
        image = root.all("img")[0].attributes
        assert (int(image["height"]), int(image["width"])) == size


def test_scores_that_are_not_numbers(tmp_path):
    result = evaluation(rain=Rain(), more={"nan": fading(math.nan), "inf": fading(math.inf)})
    root = read(page(tmp_path, result, rain=Rain()))
    assert "nan: no value." in told(charts(of("leads", root))["MAE"])
    text = of("scores", root).text() + of("leads", root).text()
    assert "NaN" not in text
    assert "Infinity" not in (tmp_path / "report.html").read_text()


def test_a_run_alone_is_called_by_its_name_beside_others(tmp_path):
    best = run(tmp_path / "runs" / "mine")
    run(tmp_path / "runs" / "theirs", rate=0.5)
    root = read(page(tmp_path, evaluation(), checkpoints={"model": best}))
    _, rows = cells(of("runs", root), "Runs, and the keys of the configuration in which they differ")
    assert list(rows) == ["mine", "theirs"]


def test_the_evaluation_itself_is_told(tmp_path):
    record = {"split": "test", "data": {"name": ODD, "thresholds": [0.5, 2]}, "members": {"perturbed": 3}}
    root = read(page(tmp_path, evaluation(), record=record))
    section = of("runs", root)
    _, rows = cells(section, "Settings and data of this evaluation")
    assert rows == {"split": ["test"], "data.name": [ODD], "data.thresholds": ["[0.5, 2]"], "members.perturbed": ["3"]}
    _, rows = cells(section, "Training, code and machine")
    assert rows["command"] == [shlex.join(sys.orig_argv)]
    assert "Written 20" in root.all("header")[0].text()
    assert "Settings" not in of("runs", read(page(tmp_path, evaluation()))).text()
