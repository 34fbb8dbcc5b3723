"""Each reader of HDF5: no other file is opened, no library searched for, and no memory asked for without limit."""

from __future__ import annotations

import time

from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.hdf5_strangers import SECRET, WAYS, replace, write_secret
from tests.support.radar_files import write_knmi, write_odim, write_rainfields, write_sevir

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
PIXELS = np.arange(256).reshape(16, 16)
DATA = {
    "knmi": "image1/image_data",
    "odim": "dataset1/data1/data",
    "sevir": "vil",
    "netcdf": "precipitation",
}


def write(format, folder):
    """Writes a file of a format."""
    if format == "knmi":
        return write_knmi(folder / "rain.h5", PIXELS.astype(np.uint16))
    if format == "odim":
        return write_odim(folder / "comp.h5", {"DBZH": PIXELS.astype(np.uint8)})
    if format == "sevir":
        return write_sevir(folder, PIXELS.astype(np.uint8)[None, :, :, None])
    pytest.importorskip("netCDF4")
    return write_rainfields(folder / "rain.nc", PIXELS.astype(np.int16))


def refusal(format, path):
    """Returns the message with which a file is refused at its times and at a frame, within 10 s."""
    began = time.monotonic()
    reader = make_reader(format)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name}"):
        reader.contents(path)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name}") as caught:
        reader.read(path, 0)
    assert time.monotonic() - began < 10
    return str(caught.value)


@pytest.mark.parametrize("format", DATA)
@pytest.mark.parametrize("way", WAYS)
def test_pixels_of_another_file(tmp_path, format, way):
    path = write(format, tmp_path)
    with h5py.File(path, "a") as file:
        old = file[DATA[format]]
        secret = write_secret(tmp_path / "secret", old.shape, old.dtype)
        replace(file, DATA[format], way, secret)
    recognised = recognise(path)
    assert str(SECRET) not in refusal(format, path)
    if recognised is not None:
        refusal(recognised.format, path)


@pytest.mark.parametrize("format", DATA)
@pytest.mark.parametrize("way", WAYS)
def test_something_beside_the_pixels(tmp_path, format, way):
    """A file is refused as a whole, whichever part of it lies elsewhere."""
    path = write(format, tmp_path)
    with h5py.File(path, "a") as file:
        file["beside"] = np.zeros((4, 5))
        replace(file, "beside", way, write_secret(tmp_path / "secret", (4, 5), "f8"))
    refusal(format, path)


def claim_too_much(format, path, claim):
    """Makes the pixels a million squared, or stores a few of them in one large chunk."""
    sides = (10**6, 10**6) if claim == "frame" else (16, 16)
    chunks = (16, 16) if claim == "frame" else (8_000, 8_000)
    if format == "netcdf":
        import netCDF4

        with netCDF4.Dataset(path, "w") as file:
            for name, side in zip("yx", sides, strict=True):
                file.createDimension(name, None if claim == "chunk" else side)
            rain = file.createVariable("precipitation", "i4", ("y", "x"), chunksizes=chunks, zlib=True)
            rain.units = "mm/h"
            if claim == "chunk":
                rain[:] = PIXELS
        return
    with h5py.File(path, "a") as file:
        del file[DATA[format]]
        if format == "sevir":
            sides, chunks = (1, *sides, 1), (1, *chunks, 1)
        maximum = tuple(None for _ in sides)
        file.create_dataset(DATA[format], sides, "u4", chunks=chunks, maxshape=maximum, compression="gzip")


@pytest.mark.parametrize("format", DATA)
@pytest.mark.parametrize("claim", ["frame", "chunk"])
def test_headers_that_claim_too_much(tmp_path, monkeypatch, format, claim):
    path = write(format, tmp_path)
    if format == "netcdf":
        path = path.rename(tmp_path / "202010310010.nc")
    claim_too_much(format, path, claim)
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 1 << 30)
    began = time.monotonic()
    reader = make_reader(format)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name} has .* (GiB of memory|are read in one piece)"):
        reader.read(path, 0)
    if claim == "frame":
        with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name} has .* of memory"):
            reader.contents(path)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("format", ["knmi", "odim", "sevir"])
def test_pixels_that_are_no_numbers(tmp_path, format):
    path = write(format, tmp_path)
    with h5py.File(path, "a") as file:
        shape = file[DATA[format]].shape
        del file[DATA[format]]
        file[DATA[format]] = np.full(shape, b"text", "S4")
    with pytest.raises(ReadError, match=rf"has /{DATA[format]} of the type .*, where numbers are expected"):
        make_reader(format).read(path, 0)


def test_other_formats_under_the_name_of_netcdf(tmp_path):
    pytest.importorskip("netCDF4")
    (tmp_path / "a.nc").write_bytes(b"\x0e\x03\x13\x01" + bytes(1000))
    assert "is not a NetCDF file" in refusal("netcdf", tmp_path / "a.nc")
