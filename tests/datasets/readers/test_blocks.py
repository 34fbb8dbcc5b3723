"""Frames of a CF file that are read at once."""

from convlstm.datasets.readers import make_reader, netcdf
from convlstm.datasets.readers.kept_files import keep_open

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")
FRAMES = np.arange(40 * 6 * 7, dtype=np.float32).reshape(40, 6, 7)


def write(path, frames=FRAMES):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("time", "y", "x"), frames.shape, strict=True):
            file.createDimension(name, size)
        times = file.createVariable("time", "f8", ("time",))
        times.units = "minutes since 2020-01-01"
        times[:] = 5 * np.arange(len(frames))
        values = file.createVariable("height", "f4", ("time", "y", "x"), chunksizes=(1, 6, 7), zlib=True)
        values[:] = frames
    return path


@pytest.fixture
def opens(monkeypatch):
    """The files that the NetCDF library has opened for reading."""
    opened, real = [], netCDF4.Dataset

    def counted(path, *mode):
        opened.extend([] if mode else [path])
        return real(path, *mode)

    monkeypatch.setattr(netCDF4, "Dataset", counted)
    return opened


def test_small_frames_of_a_file_are_read_at_once(tmp_path, opens):
    path, reader = write(tmp_path / "stack.nc"), make_reader("netcdf")
    for position in (3, *range(40)):
        np.testing.assert_array_equal(reader.read(path, position), FRAMES[position])
    assert len(opens) == 2  # the times, and the frames


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path, reader = write(tmp_path / "stack.nc"), make_reader("netcdf")
    np.testing.assert_array_equal(reader.read(path, 1), FRAMES[1])
    write(path, FRAMES[:30] + 1)
    np.testing.assert_array_equal(reader.read(path, 1), FRAMES[1] + 1)


def test_a_damaged_frame_is_not_that_of_others(tmp_path, monkeypatch):
    path, reader = write(tmp_path / "stack.nc"), make_reader("netcdf")
    variable_of = netcdf._variable

    def damaged(name, variable):
        made = variable_of(name, variable)

        def load(index):
            if name == "height" and 2 in np.atleast_1d(np.arange(40)[index[0]]):
                raise RuntimeError("NetCDF: HDF error")
            return variable[index]

        object.__setattr__(made, "load", load)
        return made

    monkeypatch.setattr(netcdf, "_variable", damaged)
    np.testing.assert_array_equal(reader.read(path, 1), FRAMES[1])
    with pytest.raises(ValueError, match="cannot be read at frame 2"):
        reader.read(path, 2)


def test_a_file_is_opened_once_within_keep_open(tmp_path, opens):
    path, other = write(tmp_path / "stack.nc"), write(tmp_path / "other.nc", FRAMES[:3] + 1)
    reader = make_reader("netcdf")
    with keep_open():
        reader.contents(path)
        for position in range(40):
            np.testing.assert_array_equal(reader.read(path, position), FRAMES[position])
        assert len(opens) == 1
        np.testing.assert_array_equal(reader.read(other, 2), FRAMES[2] + 1)
    np.testing.assert_array_equal(reader.read(other, 2), FRAMES[2] + 1)
