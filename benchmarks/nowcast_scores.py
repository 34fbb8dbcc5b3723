"""Scores from the sums of starts, with 95 % intervals from draws of blocks of starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.nowcast_sums import OCTAVES, SIDES, THRESHOLDS, TIMES, Sums
from convlstm.metrics.events import ratio, table_scores
from convlstm.products import SINGLE

import numpy as np

DRAWS = 2000
ENSEMBLES = ("nowcast", "steps")
OPPONENTS = ("sprog", "steps mean", "extrapolation")
PRODUCTS = tuple(f"nowcast {name}" for name in SINGLE)
# Values that say that two forecasts are equal, by the comparisons that have a star.
EQUAL = {"ratio": 1.0, "difference": 0.0}


@dataclass(frozen=True)
class Scores:
    """The scores of an event, or their means over events.

    Attributes:
        values: By score and by forecast or comparison, (1 + DRAWS,): the score of all starts, then those of draws.
        pixels: Number of values that were scored, by score.
        starts: Number of starts.
        hours: Hours that the truth covers.
        events: Number of events.
    """

    starts: int
    hours: float
    values: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    events: int = 1

    def record(self) -> dict[str, Any]:
        """Returns all scores for JSON, each with its interval and the sizes of its sample."""
        return {
            name: {
                **{who: self.record_of(name, who) for who in of},
                "sample": {"starts": self.starts, "pixels": self.pixels[name], "hours": self.hours},
            }
            for name, of in self.values.items()
        }

    def record_of(self, name: str, who: str) -> dict[str, Any]:
        """Returns `entry` of a score of a forecast or comparison; comparisons have a star."""
        return entry(self.values[name][who], EQUAL.get(who.split()[0]))


def entry(values: np.ndarray, equal: float | None = None) -> dict[str, Any]:
    """Returns a score (1 + DRAWS,) with its 95 % interval, and a star if that leaves out what says 'equal'.

    The interval is None if no draw has the score, or if there is a single start.
    """
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    defined = np.isfinite(value)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if defined and len(drawn) else (np.nan, np.nan)
    numbers = {"value": value, "low": low, "high": high}
    result: dict[str, Any] = {name: number if np.isfinite(number) else None for name, number in numbers.items()}
    return result if equal is None else result | {"star": bool(low > equal or high < equal)}


def weights(times: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """Returns how often each start counts: all once in the first row, then in draws of blocks, (1 + DRAWS, starts).

    A block is a day if the starts are on four days or more. Otherwise it is a number of starts that follow each other,
    those of an hour, but at least two and at most a third of all; it may begin at any start, and the first one follows
    the last. With a single start there is nothing to draw: the draws are NaN.

    Args:
        times: The times of the frames of each start, datetime64.
        seed: Seed of the draws.
    """
    n = len(times)
    rng = np.random.default_rng(seed)
    begins = np.array([frames[0] for frames in times]).astype("datetime64[s]")
    days, day = np.unique(begins.astype("datetime64[D]"), return_inverse=True)
    if n == 1:
        return np.concatenate([np.ones((1, 1)), np.full((DRAWS, 1), np.nan)])
    if len(days) >= 4:
        chosen = rng.multinomial(len(days), np.full(len(days), 1 / len(days)), DRAWS)[:, day]
    else:
        spacing = float((begins[-1] - begins[0]).astype(float)) / 60 / (n - 1)
        length = max(1, min(max(2, round(60 / spacing)), n // 3))
        first = rng.integers(0, n, (DRAWS, -(-n // length)))
        drawn = ((first[..., None] + np.arange(length)) % n).reshape(DRAWS, -1)[:, :n]
        chosen = (drawn[..., None] == np.arange(n)).sum(axis=1)
    return np.concatenate([np.ones((1, n)), chosen])


def scores(starts: Sequence[Mapping[str, Sums]], times: Sequence[np.ndarray], minutes: float, seed: int = 0) -> Scores:
    """Returns the scores of an event.

    Args:
        starts: The sums of each start, by forecast.
        times: The times (UTC) of the true frames of each start.
        minutes: Minutes from frame to frame.
        seed: Seed of the draws.
    """
    drawn = weights(times, seed)
    one = {
        who: {kind: np.stack([start[who][kind] for start in starts]) for kind in starts[0][who]} for who in starts[0]
    }
    sums = {
        who: {kind: np.tensordot(drawn, values, 1) for kind, values in of.items() if kind not in ("forecasts", "ranks")}
        for who, of in one.items()
    }
    hours = len(np.unique(np.concatenate(list(times)))) * minutes / 60
    result = Scores(len(starts), round(hours, 2))

    def add(name: str, pixels: np.ndarray, **values: np.ndarray) -> None:
        result.values[name] = values
        result.pixels[name] = int(pixels[0].sum())

    def add_both(name: str, pixels: np.ndarray, both: list[np.ndarray]) -> None:
        add(name, pixels, nowcast=both[0], steps=both[1], ratio=ratio(*both))

    of = [sums[who] for who in ENSEMBLES]
    for side in SIDES:
        pixels = of[0][f"pixels {side}px"]
        for kind in (f"crps {side}px", f"crps_fair {side}px"):
            add_both(kind, pixels, [ratio(s[kind].sum(axis=1), pixels.sum(axis=1)) for s in of])
            for lead in range(pixels.shape[1]):
                at = [ratio(s[kind][:, lead], pixels[:, lead]) for s in of]
                add_both(f"{kind} at {(lead + 1) * minutes:g} min", pixels[:, lead : lead + 1], at)
        plain, fair = (result.values[f"{kind} {side}px"] for kind in ("crps", "crps_fair"))
        plain["ratio to fair"] = ratio(plain["nowcast"], fair["steps"])
    pixels = of[0]["pixels 1px"]
    for k, threshold in enumerate(THRESHOLDS):
        briers = [ratio(s["brier"][:, k].sum(axis=1), pixels.sum(axis=1)) for s in of]
        add_both(f"brier {threshold:g} mm/h", pixels, briers)
    M = one["nowcast"]["ranks"].shape[-1] - 1
    spread = [np.sqrt((M + 1) / M * ratio(s["variance"].sum(axis=1), s["squared_error"].sum(axis=1))) for s in of]
    add("spread over error", pixels, nowcast=spread[0], steps=spread[1])
    for t, time in enumerate(TIMES):
        for o, (low, high) in enumerate(OCTAVES):
            powers = [ratio(s["power"][:, t, o], s["power_of_truth"][:, t, o]) for s in of]
            lead = round(time / minutes) - 1
            name = f"power of {low} to {high} km at {time} min"
            add(name, pixels[:, lead : lead + 1], nowcast=powers[0], steps=powers[1])

    fields = {who: sums[who] for who in (*PRODUCTS, *OPPONENTS)}
    errors = {who: ratio(s["absolute_error"].sum(axis=1), s["pixels"].sum(axis=1)) for who, s in fields.items()}
    add("mae", pixels, **errors)
    least = np.min([errors[who] for who in OPPONENTS], axis=0)
    add("mae, best opponent", pixels, **{f"ratio {who}": ratio(errors[who], least) for who in PRODUCTS})
    for k, threshold in enumerate(THRESHOLDS):
        tables = {who: table_scores(s["tables"][:, k]) for who, s in fields.items()}
        for kind in ("csi", "bias"):
            add(f"{kind} {threshold:g} mm/h", pixels, **{who: table[kind] for who, table in tables.items()})
        most = np.max([tables[who]["csi"] for who in OPPONENTS], axis=0)
        add(
            f"csi {threshold:g} mm/h, best opponent",
            pixels,
            **{f"difference {who}": tables[who]["csi"] - most for who in PRODUCTS},
        )
    return result


def mean(events: Sequence[Scores]) -> Scores:
    """Returns the means over events of the scores that all have; a draw is one of each event.

    An event in which a score is not defined is left out of its mean.
    """
    result = Scores(sum(e.starts for e in events), round(sum(e.hours for e in events), 2), events=len(events))
    for name, of in events[0].values.items():
        if all(name in event.values for event in events):
            result.values[name] = {who: _mean([event.values[name][who] for event in events]) for who in of}
            result.pixels[name] = sum(event.pixels[name] for event in events)
    return result


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of arrays (1 + DRAWS,) whose first number is finite."""
    defined = [one for one in values if np.isfinite(one[0])]
    return np.mean(defined, axis=0) if defined else np.full(len(values[0]), np.nan)


def tables(starts: Sequence[Mapping[str, Sums]]) -> dict[str, Any]:
    """Returns rank histograms and reliability of both ensembles over all starts, for JSON."""
    result: dict[str, Any] = {}
    for who in ENSEMBLES:
        ranks, forecasts, events = (
            np.sum([start[who][kind] for start in starts], axis=0) for kind in ("ranks", "forecasts", "events")
        )
        result[who] = {
            "rank_histogram": ranks.round(1).tolist(),
            "reliability": {
                f"{threshold:g} mm/h": {
                    "probability": (np.arange(len(count)) / (len(count) - 1)).round(4).tolist(),
                    "pixels": count.tolist(),
                    "observed": [
                        None if n == 0 else round(event / n, 5) for n, event in zip(count, happened, strict=True)
                    ],
                }
                for threshold, count, happened in zip(THRESHOLDS, forecasts, events, strict=True)
            },
        }
    return result
