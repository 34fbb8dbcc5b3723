"""Scores of ensembles, accumulated batch by batch and by lead time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convlstm.arguments import check_whole
from convlstm.metrics import table
from convlstm.metrics.batch_checks import check_horizon, known_pixels, real_numbers
from convlstm.metrics.events import ROUNDING, lowest_event, ratio
from convlstm.metrics.exact_sum import ExactSum

import numpy as np

BLOCK_VALUES = 2**20
"""Values of members scored at a time: memory does not grow with the batch."""


@dataclass(frozen=True)
class Settings:
    """The checked arguments of `EnsembleMetrics`."""

    members: int
    thresholds: tuple[float, ...]
    units: str
    rank_from: float | None
    field: str = ""

    def __post_init__(self) -> None:
        check_whole("EnsembleMetrics", "members", self.members, 2)
        if not self.field and self.units not in table.SUFFIXES:
            raise ValueError(
                f"[EnsembleMetrics] 'units' must be one of {', '.join(table.SUFFIXES)} but got {self.units!r}."
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
        """The thresholds as the names of scores have them, such as "@2mmh"; "@20 degC" for those of a field."""
        if self.field:
            return [f"@{threshold:g} {self.units}" for threshold in self.thresholds]
        return [table.at(threshold, self.units) for threshold in self.thresholds]

    def name(self, kind: str) -> str:
        """Returns the name of a score in the units of the data, or in those of the field."""
        if self.field:
            return table.of_field(f"field_{kind}", self.field, self.units)
        return kind if kind == "spread_skill" else table.in_units(kind, self.units)

    @property
    def briers(self) -> list[str]:
        """The names of the Brier scores, one for each threshold."""
        if self.field:
            events = [f"{self.field}>={threshold:g}" for threshold in self.thresholds]
            return [table.of_field("field_brier", event, self.units) for event in events]
        return [f"brier{at}" for at in self.at]


class EnsembleMetrics:
    r"""Scores of ensembles by lead time, in the units of the data, accumulated batch by batch.

    With the M members x_i of a pixel, their mean m and sample variance v (divided by M - 1), the truth y, and the share
    p of members at or above a threshold ("2mmh" here):

        crps_mmh            mean of  sum_i abs(x_i - y) / M - sum_ij abs(x_i - x_j) / (2 M^2),  the score of the
                            distribution of these members
        crps_fair_mmh       the same with 2 M (M - 1), an estimate for infinitely many members like these
        spread_mmh          root of the mean of v
        rmse_of_mean_mmh    root of the mean of (m - y)^2
        spread_skill        sqrt((M + 1) / M) spread / rmse_of_mean: 1 if the truth is like one more member, below 1 if
                            the ensemble is overconfident
        brier@2mmh          mean of (p - o)^2, where o is 1 if y is at or above the threshold, else 0

    over all pixels of all frames of a lead time. `reliability` and `rank_histogram` return the tables behind them.

    A value reaches a threshold, and a member equals the truth, up to the rounding of float32 (`lowest_event`).

    Missing pixels never score: those where the mask is False, or where the truth or any member is NaN. All counts are
    whole numbers and all sums are exact to the last bit, so the order and the size of the batches change nothing.

    Args:
        members: Number of members, at least two.
        thresholds: Lowest values of the events, in the units of the data. Default: none.
        units: 'mm/h', 'dBZ', 'raw', or 'intensity' for frames in [0, 1]. Default: 'mm/h'.
        rank_from: Lowest value that counts in the rank histogram. Lower values count as equal to each other, and pixels
            whose truth and members are all lower are left out. Default: none, every value and pixel counts.
        field: Name of the field if the data are another one than rain. `units` are then any text, and the names are
            "field_crps[sst degC]", "field_brier[sst>=20 degC]" and so on. Default: none.

    Raises:
        ValueError: An argument is out of its range.

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
        field: str = "",
    ):
        self.settings = Settings(members, tuple(float(threshold) for threshold in thresholds), units, rank_from, field)
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
        members = real_numbers("EnsembleMetrics", "members", members, "(M, N, T, H, W, C)")
        target = real_numbers("EnsembleMetrics", "target", target, "(N, T, H, W, C)")
        if members.shape != (self.settings.members, *target.shape):
            raise ValueError(
                f"[EnsembleMetrics] 'members' must have the shape {(self.settings.members, *target.shape)}, "
                f"{self.settings.members} members of the shape of 'target', but got {members.shape}."
            )
        known = ~np.isnan(target)
        if mask is not None:
            known &= known_pixels("EnsembleMetrics", mask, target.shape)
        n, horizon = target.shape[:2]
        self._keep_horizon(horizon)
        pixels = math.prod(target.shape[2:])
        flat, truth, known = (a.reshape(*a.shape[:-3], pixels) for a in (members, target, known))
        block = max(1, BLOCK_VALUES // len(members))
        with np.errstate(invalid="ignore", over="ignore"):  # forecasts that diverged
            for i in range(n):
                for lead in range(horizon):
                    for start in range(0, pixels, block):
                        part = (i, lead, slice(start, start + block))
                        self._add(lead, flat[(slice(None), *part)], truth[part], known[part])

    def _add(self, lead: int, x: np.ndarray, y: np.ndarray, known: np.ndarray) -> None:
        """Adds pixels of one frame: members (M, P), truth (P,), and True where it is known (P,)."""
        least, most = x.min(axis=0), x.max(axis=0)
        known = known & ~np.isnan(least)
        # Most pixels of most rain fields are dry, in the truth and in every member: they have no error and no spread.
        certain = known & (least == most) & (least == y) & np.isfinite(y)
        self._add_certain(lead, y[certain])
        uncertain = np.flatnonzero(known & ~certain)
        if len(uncertain) < len(y):
            x, y = x.take(uncertain, axis=1), y[uncertain]
        M = len(x)
        # Thresholds are compared in the type of the data, as `RainMetrics` does.
        for k, threshold in enumerate(self.settings.thresholds):
            lowest = lowest_event(threshold)
            cells = 2 * count_members(x >= lowest) + (y >= lowest)
            self._events[lead, k] += np.bincount(cells, minlength=2 * (M + 1)).reshape(M + 1, 2)
        lower, tied = _ranks(x, y, self.settings.rank_from)
        self._ranks[lead] += np.bincount((M + 1) * lower + tied, minlength=(M + 1) ** 2).reshape(M + 1, M + 1)
        rising = np.sort(x, axis=0).astype(np.float64)
        x, y = x.astype(np.float64), y.astype(np.float64)
        mean = x.mean(axis=0)
        weight = np.arange(1.0 - M, M, 2.0)  # of the i-th smallest: sum_{i < j} abs(x_i - x_j) = sum_i weight_i x_i
        error = x - y
        absolute = np.abs(error, out=error).sum() / M
        squares = np.square(np.subtract(x, mean, out=x), out=x).sum() / (M - 1)
        sums = (len(y), absolute, (weight @ rising).sum(), ((mean - y) ** 2).sum(), squares)
        self._sums.add(np.array([sums], np.float64), lead)

    def _add_certain(self, lead: int, y: np.ndarray) -> None:
        """Adds pixels at which every member equals the truth (P,)."""
        M = self.settings.members
        for k, threshold in enumerate(self.settings.thresholds):
            events = np.count_nonzero(y >= lowest_event(threshold))
            self._events[lead, k, [0, M], [0, 1]] += [len(y) - events, events]
        least = self.settings.rank_from
        self._ranks[lead, 0, M] += len(y) if least is None else np.count_nonzero(y >= lowest_event(least))
        self._sums.add(np.array([[len(y), 0, 0, 0, 0]], np.float64), lead)

    def compute(self) -> table.Scores:
        """Returns the scores of all batches so far.

        Returns:
            A dict from the name of a score to `overall`, `mean_over_leads` and `per_lead`, as in `RainMetrics.compute`.

        Raises:
            ValueError: There was no update.
        """
        self._check_begun()
        M, name = self.settings.members, self.settings.name
        totals, events = (np.concatenate([a, a.sum(axis=0)[None]]) for a in (self._sums.value, self._events))
        with np.errstate(invalid="ignore", over="ignore"):
            absolute, pairs, squared, variance = ratio(totals[:, 1:], totals[:, :1]).T
            spread, error = np.sqrt(variance), np.sqrt(squared)
            scores = {
                name("crps"): absolute - pairs / M**2,
                name("crps_fair"): absolute - pairs / (M * (M - 1)),
                name("spread"): spread,
                name("rmse_of_mean"): error,
                name("spread_skill"): math.sqrt((M + 1) / M) * ratio(spread, error),
            }
            p = np.arange(M + 1) / M
            for k, brier in enumerate(self.settings.briers):
                count, event = events[:, k].sum(axis=-1), events[:, k, :, 1]
                scores[brier] = ratio((count * p**2 + event * (1 - 2 * p)).sum(axis=-1), count.sum(axis=-1))
        return {
            name: {
                "overall": float(values[-1]),
                "mean_over_leads": float(np.nanmean(values[:-1])) if np.isfinite(values[:-1]).any() else math.nan,
                "per_lead": values[:-1].tolist(),
            }
            for name, values in scores.items()
        }

    def reliability(self, *, lead: int | None = None) -> dict[str, dict[str, np.ndarray]]:
        """Returns how often an event occurred when it was forecast with each probability.

        Args:
            lead: The lead time, counted from 1. Default: all together.

        Returns:
            By threshold ("@2mmh"), arrays (M + 1,): `probability`, 0 to 1 in steps of 1 / M; `count`, the number of
            pixels with this probability; `observed`, the share of them where the event occurred. `probability` and
            `observed` are NaN if `count` is 0.

        Raises:
            ValueError: There was no update, or `lead` is not one of the lead times.
        """
        self._check_begun()
        p = np.arange(self.settings.members + 1) / self.settings.members
        tables = {}
        for at, counts in zip(self.settings.at, self._at_lead(self._events, lead), strict=True):
            n, events = counts.sum(axis=1).astype(np.float64), counts[:, 1].astype(np.float64)
            tables[at] = {
                "probability": ratio(n * p, n),
                "observed": ratio(events, n),
                "count": n.astype(np.int64),
            }
        return tables

    def rank_histogram(self, *, seed: int | None = None, lead: int | None = None) -> np.ndarray:
        """Returns how often the truth had each rank among the members, from below all of them to above all.

        Args:
            seed: Seed of the draw of one rank if the truth equals members. Default: none, it counts in equal parts at
                all ranks that it could have.
            lead: The lead time, counted from 1. Default: all together.

        Returns:
            (M + 1,), float64.

        Raises:
            ValueError: There was no update, or `lead` is not one of the lead times.
        """
        self._check_begun()
        counts = self._at_lead(self._ranks, lead)
        histogram = np.zeros(len(counts))
        rng = None if seed is None else np.random.default_rng(seed)
        for lower, tied in np.argwhere(counts):
            n, shares = counts[lower, tied], np.full(tied + 1, 1 / (tied + 1))
            # One draw of the number at each rank has the same distribution as a draw for each pixel.
            histogram[lower : lower + tied + 1] += n * shares if rng is None else rng.multinomial(n, shares)
        return histogram

    def _at_lead(self, counts: np.ndarray, lead: int | None) -> np.ndarray:
        """Returns the counts of a lead time, or of all lead times together if `lead` is None."""
        if lead is None:
            return counts.sum(axis=0)
        if not 1 <= lead <= len(counts):
            raise ValueError(f"[EnsembleMetrics] 'lead' must be from 1 to {len(counts)} but got {lead}.")
        return counts[lead - 1]

    def _check_begun(self) -> None:
        if self._horizon is None:
            raise ValueError("[EnsembleMetrics] there is nothing to compute: call 'update' with a batch first.")

    def _keep_horizon(self, horizon: int) -> None:
        check_horizon("EnsembleMetrics", horizon, self._horizon)
        if self._horizon is None:
            ranks = self.settings.members + 1
            self._horizon, self._sums = horizon, ExactSum((horizon, 5))
            self._events = np.zeros((horizon, len(self.settings.thresholds), ranks, 2), np.int64)
            self._ranks = np.zeros((horizon, ranks, ranks), np.int64)


def _ranks(x: np.ndarray, y: np.ndarray, least: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for every pixel that counts, the number of members below the truth and the number of those equal to it.

    Values that differ only by the rounding of float32 are equal. `least` is `rank_from` of `EnsembleMetrics`.
    """
    margin = ROUNDING * np.abs(y)
    if least is not None:
        lowest = lowest_event(least)
        counts = (y >= lowest) | (x >= lowest).any(axis=0)
        x, y, margin = x[:, counts], y[counts], margin[counts]
        x, y = np.where(x >= lowest, x, -np.inf), np.where(y >= lowest, y, -np.inf)
    lower, higher = count_members(x < y - margin), count_members(x > y + margin)
    return lower, len(x) - lower - higher


def count_members(x: np.ndarray) -> np.ndarray:
    """Returns the number of True values of booleans (M, P) over the members, (P,) whole numbers."""
    # A sum of booleans as it is takes four times as long.
    return np.add.reduce(x.view(np.uint8), axis=0, dtype=np.min_scalar_type(len(x))).astype(np.int64)
