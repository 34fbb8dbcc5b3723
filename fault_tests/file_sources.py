"""Small valid files of every format that the project reads, and a folder's own ones."""

from __future__ import annotations

import bz2
import gzip
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.datasets.readers import recognise
from convlstm.datasets.video import is_video
from convlstm.writers import Forecast, write
from tests.support import (
    films,
    geotiff_files,
    grib_files,
    meteonet_files,
    nimrod_files,
    radar_archives,
    radar_files,
    radolan_files,
    zarr_stores,
)
from tests.support.keras_files import keras_file

import mlx.core as mx
import numpy as np
from PIL import Image

SIDE = 24
LARGEST = 8 << 20  # bytes of a folder's own files
OF_EACH = 6  # a folder's own files of each format


@dataclass(frozen=True)
class Source:
    """A valid file, or a folder that counts as one.

    Attributes:
        format: Name of the format, a row of the table.
        door: The function of `fault_tests.file_reader` that reads it.
        path: The file or folder.
        options: Options of its reader. Default: none.
    """

    format: str
    door: str
    path: Path
    options: dict[str, Any] = field(default_factory=dict)

    def parts(self) -> list[str]:
        """Returns the files, relative to the folder if it is one, or "" for a single file."""
        if self.path.is_file():
            return [""]
        return sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file())

    def copy(self, folder: Path) -> Path:
        """Copies it into a folder and returns the copy."""
        copied = folder / self.path.name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.path, copied) if self.path.is_dir() else shutil.copyfile(self.path, copied)
        return copied


def built(folder: Path) -> list[Source]:
    """Writes small valid files of every format into a folder, except for those whose library is missing."""
    rng, sources = np.random.default_rng(0), []
    fields = (_hdf5, _netcdf, _zarr, _imerg, _grib, _geotiff, _pictures, _radolan, _nimrod, _meteonet, _numpy)
    for number, build in enumerate((*fields, _videos, _digits, _weights)):
        place = folder / str(number)
        place.mkdir(parents=True)
        try:
            sources += list(build(place, rng))
        except ImportError as error:
            print(f"left out: {build.__name__.strip('_')} ({error})", flush=True)
    return sources


def own(folder: Path) -> list[Source]:
    """Returns files of a folder as sources, some of each format that the project reads."""
    sources, counts = [], dict[str, int]()
    for path in sorted(folder.expanduser().rglob("*")):
        if not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
            continue
        if is_video(path) and recognise(path) is None:
            format, door = path.suffix[1:], "video"
        elif "idx3-ubyte" in path.name:
            format, door = "idx", "digits"
        elif (reader := recognise(path)) is not None:
            format, door = reader.format, "archive"
        else:
            continue
        counts[format] = counts.get(format, 0) + 1
        if counts[format] <= OF_EACH:
            sources.append(Source(format, door, path))
    if not sources:
        raise ValueError(f"[own] 'folder' must have files of a known format but '{folder}' has none.")
    return sources


