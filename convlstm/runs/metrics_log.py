"""`metrics.csv` and `metrics.jsonl`: a row for every logged step."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.plain_files import read_bytes

LONGEST = 1 << 24
"""Largest size of a log, in bytes, that is read for a report or a list of runs: about 200,000 rows."""
MOST_COLUMNS = 200

Row = Mapping[str, float | int]


class MetricsLog:
    """The metrics of a run in two files: CSV, in which a missing value is blank, and JSONL, which omits it.

    Only the CSV file is read; the JSONL file is written anew from it at the start. If a row cannot be written because
    the disk is full, it is kept and written with the next row: no row is lost while the process lives, and no line is
    incomplete.

    Args:
        path: The CSV file. Rows of steps after `step`, which a resumed run writes again, are removed from it.
        columns: Names of the columns; `step` is the first.
        step: Step that training continues from. Default: 0.

    Attributes:
        earlier_rows: The rows up to `step`, written by earlier processes.

    Raises:
        OSError: The files cannot be written; what they contained before is intact.
    """

    def __init__(self, path: Path, columns: list[str], step: int = 0):
        self.path, self.columns = path, columns
        self.earlier_rows: list[dict[str, float | int]] = []
        if path.exists():
            try:
                rows = self.read(path, 1 << 32)
            except ValueError as error:
                raise OSError(errno.EINVAL, str(error), str(path)) from error
            self.earlier_rows = [numbers(row) for row in rows if int(row["step"]) <= step]
        header = ",".join(columns) + "\n"
        files.replace(path, header + "".join(self._line(row) for row in self.earlier_rows))
        files.replace(path.with_suffix(".jsonl"), "".join(_json_line(row) for row in self.earlier_rows))
        self._unwritten = {path: b"", path.with_suffix(".jsonl"): b""}

    @staticmethod
    def read(path: Path, most: int = LONGEST) -> list[dict[str, str]]:
        """Returns the rows of a file, without what is no row, such as a last line that was cut off, or noise.

        Args:
            path: The CSV file; a link is not followed.
            most: Largest size in bytes. Default: `LONGEST`.

        Raises:
            OSError: The file does not exist, or cannot be read.
            ValueError: It is no plain file, larger than `most`, or has no header of at most `MOST_COLUMNS` columns.
        """
        text = read_bytes(path, most).decode(errors="replace")
        first, *lines = text[: text.rfind("\n") + 1].split("\n")
        try:
            header = next(csv.reader([first]), [])
        except csv.Error as error:
            raise ValueError(str(error)) from error
        if len(header) > MOST_COLUMNS:
            raise ValueError(f"it has more than {MOST_COLUMNS} columns")
        if "step" not in header:
            return []
        # Values are numbers, which are never quoted: noise with a quotation mark takes no lines with it.
        step, commas = header.index("step"), len(header) - 1
        rows = (line.split(",") for line in lines if line.count(",") == commas)
        return [dict(zip(header, row, strict=True)) for row in rows if _is_whole(row[step])]

    def add(self, row: Row) -> None:
        """Appends a row; floats keep all their digits.

        Raises:
            OSError: The disk is full, for example. The row is written together with the next one.
        """
        for path, line in zip(self._unwritten, (self._line(row), _json_line(row)), strict=True):
            self._unwritten[path] += line.encode()
        self._write(_append)

    def flush(self) -> None:
        """Writes the remaining rows and flushes the files to the disk, so that they outlast a crash of the machine.

        Raises:
            OSError: The disk is full, for example.
        """
        self._write(_append_durably)

    def _write(self, append: Callable[[Path, bytes], None]) -> None:
        failure = None
        for path, text in self._unwritten.items():
            try:
                append(path, text)
                self._unwritten[path] = b""
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def _line(self, row: Row) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writerow({name: repr(value) for name, value in row.items()})
        return text.getvalue()


def _is_whole(text: str) -> bool:
    """Returns True if a text is a whole number of at most 18 digits; no step has more."""
    return text.isdecimal() and len(text) <= 18


def numbers(row: Mapping[str, str]) -> dict[str, float | int]:
    """Returns the values of a row of text as ints and floats, without those that are blank or not numbers."""
    values: dict[str, float | int] = {}
    for name, text in row.items():
        with suppress(ValueError):
            values[name] = int(text) if _is_whole(text.removeprefix("-")) else float(text)
    return values


def _json_line(row: Row) -> str:
    """Returns a row as JSON. NaN and infinity, which JSON does not have, become null."""
    values: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(values, allow_nan=False) + "\n"


def _append_durably(path: Path, text: bytes) -> None:
    _append(path, text, durably=True)


def _append(path: Path, text: bytes, *, durably: bool = False) -> None:
    """Appends all of a text or nothing; raises OSError if that fails."""
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
