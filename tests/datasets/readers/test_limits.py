"""Headers that claim too much, and small files that unpack to large ones: a message before memory is asked for."""

from __future__ import annotations

import gzip
import resource
import struct
import sys
import time
import zipfile
import zlib

from convlstm.datasets.digits import read_idx
from convlstm.datasets.readers import ReadError, make_reader
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes, check_frame, check_times
from tests.support.radar_files import FMI_HEADER, write_fmi, write_mask, write_png, write_sevir

import numpy as np
import pytest

MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """Pretends that the machine has 1 GiB. Fails a test that takes more than 10 s, or 200 MB of memory."""
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: MEMORY)
    unit = 1 if sys.platform == "darwin" else 1024
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - began < 10
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 200e6


def refusal(path, format, match="of memory", **options):
    """Checks that a file is refused at its times or at its frame."""
    reader = make_reader(format, **options)
    with pytest.raises(ReadError, match=rf"\[{format}\] .*{path.name} .*{match}"):  # noqa: PT012
        reader.contents(path)
        reader.read(path, 0)


def test_the_limit_is_an_eighth_of_the_memory():
    check_bytes("an array", MEMORY // 8)
    with pytest.raises(
        UnreadableError,
        match=r"^has an array, which needs 0\.13 GiB of memory\. At most 0\.12 GiB are read in one piece, 0\.125 of",
    ):
        check_bytes("an array", MEMORY // 8 + 1)
    check_bytes("an array", MEMORY // 2, 1 / 2)
    check_frame((2048, 4096))
    with pytest.raises(UnreadableError, match="has frames of 2049 x 4096, which needs"):
        check_frame((2049, 4096))
    check_times(2_000_000)
    with pytest.raises(UnreadableError, match="has 3,000,000 frames, which needs"):
        check_times(3_000_000)
    with pytest.raises(UnreadableError, match="far more than a billion GiB"):
        check_frame((10**4000, 1))


def pack(path, head, piece, count):
    """Writes a gzip file of `head` and many times `piece`."""
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(count):
            file.write(piece)


def png(path, width, height):
    """Writes a PNG that claims a size, with a single row of pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (4096, 4096)])
def test_png(tmp_path, width, height):
    refusal(png(tmp_path / "201906101204.png", width, height), "png")
    refusal(png(tmp_path / "RAD190610120400.png", width, height), "hko7_png")
    with pytest.raises(ReadError):
        make_reader("png").read(tmp_path / "201906101204.png", 0)


def test_gif(tmp_path):
    path = tmp_path / "AQC151351545F_00005.801.gif"
    head = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x02\0\0\0;"
    path.write_bytes(head + image)
    refusal(path, "mch_gif")
    with pytest.raises(ReadError, match=r"DecompressionBomb|of memory"):
        make_reader("mch_gif").read(path, 0)


def test_pgm(tmp_path):
    claim = f"{FMI_HEADER}1000000 1000000\n255\n".encode()
    for name, data in (("a.pgm", claim), ("a.pgm.gz", gzip.compress(claim))):
        (tmp_path / name).write_bytes(data)
        refusal(tmp_path / name, "fmi_pgm")
    pack(tmp_path / "b.pgm.gz", FMI_HEADER.encode(), b"# word\n" * 100_000, 500)
    refusal(tmp_path / "b.pgm.gz", "fmi_pgm", "has more than .* bytes once it is unpacked")
    (tmp_path / "c.pgm").write_bytes(FMI_HEADER.encode() + b"9" * 5000 + b" 7\n255\n")
    refusal(tmp_path / "c.pgm", "fmi_pgm", "cannot be read")
    path = write_fmi(tmp_path / "d.pgm.gz", np.zeros((20, 30)))
    make_reader("fmi_pgm").read(path, 0)
    pack(path, gzip.decompress(path.read_bytes()), bytes(1 << 20), 400)
    with pytest.raises(ReadError, match="once it is unpacked"):
        make_reader("fmi_pgm").read(path, 0)


def test_mask(tmp_path):
    path = write_png(tmp_path / "RAD190610120400.png", np.zeros((20, 30), np.uint8))
    mask = write_mask(path.with_suffix(".mask"), np.ones((20, 30)))
    make_reader("hko7_png").read(path, 0)
    mask.write_bytes(zlib.compress(bytes(400_000_000)))
    refusal(path, "hko7_png", r"must be a mask of \(20, 30\) as its picture but is \(601,\)")
    mask.unlink()
    png(path.with_name(f"{path.stem}_mask.png"), 10**5, 10**5)
    refusal(path, "hko7_png", "DecompressionBomb|of memory")


def test_a_mask_of_another_format_is_not_opened(tmp_path):
    """Pillow would run a program to read PostScript."""
    path = write_png(tmp_path / "RAD190610120400.png", np.zeros((20, 30), np.uint8))
    path.with_name(f"{path.stem}_mask.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refusal(path, "hko7_png", "cannot identify image file")


def npy_header(shape, descr="|u1", fortran=False, version=1):
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


HEADERS = {
    "36 TB": npy_header((10**9, 64, 576)),
    "a large frame": npy_header((1, 10**6, 10**6)),
    "many frames": npy_header((10**12, 1, 1)),
    "Fortran's order": npy_header((1, 10**4, 10**5), fortran=True),
    "a huge number": npy_header((10**4000, 64, 64)),
    "below zero": npy_header((-1, 64, 64)),
    "large numbers": npy_header((1, 1), "S2147483647"),
    "a long header": b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + b" " * 100,
    "a nested header": b"\x93NUMPY\x01\0" + struct.pack("<H", 9000) + b"[" * 9000,
    "a signed header": b"\x93NUMPY\x01\0" + struct.pack("<H", 9000) + b"-" * 8999 + b"1",
    "version 9": b"\x93NUMPY\x09\0" + b" " * 100,
    "objects": npy_header((1, 4, 4), "|O"),
    "records": npy_header((1, 4, 4), [("a", "|O"), ("b", "<f4")]),
}


@pytest.mark.parametrize("claim", HEADERS)
def test_npy(tmp_path, claim):
    path = tmp_path / "20190610.npy"
    path.write_bytes(HEADERS[claim] + bytes(1000))
    refusal(path, "numpy", "", step_minutes=5)


@pytest.mark.parametrize("claim", HEADERS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["rain", "times", "scale"])
def test_npz(tmp_path, claim, packed, name):
    path = tmp_path / "20190610.npz"
    np.savez(path, **({} if name == "rain" else {"rain": np.zeros((3, 4, 4))}), minutes=5)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}.npy", HEADERS[claim] + bytes(1000))
    if name == "scale" and claim not in ("a nested header", "a signed header", "version 9", "a long header"):
        return  # no scalar of that name is read, so it does no harm
    refusal(path, "numpy", "")


def test_npz_bombs(tmp_path):
    path = tmp_path / "20190610.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("rain.npy", "w", force_zip64=True) as file:
            file.write(npy_header((20, 4096, 2048)))
            for _ in range(20):
                file.write(bytes(4096 * 2048))
        archive.writestr("minutes.npy", npy_header((), "<i8") + bytes(8))
    assert path.stat().st_size < 2e6
    refusal(path, "numpy", r"has 'rain' packed, or in the order of Fortran, which needs .* of memory")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", npy_header((), "<i8") + bytes(8))
    refusal(path, "numpy", "has 1,001 arrays, but at most 1,000 are read")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        # A header of 16 MB that unpacks from a few bytes.
        archive.writestr("rain.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", 1 << 24) + b" " * (1 << 24))
    refusal(path, "numpy", "has a header of 16,777,216 bytes, but at most 65,536 are read")


def test_an_npy_that_is_rewritten_while_it_is_read(tmp_path):
    """A file that is mapped into memory and becomes shorter would end the process."""
    path = tmp_path / "20190610.npy"
    np.save(path, np.arange(3 * 400 * 400, dtype=np.float32).reshape(3, 400, 400))
    reader = make_reader("numpy", step_minutes=5)
    reader.contents(path)
    frame = reader.read(path, 2)
    with path.open("r+b") as file:
        file.truncate(1000)
    assert frame[-1, -1] == 3 * 400 * 400 - 1
    with pytest.raises(ReadError, match=r"\[numpy\] .*20190610\.npy is cut off: "):
        reader.read(path, 2)


def test_catalogue(tmp_path):
    path = write_sevir(tmp_path, np.zeros((2, 4, 4, 3), np.uint8))
    catalogue = tmp_path / "CATALOG.csv"
    row = f"S0,vil/2018/{path.name},0,vil,2018-05-01 21:25:00,"
    for text, match in (
        (row + ":".join("0" * 60_000), "has 2 events of 3 frames, but CATALOG.csv has an event 0 of 60000 frames"),
        (row + "9" * 200_000, "field larger than field limit"),
        (row + "1e999:0:5", "cannot be read"),
        (row + "1e300:0:5", "cannot be read"),
        ("x" * 15_000_000, "field larger than field limit"),
        ("\0" * 1000, "is not listed in|line contains NUL"),
    ):
        catalogue.write_text("id,file_name,file_index,img_type,time_utc,minute_offsets\n" + text + "\n")
        refusal(path, "sevir", match)
    with catalogue.open("ab") as file:
        file.truncate(MEMORY)  # takes no room on the disk
    refusal(path, "sevir", r"has a CATALOG\.csv of 1,073,741,824 bytes, which needs .* of memory")


def test_idx(tmp_path):
    path = tmp_path / "images"
    head = b"\0\0\x08\x03" + struct.pack(">III", 10**6, 10**3, 10**3)
    many = b"\0\0\x08\xff" + struct.pack(">255I", *[2**31] * 255)
    for data, match in ((head, "which needs .* of memory"), (many, "far more than a billion GiB")):
        for content in (data, gzip.compress(data)):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"\[read_idx\] .*images .*{match}"):
                read_idx(path)
    pack(path, b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 4), bytes(1 << 20), 400)
    with pytest.raises(ValueError, match=r"\[read_idx\] .*images must hold 24 values for \(2, 3, 4\) but has more"):
        read_idx(path)


def test_long_texts_do_not_take_long(tmp_path):
    """The time of some patterns grows with the square of a text's length."""
    netCDF4 = pytest.importorskip("netCDF4")
    path = tmp_path / "202010310010.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name in "yx":
            file.createDimension(name, 4)
        rain = file.createVariable("rain", "f4", ("y", "x"))
        rain.units = "mm" + " {" * 100_000
        rain.cell_methods = "interval: " + "9" * 200_000
        rain.accumulation_period = "8" * 200_000
    refusal(path, "netcdf", "has accumulations of inf minutes", units="mm")
    refusal(path, "netcdf", "has the rain 'rain' in .* which are no units of rain")
    assert make_reader("netcdf", units="raw").contents(path).grid.units == "raw"


def test_many_latitudes_are_not_read(tmp_path):
    """A file may have any number of them, and each is as large as a frame."""
    from tests.support.cf_files import frames, write_cf

    about = {"units": "degrees_north"}
    many = {f"lat{n}": (("j", "i"), frames(40, 50), about) for n in range(200)}
    fields = {f"t{n}": (("time", "j", "i"), frames(6, 40, 50), {"units": "K"}) for n in range(100)}
    path = write_cf(tmp_path / "many.nc", many | fields, lat=None, lon=None)
    reader = make_reader("netcdf", variable="t3")
    started = time.monotonic()
    assert [c.name for c in reader.contents(path).grid.coordinates] == ["lat0"]
    # Reading every latitude for every field takes minutes.
    assert time.monotonic() - started < 20
