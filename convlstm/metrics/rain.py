"""Scores of rain in physical units, accumulated batch by batch and by lead time.

A new score of rain needs its formula in `RainMetrics._scores`, its entry in `convlstm/metrics/table.py` and, if the
present sums are not enough, a sum over each frame in `frame_sums`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.metrics import table
from convlstm.metrics.batch_checks import check_horizon, check_same_shape, known_pixels, real_numbers
from convlstm.metrics.events import contingency, fractions, fractions_skill, lowest_event, pooled, ratio, table_scores
from convlstm.metrics.exact_sum import ExactSum
from convlstm.metrics.rain_weights import HKO7_THRESHOLDS, HKO7_WEIGHTS, checked_balance
from convlstm.metrics.spectrum import fine_power, radial_spectrum, rings, taper

import numpy as np

BLOCK_PIXELS = 2**18
"""Pixels scored at a time, so that they stay in the cache and memory does not grow with the batch."""

FINE_PIXELS = 16
"""Wavelength in pixels below which `spectral_ratio` compares the power."""


@dataclass(frozen=True)
class Settings:
    """The checked arguments of `RainMetrics`."""

    thresholds: tuple[float, ...]
    units: str
    pixel_km: float | None
    scales: tuple[int, ...]
    pools: tuple[int, ...]
    spectrum: bool
    balance: tuple[tuple[float, ...], tuple[float, ...]] | None
    circular: bool = False

    def __post_init__(self) -> None:
        if self.units not in table.RAIN_UNITS:
            raise ValueError(
                f"[RainMetrics] 'units' must be one of {', '.join(table.RAIN_UNITS)} but got {self.units!r}."
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
        """The thresholds as the names of scores have them, such as "@2mmh"."""
        return [table.at(threshold, self.units) for threshold in self.thresholds]


class RainMetrics:
    r"""Scores of rain forecasts by lead time, in the units of the data.

    An event is a value that reaches the threshold, up to rounding (`lowest_event`). With hits H, misses M, false alarms
    F and correct negatives N of all pixels of all frames of a lead time, at each threshold ("2mmh" here):

        csi@2mmh            H / (H + M + F)
        pod@2mmh            H / (H + M)
        far@2mmh            F / (H + F)
        hss@2mmh            2 (H N - F M) / ((H + M) (M + N) + (H + F) (F + N))
        bias@2mmh           (H + F) / (H + M)
        csi@2mmh_pool4      csi of the maxima over squares of 4 x 4 pixels, side by side; pixels at the edge that fill
                            no square are left out
        fss@2mmh_16px       1 - sum (f - t)^2 / sum (f^2 + t^2), where f and t are the shares of events in the 16 x 16
                            window around a pixel; pixels outside the frame have no event; sums over all pixels of all
                            frames
        csi_mean, csi_mean_pool4    mean of csi over the thresholds (SEVIR's CSI-M); undefined ones are left out

    and, with the error e = forecast - truth and the weight w of a pixel by the bin of its truth:

        mae_mmh, rmse_mmh, mean_error_mmh    mean of abs(e), root of the mean of e^2, mean of e, over all pixels
        b_mse, b_mae        sum of w e^2, of w abs(e), over a frame; mean over frames
        spectral_ratio@16px the forecast's power at wavelengths below 16 pixels, divided by the truth's: 1 for a
                            forecast as sharp as the truth, less for a blurred one, more for a noisy one

    `b_mse` and `b_mae` are sums over a frame as in HKO-7 (Shi et al., 2017), but of errors in mm/h: HKO-7's tables take
    errors of pixel values in [0, 1], so the numbers cannot be compared. They grow with the frame.

    The power is of log(1 + rain / (1 mm/h)), or of the values themselves in other units, times Hann's window: without
    the window the jump from one edge of the frame to the opposite one looks like sharp detail and hides nearly all
    blur. Waves are averaged as in pysteps's `rapsd`. Only frames without a missing pixel count; `spectrum` returns
    their number.

    Missing pixels never score: those where the mask is False, or where the truth or the forecast is NaN. A pixel
    missing in one is missing in both: no contingency table counts it, its pooled square has the maximum of the other
    pixels (and counts if there are any), and FSS sees no event there, as in pixels outside the frame. FSS equals
    pysteps's `fss` on fields that are both NaN there; pysteps itself counts rain where only the other field is missing.
    CSI, POD, FAR, HSS and bias equal those of pysteps's `det_cat_fct` on the known pixels; pysteps itself treats NaN as
    no event, and an event must be above the threshold, not at it.

    A score is NaN where it is undefined, such as `pod` if nothing happened.

    Args:
        thresholds: Lowest values of the events, in the units of the data.
        units: 'mm/h', 'dBZ' or 'raw'. Default: 'mm/h'.
        pixel_km: Side of a pixel in km; `spectrum` then gives wavelengths in km, too. Default: unknown.
        scales: Sides of the windows of FSS in pixels. Default: (1, 4, 16, 64).
        pools: Sides of the squares of pooled CSI in pixels. Default: (4, 16).
        spectrum: True to compute power spectra. Default: True.
        balance: Bins and weights of `b_mse` and `b_mae`: the lower ends of all bins but the first, and the weight of
            each bin. Default: HKO-7's for mm/h, (0.5, 2, 5, 10, 30) and (1, 1, 2, 5, 10, 30); no balanced scores for
            other units.
        circular: True for frames whose columns go round the earth: so do the windows of FSS then. Windows of spectra
            and squares of pooled CSI end at the seam. Default: False.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        *,
        units: str = "mm/h",
        pixel_km: float | None = None,
        scales: Sequence[int] = (1, 4, 16, 64),
        pools: Sequence[int] = (4, 16),
        spectrum: bool = True,
        balance: tuple[Sequence[float], Sequence[float]] | None = None,
        circular: bool = False,
    ):
        if balance is None and units == "mm/h":
            balance = HKO7_THRESHOLDS, HKO7_WEIGHTS
        self.settings = Settings(
            tuple(float(threshold) for threshold in thresholds),
            units,
            pixel_km,
            tuple(scales),
            tuple(pools),
            spectrum,
            None if balance is None else checked_balance("RainMetrics", *balance),
            circular,
        )
        self._sums: dict[str, ExactSum] = {}
        self._pixels = 0
        self._horizon: int | None = None
        self._frame: tuple[int, int] | None = None

    def update(self, forecast: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Adds a batch.

        Args:
            forecast: (N, T, H, W, 1), numbers in the units of the data. T is the same in every batch, and so are H and
                W if there is a spectrum.
            target: The truth as it was read, not after a model's scale and back, which clip it; of the same shape.
            mask: True or non-zero where the truth is known; of the same shape or broadcastable to it. Default: all.

        Raises:
            TypeError: An array does not hold real numbers.
            ValueError: The shapes do not fit each other or the earlier batches.
        """
        forecast = real_numbers("RainMetrics", "forecast", forecast, "(N, T, H, W, 1)")
        target = real_numbers("RainMetrics", "target", target, "(N, T, H, W, 1)")
        check_same_shape("RainMetrics", forecast, target)
        mask = None if mask is None else known_pixels("RainMetrics", mask, target.shape)
        n, horizon, height, width, _ = target.shape
        self._keep_shape(horizon, (height, width))
        self._pixels += target.size
        block = max(1, BLOCK_PIXELS // (height * width))
        for i in range(n):
            for start in range(0, horizon, block):
                part = (i, slice(start, start + block), ..., 0)
                known = None if mask is None else mask[part]
                for name, values in frame_sums(self.settings, forecast[part], target[part], known).items():
                    if name not in self._sums:
                        self._sums[name] = ExactSum((horizon, *values.shape[1:]))
                    self._sums[name].add(values, start)

    def compute(self) -> table.Scores:
        """Returns the scores of all batches so far.

        Returns:
            A dict from the name of a score to `{"overall": float, "mean_over_leads": float, "per_lead": list[float]}`.
            `per_lead` holds a value for each lead time, the first being one frame ahead. `overall` is computed from the
            counts and sums of all lead times together; `mean_over_leads` is the mean of `per_lead` without NaN.

        Raises:
            ValueError: There was no update.
        """
        if self._frame is None:
            raise ValueError("[RainMetrics] there is nothing to compute: call 'update' with a batch first.")
        with np.errstate(invalid="ignore", over="ignore"):  # forecasts that diverged
            scores = self._scores(*self._frame)
            return {
                name: {
                    "overall": float(values[-1]),
                    "mean_over_leads": _mean(values[:-1]),
                    "per_lead": values[:-1].tolist(),
                }
                for name, values in scores.items()
            }

    def _scores(self, height: int, width: int) -> dict[str, np.ndarray]:
        """Returns each score by name, (T + 1,): a value for each lead time and, last, that of all lead times."""
        settings = self.settings
        sums = {name: np.concatenate([s.value, s.value.sum(axis=0)[None]]) for name, s in self._sums.items()}
        mean = ratio(sums["errors"], sums["pixels"][:, None])
        errors = {"mae": mean[:, 1], "rmse": np.sqrt(mean[:, 2]), "mean_error": mean[:, 0]}
        if settings.balance is not None:
            errors |= {kind: ratio(sums["errors"][:, k], sums["frames"]) for k, kind in ((3, "b_mse"), (4, "b_mae"))}
        scores = {table.in_units(kind, settings.units): values for kind, values in errors.items()}

        tables = table_scores(sums["tables"])
        suffixes = ["", *(f"_pool{size}" for size in settings.pools)]
        for k, at in enumerate(settings.at):
            scores |= {f"{kind}{at}": values[:, 0, k] for kind, values in tables.items()}
            for p, suffix in enumerate(suffixes[1:], 1):
                scores[f"csi{at}{suffix}"] = tables["csi"][:, p, k]
            for s, scale in enumerate(settings.scales):
                scores[f"fss{at}_{scale}px"] = fractions_skill(sums["windows"][:, k, s])
        for p, suffix in enumerate(suffixes):
            scores[f"csi_mean{suffix}"] = np.array([_mean(row) for row in tables["csi"][:, p]])
        if settings.spectrum:
            power = fine_power(sums["power"], height, width, FINE_PIXELS)
            scores[f"spectral_ratio@{FINE_PIXELS}px"] = ratio(power[:, 0], power[:, 1])
        return scores

    def spectrum(self) -> dict[str, Any]:
        """Returns radially averaged power spectra, from the longest wave to the shortest.

        Returns:
            A dict of arrays: `wavelength_px` (R,), and `wavelength_km` if the pixel's size is known; `forecast` and
            `target`, (T, R), the mean power over frames, in (log mm/h)^2 or (units)^2; `frames` (T,), their number.
            A lead time without a frame that has all its pixels is NaN.

        Raises:
            ValueError: There was no update, or the spectrum was left out.
        """
        if not self.settings.spectrum:
            raise ValueError("[RainMetrics] there is no spectrum: it was made with spectrum=False.")
        if self._frame is None:
            raise ValueError("[RainMetrics] there is no spectrum yet: call 'update' with a batch first.")
        frames = self._sums["complete"].value
        # Ring 0 is the mean of the field, which has no wavelength.
        power = ratio(self._sums["power"].value, frames[:, None, None])[..., 1:]
        wavelength = max(self._frame) / np.arange(1, power.shape[-1] + 1)
        result = {"wavelength_px": wavelength, "forecast": power[:, 0], "target": power[:, 1], "frames": frames}
        if self.settings.pixel_km is not None:
            result["wavelength_km"] = wavelength * self.settings.pixel_km
        return result

    @property
    def coverage(self) -> float:
        """Share of the pixels that scored, between 0 and 1; NaN before the first update."""
        return float(self._sums["pixels"].value.sum() / self._pixels) if self._pixels else float("nan")

    def _keep_shape(self, horizon: int, frame: tuple[int, int]) -> None:
        check_horizon("RainMetrics", horizon, self._horizon)
        if self._frame is not None and frame != self._frame and self.settings.spectrum:
            raise ValueError(
                f"[RainMetrics] every batch must have frames of the same size but got {frame} after {self._frame}: "
                "spectra of different sizes have no mean. Leave them out with spectrum=False."
            )
        self._horizon, self._frame = horizon, frame


def _mean(values: np.ndarray) -> float:
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def frame_sums(
    settings: Settings, forecast: np.ndarray, target: np.ndarray, mask: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Returns the sums over each frame that the scores are computed from.

    Args:
        settings: The settings, which say which sums are needed.
        forecast: Frames (n, H, W).
        target: The truth, of the same shape.
        mask: Booleans of the same shape, True where the truth is known; None if the truth is known everywhere.

    Returns:
        `frames`: (n,), 1 if any pixel is known. `pixels`: (n,), the number of known pixels.
        `errors`: (n, 3), sums of e, abs(e) and e^2; with a balance (n, 5), also of w e^2 and w abs(e).
        `tables`: (n, 1 + pools, thresholds, 4), the contingency tables of the pixels and of the pooled squares.
        `windows`: (n, thresholds, scales, 3), the sums of FSS.
        `power`: (n, 2, R), spectra of forecast and truth, zero if a pixel is missing. `complete`: (n,), 1 if none is.
    """
    known = ~(np.isnan(forecast) | np.isnan(target))
    if mask is not None:
        known &= mask
    complete = known.all(axis=(1, 2))
    all_known = bool(complete.all())
    if not all_known:
        forecast, target = np.where(known, forecast, 0), np.where(known, target, 0)

    result = {
        "frames": known.any(axis=(1, 2)).astype(np.float64),
        "pixels": known.reshape(len(known), -1).sum(axis=1, dtype=np.float64),
    }
    with np.errstate(invalid="ignore", over="ignore"):  # forecasts that diverged
        result["errors"] = _errors(settings, forecast, target)
        if settings.spectrum:
            result["power"] = np.stack([_power(settings, frames, complete) for frames in (forecast, target)], axis=1)
            result["complete"] = complete.astype(np.float64)

    squares = [pooled(known, size) for size in settings.pools]
    tables, windows = [], []
    for threshold in settings.thresholds:
        f, t = (frames >= lowest_event(threshold) for frames in (forecast, target))
        if not all_known:
            f, t = f & known, t & known
        counts = [contingency(f, t, known)]
        counts += [contingency(pooled(f, p), pooled(t, p), s) for p, s in zip(settings.pools, squares, strict=True)]
        tables.append(np.stack(counts, axis=1))
        windows.append([fractions(f, t, scale, circular=settings.circular) for scale in settings.scales])
    result["tables"] = np.stack(tables, axis=2)
    if settings.scales:
        result["windows"] = np.moveaxis(np.array(windows), 2, 0)
    return result


def _errors(settings: Settings, forecast: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the `errors` of `frame_sums`."""
    flat = (len(target), -1)
    error = (forecast.astype(np.float64) - target).reshape(flat)
    absolute, squared = np.abs(error), error * error
    terms = [error, absolute, squared]
    if settings.balance is not None:
        bins, weights = settings.balance
        bin_index = np.zeros(target.shape, np.min_scalar_type(len(bins)))
        for lower in bins:
            bin_index += target >= lowest_event(lower)
        weight = np.array(weights)[bin_index].reshape(flat)
        terms += [weight * squared, weight * absolute]
    return np.stack([term.sum(axis=1) for term in terms], axis=1)


def _power(settings: Settings, frames: np.ndarray, complete: np.ndarray) -> np.ndarray:
    """Returns the spectrum (n, R) of every frame, zero if the frame is not complete."""
    height, width = frames.shape[1:]
    power = np.zeros((len(frames), len(rings(height, width)[1])))
    field = frames[complete].astype(np.float64)
    if settings.units == "mm/h":
        field = np.log1p(np.maximum(field, 0))
    power[complete] = radial_spectrum(field * taper(height, width))
    return power
