"""What keeps the processes of a run alike: one state to begin with, one end, and a check that the weights agree."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.backend.signals import STOPS
from convlstm.distributed.ranks import Ranks, RanksError, digest
from convlstm.runs.progress import Progress
from convlstm.training.batches import Arrays, DataError
from convlstm.training.ema import WeightAverage
from convlstm.training.step import number, put_back

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map_with_path

# Of the largest weight: what rounding can come to between two checkpoints; a gradient that is missing is far more.
ROUNDING = 1e-5


def begin_alike(
    ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer, progress: Progress, average: WeightAverage | None
) -> None:
    """Gives every rank the weights, optimizer state, progress and average of weights that rank 0 has."""
    if ranks.size == 1:
        return
    model.update(_shared(ranks, model.parameters()))
    optimizer.state = _shared(ranks, optimizer.state)
    vars(progress).update(ranks.share(vars(progress)))
    if average is not None:
        average.weights = ranks.share_arrays(average.weights) or {}
        average.steps = progress.averaged


def _shared(ranks: Ranks, tree: Any) -> Any:
    theirs = ranks.share_arrays(_named(tree)) or {}
    return tree_map_with_path(lambda name, array: theirs[name], tree)


def _named(tree: Any) -> dict[str, mx.array]:
    return tree_flatten(tree, destination={})  # type: ignore[return-value]


def check_alike(
    ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer, step: int, average: WeightAverage | None
) -> None:
    """Checks that all ranks have the same weights, optimizer state and average of weights, to the last bit.

    Where another processor, or the way to exchange gradients, rounds otherwise, all go on with rank 0's, and a warning
    says so. What a model keeps without training it, such as running statistics, is a rank's own.

    Raises:
        RanksError: They differ by more than rounding.
    """
    if ranks.size == 1:
        return
    tree = {"weights": model.trainable_parameters(), "optimizer": optimizer.state}
    tree |= {} if average is None else {"average": average.weights}
    if len(set(ranks.gather(digest(tree)))) == 1:
        return
    theirs = _shared(ranks, tree)
    own, other = _named(tree), _named(theirs)
    apart = ranks.gather(max(distance(array, other[name]) for name, array in own.items()))
    rank, most = max(enumerate(apart), key=lambda item: (math.isnan(item[1]), item[1]))
    if not most <= ROUNDING:
        raise RanksError(
            f"[Ranks] the weights of step {step} must be the same on every rank, but those of rank {rank} are "
            f"{most:.1e} of the largest away from those of rank 0. Give all ranks the same project, versions and data, "
            "and go on from the last checkpoint."
        )
    put_back(tree, theirs)
    model.update(tree["weights"])
    if ranks.main:
        warnings.warn(
            f"the ranks round otherwise: up to step {step} their weights grew {most:.1e} of the largest apart. All go "
            "on with those of rank 0; another number of ranks, or other machines, give other last digits.",
            stacklevel=4,
        )


def distance(array: mx.array, other: mx.array) -> float:
    """The largest difference, as a share of the largest value; of whole numbers, infinite unless they are the same."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return 0.0 if mx.array_equal(array, other) else math.inf
    a, b = array.astype(mx.float32), other.astype(mx.float32)
    return number(mx.abs(a - b).max() / mx.maximum(mx.abs(b).max(), 1e-30)) if b.size else 0.0


def agreed(ranks: Ranks, batches: Iterator[Arrays]) -> Iterator[Arrays]:
    """The batches, until one rank or more cannot load its share.

    Raises:
        DataError: On every rank, with what went wrong on the first of those.
    """
    if ranks.size == 1:
        yield from batches
        return
    while True:
        batch, problem = None, None
        try:
            batch = next(batches)
        except DataError as error:
            problem = error
        if ranks.any(problem is not None)[0]:
            raise_together(ranks, problem)
        if batch is not None:
            yield batch


def raise_together(ranks: Ranks, problem: DataError | None) -> None:
    """Raises the first rank's problem with the data on all ranks, if one of them has one."""
    found = ranks.gather(None if problem is None else [str(problem), problem.split])
    for rank, told in enumerate(found):
        if told is not None:
            text, split = told
            raise DataError(f"{text} on rank {rank}" if ranks.size > 1 else text, split) from problem


def stop_signal(ranks: Ranks, received: list[int]) -> str:
    """The name of the signal that asks for an end, on whichever rank it came, or "" where none did."""
    if ranks.size == 1:
        return signal.Signals(received[0]).name if received else ""
    came = ranks.any(*(number in received for number in STOPS))
    return next((signal.Signals(number).name for number, here in zip(STOPS, came, strict=True) if here), "")


class Elsewhere:
    """The run's folder on the ranks that write nothing: rank 0 does."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, row: dict[str, float | int]) -> None:
        """Nothing: rank 0 writes the row."""

    def save(self, *arguments: Any, insist: bool = False) -> bool:
        """Nothing: rank 0 writes the checkpoint."""
        return True

    def last_good(self) -> str:
        """Nothing: rank 0 names it."""
        return ""
