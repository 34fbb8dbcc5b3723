"""The list of forecasts that were written to a folder: what may be deleted there, and where a restart goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.plain_files import RefusedFileError, parse_json, read_bytes

import numpy as np

NAME = ".forecasts.json"
# Forecasts in the list if none are deleted: more than a restart needs.
_LISTED = 512
_LONGEST = 1 << 26


class Ledger:
    """The forecasts that this program has written to a folder, the oldest first, kept in a hidden file there.

    A file is deleted only if it is in the list and still as it was written. So a file that somebody else has put
    there, copied or changed stays, and so do all files if the list is lost.

    Args:
        folder: The folder, which must exist.
        keep: Number of forecasts to keep, the last ones. Default: all.
        keep_hours: Hours to keep a forecast after it was written. Default: forever.
    """

    def __init__(self, folder: Path, keep: int | None = None, keep_hours: float | None = None):
        self.folder, self.keep, self.keep_hours = folder, keep, keep_hours
        self.problem = ""
        self._entries = self._read()

    @property
    def last(self) -> np.datetime64 | None:
        """Time of the newest frame that has a forecast here, or None."""
        return max((np.datetime64(entry["issued"], "s") for entry in self._entries.values()), default=None)

    def add(self, name: str, issued: np.datetime64, paths: Iterable[Path]) -> None:
        """Adds a forecast that was written, with all its files, in place of an earlier one of the name."""
        self._entries.pop(name, None)
        stamps = {path.name: stamp for path in paths if (stamp := _stamp(path)) is not None}
        self._entries[name] = {"issued": str(issued.astype("datetime64[s]")), "written": time.time(), "files": stamps}

    def prune(self) -> list[str]:
        """Deletes forecasts that are too many or too old, writes the list, and returns the deleted names."""
        names = list(self._entries)
        old = [] if self.keep is None else names[: -self.keep]
        if self.keep_hours is not None:
            end = time.time() - 3600 * self.keep_hours
            old += [name for name in names if self._entries[name]["written"] < end and name not in old]
        deleted = [name for name in old if self._delete(self._entries.pop(name))]
        if self.keep is None and self.keep_hours is None:
            for name in list(self._entries)[:-_LISTED]:
                del self._entries[name]
        try:
            files.replace(self.folder / NAME, json.dumps({"forecasts": self._entries}) + "\n")
            self.problem = ""
        except OSError as error:
            self.problem = str(error)
        return deleted

    def _delete(self, entry: dict[str, Any]) -> bool:
        """Deletes the files of an entry that are still as they were written, and returns True if there was one."""
        deleted = False
        for name, stamp in entry["files"].items():
            path = self.folder / name
            if _stamp(path) == stamp:
                files.remove(path)
                deleted = True
        return deleted

    def _read(self) -> dict[str, dict[str, Any]]:
        """Returns the entries of the list; none if it is missing, with a line about it if it cannot be used."""
        with suppress(FileNotFoundError):
            try:
                content = parse_json(read_bytes(self.folder / NAME, _LONGEST))
                entries = content["forecasts"]
                for name, entry in entries.items():
                    _check(name, entry)
                return dict(entries)
            except (RefusedFileError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                path = self.folder / NAME
                print(f"note        '{path}' cannot be used, so earlier forecasts are not deleted: {error}")
        return {}


def _check(name: str, entry: dict[str, Any]) -> None:
    """Raises an error unless an entry is as `Ledger` writes it, with files in the folder itself."""
    np.datetime64(entry["issued"], "s")
    if type(entry["written"]) not in (int, float):
        raise ValueError("a time of writing is no number")
    for file, stamp in entry["files"].items():
        numbers = isinstance(stamp, list) and [type(n) for n in stamp] == [int, int]
        if not numbers or Path(file).name != file or not file.startswith(name):
            raise ValueError(f"{file!r} is no forecast")


def _stamp(path: Path) -> list[int] | None:
    """Returns the time of change and the size of a file or folder, or None if it is missing or a link."""
    with suppress(OSError):
        if not path.is_symlink():
            stat = path.stat()
            return [stat.st_mtime_ns, stat.st_size]
    return None
