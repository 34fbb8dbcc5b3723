"""The base class of all readers of radar files, and what a reader returns."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from convlstm.backend.child_main import unhurried
from convlstm.datasets.readers.errors import MissingLibraryError, ReadError, UnreadableError, printable
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.readers.limits import check_frame, check_times
from convlstm.datasets.readers.packed import is_packed
from convlstm.datasets.readers.packed_series import contents_of, read_from
from convlstm.datasets.readers.plain_files import check_plain

import numpy as np

# The reflectivity of "no echo" if a file gives no value for it: the lowest value of the usual 8-bit coding.
NO_ECHO_DBZ = np.float32(-32.0)

# Extras of the libraries that are too large for most users to install.
_EXTRAS = {"eccodes": "grib", "rasterio": "geotiff", "pysteps": "pysteps"}

# Times that NumPy can also count in nanoseconds, as files of forecasts do.
_FIRST, _LAST = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")


@dataclass(frozen=True)
class Contents:
    """The times and the grid of a file's frames.

    Args:
        times: datetime64[s] of (frames,), UTC. For an accumulation it is the end of the period.
        grid: The grid of all frames.
        event: int of (frames,). Frames of different events never belong to one sequence. None means a single event.
            Default: None.
    """

    times: np.ndarray
    grid: Grid
    event: np.ndarray | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the frames, in the order of their channels."""
        return self.grid.fields


@dataclass(frozen=True)
class Reader:
    """A format of radar files. The fields of a subclass are its options.

    A subclass sets `format` and defines `_recognises`, `_contents` and `_read`. These may raise anything for a damaged
    file; `UnreadableError` gives the reason in words. A reader keeps no file open and has no state of its own, so it
    can be pickled and used by several threads. They get what is in a .gz, .bz2 or .tar file by file, unpacked.
    """

    format = ""

    def recognises(self, path: Path, head: bytes) -> bool:
        """Returns True if `path` looks like this format, by its name and its first bytes. It never raises."""
        try:
            return self._recognises(Path(path), head)
        except Exception:  # whatever a library raises for a strange file: it is not of this format
            return False

    def contents(self, path: Path) -> Contents:
        """Returns the times and the grid of a file, from its headers or its name.

        Raises:
            ReadError: If the file is damaged or not understood, is no plain file, has frames that are too large for
                the memory, or the format's library is missing.
        """
        path = Path(path)
        try:
            _check_kind(path)
            contents = contents_of(self, path) if is_packed(path) else self._contents(path)
            check_times(len(contents.times))
            check_frame(contents.grid.shape)
            contents = replace(contents, grid=contents.grid.sound())
        except ReadError:
            raise
        except UnreadableError as error:
            raise self._error(path, str(error)) from error
        except Exception as error:  # libraries raise anything for damaged files
            raise self._error(path, f"cannot be read ({_text(error)}); it may be damaged") from error
        if len(contents.times) == 0:
            raise self._error(path, "has no frames")
        if np.isnat(contents.times).any():
            raise self._error(path, "has frames without a time")
        times = contents.times.astype("datetime64[s]")
        if times.min() < _FIRST or times.max() > _LAST:
            raise self._error(path, f"has frames from {times.min()} to {times.max()}, which no radar has seen")
        if min(contents.grid.shape) < 1:
            raise self._error(path, f"has frames of {contents.grid.shape}")
        return contents

    def read(self, path: Path, position: int) -> np.ndarray:
        """Returns frame `position` of a file: float32 in the units of its fields, NaN where missing, north first.

        It is (H, W) for one field and (H, W, C) for several.

        Raises:
            ReadError: If the file is damaged or not understood, the format's library is missing, or the file has
                no such frame.
        """
        path = Path(path)
        try:
            _check_kind(path)
            packed = is_packed(path)
            with np.errstate(all="ignore"):  # numbers of a damaged file may be too large; they count as missing later
                values = np.asarray(read_from(self, path, position) if packed else self._read(path, position))
        except ReadError:
            raise
        except UnreadableError as error:
            raise self._error(path, str(error)) from error
        except IndexError as error:
            raise self._error(path, f"has no frame {position}") from error
        except Exception as error:
            raise self._error(
                path, f"cannot be read at frame {position} ({_text(error)}); it may be damaged"
            ) from error
        if values.ndim not in (2, 3):
            raise self._error(path, f"must have frames of rows and columns but frame {position} is {values.shape}")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, dtype=np.float32)

    def _recognises(self, path: Path, head: bytes) -> bool:
        raise NotImplementedError

    def _contents(self, path: Path) -> Contents:
        raise NotImplementedError

    def _read(self, path: Path, position: int) -> np.ndarray:
        raise NotImplementedError

    def _error(self, path: Path, reason: str) -> ReadError:
        return ReadError(printable(f"[{self.format}] {path} {reason}."))


def library(name: str, path: Path | str) -> ModuleType:
    """Imports the library of a format.

    Raises:
        MissingLibraryError: If it is not installed. The message names `path` and the command that installs it.
    """
    extra = _EXTRAS.get(name, "radar")
    try:
        if (module := sys.modules.get(name)) is not None:
            return module
        with unhurried():
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(
            f"{path} needs the library {name} ({error}). Install the readers' libraries with "
            f"pip install 'convlstm[{extra}]' (in a checkout: pip install -e '.[{extra}]')."
        ) from error


def per_hour(start: np.datetime64, end: np.datetime64) -> float:
    """Returns the factor from an accumulation between two times to a rate per hour.

    Raises:
        UnreadableError: If the start is not before the end.
    """
    hours = (end - start) / np.timedelta64(3600, "s")
    if hours <= 0:
        raise UnreadableError(f"must have an accumulation's start before its end but has {start} and {end}")
    return 1.0 / hours


def without_infinity(values: np.ndarray, units: str) -> np.ndarray:
    """Returns the values, with `NO_ECHO_DBZ` for the reflectivity of no rain at all, 10 log 0."""
    return np.where(np.isneginf(values), NO_ECHO_DBZ, values) if units == "dBZ" else values


def frame_number(position: int, frames: int) -> int:
    """Returns `position` if a file of `frames` frames has it, else raises IndexError, also for negative numbers."""
    if not 0 <= position < frames:
        raise IndexError(position)
    return int(position)


def _check_kind(path: Path) -> None:
    if not path.is_dir():  # a Zarr store
        check_plain(path)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
