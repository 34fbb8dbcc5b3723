"""Forecasts as files: NetCDF, Zarr, NumPy, pictures and animations."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from convlstm.writers import arrays, netcdf, zarr_store
from convlstm.writers.forecast import Forecast, Layer, Place
from convlstm.writers.library import MissingWriterError

__all__ = ["FORMATS", "Forecast", "Layer", "MissingWriterError", "Place", "format_of", "write"]

# Format to the ending of its files; frames as PNG are a folder.
FORMATS = {"netcdf": ".nc", "zarr": ".zarr", "npy": ".npy", "png": "", "gif": ".gif"}
_ENDINGS = {ending: name for name, ending in FORMATS.items() if ending} | {".nc4": "netcdf"}


def format_of(path: str | Path) -> str | None:
    """The format that a file's ending means, or None."""
    return _ENDINGS.get(Path(path).suffix.lower())


def write(path: str | Path, forecast: Forecast, format: str | None = None) -> Path:
    """Writes a forecast, beside its place and then renamed: whoever finds the file finds it whole.

    Args:
        path: The file; of `png` the folder that the frames go to.
        forecast: The forecast.
        format: A key of `FORMATS`. Default: what the ending of `path` means.

    Returns:
        The path.

    Raises:
        ValueError: There is no such format, or the ending means none.
        MissingWriterError: The format's library is not installed.
    """
    path = Path(path)
    if format is None and (format := format_of(path)) is None:
        raise ValueError(f"[write] the ending of '{path.name}' must be one of {', '.join(_ENDINGS)}, or give 'format'.")
    if format not in FORMATS:
        raise ValueError(f"[write] 'format' must be one of {', '.join(FORMATS)} but got {format!r}.")
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if format == "png":
            _pictures().forecast_stills(beside, **_drawn(forecast))
        elif format == "gif":
            _pictures().forecast_film(beside, **_drawn(forecast))
        else:
            {"netcdf": netcdf, "zarr": zarr_store, "npy": arrays}[format].write(beside, forecast)
        if format == "npy":
            said = path.with_suffix(".json")
            said.with_name(f"{said.name}.part").write_text(arrays.beside(forecast), encoding="utf-8")
            said.with_name(f"{said.name}.part").replace(said)
        if path.is_dir() and not path.is_symlink():
            _clear(path, format)
        beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)
    return path


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


def _clear(path: Path, format: str) -> None:
    """Removes the folder of an earlier forecast; FileExistsError where it holds anything else."""
    others = [p.name for p in path.iterdir() if format == "png" and not p.name.startswith("frame_")]
    others += [path.name] if format == "zarr" and not any((path / n).exists() for n in (".zgroup", "zarr.json")) else []
    if format not in ("png", "zarr") or (others and any(path.iterdir())):
        raise FileExistsError(17, "there is a folder with other things in it", str(path))
    shutil.rmtree(path)
