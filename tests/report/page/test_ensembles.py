"""Ensembles in the page."""

import math

from convlstm.architectures.ensemble import Ensemble
from tests.support import sea, tiny
from tests.support.pages import ODD, Rain, cells, charts, described, evaluation, names, of, page, read

import numpy as np
import pytest


@pytest.fixture(scope="module")
def members():
    return Ensemble([tiny.Fade(0.9, 0.0), tiny.Fade(0.6, 0.01), tiny.Fade(1.2, 0.0)])


def test_errors_of_an_ensemble(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    root = read(page(tmp_path, result, rain=Rain()))
    section, score = of("ensemble", root), result.scores["ensemble"]
    assert "ensemble: 3 members" in section.text()
    found = charts(section)
    crps = described(found["CRPS"])
    assert "lower is better. model: from" in crps
    _, rows = cells(section, "CRPS by lead time (min); lower is better")
    values = {"ensemble": score["crps_mmh"], "model": result.scores["model"]["mae_mmh"]}
    for name, value in values.items():
        assert [float(cell.split()[0]) for cell in rows[name]] == pytest.approx(value["per_lead"], rel=2e-3)
    _, rows = cells(section, "Error and spread by lead time (min); equal is best")
    assert list(rows) == ["error", "spread"]
    assert [float(cell) for cell in rows["error"]] == pytest.approx(score["rmse_of_mean_mmh"]["per_lead"], rel=2e-3)
    wide = math.sqrt(4 / 3) * np.array(score["spread_mmh"]["per_lead"])
    assert [float(cell) for cell in rows["spread"]] == pytest.approx(wide.tolist(), rel=2e-3)
    assert (
        len([tag for tag in found["Error and spread"].all("path") if tag.attributes["class"] == "line c1 broken"]) == 1
    )
    ratio = found["Spread-skill ratio"]
    assert [tag for tag in ratio.all("path") if tag.attributes["class"] == "mark"]
    assert f"ensemble: from {score['spread_skill']['per_lead'][0]:.4g}" in described(ratio)
    # They are not among the scores of all.
    assert not {"CRPS", "spread"} & set(charts(of("leads", root)))
    heads, rows = cells(of("scores", root), "All scores, over all lead times and pixels")
    places = [heads.index(name) - 1 for name in ("model", "ensemble", "persistence")]
    assert [rows["CRPS"][place] == "-" for place in places] == [True, False, True]


def test_reliability_and_ranks(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    section, metrics = of("ensemble", read(page(tmp_path, result, rain=Rain()))), result.ensembles[""]["ensemble"]
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
    assert "reliable: from 0.000 at 0 to 1.000 at 1. ensemble: from" in described(svg)
    counts = metrics.rank_histogram()
    shares = counts / counts.sum()
    bars = [tag for tag in found["ensemble"].all("path") if tag.attributes["class"].startswith("bar")]
    assert [float(tag.text().partition(": ")[2]) for tag in bars] == pytest.approx(shares, rel=1e-3)
    words = described(found["ensemble"])
    assert f"Below all members {shares[0]:.1%}, above all {shares[-1]:.1%}; flat is 25.0% each." in words
    assert "share of the pixels with 0.5 mm/h or more against members below the truth" in words
    _, rows = cells(section, "Rank histogram of ensemble")
    assert [row[0] for row in rows.values()] == [f"{share:.2%}" for share in shares]


def test_rare_probabilities_have_no_point(members, tmp_path):
    result = evaluation(rain=Rain(), more={"ensemble": members})
    metrics = result.ensembles[""]["ensemble"]
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
    assert "(intensity) against lead time (frames)" in described(found["CRPS"])
    assert "model: from" in described(found["CRPS"])
    assert f"{ODD}, spread: from" in described(found["Error and spread"])
    assert "Event: 0.5 or more" in found
    assert {"first", ODD} <= set(found)
    assert "share of the pixels against" in described(found["first"])
    assert "ensemble" not in names(read(page(tmp_path, evaluation())))


def test_an_ensemble_of_nan(tmp_path):
    blank = Ensemble([tiny.Fade(math.nan, 0.0), tiny.Fade(math.nan, 0.0)])
    result = evaluation(rain=Rain(), more={"ensemble": blank})
    found = charts(of("ensemble", read(page(tmp_path, result, rain=Rain()))))
    assert "ensemble: no value." in described(found["CRPS"])
    assert "no value" in found["ensemble"].text()


def test_each_field_has_a_part_in_its_own_units(members, tmp_path):
    data = sea.Sea()
    result = sea.evaluation(data, {"ensemble": members})
    section, score = of("ensemble", read(page(tmp_path, result, fields=data))), result.scores["ensemble"]
    assert "sst, in degC. ensemble: 3 members." in section.text()
    assert "u10, in m s-1. ensemble: 3 members." in section.text()
    found = charts(section)
    for name, units in (("sst", "degC"), ("u10", "m s-1")):
        _, rows = cells(section, f"CRPS of {name} by lead time (h); lower is better")
        values = {"ensemble": score[f"field_crps[{name} {units}]"]}
        values["persistence"] = result.scores["persistence"][f"field_mae[{name} {units}]"]
        for forecaster, value in values.items():
            given = [float(cell.split()[0]) for cell in rows[forecaster]]
            assert given == pytest.approx(value["per_lead"], rel=2e-3)
        assert f"Error and spread of {name}" in found
        _, rows = cells(section, f"Rank histogram of ensemble, {name}")
        assert list(rows) == ["0", "1", "2", "3"]
    assert "model's scale" not in section.text()
