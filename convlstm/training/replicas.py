"""Keeping the processes of a run alike: the same state at the start, checks of the weights, and a common end."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from convlstm.backend.signals import REQUESTS, StopRequested
from convlstm.distributed.ranks import Ranks, RanksError, digest
from convlstm.runs.progress import Progress
from convlstm.training.batches import Arrays, DataError
from convlstm.training.ema import WeightAverage
from convlstm.training.step import number, put_back

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map_with_path

ROUNDING = 1e-5
"""Largest difference that rounding may cause between two checkpoints, as a share of the largest weight.

A lost gradient causes a far larger one.
"""


def broadcast_state(
    ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer, progress: Progress, average: WeightAverage | None
) -> None:
    """Gives rank 0's weights, optimizer state, progress and average of the weights to every rank."""
    if ranks.size == 1:
        return
    model.update(_shared(ranks, model.parameters()))
    optimizer.state = _shared(ranks, optimizer.state)
    vars(progress).update(ranks.share(vars(progress)))
    if average is not None:
        average.weights = ranks.share_arrays(average.weights) or {}
        average.steps = progress.averaged


def _shared(ranks: Ranks, tree: Any) -> Any:
    """Returns rank 0's arrays in the form of this rank's tree."""
    arrays = ranks.share_arrays(_named(tree)) or {}
    return tree_map_with_path(lambda name, array: arrays[name], tree)


def _named(tree: Any) -> dict[str, mx.array]:
    return tree_flatten(tree, destination={})  # type: ignore[return-value]


def check_same_state(
    ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer, step: int, average: WeightAverage | None
) -> None:
    """Checks that weights, optimizer state and average of the weights have the same bits on all ranks.

    If they differ only by rounding, because processors or the exchange of gradients round differently, all ranks
    continue with those of rank 0, and rank 0 warns. Arrays that a model does not train, such as running statistics,
    may differ.

    Raises:
        RanksError: They differ by more than rounding.
    """
    if ranks.size == 1:
        return
    tree = {"weights": model.trainable_parameters(), "optimizer": optimizer.state}
    tree |= {} if average is None else {"average": average.weights}
    if len(set(ranks.gather(digest(tree)))) == 1:
        return
    tree_of_rank_0 = _shared(ranks, tree)
    arrays, arrays_of_rank_0 = _named(tree), _named(tree_of_rank_0)
    distances = ranks.gather(max(distance(array, arrays_of_rank_0[name]) for name, array in arrays.items()))
    rank, largest = max(enumerate(distances), key=lambda item: (math.isnan(item[1]), item[1]))
    if not largest <= ROUNDING:
        raise RanksError(
            f"[Ranks] the weights of step {step} must be the same on every rank, but those of rank {rank} "
            f"differ from those of rank 0 by {largest:.1e} of the largest. Give all ranks the same project, versions "
            "and data, and resume from the last checkpoint."
        )
    put_back(tree, tree_of_rank_0)
    model.update(tree["weights"])
    if ranks.main:
        warnings.warn(
            f"the ranks round differently: at step {step} their weights differ by {largest:.1e} of the largest. All "
            "continue with those of rank 0. Another number of ranks, or other machines, give other last digits.",
            stacklevel=4,
        )


def distance(array: mx.array, other: mx.array) -> float:
    """Returns the largest difference as a share of the largest value; infinity if whole numbers differ at all."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return 0.0 if mx.array_equal(array, other) else math.inf
    a, b = array.astype(mx.float32), other.astype(mx.float32)
    return number(mx.abs(a - b).max() / mx.maximum(mx.abs(b).max(), 1e-30)) if b.size else 0.0


def synchronised(ranks: Ranks, batches: Iterator[Arrays]) -> Iterator[Arrays]:
    """Yields the batches until a rank fails to load its share, or is asked to stop meanwhile.

    Raises:
        DataError: On every rank, with the problem of the first one that failed.
        StopRequested: On every rank.
    """
    if ranks.size == 1:
        yield from batches
        return
    while True:
        batch, problem, stopped = None, None, False
        try:
            batch = next(batches)
        except DataError as error:
            problem = error
        except StopRequested:
            stopped = True
        failed, stopped = ranks.any(problem is not None, stopped)
        if failed:
            raise_on_all_ranks(ranks, problem)
        if stopped:
            raise StopRequested
        if batch is not None:
            yield batch


def raise_on_all_ranks(ranks: Ranks, problem: DataError | None) -> None:
    """Raises DataError on all ranks if a rank has a problem with the data; the message is that of the first one."""
    problems = ranks.gather(None if problem is None else [str(problem), problem.split])
    for rank, described in enumerate(problems):
        if described is not None:
            text, split = described
            raise DataError(f"{text} on rank {rank}" if ranks.size > 1 else text, split) from problem


def interruption(ranks: Ranks, received: list[int]) -> str:
    """Returns 'interrupted by ...' with a signal that asks one of the ranks to stop, or "" if there is none."""
    stops: Sequence[int] = received
    if ranks.size > 1:
        asked = ranks.any(*(number in received for number in REQUESTS))
        stops = [number for number, is_asked in zip(REQUESTS, asked, strict=True) if is_asked]
    return f"interrupted by {signal.Signals(stops[0]).name}" if stops else ""
