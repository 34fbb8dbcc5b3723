"""Scores of frames in [0, 1], accumulated batch by batch and by lead time."""

from __future__ import annotations

from typing import Any

from convlstm.metrics.batch_checks import check_horizon, check_same_shape, known_pixels
from convlstm.metrics.ssim import structural_similarity
from convlstm.metrics.table import Scores

import numpy as np

KINDS = ("mse_per_pixel", "mae_per_pixel", "mse_per_frame", "mae_per_frame", "psnr", "ssim", "ssim_openstl")

PSNR_CAP = 100.0
"""Highest PSNR of a frame, in dB: a perfect frame would make every mean infinite."""


class FrameMetrics:
    r"""Scores of forecast frames by lead time, accumulated batch by batch.

    With the error e = forecast - target, a frame's valid pixels (all H W C of them if none is missing) and q the
    forecast clipped to [0, 1]:

        mse_per_pixel, mae_per_pixel   mean of e^2, of abs(e), over all valid pixels of all frames
        mse_per_frame, mae_per_frame   sum of e^2, of abs(e), over a frame's valid pixels; mean over frames
        psnr                           20 log10(1 / sqrt(mean of (q - target)^2 over the frame)); mean over frames
        ssim                           `structural_similarity` of q with L = 1; mean over frames
        ssim_openstl                   the same with L = 2

    `mse_per_frame`, `mae_per_frame`, `psnr` and `ssim_openstl` are in the units of OpenSTL's tables.

    Missing pixels never score: those where the mask is False, or where the target or the forecast is NaN. PSNR covers a
    frame's valid pixels and SSIM its windows without a missing pixel; a frame without any is left out of the mean.
    `coverage` is the share of the pixels that scored. The PSNR of a frame is at most 100 dB, so that a perfect frame
    does not make the mean infinite. SSIM of frames smaller than 7 x 7 is NaN, and so is every mean over nothing.

    Args:
        ssim: True to compute `ssim` and `ssim_openstl`, the slow part. Default: True.
    """

    def __init__(self, *, ssim: bool = True):
        self.ssim = ssim
        kinds = [kind for kind in KINDS if ssim or not kind.startswith("ssim")]
        # The first update turns each value into an array over the lead times.
        self._sums: dict[str, Any] = dict.fromkeys(kinds, 0.0)
        self._counts: dict[str, Any] = dict.fromkeys(kinds, 0.0)
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
        forecast, target = _floats("forecast", forecast), _floats("target", target)
        check_same_shape("FrameMetrics", forecast, target)
        valid = ~(np.isnan(forecast) | np.isnan(target))
        if mask is not None:
            valid &= known_pixels("FrameMetrics", mask, target.shape)
        self._keep_horizon(target.shape[1])
        self._pixels += valid.size
        complete = bool(valid.all())
        if not complete:
            forecast, target = np.where(valid, forecast, 0), np.where(valid, target, 0)

        inside = (2, 3, 4)
        pixels = valid.sum(axis=inside)
        seen = pixels > 0
        error = forecast - target
        with np.errstate(over="ignore"):  # a forecast that diverged has an infinite score
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
            both = structural_similarity(clipped, target, (1.0, 2.0), valid=None if complete else valid)
            for kind, value in zip(("ssim", "ssim_openstl"), both, strict=True):
                scored = ~np.isnan(value)
                self._add(kind, np.where(scored, value, 0), scored)

    def merge(self, other: FrameMetrics) -> None:
        """Adds the batches that another object has accumulated.

        Raises:
            ValueError: The two differ in the number of lead times or in `ssim`.
        """
        if self.ssim != other.ssim:
            raise ValueError(
                f"[FrameMetrics] 'other' must have the same 'ssim', {self.ssim}, to be merged but has {other.ssim}."
            )
        if other._horizon is None:
            return
        self._keep_horizon(other._horizon)
        self._pixels += other._pixels
        for kind in self._sums:
            self._sums[kind] = self._sums[kind] + other._sums[kind]
            self._counts[kind] = self._counts[kind] + other._counts[kind]

    def state(self) -> dict[str, Any]:
        """Returns everything accumulated so far, as JSON can hold it without loss, for a merge in another process.

        Returns:
            A dict of `ssim`, `horizon` (None before the first update), `pixels`, and by score the lists `sums` and
            `counts` over the lead times.
        """
        kinds = {} if self._horizon is None else self._sums
        return {
            "ssim": self.ssim,
            "horizon": self._horizon,
            "pixels": self._pixels,
            "sums": {kind: self._sums[kind].tolist() for kind in kinds},
            "counts": {kind: self._counts[kind].tolist() for kind in kinds},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FrameMetrics:
        """Returns an object from the return value of another object's `state()`.

        Raises:
            ValueError: The scores or the number of lead times in the state contradict its `ssim` or `horizon`.
        """
        self = cls(ssim=state["ssim"])
        if state["horizon"] is None:
            return self
        for key, arrays in (("sums", self._sums), ("counts", self._counts)):
            lengths = {kind: len(values) for kind, values in state[key].items()}
            if lengths != dict.fromkeys(arrays, state["horizon"]):
                raise ValueError(
                    f"[FrameMetrics] '{key}' must hold {state['horizon']} lead times of {', '.join(arrays)} but got "
                    f"{lengths}."
                )
            arrays.update({kind: np.array(values, np.float64) for kind, values in state[key].items()})
        self._horizon, self._pixels = state["horizon"], state["pixels"]
        return self

    def compute(self) -> Scores:
        """Returns the scores of all batches so far.

        Returns:
            A dict from the name of a score to `{"overall": float, "per_lead": list[float]}`. `per_lead` holds a value
            for each lead time, the first being one frame ahead. `overall` is the mean over everything that scored at
            any lead time; if no pixel is missing, it is the mean of `per_lead`.

        Raises:
            ValueError: There was no update.
        """
        if self._horizon is None:
            raise ValueError("[FrameMetrics] there is nothing to compute: call 'update' with a batch first.")
        return {
            kind: {
                "overall": _mean(np.sum(total), np.sum(self._counts[kind])),
                "per_lead": [_mean(s, n) for s, n in zip(total, self._counts[kind], strict=True)],
            }
            for kind, total in self._sums.items()
        }

    @property
    def coverage(self) -> float:
        """Share of the pixels that scored, between 0 and 1; NaN before the first update."""
        return _mean(np.sum(self._counts["mse_per_pixel"]), self._pixels)

    def _add(self, kind: str, values: np.ndarray, counts: np.ndarray) -> None:
        self._sums[kind] = self._sums[kind] + values.sum(axis=0, dtype=np.float64)
        self._counts[kind] = self._counts[kind] + counts.sum(axis=0, dtype=np.float64)

    def _keep_horizon(self, horizon: int) -> None:
        check_horizon("FrameMetrics", horizon, self._horizon)
        self._horizon = horizon


def _floats(name: str, value: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"[FrameMetrics] '{name}' must hold floats, 1 being the full scale, but got {array.dtype}. "
            "Convert it with `as_unit`."
        )
    if array.ndim != 5:
        raise ValueError(f"[FrameMetrics] '{name}' must have the shape (N, T, H, W, C) but got {array.shape}.")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def _mean(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")
