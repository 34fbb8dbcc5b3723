"""Sums of a start that the scores of `benchmarks.nowcast` are made of: starts and leads can be added in any choice."""

from __future__ import annotations

from convlstm.ensemble_losses import block_means
from convlstm.metrics import EnsembleMetrics
from convlstm.metrics.events import contingency, lowest_event
from convlstm.metrics.spectrum import radial_spectrum, taper

import mlx.core as mx
import numpy as np

Sums = dict[str, np.ndarray]

THRESHOLDS = (0.5, 2.0, 5.0)
SIDES = (1, 4, 16)
"""Sides in pixels of the squares whose means are scored."""
OCTAVES = ((4, 8), (8, 16), (16, 32), (32, 64))
"""Wavelengths in km between which the power of members is compared with that of the truth."""
TIMES = (30, 60)
"""Lead times in minutes of the power."""
LEAST = 0.1
"""Rain rates below this, in mm/h, count as dry, in the truth and in every forecast.

Archives differ in what they say of pixels without an echo: 0, or the rain of 0 dBZ, 0.036 mm/h.
"""


def ensemble_sums(members: np.ndarray, truth: np.ndarray, known: np.ndarray, minutes: float, pixel_km: float) -> Sums:
    """Returns the sums of an ensemble.

    Args:
        members: (M, T, H, W) in mm/h.
        truth, known: (T, H, W), and True where it counts; a square counts if half of its pixels do.
        minutes: Minutes from frame to frame.
        pixel_km: Side of a pixel in km.

    Returns:
        pixels, crps, crps_fair with 'Npx' for squares of N pixels, (T,). variance, squared_error (T,). brier (3, T).
        forecasts, events (3, M + 1): how many pixels had each probability, and at how many of them it rained so much.
        ranks (M + 1,). power, power_of_truth (times, octaves).

    Raises:
        ValueError: A member has no value where the truth counts.
    """
    if not np.isfinite(members[:, known]).all():
        raise ValueError("[ensemble_sums] a member has no value at a pixel that is scored.")
    x, y = (_rain(values, known).astype(np.float32) for values in (members, truth))
    result: Sums = {}
    for side in SIDES:
        share, means, mean = (_means(values, side) for values in (known.astype(np.float32), x, y))
        counts = share >= 0.5
        means, mean = (values / np.maximum(share, 1e-6) for values in (means, mean))
        metrics = EnsembleMetrics(len(x), THRESHOLDS if side == 1 else (), rank_from=LEAST)
        metrics.update(means[:, None, ..., None], mean[None, ..., None], counts[None, ..., None])
        pixels, scores = counts.sum(axis=(1, 2)).astype(np.float64), metrics.compute()

        def total(name: str, power: int = 1, pixels: np.ndarray = pixels, scores: dict = scores) -> np.ndarray:
            return np.nan_to_num(np.array(scores[name]["per_lead"])) ** power * pixels

        result |= {f"pixels {side}px": pixels}
        result |= {f"{kind} {side}px": total(f"{kind}_mmh") for kind in ("crps", "crps_fair")}
        if side == 1:
            tables = [(table["count"], table["observed"]) for table in metrics.reliability().values()]
            result |= {
                "variance": total("spread_mmh", 2),
                "squared_error": total("rmse_of_mean_mmh", 2),
                "brier": np.stack([total(f"brier@{threshold:g}mmh") for threshold in THRESHOLDS]),
                "forecasts": np.array([count for count, _ in tables], np.float64),
                "events": np.array([count * np.nan_to_num(share) for count, share in tables]),
                "ranks": metrics.rank_histogram(),
            }
    leads = [round(time / minutes) - 1 for time in TIMES]
    result["power"] = np.stack([power(x[:, lead], pixel_km) for lead in leads])
    result["power_of_truth"] = np.stack([power(y[None, lead], pixel_km) for lead in leads])
    return result


def field_sums(field: np.ndarray, truth: np.ndarray, known: np.ndarray) -> Sums:
    """Returns the sums of a single forecast.

    Args:
        field, truth: (T, H, W) in mm/h.
        known: True where it counts.

    Returns:
        pixels, absolute_error (T,), and hits, misses, false alarms and correct negatives by threshold, tables (3, 4).

    Raises:
        ValueError: The field has no value where the truth counts.
    """
    if not np.isfinite(field[known]).all():
        raise ValueError("[field_sums] the forecast has no value at a pixel that is scored.")
    error = _rain(field, known).astype(np.float64) - _rain(truth, known)
    tables = []
    for lowest in map(lowest_event, THRESHOLDS):
        tables.append(contingency((field >= lowest) & known, (truth >= lowest) & known, known).sum(axis=0))
    return {
        "pixels": known.sum(axis=(1, 2)).astype(np.float64),
        "absolute_error": abs(error).sum(axis=(1, 2)),
        "tables": np.array(tables),
    }


def power(fields: np.ndarray, pixel_km: float) -> np.ndarray:
    """Returns the mean power of fields (n, H, W) in mm/h by octaves of waves, of the logarithm of rain, (octaves,)."""
    height, width = fields.shape[1:]
    z = np.log10(np.maximum(fields, LEAST) / LEAST) * taper(height, width)
    spectrum = radial_spectrum(z).mean(axis=0)[1:]
    wavelength = max(height, width) / np.arange(1, len(spectrum) + 1) * pixel_km
    return np.array([spectrum[(wavelength >= low) & (wavelength < high)].sum() for low, high in OCTAVES])


def _rain(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns rain rates (..., T, H, W), 0 where they are below `LEAST` or not known."""
    return np.where(known & (x >= LEAST), x, 0)


def _means(x: np.ndarray, side: int) -> np.ndarray:
    """Returns the means (..., h, w) of squares of pixels."""
    return np.array(block_means(mx.array(x)[..., None], side))[..., 0]