def _hdf5(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    pixels = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
    yield Source("knmi", "archive", radar_files.write_knmi(folder / "rain.h5", pixels.astype(np.uint16)))
    yield Source("odim", "archive", radar_files.write_odim(folder / "rain.hdf", {"DBZH": pixels}))
    two = {"DBZH": pixels, "QIND": pixels}
    yield Source("odim", "archive", radar_files.write_odim(folder / "two.hdf", two), {"variable": "DBZH"})
    radar_files.write_sevir(folder / "sevir", np.stack([pixels] * 4, 2)[None].repeat(3, 0))
    yield Source("sevir", "archive", folder / "sevir")


def _netcdf(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    amounts = rng.integers(0, 200, (SIDE, SIDE)).astype(np.int16)
    for mode, format in (
        ("NETCDF4", "netcdf 4"),
        ("NETCDF3_CLASSIC", "netcdf 3"),
        ("NETCDF3_64BIT_OFFSET", "netcdf 3"),
    ):
        yield Source(format, "archive", radar_files.write_rainfields(folder / f"{mode}.nc", amounts, mode=mode))
    yield Source("netcdf 4", "archive", write(folder / "forecast.nc", _forecast(rng)))


def _zarr(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    for version in (2, 3):
        yield Source(f"zarr {version}", "archive", zarr_stores.write_store(folder / f"plain{version}.zarr", version))
    yield Source("zarr 3", "archive", write(folder / "forecast.zarr", _forecast(rng)))


def _radolan(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    packers: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}
    for ending, pack in packers.items():
        path = folder / f"raa01-rw_10000-1907311350-dwd---bin{ending}"
        content = radolan_files.radolan_bytes(rng.integers(0, 200, (SIDE, SIDE)))
        path.write_bytes(pack(content))
        yield Source("radolan", "archive", path)
    with tarfile.open(folder / "day.tar", "w") as archive:
        archive.add(folder / "raa01-rw_10000-1907311350-dwd---bin.gz", "raa01-rw_10000-1907311350-dwd---bin.gz")
    yield Source("radolan", "archive", folder / "day.tar")


def _imerg(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    from tests.support.imerg_files import write_imerg  # it imports h5py

    for version in (6, 7):
        yield Source("imerg", "archive", write_imerg(folder / f"imerg{version}.HDF5", version))


def _nimrod(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    path = folder / "nimrod"
    path.write_bytes(nimrod_files.nimrod_field(rng.integers(0, 200, (SIDE, SIDE)).astype(np.int16)))
    yield Source("nimrod", "archive", path)


def _meteonet(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    numbers = rng.integers(0, 200, (2, SIDE, SIDE)).astype(np.int16)
    yield Source("meteonet", "archive", meteonet_files.write_meteonet(folder / "rainfall_NW_2016_08.3.npz", numbers))


def _grib(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    for edition in (1, 2):
        path = folder / f"field{edition}.grib"
        path.write_bytes(grib_files.grib_message(rng.random((SIDE, SIDE)), edition=edition))
        yield Source("grib", "archive", path)


def _geotiff(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    for name, more in {"plain": {}, "packed": {"compress": "deflate", "tiled": True}}.items():
        path, pixels = folder / f"{name}_202006010000.tif", rng.random((64, 64), np.float32)
        geotiff_files.write_geotiff(path, pixels, **more, **({"blockxsize": 16, "blockysize": 16} if more else {}))
        yield Source("geotiff", "archive", path, {"units": "mm/h"})


def _pictures(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    grey = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
    yield Source("png", "archive", radar_files.write_png(folder / "202006010000.png", grey), radar_archives.OPTIONS)
    yield Source("png", "archive", radar_files.write_png(folder / "202006010005.png", grey.astype(np.uint16) * 99))
    radar_files.write_png(folder / "hko/RAD090101003000.png", grey)
    radar_files.write_mask(folder / "hko/RAD090101003000.mask", grey > 9)
    yield Source("hko7_png", "archive", folder / "hko")
    numbers = np.resize(np.arange(256), (640, 710)).astype(np.uint8)
    yield Source("mch_gif", "archive", radar_files.write_aqc(folder / "AQC151351545F_00005.801.gif", numbers))
    for name in ("201609281445.pgm", "201609281450.pgm.gz"):
        yield Source("fmi_pgm", "archive", radar_files.write_fmi(folder / name, grey))


def _numpy(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    stack = rng.random((6, SIDE, SIDE), np.float32)
    np.save(folder / "202006010000.npy", stack[0])
    yield Source("npy", "archive", folder / "202006010000.npy")
    np.save(folder / "stack.npy", stack)
    yield Source("npy", "archive", folder / "stack.npy", {"start": "2020-06-01T00:00", "step_minutes": 5})
    yield Source("npy stack", "stack", folder / "stack.npy")
    times = np.datetime64("2020-06-01T00:00", "s") + 300 * np.arange(6)
    for name, save in (("plain.npz", np.savez), ("packed.npz", np.savez_compressed)):
        save(folder / name, rain=stack, times=times, units="mm/h")
        yield Source("npz", "archive", folder / name)


def _videos(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    mp4 = films.mp4()
    contents = {"mp4": mp4, "mov": mp4.replace(b"ftypisom", b"ftypqt  ", 1), "avi": films.avi()}
    for format, content in (contents | {"mkv": films.matroska()}).items():
        (folder / f"film.{format}").write_bytes(content)
        yield Source(format, "video", folder / f"film.{format}")
    stills = [Image.fromarray(rng.integers(0, 255, (16, SIDE, 3), np.uint8)) for _ in range(3)]
    stills[0].save(folder / "film.gif", save_all=True, append_images=stills[1:], duration=100)
    yield Source("gif", "video", folder / "film.gif")


def _digits(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    images = rng.integers(0, 255, (5, 28, 28), np.uint8)
    content = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in images.shape) + images.tobytes()
    for name, data in (("images-idx3-ubyte", content), ("images-idx3-ubyte.gz", gzip.compress(content, mtime=0))):
        (folder / name).write_bytes(data)
        yield Source("idx", "digits", folder / name)
    (folder / "mnist").mkdir()
    np.save(folder / "mnist/mnist_test_seq.npy", rng.integers(0, 255, (20, 3, 64, 64), np.uint8))
    yield Source("mnist_test_seq", "sequences", folder / "mnist")


def _weights(folder: Path, rng: np.random.Generator) -> Iterator[Source]:
    weights = {"cell_list.0.conv.weight": (12, 5, 3, 3), "cell_list.0.conv.bias": (12,)}
    arrays = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), {name: mx.array(array) for name, array in arrays.items()})
    np.savez(folder / "model.npz", **arrays)  # type: ignore[arg-type]
    for ending in (".h5", ".keras", ".weights.h5"):
        keras_file(folder / f"model{ending}", rng, [(2, 3, 3)], ending)
    for ending in (".safetensors", ".npz", ".h5", ".keras", ".weights.h5"):
        yield Source(f"weights {ending}", "weights", folder / f"model{ending}")
    yield from _torch(folder, arrays)


def _torch(folder: Path, arrays: dict[str, np.ndarray]) -> Iterator[Source]:
    try:
        import torch
    except ImportError:
        return
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "model.pth")
    yield Source("weights .pth", "weights", folder / "model.pth")


def _forecast(rng: np.random.Generator) -> Forecast:
    values = rng.random((3, SIDE, SIDE), np.float32)
    return Forecast(values, "mm/h", issued=np.datetime64("2020-06-01T00:00", "s"), step=5.0)
