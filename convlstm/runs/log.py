"""`metrics.csv` and `metrics.jsonl`: a row for every logged step."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.backend import files

Row = Mapping[str, float | int]


class MetricsLog:
    """Appends rows to a CSV file, with blanks where a step has no value, and to a JSONL file beside it, without them.

    The CSV file is the one that is read; the other is made from it where it is not there. What cannot be written, since
    the disk is full, is kept and written with the next row: no row is lost while the process lives, and none is torn.

    Args:
        path: The CSV file. Rows of steps after `step`, which a resumed run will write again, are removed from it.
        columns: Names of the columns; `step` is the first.
        step: The step that training goes on from.

    Raises:
        OSError: The files cannot be written; what was there before is whole.
    """

    def __init__(self, path: Path, columns: list[str], step: int = 0):
        self.path, self.columns = path, columns
        self.kept: list[dict[str, float | int]] = []
        """The rows up to `step`, which an earlier process wrote."""
        if path.exists():
            self.kept = [numbers(row) for row in self.read(path) if int(row["step"]) <= step]
        head = ",".join(columns) + "\n"
        files.replace(path, head + "".join(self._line(row) for row in self.kept))
        files.replace(path.with_suffix(".jsonl"), "".join(_json_line(row) for row in self.kept))
        self._unwritten = {path: b"", path.with_suffix(".jsonl"): b""}

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """The file's rows; those that are not whole are left out, such as a last line that was being written."""
        text = path.read_text(encoding="utf-8", errors="replace")
        rows = csv.DictReader(text[: text.rfind("\n") + 1].split("\n"))
        return [row for row in rows if _whole(row) and row.get("step", "").isdecimal()]

    def add(self, row: Row) -> None:
        """Appends a row, all digits of its floats included.

        Raises:
            OSError: The disk is full, or the like. The row will be written together with the next one.
        """
        for path, line in zip(self._unwritten, (self._line(row), _json_line(row)), strict=True):
            self._unwritten[path] += line.encode()
        self._write(_append)

    def flush(self) -> None:
        """Writes what is left to write and flushes it to the disk, so that it outlasts a crash of the machine.

        Raises:
            OSError: The disk is full, or the like.
        """
        self._write(_append_durably)

    def _write(self, append: Callable[[Path, bytes], None]) -> None:
        failed = None
        for path, text in self._unwritten.items():
            try:
                append(path, text)
                self._unwritten[path] = b""
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _line(self, row: Row) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writerow({name: repr(value) for name, value in row.items()})
        return text.getvalue()


def _whole(row: Mapping[Any, Any]) -> bool:
    """Whether a line has as many values as there are columns."""
    return None not in row and None not in row.values()


def numbers(row: Mapping[str, str]) -> dict[str, float | int]:
    """The values of a row of text, whole numbers as such; those that are blank or no numbers are left out."""
    values: dict[str, float | int] = {}
    for name, text in row.items():
        with suppress(ValueError):
            values[name] = int(text) if text.lstrip("-").isdecimal() else float(text)
    return values


def _json_line(row: Row) -> str:
    """A row as JSON, which has no word for NaN and infinity: there they are null."""
    values: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(values, allow_nan=False) + "\n"


def _append_durably(path: Path, text: bytes) -> None:
    _append(path, text, durably=True)


def _append(path: Path, text: bytes, *, durably: bool = False) -> None:
    """Appends all of the text or nothing; OSError where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if durably:
                files.sync(descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
