"""How far a training run has come: what a checkpoint keeps of it, and what a person is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.checkpoints import STATE, CheckpointError

# What the first checkpoints did not have.
NEWER = {"skipped", "skipped_in_a_row", "averaged"}


@dataclass
class Progress:
    """What a checkpoint keeps beside the weights, so that a resumed run goes on exactly.

    Attributes:
        step: Batches that were trained on or skipped.
        seed: Of the run.
        seconds: Spent in training.
        loss_sum, loss_count: Of the losses since the last row of `metrics.csv`.
        best, best_step: The best score so far and its step.
        validations_without_improvement: Since then.
        skipped, skipped_in_a_row: Steps that changed nothing since something was not finite, in all and just now.
        averaged: Steps that are in the average of the weights.
        status: 'running', or how training ended.
        data: What the data says of itself.
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
    status: str = "running"
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def restored(cls, state: dict[str, Any], folder: Path) -> Progress:
        """The progress that the state in a checkpoint's folder describes; CheckpointError where it describes none."""
        fresh = vars(cls())
        wrong = set(state) ^ set(fresh) - (NEWER - set(state))
        for name in set(state) & set(fresh):
            value, like = state[name], fresh[name]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if like is None:
                fits = value is None or number
            else:
                fits = number if isinstance(like, float) else type(value) is type(like)
            wrong |= set() if fits else {name}
        if wrong:
            raise CheckpointError(
                f"'{folder / STATE}' is damaged or of another version (see {', '.join(sorted(wrong))}). Use another "
                "checkpoint."
            )
        return cls(**state)
