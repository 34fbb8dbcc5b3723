"""The description of a file format of forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convlstm.writers.forecast import Forecast


@dataclass(frozen=True)
class Format:
    """A format of files or of folders, with the functions that write and recognise it.

    Args:
        ending: Ending of its files, "" for folders.
        write: Writes a forecast to a path that does not exist yet.
        is_forecast: Returns True if a path holds a forecast written by this project. May raise OSError, ValueError or
            RuntimeError for anything else.
        companion: Ending of a second file that `write` writes beside the first one. Default: none.
        folder: What the names of its folders end with, if it has no ending. Default: "_frames".
    """

    ending: str
    write: Callable[[Path, Forecast], None]
    is_forecast: Callable[[Path], bool]
    companion: str = ""
    folder: str = "_frames"
