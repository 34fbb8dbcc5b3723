"""Where `forecast.py` writes forecasts, and how it names them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.cli.program import fail, make_folder, shown
from convlstm.writers import FORMATS, Forecast, check_place, format_of, write

import numpy as np

# Endings that are none of a folder's.
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".mp4", ".avi", ".h5", ".hdf5", ".csv", ".npz", ".grib", ".grb")
_ENDINGS = tuple(ending for ending in FORMATS.values() if ending)


class Output:
    """Where forecasts are written, and as what."""

    def __init__(self, settings: dict[str, Any], checkpoint_folder: Path):
        run = checkpoints.run_of(checkpoint_folder)
        self.path = run / "forecasts" if settings["out"] is None else Path(str(settings["out"])).expanduser()
        own = format_of(self.path)
        if own is None and settings["out"] is not None and self.path.suffix.lower() in _PICTURES:
            fail(f"'out' must end with {', '.join(_ENDINGS)}, or be a folder, but got {shown(settings['out'])}.")
        chosen = settings["format"]
        self.formats = [own or "netcdf"] if chosen == "auto" else chosen if isinstance(chosen, list) else [chosen]
        self.is_file = own is not None and not (self.path.is_dir() and own != "zarr")
        given = Path(str(settings["input"])).expanduser().resolve()
        if given in (place := self.path.resolve(), *place.parents):
            fail(
                f"'out' must lie outside of 'input', or the next forecast would start from this one, but got "
                f"{shown(str(self.path))}."
            )
        if self.is_file and own is not None:
            check_place(self.path, own)
        make_folder(self.path.parent if self.is_file else self.path)

    def write(self, forecast: Forecast, name: str, since: float | None = None) -> None:
        """Writes the forecast in all formats, and says where."""
        base = self.path.with_suffix("") if self.is_file else self.path / name
        paths = []
        for format in self.formats:
            if self.is_file and format == format_of(self.path):
                path = self.path
            else:
                path = base.with_name(f"{base.name}{FORMATS[format] or '_frames'}")
            paths.append(str(write(path, forecast, format)))
        if since is None:
            print(f"written     {', '.join(paths)}")
        else:
            print(f"forecast    {', '.join(paths)}  ({time.perf_counter() - since:.1f} s)")


def found_name(forecast: Forecast) -> str:
    """The name of a forecast's file, from the time of its last input."""
    moment = str(forecast.issued.astype("datetime64[s]"))  # type: ignore[union-attr]
    return "forecast_" + moment.replace("-", "").replace(":", "")


def stamp(moment: Any) -> str:
    """A time to the minute, or the second where it is not a whole minute."""
    text = str(np.datetime64(moment, "s")).replace("T", " ")
    return text.removesuffix(":00") if text.endswith(":00") else text
