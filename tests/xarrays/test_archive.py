"""Archives as Datasets whose frames are read when they are looked at."""

import copy
import pickle

import convlstm
from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.files import RadarFiles
from tests.support.labelled import rain, temperature
from tests.support.ocean import LAND, write_ocean
from tests.support.radar_archives import OPTIONS, SHAPE, time_of, write_pictures
from tests.support.radar_files import write_knmi, write_sevir

import numpy as np
import pytest

xr = pytest.importorskip("xarray")


@pytest.fixture
def reads(monkeypatch):
    """Returns the list of files and positions of frames that are read from now on."""
    frame, read = RadarFiles.frame, []

    def noted(files, path, position, *arguments):
        read.append((path.name, position))
        return frame(files, path, position, *arguments)

    monkeypatch.setattr(RadarFiles, "frame", noted)
    return read


def test_a_frame_is_read_when_it_is_looked_at_and_no_other(tmp_path, reads):
    paths = write_pictures(tmp_path / "radar", 200)
    dataset = convlstm.open_archive(tmp_path / "radar", **OPTIONS)
    assert reads == []
    assert dataset.rain_rate.sizes == {"time": 200, "y": SHAPE[0], "x": SHAPE[1]}
    assert dataset.time.values[7] == time_of(7)
    one = dataset.rain_rate.sel(time=str(time_of(120)))
    assert reads == []
    np.testing.assert_allclose(one[:20], 12.1, rtol=1e-6)
    np.testing.assert_array_equal(one[20:], 0)
    assert set(reads) == {(paths[120].name, 0)}


def test_an_archive_is_known_by_its_headers(tmp_path, reads):
    """Its index, which training needs, reads every frame; this does not even make one."""
    write_pictures(tmp_path / "radar", 12)
    dataset = convlstm.open_archive(tmp_path / "radar", **OPTIONS)
    archive = Archive(tmp_path / "radar", options=OPTIONS, cache=tmp_path / "index", progress=False)
    np.testing.assert_array_equal(dataset.time, archive.times)
    assert dataset.rain_rate.attrs["units"] == "mm h-1"
    assert dataset.rain_rate.attrs["standard_name"] == "lwe_precipitation_rate"
    reads.clear()
    np.testing.assert_array_equal(dataset.rain_rate, [archive.frame(n) for n in range(12)])


@pytest.mark.parametrize(
    "index",
    [
        (3, slice(None), slice(None)),
        (slice(2, 9, 3), slice(5, None, -1), 7),
        ([4, 1], slice(0, 40, 8), [3, 2, 45]),
        (-1, 0, 0),
        (slice(0), slice(None), slice(None)),
    ],
)
def test_any_part_is_that_of_the_whole(tmp_path, index):
    write_pictures(tmp_path / "radar", 10)
    field = convlstm.open_archive(tmp_path / "radar", **OPTIONS).rain_rate
    whole = field.values
    expected = xr.DataArray(whole, dims=field.dims)[index]
    np.testing.assert_array_equal(field[index], expected)


def test_it_can_be_copied_and_pickled(tmp_path):
    write_pictures(tmp_path / "radar", 3)
    dataset = convlstm.open_archive(tmp_path / "radar", **OPTIONS)
    for twin in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert twin.identical(dataset)


def test_coordinates_map_and_names_are_those_of_the_file(tmp_path):
    pytest.importorskip("netCDF4")
    observed = rain(xr)
    observed.encoding["grid_mapping"] = "spatial_ref"
    observed.to_netcdf(tmp_path / "rain.nc")
    dataset = convlstm.open_archive(tmp_path / "rain.nc")
    assert list(dataset.data_vars) == ["rainfall"]
    np.testing.assert_array_equal(dataset.rainfall, observed)
    for name in ("y", "x", "latitude", "time"):
        np.testing.assert_array_equal(dataset[name], observed[name])
    assert dataset.spatial_ref.attrs["grid_mapping_name"] == "polar_stereographic"
    assert dataset.rainfall.encoding["grid_mapping"] == "spatial_ref"


def test_frames_begin_in_the_north_and_the_west(tmp_path):
    pytest.importorskip("netCDF4")
    observed = temperature(xr)
    observed.to_netcdf(tmp_path / "t2m.nc")
    dataset = convlstm.open_archive(tmp_path / "t2m.nc")
    assert dataset.t2m.dims == ("time", "lat", "lon")
    assert dataset.t2m.attrs == {"units": "K", "long_name": "2 metre temperature"}
    xr.testing.assert_equal(dataset.t2m, observed.drop_vars("height").transpose("time", "lat", "lon")[:, ::-1])


