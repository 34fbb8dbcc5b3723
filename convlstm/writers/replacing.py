"""What a forecast may take the place of, and how it does: nothing else that exists is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.writers.library import library

from PIL import Image

# What files of this project say of where they come from: the beginning of `source`, or a picture's comment.
SOURCE = "convlstm"


def check_place(path: Path, format: str) -> None:
    """FileExistsError where there is something at a path, or beside it what goes with it, that is no earlier forecast.

    Args:
        path: Where a forecast is to be.
        format: A key of `FORMATS`.
    """
    if path.exists() and not _is_forecast(path, format):
        kind = "a folder with other things in it" if path.is_dir() else "a file that is no forecast of this program"
        raise FileExistsError(errno.EEXIST, f"there is {kind}, which is left alone", str(path))
    said = path.with_suffix(".json")
    if format == "npy" and not path.exists() and said.exists() and not _is_described(said):
        text = "there is a file that is no forecast's, which is left alone; the array's description would be there"
        raise FileExistsError(errno.EEXIST, text, str(said))


def put(beside: Path, path: Path) -> None:
    """Moves a file or a folder to its place; what was there stays until then, and for good where that fails."""
    if not (path.is_dir() and beside.is_dir()):
        beside.replace(path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    with suppress(FileNotFoundError):  # another process has just moved it
        path.rename(aside)
    try:
        beside.rename(path)
    except OSError:
        with suppress(OSError):
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_forecast(path: Path, format: str) -> bool:
    """Whether a file or a folder is a forecast that was written here, or is empty."""
    try:
        if path.is_dir():
            if format == "png":
                return all(p.name.startswith("frame_") and _is_picture(p) for p in path.iterdir())
            return format == "zarr" and (not any(path.iterdir()) or _says(path / ".zattrs"))
        if path.stat().st_size == 0:
            return True
        if format == "netcdf":
            with library("netCDF4").Dataset(str(path)) as file:
                return str(getattr(file, "source", "")).startswith(SOURCE)
        if format == "gif":
            return _is_picture(path)
        return format == "npy" and _is_described(path.with_suffix(".json"))
    except (OSError, ValueError, RuntimeError):
        return False


def _is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        said: Any = image.info.get("comment") or image.info.get("Software") or ""
    return (said.decode(errors="replace") if isinstance(said, bytes) else str(said)).startswith(SOURCE)


def _is_described(path: Path) -> bool:
    """Whether a file is the description of an array, as the writer of NumPy's files leaves it."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"shape", "forecast_reference_time", "provenance"} <= told.keys()


def _says(path: Path) -> bool:
    return str(json.loads(path.read_text(encoding="utf-8")).get("source", "")).startswith(SOURCE)
