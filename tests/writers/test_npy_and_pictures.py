"""Arrays with their descriptions, pictures and animations; the choice of a format."""

import builtins
import json
from dataclasses import replace

from convlstm.report import forecast_only
from convlstm.report.forecast_only import forecast_only_frames, forecast_only_gif
from convlstm.writers import FORMATS, Forecast, MissingWriterError, Quantity, format_of, write
from tests.support.forecasts import OPERA

import numpy as np
import pytest
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
    assert sorted(p.name for p in folder.iterdir()) == ["frame_01.png", "frame_02.png", "frame_03.png"]
    first, second = (np.asarray(Image.open(folder / f"frame_0{n}.png")) for n in (1, 2))
    assert first.shape == second.shape
    assert (first != second).any()


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
