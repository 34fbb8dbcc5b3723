"""Scores of ensembles, gathered batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from convlstm.arguments import check_whole
from convlstm.metrics import names
from convlstm.metrics.counts import ratio
from convlstm.metrics.exact import ExactSum

import numpy as np

BLOCK_VALUES = 2**20
"""So many values of members are scored at a time, so that memory does not grow with the batch."""

Scores = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """The arguments of `EnsembleMetrics`, checked."""

    members: int
    thresholds: tuple[float, ...]
    units: str
    rank_from: float | None

    def __post_init__(self) -> None:
        check_whole("EnsembleMetrics", "members", self.members, 2)
        if self.units not in names.ENSEMBLE_SUFFIXES:
            raise ValueError(
                f"[EnsembleMetrics] 'units' must be one of {', '.join(names.ENSEMBLE_SUFFIXES)} but got {self.units!r}."
            )
        if not all(map(math.isfinite, self.thresholds)) or len({*self.at}) < len(self.at):
            raise ValueError(
                "[EnsembleMetrics] 'thresholds' must be finite and differ in their first six digits "
                f"but got {list(self.thresholds)}."
            )
        if self.rank_from is not None and not math.isfinite(self.rank_from):
            raise ValueError(f"[EnsembleMetrics] 'rank_from' must be finite or None but got {self.rank_from}.")

    @property
    def at(self) -> list[str]:
        """The part of a score's name that each threshold becomes."""
        return [names.at(threshold, self.units) for threshold in self.thresholds]


