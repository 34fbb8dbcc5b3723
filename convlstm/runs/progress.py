"""The progress of a training run: the state that a checkpoint keeps beside the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.checkpoints import STATE, CheckpointError

ADDED_LATER = {"skipped", "skipped_in_a_row", "averaged", "unvalidated"}
"""Fields that the first checkpoints did not have."""


@dataclass
class Progress:
    """The progress of a training run, from which a resumed run continues exactly.

    Attributes:
        step: Batches so far, trained on or skipped.
        seed: Seed of the run.
        seconds: Time spent in training.
        loss_sum, loss_count: Sum and number of the losses since the last row of `metrics.csv`.
        best, best_step: Best validation score so far, and its step. None before the first one.
        validations_without_improvement: Validations since the best one.
        skipped, skipped_in_a_row: Steps without an update because something was not finite: all, and the latest ones.
        averaged: Steps in the average of the weights.
        unvalidated: The row of `metrics.csv` of this step, if a request to stop came before its validation was done:
            a resumed run begins with that validation. Otherwise empty.
        status: 'running', or how training ended.
        data: Description of the data, from their `describe()`.
    """

    step: int = 0
    seed: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_step: int | None = None
    validations_without_improvement: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    averaged: int = 0
    unvalidated: dict[str, float] = field(default_factory=dict)
    status: str = "running"
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def restored(cls, state: dict[str, Any], checkpoint: Path) -> Progress:
        """Returns the progress that a checkpoint's state describes.

        Raises:
            CheckpointError: A field is missing, unknown or of the wrong type.
        """
        defaults = vars(cls())
        wrong = set(state) ^ (set(defaults) - (ADDED_LATER - set(state)))
        wrong |= {name for name in set(state) & set(defaults) if not _fits(state[name], defaults[name])}
        row = state.get("unvalidated")
        if isinstance(row, dict) and not all(_fits(value, 0.0) for value in row.values()):
            wrong.add("unvalidated")
        if wrong:
            raise CheckpointError(
                f"'{checkpoint / STATE}' is damaged or of another version (see {', '.join(sorted(wrong))}). Use "
                "another checkpoint."
            )
        return cls(**state)


def _fits(value: Any, default: Any) -> bool:
    """Returns True if a value has the type of a field with this default."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if default is None:
        return value is None or number
    return number if isinstance(default, float) else type(value) is type(default)
