"""Files that importers of pysteps read: with a stub in its place, and with pysteps itself where it is installed."""

from __future__ import annotations

import pickle
import re
import sys
from types import ModuleType

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.readers import MissingLibraryError, ReadError, first_bytes, make_reader, recognise
from tests.support.radar_files import write_aqc

import numpy as np
import pytest

PIXELS = np.arange(12.0).reshape(3, 4) - 1
PLACE = {"cartesian_unit": "m", "xpixelsize": 1000.0, "ypixelsize": 500.0}
EDGES = {"x1": 0.0, "y1": 10.0, "x2": 4000.0, "y2": 1510.0, "projection": "+proj=merc"}


@pytest.fixture
def importer(monkeypatch):
    """Returns what a stub of pysteps answers, to be changed: the values, the metadata, and the arguments it got."""
    answer = {"values": PIXELS, "metadata": {"unit": "mm/h", "transform": None, "zerovalue": -1.0}, "calls": []}

    def mine(path, **arguments):
        answer["calls"].append((path, arguments))
        return answer["values"], None, answer["metadata"]

    def get_method(name, kind):
        if (name, kind) != ("mine", "importer"):
            raise ValueError(f"Unknown method {name}")
        return mine

    module, module.io = ModuleType("pysteps"), ModuleType("pysteps.io")
    module.io.get_method = get_method
    monkeypatch.setitem(sys.modules, "pysteps", module)
    return answer


@pytest.fixture
def path(tmp_path):
    (tmp_path / "rain_202001020304.bin").write_bytes(b"rain")
    return tmp_path / "rain_202001020304.bin"


def test_a_file_is_recognised_only_by_its_importer(importer, path):
    assert recognise(path) is None
    reader = make_reader("pysteps", importer="mine")
    assert reader.recognises(path, first_bytes(path))
    assert not reader.recognises(path.with_name("rain.bin"), b"rain")
    assert make_reader("pysteps", importer="mine", pattern="rain_%Y%m").recognises(path, b"rain")
    assert not make_reader("pysteps", importer="mine", pattern="snow_%Y%m").recognises(path, b"rain")
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_rates_and_the_value_of_no_rain(importer, path):
    reader = make_reader("pysteps", importer="mine", arguments={"qty": "RATE", "step": 5})
    contents = reader.contents(path)
    assert contents.times.tolist() == [np.datetime64("2020-01-02T03:04:00").item()]
    assert (contents.grid.shape, contents.grid.units, contents.grid.pixel_size) == ((3, 4), "mm/h", None)
    frame = reader.read(path, 0)
    np.testing.assert_array_equal(frame, np.where(PIXELS == -1, 0, PIXELS))
    assert frame.dtype == np.float32
    assert importer["calls"] == [(str(path), {"qty": "RATE", "step": 5})] * 2
    with pytest.raises(ReadError, match=r"\[pysteps\] .* has no frame 1"):
        reader.read(path, 1)


def test_sums_reflectivities_and_the_southern_row_first(importer, path):
    reader = make_reader("pysteps", importer="mine")
    importer["metadata"] |= {"unit": "mm", "accutime": 10.0, "yorigin": "lower"}
    np.testing.assert_array_equal(reader.read(path, 0), 6 * np.where(PIXELS == -1, 0, PIXELS)[::-1])
    assert reader.contents(path).fields[0].file_units == "mm in 10 min"
    importer["metadata"] = {"unit": "dBZ", "transform": "dB", "zerovalue": -1.0, "yorigin": "upper"}
    np.testing.assert_array_equal(reader.read(path, 0), PIXELS)
    assert reader.contents(path).fields[0].units == "dBZ"


def test_the_place(importer, path):
    reader = make_reader("pysteps", importer="mine")
    importer["metadata"] |= PLACE | EDGES
    grid = reader.contents(path).grid
    assert (grid.pixel_size, grid.projection) == ((500.0, 1000.0), "+proj=merc")
    assert grid.extent == (0.0, 10.0, 4000.0, 1510.0)
    importer["metadata"] |= {"cartesian_unit": "km", "xpixelsize": 1.0, "ypixelsize": 2.0}
    grid = reader.contents(path).grid
    assert (grid.pixel_size, grid.projection, grid.extent) == ((2000.0, 1000.0), None, None)


@pytest.mark.parametrize(
    ("options", "metadata", "message"),
    [
        ({}, {}, "needs the name of an importer: reader.importer=NAME"),
        ({"importer": "other"}, {}, "pysteps has no importer 'other'"),
        ({"importer": "mine"}, {"unit": "K"}, "must be rain in mm/h, in mm over a period, or reflectivity in dBZ, but"),
        (
            {"importer": "mine"},
            {"transform": "sqrt"},
            "but pysteps says unit 'mm/h', transform 'sqrt' and accutime None",
        ),
        ({"importer": "mine"}, {"unit": "mm"}, "but pysteps says unit 'mm', transform None and accutime None"),
    ],
)
def test_what_cannot_be_read(importer, path, options, metadata, message):
    importer["metadata"] |= metadata
    reader = make_reader("pysteps", **options)
    for attempt in (reader.contents, lambda path: reader.read(path, 0)):
        with pytest.raises(ReadError, match=rf"\[pysteps\] .*{re.escape(message)}"):
            attempt(path)


def test_other_shapes_and_names(importer, path):
    reader = make_reader("pysteps", importer="mine")
    with pytest.raises(ReadError, match="has no time in its name: give its pattern"):
        reader.contents(path.rename(path.with_name("rain.bin")))
    importer["values"] = PIXELS[None]
    with pytest.raises(ReadError, match=re.escape("frames of rows and columns but pysteps returns (1, 3, 4)")):
        reader.read(path.with_name("rain.bin"), 0)


def test_without_pysteps(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "pysteps", None)
    with pytest.raises(MissingLibraryError, match=r"needs the library pysteps .*pip install 'convlstm\[pysteps\]'"):
        make_reader("pysteps", importer="mine").read(path, 0)


@pytest.mark.filterwarnings("ignore")  # pysteps and its dependencies warn
def test_pysteps_reads_what_our_own_reader_reads(tmp_path):
    pytest.importorskip("pysteps")
    pixels = np.zeros((640, 710), np.uint8)
    pixels[100:200, 300:400], pixels[5, 7] = np.arange(100, 200, dtype=np.uint8)[:, None], 255
    for minute in ("1540", "1545"):
        path = write_aqc(tmp_path / f"AQC15135{minute}F_00005.801.gif", pixels)
    options = {"importer": "mch_gif", "pattern": "AQC%y%j%H%M"}
    options["arguments"] = {"product": "AQC", "unit": "mm", "accutime": 5}
    reader, ours = make_reader("pysteps", **options), make_reader("mch_gif")
    np.testing.assert_allclose(reader.read(path, 0), ours.read(path, 0), rtol=1e-5)
    theirs, own = reader.contents(path), ours.contents(path)
    assert theirs.times == own.times
    assert (theirs.grid.pixel_size, theirs.grid.extent) == (own.grid.pixel_size, own.grid.extent)
    archive = Archive(tmp_path, options=options)
    assert len(archive.times) == 2
