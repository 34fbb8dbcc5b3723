"""Arrays with their descriptions, pictures and animations; the choice of a format."""

import builtins
import json
from dataclasses import replace

from convlstm.report import forecast_only, map_sheet
from convlstm.report.forecast_only import Extra, forecast_only_frames, forecast_only_gif, name_of_frame
from convlstm.report.rain_scale import RAIN, rain_scale
from convlstm.writers import FORMATS, Forecast, MissingWriterError, Quantity, format_of, write
from convlstm.writers.map_lines import lines_of
from tests.support.desk import ensemble
from tests.support.forecasts import OPERA

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image


def test_npy_has_the_values_and_a_json_file_the_rest(tmp_path, forecast):
    path = write(tmp_path / "f.npy", forecast)
    np.testing.assert_array_equal(np.load(path), forecast.values)
    description = json.loads((tmp_path / "f.json").read_text())
    assert description["times"][1] == "2024-02-01T00:00:00Z"
    assert description["forecast_reference_time"] == "2024-01-31T23:50:00Z"
    assert (description["lead_minutes"], description["units"], description["projection"]) == (
        [5, 10, 15],
        "mm/h",
        OPERA,
    )
    assert description["y"][0] == 215_000
    assert description["provenance"]["commit"] == "abc"
    assert {p.name for p in tmp_path.iterdir()} == {"f.npy", "f.json"}


def test_png_is_a_picture_for_each_frame(tmp_path, forecast):
    folder = write(tmp_path / "frames", forecast, "png")
    names = [f"forecast_202401{time}.png" for time in ("31T235500", "01T000000", "01T000500")]
    names[1:] = [name.replace("202401", "202402") for name in names[1:]]
    assert sorted(p.name for p in folder.iterdir()) == names
    first, second = (np.asarray(Image.open(folder / name)) for name in names[:2])
    assert first.shape == second.shape
    assert (first != second).any()
    assert FORMATS["png"].is_forecast(folder)
    (folder / names[0]).rename(folder / "mine.png")
    with pytest.raises(FileExistsError, match="a folder with other things in it"):
        write(folder, forecast, "png")


def test_pictures_without_times_are_numbered():
    about = {"issued": None, "step": 5, "valid": None}
    assert [name_of_frame("forecast", n, 200, **about) for n in (0, 99)] == ["frame_001", "frame_100"]
    assert name_of_frame("spread", 1, 3, **about) == "spread_02"
    about |= {"issued": np.datetime64("2024-01-31T23:50")}
    assert name_of_frame("spread", 1, 3, **about) == "spread_20240201T000000"
    about["valid"] = np.array(["2024-02-29", "2024-03-31"], "datetime64[s]")
    assert name_of_frame("forecast", 1, 2, **about) == "forecast_20240331T000000"


def test_probabilities_and_spread_have_pictures_of_their_own(tmp_path):
    folder = write(tmp_path / "maps", first_frame(ensemble(kept=False)), "png")
    kinds = ("forecast", "probability_at_least_0p5_mmh", "probability_at_least_2_mmh", "spread")
    expected = [f"{kind}_20240501T122000.png" for kind in kinds]
    assert sorted(p.name for p in folder.iterdir()) == expected
    assert FORMATS["png"].is_forecast(folder)
    pictures = [np.asarray(Image.open(folder / name).convert("RGB")) for name in expected]
    # Class colours: rain of the forecast alone, the highest probabilities alone.
    for colour, seen in ((RAIN[3], [True, False]), ("#800026", [False, True])):
        wanted = np.round(255 * np.array(to_rgb(colour)))
        assert [(np.abs(pictures[k] - wanted) <= 1).all(-1).any() for k in (0, 1)] == seen


def first_frame(forecast):
    """Returns the first lead time of a forecast."""
    layers = {key: replace(layer, values=layer.values[:1]) for key, layer in forecast.layers.items()}
    return replace(forecast, values=forecast.values[:1], layers=layers)


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_a_sheet_has_the_forecast_its_probabilities_and_its_spread(tmp_path, monkeypatch, ending):
    made = first_frame(ensemble(kept=False))
    sheets = []
    drawn = map_sheet.map_sheet
    monkeypatch.setattr(map_sheet, "map_sheet", lambda *a, **how: sheets.append((a, how)) or drawn(*a, **how))
    path = write(tmp_path / f"f.{ending}", made)
    assert FORMATS[ending].is_forecast(path)
    assert path.read_bytes()[:5] in (b"%PDF-", b"<?xml")
    (_, rows), how = sheets[0]
    assert [row.title for row in rows] == [
        "rain rate (mm/h)", "Standard deviation of 5 members",
        "Probability of 0.5 mm/h or more, the share of 5 members",
        "Probability of 2 mm/h or more, the share of 5 members",
    ]  # fmt: skip
    np.testing.assert_array_equal(rows[2].values, 100 * made.layers["probability_at_least_0p5_mmh"].values)
    assert how["title"] == "Forecast of rain rate, mean of 5 members"
    path.write_text("<svg>mine</svg>")
    with pytest.raises(FileExistsError, match="a file that is not a forecast of this program"):
        write(path, made)
    with pytest.raises(ValueError, match=r"the forecast has 3 channels that are none, such as colours"):
        write(tmp_path / f"clip.{ending}", Forecast(np.zeros((2, 8, 8, 3), np.float32), ""))


