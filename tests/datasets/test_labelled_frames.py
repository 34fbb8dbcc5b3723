"""Frames of an xarray Dataset, read as those of a CF file are."""

from convlstm.datasets.labelled_frames import LabelledFrames
from convlstm.datasets.readers.errors import UnreadableError
from tests.support.labelled import rain, temperature
from tests.support.radar_files import open_file

import numpy as np
import pytest

xr = pytest.importorskip("xarray")


@pytest.mark.parametrize("make", [rain, temperature])
def test_they_are_those_of_a_file(tmp_path, make):
    pytest.importorskip("netCDF4")
    dataset = make(xr).to_dataset()
    dataset.to_netcdf(tmp_path / "file.nc")
    frames = LabelledFrames(dataset)
    reader, contents = open_file(tmp_path / "file.nc")
    np.testing.assert_array_equal(frames.times, contents.times)
    for name in ("shape", "fields", "pixel_size", "pixel_units", "extent", "dimensions"):
        assert getattr(frames.grid, name) == getattr(contents.grid, name)
    for n in (0, len(frames) - 1):
        np.testing.assert_array_equal(frames.frame(n)[..., 0], reader.read(tmp_path / "file.nc", n))


def test_a_dataset_that_is_not_decoded(tmp_path):
    pytest.importorskip("netCDF4")
    dataset = rain(xr).to_dataset()
    packed = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -1}
    dataset.rainfall[2, 3, 4] = np.nan
    dataset.to_netcdf(tmp_path / "file.nc", encoding={"rainfall": packed})
    with xr.open_dataset(tmp_path / "file.nc", decode_cf=False) as raw:
        assert raw.rainfall.dtype == np.int16
        frames = LabelledFrames(raw)
        np.testing.assert_array_equal(frames.times, dataset.time.values.astype("M8[s]"))
        np.testing.assert_allclose(frames.frame(2)[..., 0], dataset.rainfall[2], atol=0.006)


def test_units_and_z_r_relation():
    dataset = rain(xr).to_dataset()
    assert [field.units for field in LabelledFrames(dataset, units="raw").fields] == ["raw"]
    frames = LabelledFrames(dataset, units={"rainfall": "dBZ"}, zr=(300.0, 1.5))
    expected = (10 ** (dataset.rainfall[3].values / 10) / 300) ** (1 / 1.5)
    np.testing.assert_allclose(frames.frame(3)[..., 0], expected, rtol=1e-5)
    assert (frames.fields[0].units, frames.to_own_units(0)) == ("mm/h", None)
    heavy = LabelledFrames(dataset, units="kg m-2 s-1")
    assert heavy.to_own_units(0) == pytest.approx(1 / 3600)


def test_impossible_values_are_missing():
    dataset = rain(xr).to_dataset()
    del dataset.rainfall.attrs["valid_min"]
    dataset.rainfall[0, 1, 2] = -5
    dataset.rainfall[0, 1, 3] = np.inf
    assert np.flatnonzero(np.isnan(LabelledFrames(dataset).frame(0))).tolist() == [22, 23]


def test_names_turns_and_maps():
    frames = LabelledFrames(temperature(xr).to_dataset())
    assert (frames.names, frames.frames, frames.turned, frames.mapping) == (("t2m",), "time", ("lat",), "")
    frames = LabelledFrames(rain(xr).to_dataset())
    assert (frames.names, frames.frames, frames.turned, frames.mapping) == (("rainfall",), "time", (), "spatial_ref")
    with pytest.raises(UnreadableError, match="has no frames 'snow'"):
        LabelledFrames(rain(xr).to_dataset(), ["snow"])
