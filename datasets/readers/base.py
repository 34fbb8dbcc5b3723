"""What every reader of radar files returns, and what they share."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

# A reflectivity of "no echo" where a file says no more than that: the lowest value of the usual 8-bit coding.
NO_ECHO_DBZ = np.float32(-32.0)

UNITS = ("mm/h", "dBZ", "raw")


class ReadError(ValueError):
    """A radar file that is damaged, or that its reader does not understand. The message names the file."""


class UnreadableError(ValueError):
    """Why a file is not read, as a part of a reader says it: "has no frames". The reader adds the file's name."""


class MissingLibraryError(ReadError):
    """The library of a format is not installed. The message has the command that installs it."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a frame lie.

    Args:
        shape: Rows and columns. Row 0 is the northern row, whatever the order in the file.
        units: Of the values: ``"mm/h"``, ``"dBZ"`` or ``"raw"``.
        pixel_size: Height and width of a pixel in ``pixel_units``, or ``None`` where the file does not say.
        pixel_units: ``"m"``, or ``"deg"`` for a grid of latitudes and longitudes. Default: ``"m"``.
        projection: PROJ string or WKT, whichever the file knows; its coordinates are in ``pixel_units``.
        extent: Outer edges ``(x_min, y_min, x_max, y_max)`` in coordinates of the projection.
    """

    shape: tuple[int, int]
    units: str
    pixel_size: tuple[float, float] | None = None
    pixel_units: str = "m"
    projection: str | None = None
    extent: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Contents:
    """What is in a file.

    Args:
        times: datetime64[s] of (frames,), UTC. Of an accumulation it is the end.
        grid: The grid of all its frames.
        format: Name of the format.
        event: int of (frames,): frames of different events never belong to one sequence. ``None``: a single event.
    """

    times: np.ndarray
    grid: Grid
    format: str
    event: np.ndarray | None = None


@dataclass(frozen=True)
class Reader:
    """One format of radar files. The fields of a subclass are its options.

    A reader holds no file open and has no state of its own, so that it can be pickled and used by several threads.
    """

    format = ""

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether ``path`` looks like this format, by its name and its first bytes. It never raises."""
        try:
            return self._recognises(Path(path), head)
        except Exception:  # whatever a library makes of a strange file: it is not of this format
            return False

    def contents(self, path: Path) -> Contents:
        """Times and grid of a file, from its headers or its name.

        Raises:
            ReadError: If the file is damaged or not understood, or the format's library is missing.
        """
        path = Path(path)
        try:
            contents = self._contents(path)
        except ReadError:
            raise
        except UnreadableError as error:
            raise self._error(path, str(error)) from error
        except Exception as error:  # libraries raise anything over damaged files
            raise self._error(path, f"cannot be read ({_said(error)}); it may be damaged") from error
        if len(contents.times) == 0:
            raise self._error(path, "has no frames")
        if np.isnat(contents.times).any():
            raise self._error(path, "has frames without a time")
        if min(contents.grid.shape) < 1:
            raise self._error(path, f"has frames of {contents.grid.shape}")
        return contents

    def read(self, path: Path, position: int) -> np.ndarray:
        """Frame ``position`` of a file: (H, W) float32 in ``Grid.units``, NaN where missing, north first.

        Raises:
            ReadError: If the file is damaged or not understood, the format's library is missing, or the file has
                no such frame.
        """
        path = Path(path)
        try:
            values = np.asarray(self._read(path, position))
        except ReadError:
            raise
        except UnreadableError as error:
            raise self._error(path, str(error)) from error
        except IndexError as error:
            raise self._error(path, f"has no frame {position}") from error
        except Exception as error:
            raise self._error(
                path, f"cannot be read at frame {position} ({_said(error)}); it may be damaged"
            ) from error
        if values.ndim != 2:
            raise self._error(path, f"must have frames of rows and columns but frame {position} is {values.shape}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def _recognises(self, path: Path, head: bytes) -> bool:
        raise NotImplementedError

    def _contents(self, path: Path) -> Contents:
        raise NotImplementedError

    def _read(self, path: Path, position: int) -> np.ndarray:
        raise NotImplementedError

    def _error(self, path: Path, said: str) -> ReadError:
        return ReadError(f"[{self.format}] {path} {said}.")


def library(name: str, path: Path) -> ModuleType:
    """Import a format's library, or raise :class:`MissingLibraryError`, which names ``path`` and the command."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(
            f"{path} needs the library {name} ({error}). Install the readers' libraries with "
            "pip install 'convlstm[radar]' (in a checkout: pip install -e '.[radar]')."
        ) from error


def without_infinity(values: np.ndarray, units: str) -> np.ndarray:
    """The values, with the reflectivity of no rain at all, 10 log 0, as :data:`NO_ECHO_DBZ`."""
    return np.where(np.isneginf(values), NO_ECHO_DBZ, values) if units == "dBZ" else values


def frame_number(position: int, frames: int) -> int:
    """Return ``position`` if a file of ``frames`` frames has it; ``IndexError`` otherwise, for negative ones, too."""
    if not 0 <= position < frames:
        raise IndexError(position)
    return int(position)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
