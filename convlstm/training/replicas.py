"""What keeps the processes of a run alike: one state to begin with, one end, and a check that the weights agree."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.training.batches import Arrays, DataError
from convlstm.training.distributed import Ranks, digest
from convlstm.training.ema import WeightAverage
from convlstm.training.progress import Progress
from convlstm.training.signals import STOPS

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten


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
    named: dict[str, mx.array] = tree_flatten(tree, destination={})  # type: ignore[assignment]
    return tree_unflatten(list((ranks.share_arrays(named) or {}).items()))


def check_alike(
    ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer, step: int, average: WeightAverage | None
) -> None:
    """Checks that all ranks have the same weights, optimizer state and average of weights, to the last bit.

    What a model keeps without training it, such as running statistics, is a rank's own.

    Raises:
        RanksError: They do not.
    """
    if ranks.size > 1:
        more = {} if average is None else average.weights
        ranks.check_same(f"the weights of step {step}", digest(model.trainable_parameters(), optimizer.state, more))


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
