"""Forecasts as files: NetCDF, Zarr, NumPy, pictures and animations."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from convlstm.writers import arrays, netcdf, zarr_store
from convlstm.writers.forecast import Forecast, Layer, Place
from convlstm.writers.library import MissingWriterError
from convlstm.writers.replacing import check_place, put

__all__ = ["FORMATS", "Forecast", "Layer", "MissingWriterError", "Place", "check_place", "format_of", "write"]

# Format to the ending of its files; frames as PNG are a folder.
FORMATS = {"netcdf": ".nc", "zarr": ".zarr", "npy": ".npy", "png": "", "gif": ".gif"}
_ENDINGS = {ending: name for name, ending in FORMATS.items() if ending} | {".nc4": "netcdf"}


def format_of(path: str | Path) -> str | None:
    """The format that a file's ending means, or None."""
    return _ENDINGS.get(Path(path).suffix.lower())


def write(path: str | Path, forecast: Forecast, format: str | None = None) -> Path:
    """Writes a forecast, beside its place and then renamed: whoever finds the file finds it whole.

    An earlier forecast is replaced, and nothing else. Where `path` is a link, what it leads to is.

    Args:
        path: The file; of `png` the folder that the frames go to.
        forecast: The forecast.
        format: A key of `FORMATS`. Default: what the ending of `path` means.

    Returns:
        The path.

    Raises:
        ValueError: There is no such format, or the ending means none.
        MissingWriterError: The format's library is not installed.
        FileExistsError: There is something else than an earlier forecast.
        OSError: It cannot be written, as on a full disk; what was there stays.
    """
    path = Path(path)
    if format is None and (format := format_of(path)) is None:
        raise ValueError(f"[write] the ending of '{path.name}' must be one of {', '.join(_ENDINGS)}, or give 'format'.")
    if format not in FORMATS:
        raise ValueError(f"[write] 'format' must be one of {', '.join(FORMATS)} but got {format!r}.")
    given, path = path, path.resolve() if path.is_symlink() else path  # the link stays
    path.parent.mkdir(parents=True, exist_ok=True)
    check_place(path, format)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    said = beside.with_suffix(".json")
    try:
        if format == "png":
            _pictures().forecast_stills(beside, **_drawn(forecast))
        elif format == "gif":
            _pictures().forecast_film(beside, **_drawn(forecast))
        else:
            {"netcdf": netcdf, "zarr": zarr_store, "npy": arrays}[format].write(beside, forecast)
        if format == "npy":
            said.write_text(arrays.beside(forecast), encoding="utf-8")
            put(said, path.with_suffix(".json"))
        put(beside, path)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        # Of the libraries not all say which file it is, and what ails it.
        raise OSError(error.errno or errno.EIO, error.strerror or f"not written ({error})", str(given)) from error
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)
        said.unlink(missing_ok=True)
    return given


def _pictures():
    from convlstm.report import forecast_only  # brings matplotlib

    return forecast_only


def _drawn(forecast: Forecast) -> dict:
    return {
        "forecast": forecast.values,
        "inputs": forecast.inputs,
        "units": forecast.units,
        "issued": forecast.issued,
        "step": forecast.step,
    }
