"""The output of `forecast`: its file or folder, its formats, and the names of the files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from convlstm.cli.error_wording import shown
from convlstm.cli.program import fail, make_folder
from convlstm.cli.run_results import check_no_links
from convlstm.writers import FORMATS, Forecast, check_replaceable, format_of, write

import numpy as np

# Endings of formats that cannot be written. If `out` has one of them, it is not meant as a folder.
_OTHER_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".avi", ".mov"),
    *(".h5", ".hdf5", ".csv", ".npz", ".grib", ".grb"),
)
_ENDINGS = tuple(dict.fromkeys(format.ending for format in FORMATS.values() if format.ending))


class Output:
    """The file or folder that forecasts are written to, and their formats.

    Args:
        settings: The configuration of `forecast`.
        run: The run's folder, in which the default folder lies.
    """

    def __init__(self, settings: dict[str, Any], run: Path):
        self.path = run / "forecasts" if settings["out"] is None else Path(str(settings["out"])).expanduser()
        format_of_path = format_of(self.path)
        if format_of_path is None and settings["out"] is not None and self.path.suffix.lower() in _OTHER_ENDINGS:
            fail(f"'out' must end with {', '.join(_ENDINGS)}, or be a folder, but got {shown(settings['out'])}.")
        formats = settings["format"]
        if formats == "auto":
            formats = format_of_path or "netcdf"
        self.formats = formats if isinstance(formats, list) else [formats]
        _check_apart(self.formats)
        self.is_file = format_of_path is not None and not (self.path.is_dir() and format_of_path != "zarr")
        source, target = Path(str(settings["input"])).expanduser().resolve(), self.path.resolve()
        if source in (target, *target.parents):
            fail(
                f"'out' must lie outside of 'input', or the next forecast would start from this one, but got "
                f"{shown(str(self.path))}."
            )
        if self.is_file and format_of_path is not None:
            check_replaceable(self.path, FORMATS[format_of_path])
        if settings["out"] is None:
            check_no_links(self.path)
        make_folder(self.path.parent if self.is_file else self.path)

    def write(self, forecast: Forecast, name: str, since: float | None = None) -> list[Path]:
        """Writes a forecast in all formats, prints the paths, and returns those of all files.

        Args:
            forecast: The forecast.
            name: Its name if the output is a folder.
            since: Time at which its last frame was seen, by `time.perf_counter`, to print the delay. Default: unknown.
        """
        base = self.path.with_suffix("") if self.is_file else self.path / name
        paths = []
        for format in self.formats:
            if self.is_file and format == format_of(self.path):
                path = self.path
            else:
                path = base.with_name(f"{base.name}{FORMATS[format].ending or FORMATS[format].folder}")
            paths.append(write(path, forecast, format))
        if since is None:
            print(f"written     {', '.join(map(str, paths))}")
        else:
            print(f"forecast    {', '.join(map(str, paths))}  ({time.perf_counter() - since:.1f} s)")
        ends = [FORMATS[format].companion for format in self.formats]
        return paths + [path.with_suffix(end) for path, end in zip(paths, ends, strict=True) if end]


def _check_apart(formats: list[str]) -> None:
    """Ends the program if two formats have the same ending, so that one file would replace the other."""
    for n, format in enumerate(formats):
        other = next((one for one in formats[:n] if FORMATS[one].ending == FORMATS[format].ending != ""), None)
        if other is not None:
            fail(
                f"'format' must not have both {other} and {format}, whose files end with {FORMATS[format].ending}, but "
                f"got {shown(formats)}. Write them one after the other, with two names."
            )


def name_of(forecast: Forecast) -> str:
    """Returns the name of a forecast's files, from the time of its last input."""
    moment = str(forecast.issued.astype("datetime64[s]"))  # type: ignore[union-attr]
    return "forecast_" + moment.replace("-", "").replace(":", "")


def stamp(moment: Any) -> str:
    """Returns a time to the minute, with seconds if they are not zero."""
    text = str(np.datetime64(moment, "s")).replace("T", " ")
    return text.removesuffix(":00") if text.endswith(":00") else text