def test_maps_have_coast_and_a_scale_bar():
    pytest.importorskip("pyproj")
    made = ensemble(kept=False)
    scale = rain_scale("test", "mm/h", None, [made.values])
    rows = [Extra("", "rain", made.values, scale)]
    plain, with_lines = (
        map_sheet.map_sheet(None, rows, step=20, times=made.times, lines=lines, title="Rain")
        for lines in (None, lines_of(made))
    )
    assert {text.get_text() for text in plain.texts} >= {"Rain", "+40 min", "2024-05-01 12:40 UTC"}
    axes = next(one for one in with_lines.axes if one.images)
    collections = [one for one in axes.collections if isinstance(one, LineCollection)]
    assert [len(one.get_segments()) > 0 for one in collections] == [True, False, True]  # no border here
    assert {"53.5°N", "20 km"} <= {text.get_text() for text in axes.texts}
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 39.5), (29.5, -0.5))
    assert not any(one.collections for one in plain.axes if one.images)


def test_gif_keeps_the_colours_of_classes_under_lines(tmp_path):
    pytest.importorskip("pyproj")
    made = first_frame(ensemble(kept=False))
    made = replace(made, values=np.maximum(made.values, 1.5), inputs=None)
    with Image.open(write(tmp_path / "f.gif", made)) as film:
        film.seek(film.n_frames - 1)
        shown = np.asarray(film.convert("RGB"))
    for colour in (RAIN[2], RAIN[3]):
        wanted = np.round(255 * np.array(to_rgb(colour)))
        assert (np.abs(shown - wanted) <= 2).all(-1).mean() > 0.1


def test_gif_runs_over_inputs_and_forecast(tmp_path, forecast):
    with Image.open(write(tmp_path / "f.gif", forecast)) as film:
        assert film.n_frames == 5
    with Image.open(write(tmp_path / "g.gif", replace(forecast, inputs=None))) as film:
        assert film.n_frames == 3


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 8, 8, 3), (2, 8, 8)])
def test_frames_in_0_to_1_are_drawn_in_grey_or_colour(tmp_path, rng, shape):
    values = rng.random(shape).astype(np.float32)
    assert len(forecast_only_frames(tmp_path / "f", values)) == 2
    forecast_only_gif(tmp_path / "f.gif", values, inputs=values, step=5, milliseconds=50)
    with Image.open(tmp_path / "f.gif") as film:
        assert film.n_frames == 4
        assert film.info["duration"] == 50


def test_format_follows_the_ending():
    assert [format_of(f"a{ending}") for ending in (".nc", ".NC4", ".zarr", ".npy", ".gif")] == [
        "netcdf", "netcdf", "zarr", "npy", "gif",
    ]  # fmt: skip
    assert format_of("a") is None
    assert [format_of(f"a{ending}") for ending in (".tif", ".TIFF")] == ["geotiff", "geotiff"]
    assert {"netcdf", "zarr", "zarr3", "mlcast", "geotiff", "geotiff_frames", "npy", "png", "gif", "mp4"} <= {*FORMATS}


def test_a_strange_ending_or_format_is_refused(tmp_path, forecast):
    with pytest.raises(ValueError, match=r"the ending of 'f.bmp' must be one of .nc4, .tiff, .nc, .zarr, .tif, "):
        write(tmp_path / "f.bmp", forecast)
    with pytest.raises(ValueError, match=r"\[write\] 'format' must be one of netcdf, .* but got 'tiff'"):
        write(tmp_path / "f.nc", forecast, "tiff")


@pytest.mark.parametrize(("name", "library"), [("f.nc", "netCDF4"), ("f.zarr", "zarr")])
def test_a_missing_library_is_named(tmp_path, forecast, monkeypatch, name, library):
    monkeypatch.setitem(builtins.__import__("sys").modules, library, None)
    with pytest.raises(MissingWriterError, match=rf"writing this format needs the library {library} .*pip install"):
        write(tmp_path / name, forecast)
    assert list(tmp_path.iterdir()) == []


def test_fields_are_drawn_in_their_units(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(forecast_only, "map_figure", lambda *a, **how: drawn.append((*a, how)) or Figure((2, 1)))
    values = np.random.default_rng(0).normal(size=(2, 6, 8, 2)).astype(np.float32)
    values[:, :2, :3, 0] = np.nan
    fields = (Quantity("sst", "degC", long_name="sea surface temperature"), Quantity("u10", "m s-1"))
    start = np.datetime64("2020-01-31T00:00")
    months = np.array(["2020-02-29", "2020-03-31"], "datetime64[s]")
    about = {"issued": start, "step": 43200.0, "inputs": values, "fields": fields, "valid": months}
    write(tmp_path / "f.gif", Forecast(values, "degC, m s-1", **about), "gif")
    assert len(drawn) == 4
    panels, scales, lead, time, how = drawn[-1]
    assert list(panels) == ["sst, hatched = missing", "u10"]
    assert [scale.label for scale in scales] == ["sea surface temperature (degC)", "u10 (m s-1)"]
    assert (lead, time, how["forecast"]) == ("+60 d", "2020-03-31 00:00 UTC", True)
    np.testing.assert_array_equal(panels["u10"], values[1, ..., 1])
    drawn.clear()
    one = Forecast(values[..., 0], "degC", issued=start, step=360.0, fields=fields[:1])
    write(tmp_path / "f", one, "png")
    assert [list(panels) for panels, *_ in drawn] == [["forecast, hatched = missing"]] * 2
    assert [time for *_, time, _ in drawn] == ["2020-01-31 06:00 UTC", "2020-01-31 12:00 UTC"]
