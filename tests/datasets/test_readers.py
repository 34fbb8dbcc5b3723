import pickle
import subprocess
import sys

import convlstm.datasets.readers
from convlstm.datasets.readers import FORMATS, MissingLibraryError, ReadError, detect, first_bytes, make, open_file
from convlstm.datasets.readers.kept import Kept
from tests.support.radar_files import (
    write_aqc,
    write_fmi,
    write_knmi,
    write_odim,
    write_png,
    write_rainfields,
    write_sevir,
)

import numpy as np
import pytest

PIXELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def write(format, folder):
    """A file of each format whose library may be missing, and of some others."""
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


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_is_recognised_and_by_no_other_before(tmp_path, format):
    path = write(format, tmp_path)
    assert detect(path) is FORMATS[format]
    # The head alone, and a name of text, do as well.
    assert FORMATS[format].recognises(str(path), first_bytes(path))
    if format not in ("zarr", "png", "hko7_png", "mch_gif"):
        elsewhere = path.with_name("renamed")
        path.rename(elsewhere)
        assert detect(elsewhere).format == format, "by its content"


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "zarr"])
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
    # Background threads and other processes get copies.
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
    assert detect(path) is None
    with pytest.raises(ReadError, match=rf"\[open_file\] .*{name} is of none of the known formats: knmi, odim, "):
        open_file(path)


def test_thumbnails_and_masks_are_not_recognised(tmp_path):
    for name in (
        "thumbnail.png",
        "overview_12.png",
        "mask/201906101204.png",
        "201906101204_mask.png",
        "3201906101204.png",
    ):
        assert detect(write_png(tmp_path / name, PIXELS)) is None, name
    assert detect(write_png(tmp_path / "unmasked" / "201906101204.png", PIXELS)).format == "png"


def test_what_is_not_there(tmp_path):
    assert detect(tmp_path / "nothing.png") is None
    assert detect(tmp_path) is None, "a folder that is no Zarr store"
    with pytest.raises(ReadError, match=r"\[open_file\] .*nothing\.png does not exist"):
        open_file(tmp_path / "nothing.png")
    for reader in FORMATS.values():
        with pytest.raises(ReadError, match=rf"\[{reader.format}\] .*201906101204 "):
            reader.read(tmp_path / "201906101204", 0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_another_format_is_refused(tmp_path, format):
    path = tmp_path / "RAD201906101204.png"
    path.write_bytes(b"no radar at all" * 50)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*RAD201906101204\.png"):
        make(format, **({"step_minutes": 5} if format == "numpy" else {})).contents(path)


def test_detection_reads_little(tmp_path):
    path = tmp_path / "big_20190610.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (100, 1000, 1000)).flush()
    assert len(first_bytes(path)) == 4096
    assert detect(path).format == "numpy"


@pytest.mark.parametrize(
    ("format", "libraries", "said"),
    [
        ("knmi", ["h5py"], "h5py"),
        ("odim", ["h5py"], "h5py"),
        ("sevir", ["h5py"], "h5py"),
        ("netcdf", ["netCDF4"], "netCDF4"),
        ("netcdf", ["netCDF4", "h5py"], "netCDF4"),
        ("zarr", ["zarr"], "zarr"),
    ],
)
def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch, format, libraries, said):
    path = write(format, tmp_path)
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)
    assert detect(path).format == format
    command = r"pip install 'convlstm\[radar\]' \(in a checkout: pip install -e '\.\[radar\]'\)"
    with pytest.raises(MissingLibraryError, match=rf"{path.name} needs the library {said} .*{command}"):
        open_file(path)
    with pytest.raises(MissingLibraryError, match=command):
        make(format).read(path, 0)


def test_libraries_are_imported_where_they_are_needed():
    command = "import sys, convlstm.datasets.readers; print([n for n in ('h5py', 'netCDF4', 'zarr', 'PIL') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_make_refuses():
    with pytest.raises(ValueError, match=r"\[make\] 'format' must be one of knmi, .* but got 'grib'"):
        make("grib")
    with pytest.raises(ValueError, match=r"\[make\] the format 'png' has no option 'key'\. It has pattern, units, "):
        make("png", key="rain")
    with pytest.raises(ValueError, match=r"\[make\] the format 'knmi' has no option 'units'\. It has none"):
        make("knmi", units="mm/h")
    assert make("png", pattern=None, scale=None) == make("png"), "None is the default"
    assert make("png", scale=2) != make("png")


def test_formats_are_what_the_package_has():
    assert list(FORMATS) == [
        "knmi", "odim", "sevir", "netcdf", "mch_gif", "fmi_pgm", "hko7_png", "zarr", "numpy", "png",
    ]  # fmt: skip
    assert all(hasattr(convlstm.datasets.readers, name) for name in convlstm.datasets.readers.__all__)


def test_kept_arrays_are_bounded():
    kept, loads = Kept(3 * 80), []

    def get(key, size=10):
        return kept.get(key, lambda: loads.append(key) or np.full(size, key, np.int64))

    for key in (1, 2, 3, 1, 4, 1, 2):
        assert get(key)[0] == key
    # 2 was the one not used for longest when 4 came.
    assert loads == [1, 2, 3, 4, 2]
    get(5, size=1000)
    get(6)
    assert loads == [1, 2, 3, 4, 2, 5, 6]
    get(6)
    get(5, size=1000)
    assert loads[-1] == 5, "one that is larger than the bound stays until the next comes"
    with pytest.raises(ValueError, match="read-only"):
        get(5)[0] = 1
