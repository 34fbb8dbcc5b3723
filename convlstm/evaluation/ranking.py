"""A ranking that keeps the best and the worst of the sequences of an evaluation."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from convlstm.metrics.events import lowest_event

import numpy as np

Kept = TypeVar("Kept")

LEAST_EVENTS = 0.001
"""Share of pixels with an event below which a sequence is not ranked, because its score says little."""


def squared_error(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean squared error over the pixels that are known in both; NaN if there is none."""
    error = np.square(np.asarray(forecast, np.float64) - truth)
    known = np.isfinite(error)
    return float(error[known].mean()) if known.any() else math.nan


def critical_success(forecast: np.ndarray, truth: np.ndarray, threshold: float, *, least: float = 0.0) -> float:
    """Returns hits / (hits + misses + false alarms) over the pixels that are known in both.

    Args:
        forecast, truth: Arrays of the same shape.
        threshold: Lowest value of an event.
        least: Share of the known pixels that must have an event in either array. Default: 0, one pixel is enough.

    Returns:
        The score; NaN if there are too few events.
    """
    known, lowest = ~(np.isnan(forecast) | np.isnan(truth)), lowest_event(threshold)
    f, t = forecast[known] >= lowest, truth[known] >= lowest
    either = np.count_nonzero(f | t)
    return float(np.count_nonzero(f & t) / either) if either and either >= least * known.sum() else math.nan


def middle(values: Sequence) -> int:
    """Returns the index of the threshold that stands for all: the higher one of two, or the one below the middle."""
    return len(values) // 2 - (len(values) > 2)


@dataclass(frozen=True)
class Case(Generic[Kept]):
    """A sequence and its score.

    Attributes:
        score: Score of the first forecaster.
        example: The sequence as it is kept.
    """

    score: float
    example: Kept


class Ranking(Generic[Kept]):
    """The best and the worst of the sequences that it was offered. Other sequences are not kept in memory.

    Args:
        count: Number of the best and of the worst ones.
        higher: True if higher scores are better.

    Raises:
        ValueError: `count` is negative.
    """

    def __init__(self, count: int, *, higher: bool):
        if count < 0:
            raise ValueError(f"[Ranking] 'count' must be at least 0 but got {count}.")
        self.count, self.sign = count, 1 if higher else -1
        self._best: list[tuple[float, int, Case[Kept]]] = []
        self._worst: list[tuple[float, int, Case[Kept]]] = []

    def offer(self, index: int, score: float, make: Callable[[], Kept]) -> Kept | None:
        """Keeps a sequence if it is among the best or the worst so far.

        Args:
            index: Index of the sequence. If two have the same score, the first one is kept.
            score: Its score; a sequence with NaN is not kept.
            make: Returns the sequence in the form in which it is kept; called only if it is kept.

        Returns:
            The return value of `make`, or None if the sequence is not kept.
        """
        if math.isnan(score) or not self.count:
            return None
        value, case = self.sign * score, None
        for heap, key in ((self._best, value), (self._worst, -value)):
            if len(heap) < self.count or (key, -index) > heap[0][:2]:
                case = Case(score, make()) if case is None else case
                (heapq.heappush if len(heap) < self.count else heapq.heapreplace)(heap, (key, -index, case))
        return None if case is None else case.example

    @property
    def best(self) -> list[Case[Kept]]:
        """The best first."""
        return [case for *_, case in sorted(self._best, key=lambda kept: kept[:2], reverse=True)]

    @property
    def worst(self) -> list[Case[Kept]]:
        """The worst first, without those that are also among the best."""
        best = {index for _, index, _ in self._best}
        ordered = sorted(self._worst, key=lambda kept: kept[:2], reverse=True)
        return [case for _, index, case in ordered if index not in best]
