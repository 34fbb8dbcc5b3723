"""What is added up of each frame, and by which settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convlstm.metrics import names
from convlstm.metrics.counts import contingency, fractions, pooled
from convlstm.metrics.spectrum import radial_spectrum, rings, taper

import numpy as np


@dataclass(frozen=True)
class Settings:
    """The arguments of `RainMetrics`, checked."""

    thresholds: tuple[float, ...]
    units: str
    pixel_km: float | None
    scales: tuple[int, ...]
    pools: tuple[int, ...]
    spectrum: bool
    balance: tuple[tuple[float, ...], tuple[float, ...]] | None

    def __post_init__(self) -> None:
        if self.units not in names.SUFFIXES:
            raise ValueError(
                f"[RainMetrics] 'units' must be one of {', '.join(names.SUFFIXES)} but got {self.units!r}."
            )
        if self.pixel_km is not None and not 0 < self.pixel_km < math.inf:
            raise ValueError(f"[RainMetrics] 'pixel_km' must be positive or None but got {self.pixel_km}.")
        if not self.thresholds or not all(map(math.isfinite, self.thresholds)) or len({*self.at}) < len(self.at):
            raise ValueError(
                "[RainMetrics] 'thresholds' must be finite, at least one, and differ in their first six digits "
                f"but got {list(self.thresholds)}."
            )
        for name, sizes, least in (("scales", self.scales, 1), ("pools", self.pools, 2)):
            if not all(isinstance(size, int) and size >= least for size in sizes) or len({*sizes}) < len(sizes):
                raise ValueError(
                    f"[RainMetrics] '{name}' must be different whole numbers from {least} on but got {list(sizes)}."
                )

    @property
    def at(self) -> list[str]:
        """The part of a score's name that each threshold becomes."""
        return [names.at(threshold, self.units) for threshold in self.thresholds]


def frame_sums(
    settings: Settings, forecast: np.ndarray, target: np.ndarray, mask: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Sums over each frame, whose totals over frames the scores are made of.

    Args:
        settings: What to compute.
        forecast: Frames (n, H, W).
        target: The truth, of the same shape.
        mask: Booleans of the same shape, where the truth is known, or None for all.

    Returns:
        `frames`: (n,), whether any pixel is known. `pixels`: (n,), how many are.
        `errors`: (n, 3), sums of e, abs(e) and e^2; with a balance (n, 5), also of w e^2 and w abs(e).
        `tables`: (n, 1 + pools, thresholds, 4), the contingency tables of the pixels and of the pooled squares.
        `windows`: (n, thresholds, scales, 3), the sums of FSS.
        `power`: (n, 2, R), spectra of forecast and truth, zero where a pixel is missing. `complete`: (n,), where none.
    """
    known = ~(np.isnan(forecast) | np.isnan(target))
    if mask is not None:
        known &= mask
    complete = known.all(axis=(1, 2))
    whole = bool(complete.all())
    if not whole:
        forecast, target = np.where(known, forecast, 0), np.where(known, target, 0)

    result = {
        "frames": known.any(axis=(1, 2)).astype(np.float64),
        "pixels": known.reshape(len(known), -1).sum(axis=1, dtype=np.float64),
    }
    with np.errstate(invalid="ignore", over="ignore"):  # of forecasts that blew up
        result["errors"] = _errors(settings, forecast, target)
        if settings.spectrum:
            result["power"] = _power(settings, forecast, target, complete)
            result["complete"] = complete.astype(np.float64)

    squares = [pooled(known, size) for size in settings.pools]
    tables, windows = [], []
    for threshold in settings.thresholds:
        f, t = forecast >= threshold, target >= threshold
        if not whole:
            f, t = f & known, t & known
        table = [contingency(f, t, known)]
        table += [contingency(pooled(f, p), pooled(t, p), s) for p, s in zip(settings.pools, squares, strict=True)]
        tables.append(np.stack(table, axis=1))
        windows.append([fractions(f, t, scale) for scale in settings.scales])
    result["tables"] = np.stack(tables, axis=2)
    if settings.scales:
        result["windows"] = np.moveaxis(np.array(windows), 2, 0)
    return result


def _errors(settings: Settings, forecast: np.ndarray, target: np.ndarray) -> np.ndarray:
    flat = (len(target), -1)
    error = (forecast.astype(np.float64) - target).reshape(flat)
    absolute, squared = np.abs(error), error * error
    terms = [error, absolute, squared]
    if settings.balance is not None:
        bins, weights = settings.balance
        place = np.zeros(target.shape, np.min_scalar_type(len(bins)))
        for lower in bins:
            place += target >= lower
        weight = np.array(weights)[place].reshape(flat)
        terms += [weight * squared, weight * absolute]
    return np.stack([term.sum(axis=1) for term in terms], axis=1)


def _power(settings: Settings, forecast: np.ndarray, target: np.ndarray, complete: np.ndarray) -> np.ndarray:
    height, width = target.shape[1:]
    power = np.zeros((len(complete), 2, len(rings(height, width)[1])))
    window = taper(height, width)
    for k, frames in enumerate((forecast, target)):
        field = frames[complete].astype(np.float64)
        if settings.units == "mm/h":
            field = np.log1p(np.maximum(field, 0))
        power[complete, k] = radial_spectrum(field * window)
    return power
