"""The time of the script: all of it, that of a part, and that of this command."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Budget:
    """The time that is left.

    Args:
        record: The record, whose `spent_seconds` counts the commands before, too.
        seconds: Seconds of all commands together.
        command: Most seconds of this command.
        save: Function that writes the record.
    """

    def __init__(self, record: dict[str, Any], seconds: float, command: float, save: Callable[[], None]):
        self._record, self._seconds, self._save = record, seconds, save
        self._begun, self._before = time.monotonic(), float(record.get("spent_seconds", 0.0))
        self._end_of_command = self._begun + command
        self._end_of_part = float("inf")

    def spent(self) -> float:
        """Returns the seconds of all commands so far."""
        return self._before + time.monotonic() - self._begun

    def left(self) -> float:
        """Returns the seconds of all commands together that are left, at least 0."""
        return max(0.0, self._seconds - self.spent())

    def command_left(self) -> float:
        """Returns the seconds that this command has left, at least 0."""
        return max(0.0, min(self._end_of_command - time.monotonic(), self.left()))

    def begin_part(self, until: float) -> None:
        """Begins a part, which ends when all commands together have taken this share of the budget."""
        self._end_of_part = until * self._seconds

    def part_over(self) -> bool:
        """Returns True if the part has had its share."""
        return self.spent() >= self._end_of_part

    def over(self) -> bool:
        """Returns True if the part has had its share, or this command its time."""
        return self.part_over() or self.command_left() <= 0.0

    def save(self) -> None:
        """Writes the record with the time so far."""
        self._record["spent_seconds"] = round(self.spent(), 1)
        self._save()