class EnsembleMetrics:
    r"""Scores of ensembles by lead time, in the units of the data.

    With the M members x_i of a pixel, their mean m and sample variance v (of M - 1), the truth y, and the share p of
    members at or above a threshold ("2mmh" here):

        crps_mmh            mean of  sum_i abs(x_i - y) / M - sum_ij abs(x_i - x_j) / (2 M^2),  the score of the
                            distribution that has the members alone
        crps_fair_mmh       the same with 2 M (M - 1): what it would be of endlessly many members like these
        spread_mmh          root of the mean of v
        rmse_of_mean_mmh    root of the mean of (m - y)^2
        spread_skill        sqrt((M + 1) / M) spread / rmse_of_mean: 1 where the truth is like one more member, below
                            where the ensemble is too sure
        brier@2mmh          mean of (p - o)^2, where o is 1 where y is at or above the threshold, else 0

    over all pixels of all frames of a lead time. `reliability` and `rank_histogram` have the tables behind them.

    Missing pixels never score: those where the mask is False, or where the truth or any member is NaN. All counts are
    whole numbers and all sums are kept to the last bit, so that batches can come in any order and in any parts.

    Args:
        members: How many there are, two at least.
        thresholds: What makes an event, in the units of the data. Default: none.
        units: 'mm/h', 'dBZ', 'raw', or 'intensity' of frames in [0, 1]. Default: 'mm/h'.
        rank_from: Of the rank histogram, the least value that counts: what is below is one and the same, and pixels
            where the truth and all members are below are left out. Default: none, every value and pixel counts.

    Raises:
        ValueError: An argument is not as said above.

    Sources: Hersbach, Decomposition of the Continuous Ranked Probability Score for Ensemble Prediction Systems, 2000;
    Ferro, Fair Scores for Ensemble Forecasts, 2014; Fortin et al., Why Should Ensemble Spread Match the RMSE of the
    Ensemble Mean?, 2014; Hamill, Interpretation of Rank Histograms for Verifying Ensemble Forecasts, 2001.
    """

    def __init__(
        self,
        members: int,
        thresholds: Sequence[float] = (),
        *,
        units: str = "mm/h",
        rank_from: float | None = None,
    ):
        self.settings = Settings(members, tuple(float(threshold) for threshold in thresholds), units, rank_from)
        self._horizon: int | None = None

    def update(self, members: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Adds a batch.

        Args:
            members: (M, N, T, H, W, C), numbers in the units of the data. T is the same in every batch.
            target: The truth, (N, T, H, W, C).
            mask: True or non-zero where the truth is known; of the truth's shape or broadcastable to it. Default: all.

        Raises:
            TypeError: An array does not hold real numbers.
            ValueError: The shapes do not fit each other, the number of members or the earlier batches.
        """
        members, target = _numbers("members", members, 6), _numbers("target", target, 5)
        if members.shape != (self.settings.members, *target.shape):
            raise ValueError(
                f"[EnsembleMetrics] 'members' must have the shape {(self.settings.members, *target.shape)}, that many "
                f"members of the shape of 'target', but got {members.shape}."
            )
        known = ~np.isnan(target)
        if mask is not None:
            mask = np.asarray(mask)
            try:
                known &= np.broadcast_to(mask != 0, target.shape)
            except ValueError:
                raise ValueError(
                    "[EnsembleMetrics] 'mask' must have the shape of 'target' or broadcast to it "
                    f"but got {mask.shape} and {target.shape}."
                ) from None
        n, horizon = target.shape[:2]
        self._keep_horizon(horizon)
        pixels = math.prod(target.shape[2:])
        flat, truth, known = (a.reshape(*a.shape[:-3], pixels) for a in (members, target, known))
        block = max(1, BLOCK_VALUES // len(members))
        with np.errstate(invalid="ignore", over="ignore"):  # of forecasts that blew up
            for i in range(n):
                for lead in range(horizon):
                    for start in range(0, pixels, block):
                        part = (i, lead, slice(start, start + block))
                        self._add(lead, flat[(slice(None), *part)], truth[part], known[part])

    def _add(self, lead: int, x: np.ndarray, y: np.ndarray, known: np.ndarray) -> None:
        """Adds pixels of one frame: members (M, P), truth (P,) and where it is known (P,)."""
        known = known & ~np.isnan(x).any(axis=0)
        x, y = x[:, known], y[known]
        M = len(x)
        # Thresholds are compared in the type of the data, as `RainMetrics` does.
        for k, threshold in enumerate(self.settings.thresholds):
            cells = 2 * (x >= threshold).sum(axis=0) + (y >= threshold)
            self._events[lead, k] += np.bincount(cells, minlength=2 * (M + 1)).reshape(M + 1, 2)
        lower, tied = _ranks(x, y, self.settings.rank_from)
        self._ranks[lead] += np.bincount((M + 1) * lower + tied, minlength=(M + 1) ** 2).reshape(M + 1, M + 1)
        x, y = x.astype(np.float64), y.astype(np.float64)
        mean = x.mean(axis=0)
        weight = np.arange(1 - M, M, 2)  # of the i-th smallest: sum_{i < j} abs(x_i - x_j) = sum_i weight_i x_i
        sums = (
            len(y),
            np.abs(x - y).sum() / M,
            (weight @ np.sort(x, axis=0)).sum(),
            ((mean - y) ** 2).sum(),
            ((x - mean) ** 2).sum() / (M - 1),
        )
        self._sums.add(np.array([sums], np.float64), lead)

    def merge(self, other: EnsembleMetrics) -> None:
        """Adds what another one has gathered, as if its batches had been given to this one.

        Raises:
            ValueError: The two differ in an argument or in the number of lead times.
        """
        for setting in fields(Settings):
            here, there = (getattr(metrics.settings, setting.name) for metrics in (self, other))
            if here != there:
                raise ValueError(
                    f"[EnsembleMetrics] cannot merge: '{setting.name}' is {here!r} here and {there!r} there."
                )
        if other._horizon is None:
            return
        self._keep_horizon(other._horizon)
        self._sums.merge(other._sums)
        self._events += other._events
        self._ranks += other._ranks

    def compute(self) -> Scores:
        """The scores so far.

        Returns:
            As `RainMetrics.compute`: a dict from the name of a score to `overall`, `mean_over_leads` and `per_lead`.

        Raises:
            ValueError: There was no update.
        """
        self._check_begun()
        M, units = self.settings.members, self.settings.units
        totals, events = (np.concatenate([a, a.sum(axis=0)[None]]) for a in (self._sums.value, self._events))
        with np.errstate(invalid="ignore", over="ignore"):
            absolute, pairs, squared, variance = ratio(totals[:, 1:], totals[:, :1]).T
            spread, error = np.sqrt(variance), np.sqrt(squared)
            scores = {
                names.ensemble("crps", units): absolute - pairs / M**2,
                names.ensemble("crps_fair", units): absolute - pairs / (M * (M - 1)),
                names.ensemble("spread", units): spread,
                names.ensemble("rmse_of_mean", units): error,
                "spread_skill": math.sqrt((M + 1) / M) * ratio(spread, error),
            }
            p = np.arange(M + 1) / M
            for k, at in enumerate(self.settings.at):
                count, event = events[:, k].sum(axis=-1), events[:, k, :, 1]
                scores[f"brier{at}"] = ratio((count * p**2 + event * (1 - 2 * p)).sum(axis=-1), count.sum(axis=-1))
        return {
            name: {
                "overall": float(values[-1]),
                "mean_over_leads": float(np.nanmean(values[:-1])) if np.isfinite(values[:-1]).any() else math.nan,
                "per_lead": values[:-1].tolist(),
            }
            for name, values in scores.items()
        }

    def reliability(self, *, bins: int | None = None, lead: int | None = None) -> dict[str, dict[str, np.ndarray]]:
        """How often an event came where it was forecast with a probability.

        Args:
            bins: Number of equal ones that the probabilities are put into, as pysteps does it: one at the border of two
                is in that nearer to 1/2. Default: none, each of the M + 1 probabilities that M members can give stands
                for itself.
            lead: The lead time, counted from 1. Default: all together.

        Returns:
            By threshold ("@2mmh"): `probability` (B,), the mean one of the bin, `observed` (B,), the share of these
            pixels where the event came, and `count` (B,), their number; NaN in a bin without one.

        Raises:
            ValueError: There was no update, or an argument does not fit.
        """
        self._check_begun()
        counts = self._of(self._events, lead)
        M = self.settings.members
        p, place = np.arange(M + 1) / M, np.arange(M + 1)
        if bins is not None:
            check_whole("EnsembleMetrics", "bins", bins)
            place = np.digitize(p, np.linspace(-1e-6, 1 + 1e-6, bins + 1), right=True) - 1
        wide = M + 1 if bins is None else bins
        found = {}
        for at, table in zip(self.settings.at, counts, strict=True):
            n, events = table.sum(axis=1), table[:, 1]
            summed = [np.bincount(place, weights, wide) for weights in (n, events, n * p)]
            found[at] = {
                "probability": ratio(summed[2], summed[0]),
                "observed": ratio(summed[1], summed[0]),
                "count": summed[0].astype(np.int64),
            }
        return found

    def rank_histogram(self, *, seed: int | None = None, lead: int | None = None) -> np.ndarray:
        """How often the truth came at each place among the members, from below all of them to above all.

        Args:
            seed: Of the draw by which a truth that equals members gets one of its places. Default: none, it counts
                in equal parts at all of them.
            lead: The lead time, counted from 1. Default: all together.

        Returns:
            (M + 1,), float64.

        Raises:
            ValueError: There was no update, or `lead` is not one of the lead times.
        """
        self._check_begun()
        counts = self._of(self._ranks, lead)
        histogram = np.zeros(len(counts))
        rng = None if seed is None else np.random.default_rng(seed)
        for lower, tied in np.argwhere(counts):
            n, places = counts[lower, tied], np.full(tied + 1, 1 / (tied + 1))
            # Draws for each pixel alone and the draw of how many come to each place have one distribution.
            histogram[lower : lower + tied + 1] += n * places if rng is None else rng.multinomial(n, places)
        return histogram

    def _of(self, table: np.ndarray, lead: int | None) -> np.ndarray:
        if lead is None:
            return table.sum(axis=0)
        if not 1 <= lead <= len(table):
            raise ValueError(f"[EnsembleMetrics] 'lead' must be from 1 to {len(table)} but got {lead}.")
        return table[lead - 1]

    def _check_begun(self) -> None:
        if self._horizon is None:
            raise ValueError("[EnsembleMetrics] there is nothing to compute: call 'update' with a batch first.")

    def _keep_horizon(self, horizon: int) -> None:
        if self._horizon is None:
            wide = self.settings.members + 1
            self._horizon, self._sums = horizon, ExactSum((horizon, 5))
            self._events = np.zeros((horizon, len(self.settings.thresholds), wide, 2), np.int64)
            self._ranks = np.zeros((horizon, wide, wide), np.int64)
        elif horizon != self._horizon:
            raise ValueError(
                f"[EnsembleMetrics] every batch must have the same number of lead times but got {horizon} "
                f"after {self._horizon}."
            )


def _ranks(x: np.ndarray, y: np.ndarray, least: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel that counts, how many members are below the truth and how many equal it."""
    if least is not None:
        counts = (y >= least) | (x >= least).any(axis=0)
        x, y = x[:, counts], y[counts]
        x, y = np.where(x >= least, x, -np.inf), np.where(y >= least, y, -np.inf)
    return (x < y).sum(axis=0), (x == y).sum(axis=0)


def _numbers(name: str, value: np.ndarray, dimensions: int) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"[EnsembleMetrics] '{name}' must hold real numbers but got {array.dtype}.")
    if array.ndim != dimensions or 0 in array.shape:
        letters = "(M, N, T, H, W, C)" if dimensions == 6 else "(N, T, H, W, C)"
        raise ValueError(f"[EnsembleMetrics] '{name}' must have the shape {letters}, none 0, but got {array.shape}.")
    return array.astype(np.float32) if array.dtype == np.float16 else array
