"""The sequences that a forecaster met best and worst, found while the sequences pass by."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

Kept = TypeVar("Kept")

# Of so few pixels with an event, by share, a score says nothing.
LEAST = 0.001


def squared_error(forecast: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared error over the pixels that are known in both; NaN where there is none."""
    error = np.square(np.asarray(forecast, np.float64) - truth)
    known = np.isfinite(error)
    return float(error[known].mean()) if known.any() else math.nan


def critical_success(forecast: np.ndarray, truth: np.ndarray, threshold: float, *, least: float = 0.0) -> float:
    """Hits / (hits + misses + false alarms) over the pixels that are known in both.

    Args:
        forecast, truth: Of one shape.
        threshold: From which value on there is an event.
        least: Share of the known pixels that must have an event in either of the two. Default: 0, one pixel.

    Returns:
        The score; NaN where there are too few events.
    """
    known = ~(np.isnan(forecast) | np.isnan(truth))
    ours, true = forecast[known] >= threshold, truth[known] >= threshold
    either = np.count_nonzero(ours | true)
    return float(np.count_nonzero(ours & true) / either) if either and either >= least * known.sum() else math.nan


def middle(values: Sequence) -> int:
    """The place of the threshold that stands for all: of two the higher one, of more the one below the middle."""
    return len(values) // 2 - (len(values) > 2)


@dataclass(frozen=True)
class Case(Generic[Kept]):
    """A sequence and how well it was met.

    Attributes:
        score: Of the first forecaster.
        example: What was kept of the sequence.
    """

    score: float
    example: Kept


class Ranking(Generic[Kept]):
    """Keeps the best and the worst of the sequences that it is offered, and no more of them in memory.

    Args:
        count: How many of each.
        higher: Whether more of the score is better.

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
            index: Of the sequence; of two that score the same, the first one is kept.
            score: NaN is passed over.
            make: Makes what is kept of the sequence, where it is kept.

        Returns:
            What was made, or None.
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
        """The worst first, without those that are among the best, too."""
        best = {index for _, index, _ in self._best}
        ordered = sorted(self._worst, key=lambda kept: kept[:2], reverse=True)
        return [case for _, index, case in ordered if index not in best]
