"""What forecasts are written as: NetCDF and Zarr after CF, arrays, pictures, animations."""

import builtins
import json
import subprocess
import sys
from pathlib import Path

from convlstm.report.forecast_only import forecast_film, forecast_stills
from convlstm.writers import FORMATS, Forecast, Layer, MissingWriterError, Place, format_of, write
from convlstm.writers.crs import grid_mapping
from tests.support.radar_files import open_file
from tests.support.tiny import PROJECT

import numpy as np
import pytest
from PIL import Image

OPERA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84"
EXTENT = (100_000.0, 200_000.0, 124_000.0, 216_000.0)
ISSUED = np.datetime64("2024-01-31T23:50")


@pytest.fixture
def forecast(rng):
    """Three frames of 8x12 pixels of 2 km, 5 minutes apart, over midnight; the north-west is missing."""
    values = rng.uniform(0, 20, (3, 8, 12)).astype(np.float32)
    values[:, 0, 0] = np.nan
    return Forecast(
        values,
        "mm/h",
        issued=ISSUED,
        step=5.0,
        place=Place.of((8, 12), EXTENT, projection=OPERA),
        inputs=values[:2],
        provenance={"checkpoint": "runs/mine/checkpoints/best", "commit": "abc", "config": {"model": {"a": 1}}},
    )


def with_changes(forecast, **changes):
    return Forecast(**{**vars(forecast), **changes})


def test_times_and_leads(forecast):
    np.testing.assert_array_equal(forecast.leads, [5, 10, 15])
    expected = ["2024-01-31T23:55", "2024-02-01T00:00", "2024-02-01T00:05"]
    np.testing.assert_array_equal(forecast.times, np.array(expected, "datetime64[s]"))
    assert with_changes(forecast, step=None).times is None
    assert with_changes(forecast, issued=None).times is None
    np.testing.assert_array_equal(with_changes(forecast, step=0.5).times[0], np.datetime64("2024-01-31T23:50:30"))


def test_netcdf_keeps_cf(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    path = write(tmp_path / "f.nc", forecast)
    with netcdf.Dataset(path) as file:
        rain = file["rain_rate"]
        assert rain.dimensions == ("time", "y", "x")
        assert rain.units == "mm h-1"
        assert rain.standard_name == "lwe_precipitation_rate"
        assert rain.coordinates.split() == ["lead_time", "forecast_reference_time"]
        np.testing.assert_array_equal(rain[:].filled(np.nan), forecast.values)
        assert rain.chunking() == [1, 8, 12]
        times = netcdf.num2date(file["time"][:], file["time"].units, file["time"].calendar)
        assert [f"{t:%Y-%m-%dT%H:%M}" for t in times] == ["2024-01-31T23:55", "2024-02-01T00:00", "2024-02-01T00:05"]
        assert file["time"].standard_name == "time"
        assert file["time"].units_metadata == "leap_seconds: none"
        np.testing.assert_array_equal(file["lead_time"][:], [5, 10, 15])
        assert (file["lead_time"].standard_name, file["lead_time"].units) == ("forecast_period", "minutes")
        issued = file["forecast_reference_time"]
        assert issued.standard_name == "forecast_reference_time"
        assert netcdf.num2date(issued[...], issued.units, issued.calendar).isoformat() == "2024-01-31T23:50:00"
        # Centres of pixels, north first.
        np.testing.assert_allclose(file["y"][:], 215_000 - 2000 * np.arange(8))
        np.testing.assert_allclose(file["x"][:], 101_000 + 2000 * np.arange(12))
        assert file["x"].standard_name == "projection_x_coordinate"
        mapping = file[rain.grid_mapping]
        assert mapping.grid_mapping_name == "lambert_azimuthal_equal_area"
        assert mapping.false_northing == -2_100_000
        assert file.Conventions.startswith("CF-1.")
        assert (file.checkpoint, file.commit) == ("runs/mine/checkpoints/best", "abc")
        assert json.loads(file.config) == {"model": {"a": 1}}


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_our_own_readers_read_what_is_written(tmp_path, forecast, name):
    pytest.importorskip("netCDF4" if name == "f.nc" else "zarr")
    path = write(tmp_path / name, forecast)
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, forecast.times)
    assert contents.grid.units == "mm/h"
    assert contents.grid.extent == pytest.approx(EXTENT)
    assert contents.grid.pixel_size == pytest.approx((2000, 2000))
    assert "Lambert_Azimuthal_Equal_Area" in contents.grid.projection
    for n, frame in enumerate(forecast.values):
        np.testing.assert_array_equal(reader.read(path, n), frame)


