"""Scores of forecast frames, streamed over batches and kept apart by lead time."""

from __future__ import annotations

from typing import Any

import numpy as np

UNITS = {
    "mse_per_pixel": "intensity^2 per pixel",
    "mae_per_pixel": "intensity per pixel",
    "mse_per_frame": "intensity^2 per frame",
    "mae_per_frame": "intensity per frame",
    "psnr": "dB",
    "ssim": "1",
    "ssim_openstl": "1",
}
"""Unit of every score; an intensity of 1 is the full scale of the data, "1" is a pure number."""

HIGHER_IS_BETTER = frozenset({"psnr", "ssim", "ssim_openstl"})

PSNR_CAP = 100.0
"""What a frame counts at most, in dB: a perfect frame would make every mean infinite."""

SSIM_WINDOW = 7

Scores = dict[str, dict[str, Any]]


def _window_sums(x: np.ndarray, axis: int, step: int = 1) -> np.ndarray:
    """Sums over every 7 neighbours, `step` apart, along an axis: 2 + 2 = 4, 4 + 2 + 1 = 7; nothing cancels."""
    x = np.moveaxis(x, axis, 0)
    n = len(x) - 6 * step
    two = x[:-step] + x[step:]
    seven = two[:n] + two[2 * step : 2 * step + n]
    seven += two[4 * step : 4 * step + n]
    seven += x[6 * step :]
    return np.moveaxis(seven, 0, axis)


