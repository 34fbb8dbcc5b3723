"""Scores of rain forecasts, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from convlstm.metrics import names
from convlstm.metrics.balance import HKO7_THRESHOLDS, HKO7_WEIGHTS, checked_balance
from convlstm.metrics.counts import fractions_skill, ratio, table_scores
from convlstm.metrics.exact import ExactSum
from convlstm.metrics.frames import Settings, frame_sums
from convlstm.metrics.spectrum import rings

import numpy as np

BLOCK_PIXELS = 2**18
"""So many pixels are scored at a time: they stay in the cache, and memory does not grow with the batch."""

FINE_PIXELS = 16
"""`spectral_ratio` looks at waves shorter than this."""

Scores = dict[str, dict[str, Any]]


class RainMetrics:
    r"""Scores of rain forecasts by lead time, in the units of the data.

    An event is a value >= the threshold. With hits H, misses M, false alarms F and correct negatives N of all pixels of
    all frames of a lead time, at each threshold ("2mmh" here):

        csi@2mmh            H / (H + M + F)
        pod@2mmh            H / (H + M)
        far@2mmh            F / (H + F)
        hss@2mmh            2 (H N - F M) / ((H + M) (M + N) + (H + F) (F + N))
        bias@2mmh           (H + F) / (H + M)
        csi@2mmh_pool4      csi of the maxima over squares of 4 x 4 pixels, side by side; a rest at the edge is left out
        fss@2mmh_16px       1 - sum (f - t)^2 / sum (f^2 + t^2), where f and t are the shares of events in the 16 x 16
                            window around a pixel, of which what lies outside the frame is no event; sums over all
                            pixels of all frames
        csi_mean, csi_mean_pool4    mean of csi over the thresholds (SEVIR's CSI-M); undefined ones are left out

    and, with the error e = forecast - truth and the weight w of a pixel by the bin of its truth:

        mae_mmh, rmse_mmh, mean_error_mmh    mean of abs(e), root of the mean of e^2, mean of e, over all pixels
        b_mse, b_mae        sum of w e^2, of w abs(e), over a frame; mean over frames
        spectral_ratio@16px the forecast's power at wavelengths below 16 pixels, divided by the truth's: 1 for a
                            forecast as sharp as the truth, less for a blurred one, more for a noisy one

    `b_mse` and `b_mae` are sums over a frame as in HKO-7 (Shi et al., 2017), but of errors in mm/h: HKO-7's tables take
    errors of pixel values in [0, 1], so the numbers do not compare. They grow with the frame.

    The power is of log(1 + rain / (1 mm/h)), of the values themselves in other units, times Hann's window: without it
    the jump from one edge of the frame to the opposite one looks like sharp detail, and hides nearly all blur. Waves
    are averaged as in pysteps's `rapsd`. Only frames without a missing pixel count; `spectrum` says how many those are.

    Missing pixels never score: those where the mask is False, or where the truth or the forecast is NaN. A pixel
    missing in one is missing in both: it is in no table, its pooled square is the maximum of the others (and counts if
    there are any), and in the windows of FSS it is no event of either, as pixels outside the frame are. FSS equals
    pysteps's `fss` on fields that are both NaN there; pysteps itself counts rain where only the other field is missing.
    CSI and its like equal those of pysteps's `det_cat_fct` on the known pixels; pysteps itself takes NaN for no event,
    and wants an event to be above the threshold, not at it.

    A score is NaN where it is undefined, such as `pod` where nothing happened.

    Args:
        thresholds: What makes an event, in the units of the data.
        units: 'mm/h', 'dBZ' or 'raw'. Default: 'mm/h'.
        pixel_km: Side of a pixel in km, by which `spectrum` gives wavelengths in km, too. Default: unknown.
        scales: Sides of the windows of FSS in pixels. Default: (1, 4, 16, 64).
        pools: Sides of the squares of pooled CSI in pixels. Default: (4, 16).
        spectrum: Whether to compute power spectra. Default: True.
        balance: Bins and weights of `b_mse` and `b_mae`: the lower ends of all bins but the first, and a weight a bin.
            Default: HKO-7's for mm/h, (0.5, 2, 5, 10, 30) and (1, 1, 2, 5, 10, 30); no balanced scores otherwise.

    Raises:
        ValueError: An argument is not as said above.
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
            target: The truth, of the same shape.
            mask: True or non-zero where the truth is known; of the same shape or broadcastable to it. Default: all.

        Raises:
            TypeError: An array does not hold real numbers.
            ValueError: The shapes do not fit each other or the earlier batches.
        """
        forecast, target = _numbers("forecast", forecast), _numbers("target", target)
        if forecast.shape != target.shape:
            raise ValueError(
                "[RainMetrics] 'forecast' and 'target' must have the same shape "
                f"but got {forecast.shape} and {target.shape}."
            )
        if mask is not None:
            mask = np.asarray(mask)
            try:
                mask = np.broadcast_to(mask != 0, target.shape)
            except ValueError:
                raise ValueError(
                    "[RainMetrics] 'mask' must have the shape of 'target' or broadcast to it "
                    f"but got {mask.shape} and {target.shape}."
                ) from None
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

    def merge(self, other: RainMetrics) -> None:
        """Adds what another one has gathered, as if its batches had been given to this one.

        Raises:
            ValueError: The two differ in an argument, in the number of lead times or in the size of the frames.
        """
        for setting in fields(Settings):
            here, there = (getattr(metrics.settings, setting.name) for metrics in (self, other))
            if here != there:
                raise ValueError(f"[RainMetrics] cannot merge: '{setting.name}' is {here!r} here and {there!r} there.")
        if other._horizon is None or other._frame is None:
            return
        self._keep_shape(other._horizon, other._frame)
        self._pixels += other._pixels
        for name, total in other._sums.items():
            if name not in self._sums:
                self._sums[name] = ExactSum(total.value.shape)
            self._sums[name].merge(total)

    def compute(self) -> Scores:
        """The scores so far.

        Returns:
            A dict from the name of a score to `{"overall": float, "mean_over_leads": float, "per_lead": list[float]}`.
            `per_lead` holds a value per lead time, the first being one frame ahead. `overall` is of the counts and
            sums pooled over all lead times; `mean_over_leads` is the mean of `per_lead`, in which NaN is left out.

        Raises:
            ValueError: There was no update.
        """
        if self._frame is None:
            raise ValueError("[RainMetrics] there is nothing to compute: call 'update' with a batch first.")
        with np.errstate(invalid="ignore", over="ignore"):  # of forecasts that blew up
            scores = self._rows(*self._frame)
            return {
                name: {
                    "overall": float(values[-1]),
                    "mean_over_leads": _mean(values[:-1]),
                    "per_lead": values[:-1].tolist(),
                }
                for name, values in scores.items()
            }

    def _rows(self, height: int, width: int) -> dict[str, np.ndarray]:
        """Of every score, a value per lead time and, last, the one of all of them, (T + 1,)."""
        settings = self.settings
        sums = {name: np.concatenate([s.value, s.value.sum(axis=0)[None]]) for name, s in self._sums.items()}
        scores: dict[str, np.ndarray] = {}
        mean = ratio(sums["errors"], sums["pixels"][:, None])
        for kind, values in (("mae", mean[:, 1]), ("rmse", np.sqrt(mean[:, 2])), ("mean_error", mean[:, 0])):
            scores[names.error(kind, settings.units)] = values
        if settings.balance is not None:
            for kind, total in (("b_mse", sums["errors"][:, 3]), ("b_mae", sums["errors"][:, 4])):
                scores[names.balanced(kind, settings.units)] = ratio(total, sums["frames"])

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
            _, waves = rings(height, width)
            fine = np.arange(len(waves)) * FINE_PIXELS > max(height, width)
            power = (sums["power"][..., fine] * waves[fine]).sum(axis=-1)
            scores[f"spectral_ratio@{FINE_PIXELS}px"] = ratio(power[:, 0], power[:, 1])
        return scores

    def spectrum(self) -> dict[str, Any]:
        """Radially averaged power spectra, from the longest wave to the shortest.

        Returns:
            A dict of arrays: `wavelength_px` (R,), and `wavelength_km` where the pixel's size is known; `forecast` and
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
        if self._horizon is not None and horizon != self._horizon:
            raise ValueError(
                f"[RainMetrics] every batch must have the same number of lead times but got {horizon} "
                f"after {self._horizon}."
            )
        if self._frame is not None and frame != self._frame and self.settings.spectrum:
            raise ValueError(
                f"[RainMetrics] every batch must have frames of the same size but got {frame} after {self._frame}: "
                "spectra of different sizes have no mean. Leave them out with spectrum=False."
            )
        self._horizon, self._frame = horizon, frame


def _numbers(name: str, value: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"[RainMetrics] '{name}' must hold real numbers but got {array.dtype}.")
    if array.ndim != 5 or array.shape[-1] != 1 or 0 in array.shape:
        raise ValueError(
            f"[RainMetrics] '{name}' must have the shape (N, T, H, W, 1), none of it 0, but got {array.shape}."
        )
    # Half precision overflows at 65504.
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _mean(values: np.ndarray) -> float:
    """Mean of those that are not NaN; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