def test_zarr_has_a_chunk_for_each_frame_and_its_metadata_in_one_place(tmp_path, forecast):
    zarr = pytest.importorskip("zarr")
    path = write(tmp_path / "f.zarr", forecast)
    group = zarr.open_group(str(path), mode="r")
    assert group["rain_rate"].chunks == (1, 8, 12)
    assert group["rain_rate"].attrs["_ARRAY_DIMENSIONS"] == ["time", "y", "x"]
    assert group["rain_rate"].attrs["grid_mapping"] == "crs"
    assert group.attrs["commit"] == "abc"
    assert (path / ".zmetadata").is_file()


@pytest.mark.parametrize(
    ("units", "name", "written"),
    [("mm/h", "rain_rate", "mm h-1"), ("dBZ", "reflectivity", "dBZ"), ("raw", "field", "1"), ("", "field", "1")],
)
def test_units_name_the_variable(tmp_path, forecast, units, name, written):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(write(tmp_path / "f.nc", with_changes(forecast, units=units))) as file:
        assert file[name].units == written


def test_layers_stand_beside_the_forecast(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    spread = Layer(np.ones((3, 8, 12)), "mm h-1", "spread of the members", {"members": 5})
    with netcdf.Dataset(write(tmp_path / "f.nc", with_changes(forecast, layers={"spread": spread}))) as file:
        layer = file["spread"]
        assert (layer.units, layer.long_name, layer.members) == ("mm h-1", "spread of the members", 5)
        assert layer.grid_mapping == "crs"
        np.testing.assert_array_equal(layer[:], 1)


def test_degrees_are_latitudes_and_longitudes(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    place = Place.of((8, 12), (5.0, 50.0, 11.0, 54.0), units="deg", projection="+proj=longlat +datum=WGS84")
    with netcdf.Dataset(write(tmp_path / "f.nc", with_changes(forecast, place=place))) as file:
        assert file["rain_rate"].dimensions == ("time", "lat", "lon")
        assert (file["lat"].units, file["lon"].units) == ("degrees_north", "degrees_east")
        assert file["lat"][0] == 53.75
        assert file["crs"].grid_mapping_name == "latitude_longitude"


def test_without_times_and_place_frames_are_numbered(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    bare = with_changes(forecast, issued=None, step=None, place=None, provenance={})
    with netcdf.Dataset(write(tmp_path / "f.nc", bare)) as file:
        assert set(file.variables) == {"time", "rain_rate"}
        np.testing.assert_array_equal(file["time"][:], [1, 2, 3])
        assert not hasattr(file["rain_rate"], "grid_mapping")


def test_channels_are_a_dimension(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    colour = Forecast(np.zeros((2, 4, 5, 3), np.float32), "")
    with netcdf.Dataset(write(tmp_path / "f.nc", colour)) as file:
        assert file["field"].dimensions == ("time", "y", "x", "channel")
    with netcdf.Dataset(write(tmp_path / "g.nc", Forecast(np.zeros((2, 4, 5, 1), np.float32), ""))) as file:
        assert file["field"].dimensions == ("time", "y", "x")


def test_npy_has_the_values_and_a_file_beside_it_the_rest(tmp_path, forecast):
    path = write(tmp_path / "f.npy", forecast)
    np.testing.assert_array_equal(np.load(path), forecast.values)
    told = json.loads((tmp_path / "f.json").read_text())
    assert told["times"][1] == "2024-02-01T00:00:00Z"
    assert told["forecast_reference_time"] == "2024-01-31T23:50:00Z"
    assert (told["lead_minutes"], told["units"], told["projection"]) == ([5, 10, 15], "mm/h", OPERA)
    assert told["y"][0] == 215_000
    assert told["provenance"]["commit"] == "abc"
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
    with Image.open(write(tmp_path / "g.gif", with_changes(forecast, inputs=None))) as film:
        assert film.n_frames == 3


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 8, 8, 3), (2, 8, 8)])
def test_frames_in_0_to_1_are_drawn_in_grey_or_colour(tmp_path, rng, shape):
    values = rng.random(shape).astype(np.float32)
    assert len(forecast_stills(tmp_path / "f", values)) == 2
    forecast_film(tmp_path / "f.gif", values, inputs=values, step=5, milliseconds=50)
    with Image.open(tmp_path / "f.gif") as film:
        assert film.n_frames == 4
        assert film.info["duration"] == 50


def test_what_was_there_is_replaced(tmp_path, forecast):
    pytest.importorskip("zarr")
    for name, format in (("f.zarr", None), ("frames", "png"), ("f.npy", None)):
        write(tmp_path / name, forecast, format)
        write(tmp_path / name, with_changes(forecast, values=forecast.values[:2]), format)
    assert len(list((tmp_path / "frames").iterdir())) == 2
    assert len(np.load(tmp_path / "f.npy")) == 2
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", ["f.nc", "f.zarr", "f.npy", "f.gif", "frames"])
def test_what_is_no_forecast_is_left_alone(tmp_path, forecast, name, rng):
    """Somebody else's file of the same kind is not replaced, a forecast and an empty file are."""
    netcdf, zarr = pytest.importorskip("netCDF4"), pytest.importorskip("zarr")
    path, format = tmp_path / name, format_of(name) or "png"
    image = Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8))
    if name == "f.nc":
        netcdf.Dataset(path, "w").close()
    elif name == "f.zarr":
        zarr.open_group(str(path), mode="w", zarr_format=2).attrs["source"] = "a radar"
    elif name == "f.npy":
        np.save(path, np.arange(3))
    elif name == "f.gif":
        image.save(path)
    else:
        path.mkdir()
        image.save(path / "frame_01.png")
    before = sorted(p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file())
    with pytest.raises(FileExistsError, match="which is left alone"):
        write(path, forecast, format)
    assert sorted(p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()) == before
    assert [p.name for p in tmp_path.iterdir()] == [name]
    again = tmp_path / f"again_{name}"
    if path.is_file():
        again.touch()
    write(again, forecast, format)
    write(again, with_changes(forecast, values=forecast.values[:1]), format)