def test_several_fields_are_variables(tmp_path, reads):
    pytest.importorskip("netCDF4")
    dataset = convlstm.open_archive(write_ocean(tmp_path / "ocean.nc"), variable=["sst", "u10"])
    assert {name: field.attrs["units"] for name, field in dataset.data_vars.items()} == {"sst": "degC", "u10": "m s-1"}
    last = dataset.isel(time=-1).load()
    assert set(reads) == {("ocean.nc", 59)}
    assert np.isnan(last.sst.values[LAND]).all()
    assert not np.isnan(last.u10).any()


def test_a_projection_without_coordinates_becomes_both(tmp_path):
    pytest.importorskip("h5py")
    pyproj = pytest.importorskip("pyproj")
    write_knmi(tmp_path / "RAD_NL25_RAC_MFBS_5min_201008260005_NL.h5", np.full((6, 8), 12, np.uint16))
    dataset = convlstm.open_archive(tmp_path)
    crs = pyproj.CRS.from_cf(dataset.crs.attrs)
    assert crs.coordinate_operation.method_name.startswith("Polar Stereographic")
    assert dataset.y.attrs["standard_name"] == "projection_y_coordinate"
    assert (np.diff(dataset.y) < 0).all()
    assert dataset.rain_rate.encoding["grid_mapping"] == "crs"
    assert list(dataset.variables) == ["time", "y", "x", "crs", "rain_rate"]


def test_reflectivity_is_rain_rate(tmp_path):
    write_pictures(tmp_path / "radar", 2)
    dataset = convlstm.open_archive(tmp_path / "radar", units="dBZ", scale=1.0, zr=(300, 1.5))
    np.testing.assert_allclose(dataset.rain_rate[1, 0], (10 ** (2 / 10) / 300) ** (1 / 1.5), rtol=1e-5)
    assert dataset.rain_rate.attrs["comment"] == "from dBZ by Z = 300 R^1.5"


def test_files_that_do_not_fit_are_left_out(tmp_path):
    folder = tmp_path / "radar"
    write_pictures(folder, 4)
    write_pictures(folder / "other", 1, shape=(10, 10), step=7, prefix="b")
    write_pictures(folder / "twice", 1, prefix="a")
    (folder / "notes.txt").write_text("notes")
    (folder / "z202006010300.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.warns(UserWarning, match=r"\[open_archive\] of radar, 3 left out or doubtful: .*10 x 10 mm/h instead"):
        dataset = convlstm.open_archive(folder, **OPTIONS)
    np.testing.assert_array_equal(dataset.time, [time_of(n) for n in range(4)])


def test_events_are_numbered(tmp_path):
    pytest.importorskip("h5py")
    vil = np.arange(2 * 3 * 4 * 4).reshape(2, 4, 4, 3).astype(np.uint8)
    write_sevir(tmp_path / "sevir", vil)
    dataset = convlstm.open_archive(tmp_path / "sevir")
    counts = np.unique(dataset.event, return_counts=True)[1]
    assert (dataset.sizes["time"], counts.tolist()) == (6, [3, 3])


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[open_archive\] .* does not exist"):
        convlstm.open_archive(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ValueError, match=r"no file in .* is of a known format. Check the path"):
        convlstm.open_archive(tmp_path)
    write_pictures(tmp_path / "radar", 1)
    with pytest.raises(ValueError, match="fit no format"):
        convlstm.open_archive(tmp_path / "radar", colour="red")
    with pytest.raises(ValueError, match="'zr' must be two positive numbers"):
        convlstm.open_archive(tmp_path / "radar", zr=(200, 0), **OPTIONS)
    (tmp_path / "radar" / "z.nc").write_bytes(b"CDF\x01")
    with pytest.raises(ValueError, match=r"no file in .* can be used"):
        convlstm.open_archive(tmp_path / "radar" / "z.nc", format="netcdf")


def test_a_forecast_from_an_archive_minus_its_frames(tmp_path, reads):
    from convlstm.architectures.baselines import Persistence
    from convlstm.forecasting.scale import AsItIs

    write_pictures(tmp_path / "radar", 50)
    dataset = convlstm.open_archive(tmp_path / "radar", **OPTIONS)
    forecaster = convlstm.Forecaster(Persistence(), AsItIs("mm/h"), input_frames=3)
    forecast = forecaster(dataset.isel(time=slice(40)), 5)
    assert len(set(reads)) == 3
    difference = forecast.rain_rate - dataset.rain_rate
    assert difference.sizes["time"] == 5
    np.testing.assert_allclose(difference[:, 0, 0], [-0.1, -0.2, -0.3, -0.4, -0.5], atol=1e-5)
