"""`metrics.csv`: a row for every logged step, with blanks where a step has no value."""

from __future__ import annotations

import csv
from pathlib import Path


class MetricsLog:
    """Appends rows to a CSV file.

    Args:
        path: The file. Rows of steps after `step`, which a resumed run will write again, are removed from it.
        columns: Names of the columns; `step` is the first.
        step: The step that training goes on from.
    """

    def __init__(self, path: Path, columns: list[str], step: int = 0):
        self.path, self.columns = path, columns
        rows = [row for row in self.read(path) if int(row["step"]) <= step] if path.exists() else []
        beside = path.with_name(path.name + ".tmp")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(path)

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """The file's rows; a last line that was cut off while it was written is left out."""
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [row for row in csv.DictReader(whole) if None not in row.values() and row.get("step", "").isdigit()]

    def add(self, row: dict[str, float | int]) -> None:
        """Appends a row, all digits of its floats included."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writerow({name: repr(value) for name, value in row.items()})