def test_a_description_that_is_none_is_left_alone(tmp_path, forecast):
    (tmp_path / "f.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="there is a file that is no forecast's"):
        write(tmp_path / "f.npy", forecast)
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]
    assert (tmp_path / "f.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("name", ["f.npy", "f.zarr"])
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, forecast, name):
    pytest.importorskip("zarr")
    (tmp_path / "disk").mkdir()
    real = write(tmp_path / "disk" / name, forecast)
    link = tmp_path / name
    link.symlink_to(real)
    assert write(link, with_changes(forecast, values=forecast.values[:1])) == link
    assert link.is_symlink()
    if name == "f.npy":
        assert len(np.load(real)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", name]


def test_an_earlier_folder_is_kept_where_the_new_one_cannot_take_its_place(tmp_path, forecast, monkeypatch):
    path = write(tmp_path / "frames", forecast, "png")
    rename = Path.rename

    def refused(self, target):
        if ".part" in self.name:
            raise OSError(39, "Directory not empty")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Directory not empty"):
        write(path, with_changes(forecast, values=forecast.values[:1]), "png")
    assert len(list(path.iterdir())) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_a_full_disk_is_an_oserror_that_names_the_file(tmp_path):
    """In a program of its own, whose files may not grow: each format's library has other words for it."""
    pytest.importorskip("netCDF4")
    pytest.importorskip("zarr")
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from convlstm.writers import FORMATS, Forecast, write
import netCDF4, zarr
from convlstm.report import forecast_only
values = np.random.default_rng(0).random((2, 96, 96), np.float32)
made = Forecast(values, "mm/h", issued=np.datetime64("2020-01-01T00:00"), step=5)
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
for format, ending in FORMATS.items():
    try:
        write(folder / f"f{ending}", made, format)
    except OSError as error:
        print(format, error.filename, error.strerror)
print(*folder.iterdir())
"""
    line = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for said, (format, ending) in zip(lines, FORMATS.items(), strict=False):
        assert said.startswith(f"{format} {tmp_path}/f{ending} "), said
    assert "netCDF4 cannot write it" in lines[0]
    assert "the disk may be full" in lines[0]
    assert lines[len(FORMATS) :] == [""]


@pytest.mark.parametrize(("name", "format"), [("mine", "png"), ("mine.zarr", None), ("mine.nc", None)])
def test_a_folder_with_other_things_is_left_alone(tmp_path, forecast, name, format):
    pytest.importorskip("netCDF4")
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="there is a folder with other things in it"):
        write(tmp_path / name, forecast, format)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_failure_leaves_what_was_there(tmp_path, forecast, monkeypatch):
    path = write(tmp_path / "f.npy", forecast)
    before = path.read_bytes()

    def full(file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, forecast)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"f.npy", "f.json"}


def test_format_follows_the_ending():
    assert [format_of(f"a{ending}") for ending in (".nc", ".NC4", ".zarr", ".npy", ".gif")] == [
        "netcdf", "netcdf", "zarr", "npy", "gif",
    ]  # fmt: skip
    assert format_of("a") is None
    assert set(FORMATS) == {"netcdf", "zarr", "npy", "png", "gif"}


def test_a_strange_ending_or_format_is_refused(tmp_path, forecast):
    with pytest.raises(ValueError, match=r"\[write\] the ending of 'f.tif' must be one of .nc, .zarr, .npy, .gif"):
        write(tmp_path / "f.tif", forecast)
    with pytest.raises(ValueError, match=r"\[write\] 'format' must be one of netcdf, .* but got 'tiff'"):
        write(tmp_path / "f.nc", forecast, "tiff")


@pytest.mark.parametrize(("name", "library"), [("f.nc", "netCDF4"), ("f.zarr", "zarr")])
def test_a_library_that_is_not_there_is_named(tmp_path, forecast, monkeypatch, name, library):
    monkeypatch.setitem(builtins.__import__("sys").modules, library, None)
    with pytest.raises(MissingWriterError, match=rf"writing this format needs the library {library} .*pip install"):
        write(tmp_path / name, forecast)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"values": np.zeros((2, 2))}, r"\[Forecast\] 'values' must be of shape \(T, H, W\).* but got \(2, 2\)"),
        ({"units": "mm"}, r"\[Forecast\] 'units' must be mm/h, dBZ, raw or nothing but got 'mm'"),
        ({"inputs": np.zeros((2, 4, 4))}, r"\[Forecast\] 'inputs' must have frames of \(8, 12\) but got \(4, 4\)"),
        ({"place": Place(np.arange(3), np.arange(4))}, r"'place' must have 8 rows and 12 columns but has 4 and 3"),
        ({"layers": {"a": Layer(np.zeros((1, 8, 12)), "1", "a")}}, r"layer 'a' must be of shape \(3, 8, 12\)"),
    ],
)
def test_parts_that_do_not_fit(forecast, changes, said):
    with pytest.raises(ValueError, match=said):
        with_changes(forecast, **changes)


def test_a_place_in_other_units_is_refused():
    with pytest.raises(ValueError, match=r"\[Place\] 'units' must be 'm' or 'deg' but got 'km'"):
        Place(np.arange(3), np.arange(3), "km")


# CF's parameters and what WKT says, by hand from the PROJ strings of the services.
@pytest.mark.parametrize(
    ("projection", "told", "inside"),
    [
        (
            "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0",
            {
                "grid_mapping_name": "polar_stereographic",
                "standard_parallel": 60.0,
                "straight_vertical_longitude_from_pole": 0.0,
                "latitude_of_projection_origin": 90.0,
                "semi_major_axis": 6378137.0,
            },
            ['PROJECTION["Polar_Stereographic"]', 'PARAMETER["latitude_of_origin",60]', "298.25"],
        ),
        (
            "+proj=aea +lon_0=153.24 +lat_0=-27.7178 +lat_1=-26.2 +lat_2=-29.3 +a=6378137 +b=6356752.31414",
            {"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [-26.2, -29.3]},
            ['PARAMETER["standard_parallel_2",-29.3]', 'PARAMETER["longitude_of_center",153.24]'],
        ),
        (
            "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +units=m",
            {"earth_radius": 6371288.0},
            ['SPHEROID["unknown",6371288,0]'],
        ),
        (
            "+proj=stere +lat_0=90S +lat_ts=70S +lon_0=0 +ellps=WGS84",
            {"latitude_of_projection_origin": -90.0, "standard_parallel": -70.0},
            ['PARAMETER["latitude_of_origin",-70]', 'DATUM["WGS_1984"'],
        ),
        (
            "+proj=lcc +lat_1=50 +lat_0=50 +lon_0=5 +ellps=GRS80",
            {"standard_parallel": [50.0, 50.0], "inverse_flattening": 298.257222101},
            ['PROJECTION["Lambert_Conformal_Conic_2SP"]'],
        ),
        (
            "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996 +x_0=400000 +y_0=-100000 +ellps=airy +rf=299",
            {"scale_factor_at_central_meridian": 0.9996, "false_easting": 400000.0, "inverse_flattening": 299.0},
            ['PARAMETER["scale_factor",0.9996]', 'PARAMETER["false_northing",-100000]'],
        ),
        ("+proj=merc +lat_ts=20 +lon_0=3 +datum=WGS84", {"standard_parallel": 20.0}, ['PROJECTION["Mercator_2SP"]']),
        ("+proj=aeqd +lat_0=52 +lon_0=5", {"grid_mapping_name": "azimuthal_equidistant"}, ["Azimuthal_Equidistant"]),
        ("+proj=longlat +a=6371000", {"earth_radius": 6371000.0}, ['GEOGCS["unknown"', "6371000,0"]),
    ],
)
def test_grid_mappings(projection, told, inside):
    found = grid_mapping(projection)
    assert {key: found[key] for key in told} == told
    assert found["spatial_ref"] == found["crs_wkt"]
    assert found["proj4_params"] == projection
    for part in inside:
        assert part in found["crs_wkt"]
    assert found["crs_wkt"].count("[") == found["crs_wkt"].count("]")


def test_the_swiss_grid_is_told_by_wkt_alone():
    towgs = "674.374,15.056,405.346,0,0,0,0"
    text = f"+proj=somerc +lat_0=46.95 +lon_0=7.44 +k_0=1 +x_0=600000 +y_0=200000 +ellps=bessel +towgs84={towgs}"
    found = grid_mapping(text)
    assert set(found) == {"crs_wkt", "spatial_ref", "proj4_params"}
    for part in ("Hotine_Oblique_Mercator_Azimuth_Center", 'PARAMETER["azimuth",90]', f"TOWGS84[{towgs}]"):
        assert part in found["crs_wkt"]


def test_wkt_and_what_is_not_known_come_through():
    wkt = 'PROJCS["x",GEOGCS["y"]]'
    assert grid_mapping(wkt) == {"crs_wkt": wkt, "spatial_ref": wkt}
    assert grid_mapping(None) == {}
    assert grid_mapping("+proj=robin +lon_0=0") == {"proj4_params": "+proj=robin +lon_0=0"}
    assert "crs_wkt" not in grid_mapping("+proj=stere +lat_0=45 +lon_0=0")
