"""Every format: recognised, read, refused."""

import pickle
import subprocess
import sys

from convlstm.datasets.readers import FORMATS, MissingLibraryError, ReadError, first_bytes, make_reader, recognise
from tests.support.geotiff_files import write_geotiff
from tests.support.grib_files import grib_message
from tests.support.imerg_files import write_imerg
from tests.support.meteonet_files import write_meteonet
from tests.support.nimrod_files import nimrod_field
from tests.support.radar_files import (
    open_file,
    write_aqc,
    write_fmi,
    write_knmi,
    write_odim,
    write_png,
    write_rainfields,
    write_sevir,
)
from tests.support.radolan_files import write_radolan

import numpy as np
import pytest

PIXELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def write(format, folder):
    """Writes a file of a format."""
    if format == "knmi":
        return write_knmi(folder / "rain.h5", PIXELS)
    if format == "odim":
        return write_odim(folder / "comp.h5", {"DBZH": PIXELS})
    if format == "sevir":
        return write_sevir(folder, PIXELS[None, :, :, None])
    if format == "netcdf":
        return write_rainfields(folder / "rain.nc", PIXELS.astype(np.int16))
    if format == "mch_gif":
        return write_aqc(folder / "AQC151351545F_00005.801.gif", PIXELS)
    if format == "fmi_pgm":
        return write_fmi(folder / "fmi.pgm.gz", PIXELS)
    if format == "grib":
        (folder / "rain.grib2").write_bytes(grib_message(PIXELS))
        return folder / "rain.grib2"
    if format == "imerg":
        return write_imerg(folder / "3B-HHR.HDF5")
    if format == "geotiff":
        return write_geotiff(folder / "201906101204.tif", PIXELS)
    if format == "nimrod":
        (folder / "u1096").write_bytes(nimrod_field(PIXELS.astype(np.int16)))
        return folder / "u1096"
    if format == "meteonet":
        return write_meteonet(folder / "rainfall_NW_2016_08.3.npz", PIXELS[None])
    if format == "radolan":
        return write_radolan(folder / "rw", PIXELS)
    if format == "hko7_png":
        return write_png(folder / "RAD060906154200.png", PIXELS)
    if format == "numpy":
        np.save(folder / "201906101204.npy", PIXELS)
        return folder / "201906101204.npy"
    if format == "zarr":
        (folder / "radar").mkdir()
        (folder / "radar" / ".zgroup").write_text('{"zarr_format": 2}')
        return folder / "radar"
    return write_png(folder / "201906101204.png", PIXELS)


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("polar", "pysteps")])
def test_each_format_is_recognised_by_its_reader(tmp_path, format):
    path = write(format, tmp_path)
    assert recognise(path) is FORMATS[format]
    # The first bytes are enough, and the path may be text.
    assert FORMATS[format].recognises(str(path), first_bytes(path))
    if format not in ("zarr", "png", "hko7_png", "mch_gif", "geotiff", "meteonet"):
        elsewhere = path.with_name("renamed")
        path.rename(elsewhere)
        assert recognise(elsewhere).format == format, "by its content"


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("zarr", "polar", "pysteps")])
def test_a_frame_is_float32_of_the_grid(tmp_path, format):
    path = write(format, tmp_path)
    reader, contents = open_file(path)
    frame = reader.read(path, 0)
    assert (frame.dtype, frame.shape) == (np.float32, contents.grid.shape)
    assert frame.flags.c_contiguous
    assert frame.flags.writeable
    assert contents.times.dtype == "datetime64[s]"
    assert len(contents.times) == 1
    for position in (1, -1):
        with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name} has no frame {position}"):
            reader.read(path, position)
    # Other processes get copies.
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read(path, 0), frame)
    assert copy == reader


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("README.txt", b"These are radar files of 201906101204."),
        (".DS_Store", b"\0\0\0\1Bud1" + bytes(100)),
        ("empty_201906101204.png", b""),
        ("Thumbs_201906101204.db", b"\xd0\xcf\x11\xe0" + bytes(100)),
        ("201906101204.jpg", b"\xff\xd8\xff\xe0" + bytes(100)),
        ("201906101204.gif", b"GIF89a" + bytes(100)),
        ("201906101204.pgm", b"P5\n2 2\n255\n" + bytes(4)),
        ("data_201906101204.zip", b"PK\x03\x04" + bytes(22) + b"\x08\0\0\0read.txt" + bytes(50)),
        ("short.npz", b"PK\x03\x04"),
        ("cut.gz", b"\x1f\x8b"),
        ("other.gz", b"\x1f\x8bnothing packed"),
    ],
)
def test_unrelated_files_are_not_recognised(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert recognise(path) is None


def test_thumbnails_and_masks_are_not_recognised(tmp_path):
    for name in (
        "thumbnail.png",
        "overview_12.png",
        "mask/201906101204.png",
        "201906101204_mask.png",
        "3201906101204.png",
    ):
        assert recognise(write_png(tmp_path / name, PIXELS)) is None, name
    assert recognise(write_png(tmp_path / "unmasked" / "201906101204.png", PIXELS)).format == "png"


def test_missing_files(tmp_path):
    assert recognise(tmp_path / "nothing.png") is None
    assert recognise(tmp_path) is None, "a folder that is no Zarr store"
    for reader in FORMATS.values():
        with pytest.raises(ReadError, match=rf"\[{reader.format}\] .*201906101204 "):
            reader.read(tmp_path / "201906101204", 0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_another_format_is_refused(tmp_path, format):
    path = tmp_path / "RAD201906101204.png"
    path.write_bytes(b"no radar at all" * 50)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*RAD201906101204\.png"):
        make_reader(format, **({"step_minutes": 5} if format == "numpy" else {})).contents(path)


def test_detection_reads_little(tmp_path):
    path = tmp_path / "big_20190610.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (100, 1000, 1000)).flush()
    assert len(first_bytes(path)) == 4096
    assert recognise(path).format == "numpy"


@pytest.mark.parametrize(
    ("format", "libraries", "named"),
    [
        ("knmi", ["h5py"], "h5py"),
        ("odim", ["h5py"], "h5py"),
        ("sevir", ["h5py"], "h5py"),
        ("netcdf", ["netCDF4"], "netCDF4"),
        ("netcdf", ["netCDF4", "h5py"], "netCDF4"),
        ("zarr", ["zarr"], "zarr"),
    ],
)
def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch, format, libraries, named):
    path = write(format, tmp_path)
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)
    assert recognise(path).format == format
    command = r"pip install 'convlstm\[radar\]' \(in a checkout: pip install -e '\.\[radar\]'\)"
    with pytest.raises(MissingLibraryError, match=rf"{path.name} needs the library {named} .*{command}"):
        open_file(path)
    with pytest.raises(MissingLibraryError, match=command):
        make_reader(format).read(path, 0)


def test_libraries_are_imported_only_when_needed():
    libraries = ("h5py", "netCDF4", "zarr", "PIL", "eccodes", "rasterio")
    command = f"import sys, convlstm.datasets.readers; print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_make_reader_refuses():
    with pytest.raises(ValueError, match=r"\[make_reader\] 'format' must be one of knmi, .* but got 'bufr'"):
        make_reader("bufr")
    with pytest.raises(
        ValueError, match=r"\[make_reader\] the format 'png' has no option 'key'\. It has pattern, units, "
    ):
        make_reader("png", key="rain")
    with pytest.raises(ValueError, match=r"\[make_reader\] the format 'knmi' has no option 'units'\. It has none"):
        make_reader("knmi", units="mm/h")
    assert make_reader("png", pattern=None, scale=None) == make_reader("png"), "None is the default"
    assert make_reader("png", scale=2) != make_reader("png")


def test_table_of_formats():
    assert list(FORMATS) == [
        "knmi", "polar", "odim", "sevir", "imerg", "netcdf", "grib", "geotiff", "mch_gif", "fmi_pgm", "radolan",
        "nimrod", "pysteps", "hko7_png", "zarr", "meteonet", "numpy", "png",
    ]  # fmt: skip
