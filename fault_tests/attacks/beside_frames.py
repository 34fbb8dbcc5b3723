"""Attacks with what comes with good frames: packed files, projections, attributes of NetCDF, files beside GeoTIFFs."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

from fault_tests.attacks.stage import Attack, Stage
from tests.support import cf_files, geotiff_files, radar_archives, radar_files
from tests.support.forecast_runs import READER

import numpy as np
from PIL import Image

OUTSIDE = "../../victim/secret"
_ZEROS = bytes(1 << 20)


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    for name, (change, harmless) in TARS.items():
        yield Attack("members of a .tar", name, partial(_tar, change), harmless)
    for name, content in PACKED.items():
        yield Attack("bombs", name, partial(_packed, name, content))
    projections = {name: text for name, text in PROJECTIONS.items() if find_spec("pyproj") is not None}
    if find_spec("h5py") is not None:
        for name, text in projections.items():
            yield Attack("projections: ODIM", name, partial(_odim, text), harmless=None)
    if find_spec("netCDF4") is not None:
        for name, text in projections.items():
            yield Attack("projections: NetCDF", name, partial(_netcdf, {"crs_wkt": text}, {}), harmless=None)
        for name, attributes in ATTRIBUTES.items():
            yield Attack("attributes of NetCDF", name, partial(_netcdf, {}, attributes), harmless=None)
    if find_spec("rasterio") is not None:
        for name, text in SIDECARS.items():
            yield Attack("files beside a GeoTIFF", name, partial(_geotiff, name, text), harmless=True)


def _tar(change: Callable[[tarfile.TarFile], None], stage: Stage) -> list[str]:
    path = stage.work / "frames.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for picture in sorted(stage.templates.frames.iterdir()):
            tar.add(picture, picture.name)
        change(tar)
    return stage.forecast(path, READER)


def _picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(radar_archives.picture(9).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _member(name: str, content: bytes = b"", **fields: object) -> Callable[[tarfile.TarFile], None]:
    """Returns a function that adds a member."""

    def change(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        for field, value in fields.items():
            setattr(entry, field, value)
        tar.addfile(entry, io.BytesIO(content))

    return change


def _claim(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo(radar_archives.name_of(9))
    entry.size = 1 << 40
    assert tar.fileobj is not None
    tar.fileobj.write(entry.tobuf(tarfile.GNU_FORMAT))


def _linked(tar: tarfile.TarFile) -> None:
    _member("a", type=tarfile.SYMTYPE, linkname="../../out")(tar)
    _member(f"a/{STAMPED}", _picture())(tar)


def _many(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
    assert tar.fileobj is not None
    for _ in range(300):
        tar.fileobj.write(entry * 1000)


STAMPED = radar_archives.name_of(9)
TARS: dict[str, tuple[Callable[[tarfile.TarFile], None], bool | None]] = {
    "a name that leaves": (_member(f"../../out/{STAMPED}", _picture()), None),
    "an absolute name": (_member(f"/tmp/convlstm-stranger/{STAMPED}", _picture()), None),
    "a name with a title": (_member(f"\x1b]0;owned\x07{STAMPED}", b"no picture"), None),
    "a name with a C1 sequence": (_member(f"\x9b2J{STAMPED}", b"no picture"), None),
    "a symbolic link": (_member(STAMPED, type=tarfile.SYMTYPE, linkname=OUTSIDE), None),
    "a hard link": (_member(STAMPED, type=tarfile.LNKTYPE, linkname=OUTSIDE), None),
    "a link to a folder, and a file in it": (_linked, None),
    "a FIFO": (_member(STAMPED, type=tarfile.FIFOTYPE), None),
    "a device": (_member(STAMPED, type=tarfile.CHRTYPE, devmajor=1, devminor=5), None),
    "a claim of 1 TB": (_claim, None),
    "300,000 members": (_many, None),
    "a member that is a bomb": (lambda tar: _member(f"{STAMPED}.gz", gzip.compress(_ZEROS * 200))(tar), None),
    "a member of 1 MB of noise": (_member(STAMPED, np.random.default_rng(0).bytes(1 << 20)), None),
    "no change": (lambda tar: None, True),
}


def _bomb(pack: Callable[[bytes], bytes], times: int = 1) -> bytes:
    data = _ZEROS * 400
    for _ in range(times):
        data = pack(data)
    return data


PACKED: dict[str, Callable[[], bytes]] = {
    "a.pgm.bz2": lambda: bz2.compress(b"P5\n9 9\n255\n") + _bomb(bz2.compress),
    "a.tar.gz": lambda: gzip.compress(tarfile.TarInfo("a.png").tobuf() + _ZEROS * 400),
    "a.h5.gz": lambda: gzip.compress(b"\x89HDF\r\n\x1a\n" + _ZEROS * 400),
    "a.gz": lambda: _bomb(gzip.compress, 3),
    "cut.tar.gz": lambda: gzip.compress(tarfile.TarInfo("a.png").tobuf() + _ZEROS)[:-20],
}


def _packed(name: str, content: Callable[[], bytes], stage: Stage) -> list[str]:
    path = stage.work / name
    path.write_bytes(content())
    return stage.forecast(path)


PROJECTIONS = {
    "a FIFO as a grid": "+proj=longlat +ellps=bessel +nadgrids=@FIFO",
    "a FIFO as a height grid": "+proj=laea +lat_0=55 +lon_0=10 +ellps=WGS84 +geoidgrids=FIFO",
    "a FIFO as an init file": "+init=FIFO:1",
    "a FIFO as a model": "+proj=tinshift +file=FIFO",
    "a secret as an init file": "+init=SECRET:the",
    "a file in WKT": 'GEOGCS["a",DATUM["b",SPHEROID["c",6378137,298],EXTENSION["PROJ4_GRIDS","FIFO"]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.017453292519943295]]',
    "a title": "+proj=laea +title=\x1b]0;owned\x07 +lat_0=ninety",
    "a megabyte": "+proj=laea " + "+lat_0=1 " * 120_000,
    "deep WKT": 'GEOGCS["a",' * 5_000,
    "deep JSON": '{"a":' * 5_000,
    "an address": "http://127.0.0.1:9/def/crs",
}


def _named(text: str, stage: Stage) -> str:
    fifo = stage.folder / "fifo"
    if "FIFO" in text and not fifo.exists():
        os.mkfifo(fifo)
    return text.replace("FIFO", str(fifo)).replace("SECRET", str(stage.secret))


def _odim(text: str, stage: Stage) -> list[str]:
    import h5py

    folder = stage.work / "frames"
    folder.mkdir()
    place = {"projdef": np.bytes_(_named(text, stage).encode()[:60_000])}  # HDF5 keeps at most 64 kB
    for minute in (10, 15, 20, 25):
        path = folder / f"{minute}.h5"
        radar_files.write_odim(path, {"RATE": np.full((16, 16), 100 + minute, np.uint8)}, where=place)
        with h5py.File(path, "a") as file:
            file["what"].attrs["time"] = np.bytes_(f"00{minute}00")
    return [*stage.forecast(folder), "format=netcdf"]


ATTRIBUTES: dict[str, dict[str, object]] = {
    "a title": {"long_name": "\x1b]0;owned\x07", "units": "mm/h", "comment": "\x1b[2J"},
    "units with a title": {"units": "mm/h\x1b]0;owned\x07"},
    "a C1 sequence": {"long_name": "\x9b2J", "standard_name": "\x9b2J", "units": "mm/h"},
    "HTML": {"long_name": "<script>alert(1)</script>", "units": "mm/h"},
    "a name of 5 MB": {"long_name": "x" * (5 << 20), "units": "mm/h"},
    "units of 5 MB": {"units": "m" * (5 << 20)},
    "nested units": {"units": "(" * 100_000 + "m" + ")" * 100_000},
    "powers": {"units": "m^999999999^999999999"},
    "a scale that is infinite": {"units": "mm/h", "scale_factor": np.inf, "add_offset": np.nan},
    "a scale that is a text": {"units": "mm/h", "scale_factor": "import os"},
    "a million missing values": {"units": "mm/h", "flag_values": np.zeros(1_000_000, "i4")},
    "coordinates that are missing": {"units": "mm/h", "coordinates": "a " * 100_000, "grid_mapping": "b: c d"},
    "paths": {"units": "mm/h", "grid_mapping": "../../victim/secret", "ancillary_variables": "/etc/passwd"},
}


def _netcdf(mapping: dict[str, str], attributes: dict[str, object], stage: Stage) -> list[str]:
    path = stage.work / "rain.nc"
    about = {"units": "mm/h"} | attributes | ({"grid_mapping": "crs"} if mapping else {})
    variables: dict = {"rain": (("time", "lat", "lon"), cf_files.frames(6, 3, 4), about)}
    if mapping:
        texts = {key: _named(text, stage) for key, text in mapping.items()}
        variables["crs"] = ((), np.int32(0), {"grid_mapping_name": "unknown", **texts})
    cf_files.write_cf(path, variables)
    return [*stage.forecast(path), "format=netcdf"]


SIDECARS = {
    "a.tif.aux.xml": "<PAMDataset><Metadata><MDI key='units'>SECRET</MDI></Metadata></PAMDataset>",
    "a.tif.ovr": "<VRTDataset><SourceFilename>SECRET</SourceFilename></VRTDataset>",
    "a.tif.msk": "<VRTDataset rasterXSize='48' rasterYSize='40'><VRTRasterBand dataType='Byte' band='1'>"
    "<SimpleSource><SourceFilename>SECRET</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
    "a.tfw": "1e308\n0\n0\n1e308\nnan\nnan\n",
    "a.prj": 'GEOGCS["a",EXTENSION["PROJ4_GRIDS","FIFO"]]',
    "a.tif.aux.xml as a FIFO": "",
    "a.imd": "SECRET",
}


def _geotiff(name: str, text: str, stage: Stage) -> list[str]:
    folder = stage.work / "frames"
    folder.mkdir()
    for index in range(4):
        picture = folder / radar_archives.name_of(index).replace(".png", ".tif")
        geotiff_files.write_geotiff(picture, radar_archives.picture(index).astype(np.uint8), tags={"units": "mm/h"})
        beside = folder / name.split()[0].replace("a.", f"{picture.stem}.", 1)
        if "FIFO" in name:
            os.mkfifo(beside)
        else:
            beside.write_text(_named(text, stage))
    return stage.forecast(folder, "reader={units: mm/h}")