def structural_similarity(
    forecast: np.ndarray,
    target: np.ndarray,
    data_ranges: tuple[float, ...] = (1.0,),
    *,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    r"""Structural similarity of every frame.

        ssim = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))
        C1 = (0.01 L)^2,  C2 = (0.03 L)^2

    with the means m and the sample (co)variances s of a uniform 7 x 7 window, averaged over the windows that lie inside
    the frame and over the channels: what scikit-image's `structural_similarity` returns for the data range L.

    Args:
        forecast: Frames (..., H, W, C).
        target: Frames of the same shape.
        data_ranges: The values of L; all share one pass over the windows. Default: (1.0,).
        valid: Booleans of the same shape, False where a pixel is missing. Only windows without a missing pixel count.

    Returns:
        (len(data_ranges), ...), float64. NaN for a frame without a single valid window, such as one smaller than 7 x 7.

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    *lead, height, width, channels = forecast.shape
    result = np.full((len(data_ranges), int(np.prod(lead))), np.nan)
    if min(height, width) >= SSIM_WINDOW:
        flat = (-1, height, width * channels)
        x, y = forecast.reshape(flat), target.reshape(flat)
        v = None if valid is None else valid.reshape(flat)
        # A few frames at a time stay in cache: twice as fast as all at once.
        block = max(1, 2**15 // (height * width * channels))
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            result[:, part] = _block_similarity(x[part], y[part], None if v is None else v[part], data_ranges, channels)
    return result.reshape(len(data_ranges), *lead)


def _block_similarity(
    x: np.ndarray, y: np.ndarray, valid: np.ndarray | None, data_ranges: tuple[float, ...], channels: int
) -> np.ndarray:
    n = SSIM_WINDOW**2
    weight = None
    if valid is not None and not valid.all():
        x, y = np.where(valid, x, 0), np.where(valid, y, 0)
        missing = _window_sums(_window_sums((~valid).astype(np.uint8), 1), 2, channels)
        weight = missing == 0

    # Both variances appear only as their sum, so four window sums are enough.
    moments = np.empty((4, *x.shape))
    moments[0], moments[1] = x, y
    np.multiply(moments[0], moments[1], out=moments[2])
    np.add(moments[0] ** 2, moments[1] ** 2, out=moments[3])
    moments = _window_sums(_window_sums(moments, 2), 3, channels)
    moments /= n
    mean_x, mean_y, mean_xy, mean_squares = moments

    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = (mean_xy - product) * (n / (n - 1))
    variances = (mean_squares - squares) * (n / (n - 1))
    product *= 2
    covariance *= 2

    result = np.full((len(data_ranges), len(x)), np.nan)
    for row, data_range in zip(result, data_ranges, strict=True):
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        similarity = (product + c1) * (covariance + c2)
        similarity /= (squares + c1) * (variances + c2)
        if weight is None:
            row[:] = similarity.mean(axis=(1, 2))
        else:
            count = weight.sum(axis=(1, 2))
            total = np.where(weight, similarity, 0).sum(axis=(1, 2))
            np.divide(total, count, out=row, where=count > 0)
    return result


def _frames(name: str, value: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"[FrameMetrics] '{name}' must hold floats, 1 being the full scale, but got {array.dtype}. "
            "Convert it with `as_unit`."
        )
    if array.ndim != 5:
        raise ValueError(f"[FrameMetrics] '{name}' must have the shape (N, T, H, W, C) but got {array.shape}.")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


class FrameMetrics:
    r"""Scores of forecast frames by lead time, gathered batch by batch.

    With the error e = forecast - target, a frame's valid pixels (all H W C of them, where nothing is missing) and q the
    forecast clipped to [0, 1]:

        mse_per_pixel, mae_per_pixel   mean of e^2, of abs(e), over all valid pixels of all frames
        mse_per_frame, mae_per_frame   sum of e^2, of abs(e), over a frame's valid pixels; mean over frames
        psnr                           20 log10(1 / sqrt(mean of (q - target)^2 over the frame)); mean over frames
        ssim                           `structural_similarity` of q with L = 1; mean over frames
        ssim_openstl                   the same with L = 2

    `mse_per_frame`, `mae_per_frame`, `psnr` and `ssim_openstl` are in the units of OpenSTL's tables.

    Missing pixels never score: those where the mask is False or where the target or the forecast is NaN. PSNR is taken
    over a frame's valid pixels and SSIM over its windows without a missing pixel; a frame without any is left out of
    the mean. `coverage` says what share of the pixels scored. A frame's PSNR counts at most 100 dB, so a perfect frame
    does not make the mean infinite. SSIM of frames smaller than 7 x 7 is NaN, as is every mean over nothing.

    Args:
        ssim: Whether to compute `ssim` and `ssim_openstl`, the slow part. Default: True.
    """

    def __init__(self, *, ssim: bool = True):
        self.ssim = ssim
        names = [name for name in UNITS if ssim or not name.startswith("ssim")]
        # By score, an array over the lead times, once there is an update.
        self._sums: dict[str, Any] = dict.fromkeys(names, 0.0)
        self._counts: dict[str, Any] = dict.fromkeys(names, 0.0)
        self._pixels = 0
        self._horizon: int | None = None

    def update(self, forecast: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Adds a batch.

        Args:
            forecast: (N, T, H, W, C), floats. T is the same in every batch; N, H and W may differ.
            target: The truth, of the same shape, in [0, 1].
            mask: True or non-zero where the target is valid; of the same shape or broadcastable to it. Default: all.

        Raises:
            TypeError: An array holds integers.
            ValueError: The shapes do not fit each other or the earlier batches.
        """
        forecast, target = _frames("forecast", forecast), _frames("target", target)
        if forecast.shape != target.shape:
            raise ValueError(
                "[FrameMetrics] 'forecast' and 'target' must have the same shape "
                f"but got {forecast.shape} and {target.shape}."
            )

        valid = ~(np.isnan(forecast) | np.isnan(target))
        if mask is not None:
            mask = np.asarray(mask)
            try:
                valid &= np.broadcast_to(mask != 0, target.shape)
            except ValueError:
                raise ValueError(
                    "[FrameMetrics] 'mask' must have the shape of 'target' or broadcast to it "
                    f"but got {mask.shape} and {target.shape}."
                ) from None
        self._keep_horizon(target.shape[1])
        self._pixels += valid.size
        whole = bool(valid.all())
        if not whole:
            forecast, target = np.where(valid, forecast, 0), np.where(valid, target, 0)

        inside = (2, 3, 4)
        pixels = valid.sum(axis=inside)
        seen = pixels > 0
        error = forecast - target
        with np.errstate(over="ignore"):  # a forecast that ran away has an infinite score
            squared = (error * error).sum(axis=inside, dtype=np.float64)
        absolute = np.abs(error).sum(axis=inside, dtype=np.float64)
        self._add("mse_per_pixel", squared, pixels)
        self._add("mae_per_pixel", absolute, pixels)
        self._add("mse_per_frame", squared, seen)
        self._add("mae_per_frame", absolute, seen)

        clipped = np.clip(forecast, 0, 1)
        error = clipped - target
        mse = np.sum(error * error, axis=inside, dtype=np.float64) / np.maximum(pixels, 1)
        psnr = -10 * np.log10(np.maximum(mse, 10 ** (-PSNR_CAP / 10)))
        self._add("psnr", np.where(seen, psnr, 0), seen)
        if self.ssim:
            both = structural_similarity(clipped, target, (1.0, 2.0), valid=None if whole else valid)
            for name, value in zip(("ssim", "ssim_openstl"), both, strict=True):
                scored = ~np.isnan(value)
                self._add(name, np.where(scored, value, 0), scored)

    def merge(self, other: FrameMetrics) -> None:
        """Adds what another one has gathered, as if its batches had been given to this one.

        Raises:
            ValueError: The two differ in the number of lead times or in whether they compute SSIM.
        """
        if self.ssim != other.ssim:
            raise ValueError(f"[FrameMetrics] cannot merge: 'ssim' is {self.ssim} here and {other.ssim} there.")
        if other._horizon is None:
            return
        self._keep_horizon(other._horizon)
        self._pixels += other._pixels
        for name in self._sums:
            self._sums[name] = self._sums[name] + other._sums[name]
            self._counts[name] = self._counts[name] + other._counts[name]

    def state(self) -> dict[str, Any]:
        """What has been gathered, as JSON can hold it and without loss, to be merged in another process.

        Returns:
            A dict of `ssim`, `horizon` (None before the first update), `pixels`, and by score the lists `sums` and
            `counts` over the lead times.
        """
        gathered = {} if self._horizon is None else self._sums
        return {
            "ssim": self.ssim,
            "horizon": self._horizon,
            "pixels": self._pixels,
            "sums": {name: self._sums[name].tolist() for name in gathered},
            "counts": {name: self._counts[name].tolist() for name in gathered},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FrameMetrics:
        """One that has gathered what `state()` of another says.

        Raises:
            ValueError: The state holds other scores, or another number of lead times, than it says.
        """
        self = cls(ssim=state["ssim"])
        if state["horizon"] is None:
            return self
        for name, own in (("sums", self._sums), ("counts", self._counts)):
            lengths = {key: len(values) for key, values in state[name].items()}
            if lengths != dict.fromkeys(own, state["horizon"]):
                raise ValueError(
                    f"[FrameMetrics] '{name}' must hold {state['horizon']} lead times of {', '.join(own)} but got "
                    f"{lengths}."
                )
            own.update({key: np.array(values, np.float64) for key, values in state[name].items()})
        self._horizon, self._pixels = state["horizon"], state["pixels"]
        return self

    def compute(self) -> Scores:
        """The scores so far.

        Returns:
            A dict from the name of a score to `{"overall": float, "per_lead": list[float]}`. `per_lead` holds a value
            per lead time, the first being one frame ahead. `overall` is the mean over everything that scored at any
            lead time; where no pixel is missing, it is the mean of `per_lead`.

        Raises:
            ValueError: There was no update.
        """
        if self._horizon is None:
            raise ValueError("[FrameMetrics] there is nothing to compute: call 'update' with a batch first.")
        return {
            name: {
                "overall": _mean(np.sum(total), np.sum(self._counts[name])),
                "per_lead": [_mean(s, n) for s, n in zip(total, self._counts[name], strict=True)],
            }
            for name, total in self._sums.items()
        }

    @property
    def coverage(self) -> float:
        """Share of the pixels that scored, between 0 and 1; NaN before the first update."""
        return _mean(np.sum(self._counts["mse_per_pixel"]), self._pixels)

    def _add(self, name: str, values: np.ndarray, counts: np.ndarray) -> None:
        self._sums[name] = self._sums[name] + values.sum(axis=0, dtype=np.float64)
        self._counts[name] = self._counts[name] + counts.sum(axis=0, dtype=np.float64)

    def _keep_horizon(self, horizon: int) -> None:
        if self._horizon is not None and horizon != self._horizon:
            raise ValueError(
                f"[FrameMetrics] every batch must have the same number of lead times but got {horizon} "
                f"after {self._horizon}."
            )
        self._horizon = horizon


def _mean(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")
