"""The metrics of one forecaster in an evaluation."""

from __future__ import annotations

from typing import Any

from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.members import draws_members
from convlstm.evaluation import guards
from convlstm.evaluation.ensemble_metrics import ensemble_metrics
from convlstm.evaluation.physical_data import FieldData, RainField
from convlstm.metrics import EnsembleMetrics, FieldMetrics, FrameMetrics, RainMetrics, Scores

import mlx.core as mx
import numpy as np


class ForecasterMetrics:
    """The metrics of one forecaster, and the seconds that its batches took.

    Args:
        name: The forecaster's name, for messages.
        forecaster: The forecaster. One with members is scored by these, too.
        ssim: True to compute the SSIM.
        field: The data if they are rain, else None.
        fields: The data if they are other fields, else None.
    """

    def __init__(self, name: str, forecaster: Any, ssim: bool, field: RainField | None, fields: FieldData | None):
        self.name, self.field, self.data = name, field, fields
        self.fields: FieldMetrics | None = None
        if fields is not None:
            names = [(one.name, one.units) for one in fields.target_fields]
            self.fields = FieldMetrics(names, getattr(fields, "thresholds", ()))
        self.frames = FrameMetrics(ssim=ssim)
        self.rain: RainMetrics | None = None
        # By field; rain and frames have no name.
        self.ensembles: dict[str, EnsembleMetrics] = {}
        self.times: list[tuple[int, float]] = []
        if field is not None:
            around = bool(getattr(getattr(field, "columns", None), "go_round", False))
            self.rain = RainMetrics(field.thresholds, units=field.units, pixel_km=field.pixel_km, circular=around)
        if isinstance(forecaster, Ensemble) or draws_members(forecaster):
            self.ensembles = ensemble_metrics(forecaster.size, field, fields)

    def update(
        self,
        forecast: mx.array,
        targets: np.ndarray,
        truth: np.ndarray,
        mask: np.ndarray | None,
        reference: np.ndarray | None,
    ) -> np.ndarray:
        """Adds the forecast of a batch, and returns its frames; those of an ensemble are the means of its members.

        Args:
            forecast: (N, horizon, H, W, C), with the members in front if it is that of an ensemble.
            targets: The true frames, in [0, 1].
            truth: The true frames in physical units as they were read, if they have any.
            mask: Non-zero where the truth is known; None if it is known everywhere.
            reference: The physical values to which forecast changes add, or None.
        """
        members = None
        if self.ensembles:
            members, forecast = np.array(forecast.astype(mx.float32)), forecast.mean(axis=0)
        guards.check_forecast(self.name, forecast, targets.shape)
        frames = np.array(mx.array(forecast).astype(mx.float32))
        self.frames.update(frames, targets, mask)
        values = self._physical(frames, reference)
        if members is not None:
            members = np.stack([self._physical(member, reference) for member in members])
            values = members.mean(axis=0)
            for channel, ensemble in enumerate(self.ensembles.values()):
                # Each field is a channel; rain and frames are scored with all of theirs.
                c = slice(channel, channel + 1) if self.fields is not None else slice(None)
                known = mask if mask is None else np.broadcast_to(mask, targets.shape)[..., c]
                ensemble.update(members[..., c], truth[..., c], known)
        if self.rain is not None:
            self.rain.update(values, truth, mask)
        if self.fields is not None:
            self.fields.update(values, truth, mask)
        return frames

    def _physical(self, frames: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        """Returns frames in the units of the data, or as they are if these have none."""
        if self.data is not None:
            return self.data.physical(frames, reference)
        return frames if self.field is None else self.field.physical(frames)

    def scores(self) -> Scores:
        """Returns the scores of all metrics."""
        others = [one.compute() for one in (self.rain, self.fields, *self.ensembles.values()) if one is not None]
        return {name: values for scores in (self.frames.compute(), *others) for name, values in scores.items()}

    def speed(self) -> float:
        """Returns the speed in sequences per second."""
        steady = self.times[1:] or self.times
        return sum(n for n, _ in steady) / sum(seconds for _, seconds in steady)
