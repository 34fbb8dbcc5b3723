"""Scores of fields in their own units, accumulated batch by batch and by lead time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlstm.metrics.batch_checks import check_horizon, check_same_shape, known_pixels, real_numbers
from convlstm.metrics.events import lowest_event
from convlstm.metrics.table import Scores, of_field

import numpy as np

KINDS = ("field_rmse", "field_mae", "field_bias", "correlation")


class FieldMetrics:
    r"""Scores of forecasts of fields such as temperature or wind, for each field by lead time.

    With the error e = forecast - truth over the known pixels:

        field_rmse    square root of the mean of e^2
        field_mae     mean of abs(e)
        field_bias    mean of e
        correlation   Pearson's correlation of forecast and truth over a frame's known pixels; mean over frames
        field_csi     hits / (hits + misses + false alarms) of values at or above a threshold

    A pixel is known if the mask is set there and neither the truth nor the forecast is NaN. Correlation leaves out
    frames in which either field is constant.

    Args:
        fields: Name and units of each field, in the order of the channels, such as `[("sst", "degC")]`.
        thresholds: Lowest values of events, if there is a single field. Default: none.

    Raises:
        ValueError: There is no field, or there are several and thresholds.

    Source: Wilks, Statistical Methods in the Atmospheric Sciences, chapter 9, for errors and correlations of fields.
    """

    def __init__(self, fields: Sequence[tuple[str, str]], thresholds: Sequence[float] = ()):
        if not fields:
            raise ValueError("[FieldMetrics] 'fields' must name at least one field but is empty.")
        if thresholds and len(fields) > 1:
            raise ValueError(f"[FieldMetrics] 'thresholds' need a single field but got {len(fields)}.")
        self.fields, self.thresholds = list(fields), [float(threshold) for threshold in thresholds]
        # (T, C) each, from the first update on.
        self._sums: dict[str, np.ndarray] = {}
        self._horizon: int | None = None

    def update(self, forecast: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Adds a batch.

        Args:
            forecast: (N, T, H, W, C) in the units of the fields. T is the same in every batch.
            truth: Array of the same shape.
            mask: True or non-zero where the truth is known, of the same shape or broadcastable to it. Default: all.

        Raises:
            TypeError: An array does not hold real numbers.
            ValueError: The shapes do not fit each other, the fields, or the earlier batches.
        """
        forecast = real_numbers("FieldMetrics", "forecast", forecast, "(N, T, H, W, C)")
        truth = real_numbers("FieldMetrics", "truth", truth, "(N, T, H, W, C)")
        check_same_shape("FieldMetrics", forecast, truth)
        if truth.shape[-1] != len(self.fields):
            raise ValueError(
                f"[FieldMetrics] 'truth' must have {len(self.fields)} channels, one for each field, but got "
                f"{truth.shape}."
            )
        check_horizon("FieldMetrics", truth.shape[1], self._horizon)
        self._horizon = truth.shape[1]
        known = ~(np.isnan(forecast) | np.isnan(truth))
        if mask is not None:
            known &= known_pixels("FieldMetrics", mask, truth.shape)
        f, t = (np.where(known, values, 0).astype(np.float64) for values in (forecast, truth))
        inside, error = (2, 3), f - t
        pixels = known.sum(axis=inside)
        count = np.maximum(pixels, 1)[:, :, None, None]
        # Deviations from the mean of the frame, 0 where unknown.
        df, dt = (np.where(known, v - v.sum(axis=inside, keepdims=True) / count, 0) for v in (f, t))
        spread = np.sqrt((df * df).sum(axis=inside) * (dt * dt).sum(axis=inside))
        varies = spread > 1e-12 * np.maximum(1, np.abs(t).max(axis=inside)) ** 2
        self._add("pixels", pixels)
        self._add("squares", (error * error).sum(axis=inside))
        self._add("sizes", np.abs(error).sum(axis=inside))
        self._add("errors", error.sum(axis=inside))
        self._add("correlations", np.where(varies, (df * dt).sum(axis=inside) / np.where(varies, spread, 1), 0))
        self._add("frames", varies)
        for threshold in self.thresholds:
            lowest = lowest_event(threshold)
            forecast_events, true_events = (known & (v >= lowest) for v in (forecast, truth))
            self._add(f"hits {threshold}", (forecast_events & true_events).sum(axis=inside))
            self._add(f"events {threshold}", (forecast_events | true_events).sum(axis=inside))

    def compute(self) -> Scores:
        """Returns the scores of all batches so far.

        Returns:
            A dict from a score's name, such as "field_rmse[sst degC]", to `{"overall": float, "mean_over_leads": float,
            "per_lead": list[float]}`: over the pixels of all lead times together, the mean of the values by lead time,
            and these values. NaN if no pixel is known.

        Raises:
            ValueError: There was no update.
        """
        if self._horizon is None:
            raise ValueError("[FieldMetrics] there is nothing to compute: call 'update' with a batch first.")
        scores: Scores = {}
        for channel, (name, units) in enumerate(self.fields):
            sums = {kind: values[:, channel] for kind, values in self._sums.items()}
            for kind in KINDS:
                scores[of_field(kind, name, units)] = _values(kind, sums)
            for threshold in self.thresholds:
                counts = {"hits": sums[f"hits {threshold}"], "events": sums[f"events {threshold}"]}
                scores[of_field("field_csi", f"{name}>={threshold:g}", units)] = _values("field_csi", counts)
        return scores

    def _add(self, kind: str, values: np.ndarray) -> None:
        self._sums[kind] = self._sums.get(kind, 0) + values.sum(axis=0, dtype=np.float64)


def _values(kind: str, sums: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns a score from sums by lead time."""
    per_lead = _score(kind, sums)
    return {
        "overall": float(_score(kind, {key: values.sum() for key, values in sums.items()})),
        "mean_over_leads": float(np.mean(per_lead)),
        "per_lead": per_lead.tolist(),
    }


def _score(kind: str, sums: dict[str, np.ndarray]) -> np.ndarray:
    key, count = {
        "field_rmse": ("squares", "pixels"),
        "field_mae": ("sizes", "pixels"),
        "field_bias": ("errors", "pixels"),
        "correlation": ("correlations", "frames"),
        "field_csi": ("hits", "events"),
    }[kind]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.divide(sums[key], sums[count])
    return np.sqrt(mean) if kind == "field_rmse" else mean
