"""Data that raises exceptions of several classes, at any sequence of training or validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fault_tests.bench import BATCH, BATCHES, STEPS, VALIDATION, Bench
from fault_tests.campaign import Strike, campaign
from fault_tests.data import ERROR, ERRORS
from fault_tests.faults import Try

import numpy as np


def loader(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of runs whose data raises; each must end with a message about it, and resume."""
    yield from campaign(bench, rng, count, _strike)


def _strike(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> Strike:
    name = str(rng.choice(ERRORS))
    if rng.random() < 0.25:
        split, epoch, index = "validation", 0, int(rng.integers(VALIDATION))
    else:
        split, last = "train", (STEPS - 3) // BATCHES
        epoch = min(step // BATCHES + int(rng.integers(0, 3)), last)
        index = int(rng.integers(0, BATCHES * BATCH))
    ended = bench.train(variant, run, variables={ERROR: f"{split}:{epoch}:{index}:{name}"})
    return Strike(f"{name} in {split}", ended, (1,), ("is meant to fail",))
