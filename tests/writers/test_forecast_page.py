"""Forecasts as pages: what a page holds, how small it is, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

from convlstm.metrics.events import lowest_event
from convlstm.report.palettes import chance_palette, palette
from convlstm.report.rain_scale import rain_scale
from convlstm.writers import Forecast, Quantity, forecast_page, write
from convlstm.writers.forecast_page.packing import averaged
from tests.support.desk import contents, ensemble, frame, read
from tests.support.pages import Reader

import numpy as np
import pytest

MINUTE = np.timedelta64(1, "m")
MOST = ("Observed", "Forecast", "Spread", "Probability")
KINDS = (*MOST, "Quantiles", "Members")


@pytest.fixture(scope="module")
def forecast():
    return ensemble()


@pytest.fixture(scope="module")
def content(forecast):
    return contents(forecast)


def of_kind(content, kind):
    return [layer for layer in content["layers"] if layer["kind"] == kind]


def test_values_are_those_of_the_forecast(forecast, content):
    assert content["shape"] == [30, 40]
    (layer,) = of_kind(content, "Forecast")[:1]
    assert layer["title"] == "Mean of 5 members"
    assert layer["side"] == 1
    for t, values in enumerate(forecast.values):
        shown = frame(content, layer, t)
        np.testing.assert_array_equal(np.isnan(shown), np.isnan(values))
        np.testing.assert_allclose(shown, values, rtol=0.04, atol=0.03)
        for limit in (0.1, 0.5, 1, 2, 5, 10):  # no pixel changes its class
            np.testing.assert_array_equal(shown >= limit, values >= lowest_event(limit))
    spread, chance = of_kind(content, "Spread")[0], of_kind(content, "Probability")[1]
    np.testing.assert_allclose(frame(content, spread, 5), forecast.layers["spread"].values[5], rtol=0.05, atol=0.03)
    assert chance["title"] == "Probability of 2 mm/h or more"
    share = forecast.layers["probability_at_least_2_mmh"].values[3]
    np.testing.assert_allclose(frame(content, chance, 3), 100 * share, atol=0.01)
    assert content["palettes"][chance["palette"]]["unit"] == "%"


def test_every_product_and_member_is_a_layer(forecast, content):
    kinds = [layer["kind"] for layer in content["layers"]]
    assert kinds == ["Observed", "Forecast", "Spread", *["Probability"] * 2, "Forecast", *["Quantiles"] * 3] + (
        ["Members"] * 5
    )
    assert [layer["share"] for layer in of_kind(content, "Quantiles")] == [0.1, 0.5, 0.9]
    third = of_kind(content, "Members")[2]
    np.testing.assert_allclose(frame(content, third, 0), forecast.members[2, 0], rtol=0.04, atol=0.03)
    tags = Reader(forecast_page.page(forecast)).root
    (select,) = tags.all("select", id="layer")
    assert [group.attributes["label"] for group in select.all("optgroup")] == [
        "Forecast", "Probability", "Spread", "Quantiles", "Members",
    ]  # fmt: skip
    for option in select.all("option"):
        assert content["layers"][int(option.attributes["value"])]["title"] == option.text()


def test_members_give_the_quantiles_if_there_are_none(forecast):
    content = contents(replace(forecast, layers={}))
    low, middle, high = of_kind(content, "Quantiles")
    known = np.isfinite(forecast.values[0])
    expected = np.quantile(forecast.members[:, 0], 0.9, axis=0)
    np.testing.assert_allclose(frame(content, high, 0)[known], expected[known], rtol=0.04, atol=0.03)
    assert of_kind(contents(replace(forecast, layers={}, members=None)), "Quantiles") == []


def test_times_run_from_the_last_hour_to_the_last_lead_time(forecast, content):
    assert content["past"] == 4
    assert content["issued"] == "2024-05-01T12:00:00Z"
    assert [time["lead"] for time in content["times"]] == [-60, -40, -20, 0, 20, 40, 60, 80, 100, 120]
    assert [content["times"][n]["time"] for n in (0, 3, 9)] == [
        "2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z", "2024-05-01T14:00:00Z",
    ]  # fmt: skip
    assert np.isnan(frame(content, content["layers"][0], 1)).all()
    inputs = contents(replace(forecast, observed=None))
    assert (inputs["past"], inputs["times"][0]["lead"]) == (2, -20)
    without = contents(replace(forecast, observed=None, inputs=None, issued=None, step=None))
    assert (without["past"], without["issued"], without["times"][0]) == (0, None, {"lead": None, "time": None})
    days = np.datetime64("2024-05-01T12:00") + np.array([1, 3, 6, 9, 12, 30]) * 1440 * MINUTE
    assert contents(replace(forecast, valid=days.astype("datetime64[s]")))["times"][-1]["lead"] == 30 * 1440


def test_the_map_has_coast_and_places(content):
    pytest.importorskip("pyproj")
    lines = content["lines"]
    assert len(lines["coast"]) > 2
    assert [line["label"] for line in lines["grid"]][:1] == ["3.5°E"]
    assert lines["km"] == pytest.approx(3, rel=0.05)
    lon, lat = (np.array(part).reshape(33, 33) for part in lines["degrees"])
    assert (lon[0, 0], lon[0, -1]) == pytest.approx((3.3, 5.0), abs=0.2)
    assert lat[0, 0] > lat[-1, 0] > 51


def test_without_a_place_the_page_says_why(forecast):
    text = forecast_page.page(replace(forecast, place=None))
    assert read(text)["lines"] is None
    assert "No coast and no borders: the place of the input is unknown." in text


def test_an_unknown_projection_is_a_warning_and_no_map(forecast):
    pytest.importorskip("pyproj")
    place = replace(forecast.place, projection="+proj=nonsense")
    with pytest.warns(UserWarning, match=r"\[write\] the map has no coast: the projection is not known to PROJ"):
        assert contents(replace(forecast, place=place))["lines"] is None


def test_other_fields_have_their_units_and_colours():
    values = np.random.default_rng(0).normal(280, 5, (3, 6, 8, 2)).astype(np.float32)
    values[..., 1] -= 280
    values[:, 0, 0, 0] = np.nan
    fields = (Quantity("sst", "K", long_name="sea surface temperature"), Quantity("u10", "m s-1"))
    content = contents(Forecast(values, "K, m s-1", inputs=values[:1], fields=fields, step=1440.0))
    first, second = of_kind(content, "Forecast")
    assert (first["title"], second["title"], second["field"]) == ("sst: forecast", "u10: forecast", 1)
    tables = [content["palettes"][layer["palette"]] for layer in (first, second)]
    assert [table["label"] for table in tables] == ["sea surface temperature (K)", "u10 (m s-1)"]
    assert [table["unit"] for table in tables] == ["K", "m s-1"]
    assert tables[0]["classes"] == []
    step = np.nanmax(values[..., 0]) - np.nanmin(values[..., 0])
    np.testing.assert_allclose(frame(content, first, 2), values[2, ..., 0], atol=step / 400)
    assert tables[0]["decimals"] == 1
    grey = contents(Forecast(np.full((2, 4, 4), 0.5, np.float32), ""))
    np.testing.assert_allclose(frame(grey, grey["layers"][0], 1), 0.5, atol=0.003)


def test_colours_are_refused(forecast):
    clip = Forecast(np.zeros((2, 8, 8, 3), np.float32), "")
    with pytest.raises(ValueError, match=r"the forecast has 3 channels that are none, such as colours.*gif, mp4"):
        forecast_page.page(clip)


def test_a_page_stays_small_by_larger_pixels(forecast, monkeypatch):
    def size(content, kinds):
        return sum(len(picture) for kind in kinds for one in of_kind(content, kind) for picture in one["frames"])

    whole = contents(forecast)
    assert {layer["side"] for layer in whole["layers"]} == {1}
    # Most layers may take 65 %, quantiles 65 % of what is left, and members the rest.
    monkeypatch.setattr(forecast_page, "LARGEST", int(size(whole, MOST) / 0.64))
    content = contents(forecast)
    assert size(content, KINDS) <= forecast_page.LARGEST
    sides = {layer["kind"]: layer["side"] for layer in content["layers"]}
    assert {sides[kind] for kind in MOST} == {1}
    assert 1 < sides["Quantiles"] <= sides["Members"]
    member = of_kind(content, "Members")[0]
    expected = averaged(forecast.members[0, 0], member["side"])
    np.testing.assert_allclose(frame(content, member, 0), expected, rtol=0.04, atol=0.03)
    monkeypatch.setattr(forecast_page, "LARGEST", size(whole, MOST))
    content = contents(forecast)
    assert size(content, KINDS) <= forecast_page.LARGEST
    assert of_kind(content, "Forecast")[0]["side"] == of_kind(content, "Spread")[0]["side"] == 2
    monkeypatch.setattr(forecast_page, "LARGEST", 100)
    with pytest.raises(ValueError, match=r"the page would have more than 0.0001 MB. Forecast fewer frames"):
        forecast_page.page(forecast)


def test_averages_leave_out_what_is_missing():
    frame = np.array([[1, 3, 5], [np.nan, 2, np.nan], [np.nan, np.nan, 4]], np.float32)
    np.testing.assert_array_equal(averaged(frame, 2), [[2, 5], [np.nan, 4]])


@pytest.mark.parametrize("unit", ["mm/h", "dBZ", "raw"])
def test_palettes_keep_classes_and_fit_a_byte(unit):
    values = np.random.default_rng(1).gamma(0.3, 20, (1, 50, 50)).astype(np.float32)
    values[0, 0, 0] = np.nan
    scale = rain_scale("test", unit, None, [values])
    table = palette(scale, unit, [values])
    assert len(table.values) == len(table.colours) == len(table.edges) + 1 <= 255
    codes = table.encode(values)
    assert codes[0, 0, 0] == 255
    known = np.isfinite(values)
    shown = table.values[codes[known]]
    for level in scale.levels:
        np.testing.assert_array_equal(shown >= level, values[known] >= lowest_event(level))
    for value, colour in zip(table.values, table.colours, strict=True):
        assert (colour is None) == (value < scale.levels[0])
    assert chance_palette().encode(np.array([0, 1 / 24, 0.5, 1, np.nan])).tolist() == [0, 8, 100, 200, 255]


def test_texts_of_others_are_no_markup(forecast):
    evil = "</script><script>alert(1)</script>"
    named = {key: replace(layer, long_name=evil) for key, layer in forecast.layers.items()}
    text = forecast_page.page(replace(forecast, about={"comment": evil}, layers=named))
    root = Reader(text).root
    scripts = root.all("script")
    assert len(scripts) == 4
    assert read(text)["layers"][1]["title"] == evil
    policy = next(tag for tag in root.all("meta") if tag.attributes.get("http-equiv"))
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert not re.search(r"\b(?:src|href)=\"(?!data:)", text.split('id="content"')[0])


def test_a_page_replaces_pages_alone(forecast, tmp_path):
    path = tmp_path / "forecast.html"
    write(path, forecast)
    assert "<title>Forecast of rain rate</title>" in path.read_text()
    write(path, replace(forecast, units="dBZ", layers={}, members=None))
    assert "<title>Forecast of reflectivity</title>" in path.read_text()
    path.write_text("<html>mine</html>")
    with pytest.raises(FileExistsError, match="a file that is not a forecast of this program"):
        write(path, forecast)
