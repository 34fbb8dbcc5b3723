"""The metrics of one forecaster in an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlstm.architectures.members import returns_members
from convlstm.evaluation import guards
from convlstm.evaluation.ensemble_metrics import ensemble_metrics
from convlstm.evaluation.physical_data import FieldData, RainField
from convlstm.metrics import EnsembleMetrics, FieldMetrics, FrameMetrics, RainMetrics, Scores
from convlstm.products import single

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
        products: Products of its members that are scored as forecasts of their own. Default: none.

    Attributes:
        latest: Its frames of the last batch.
        products: The metrics of the products by their names.
    """

    def __init__(
        self,
        name: str,
        forecaster: Any,
        ssim: bool,
        field: RainField | None,
        fields: FieldData | None,
        products: Sequence[str] = (),
    ):
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
        if returns_members(forecaster):
            self.ensembles = ensemble_metrics(forecaster.size, field, fields)
        self.latest = np.zeros(0, np.float32)
        self.products: dict[str, ForecasterMetrics] = {}
        for product in products if self.ensembles else ():
            self.products[product] = ForecasterMetrics(f"{name} {product}", None, ssim, field, fields)
            self.products[product].times = self.times  # those of the ensemble

    @property
    def rows(self) -> dict[str, ForecasterMetrics]:
        """These metrics and those of the products, by the names of the forecasters."""
        return {one.name: one for one in (self, *self.products.values())}

    def update(
        self,
        forecast: mx.array,
        targets: np.ndarray,
        truth: np.ndarray,
        mask: np.ndarray | None,
        reference: np.ndarray | None,
    ) -> None:
        """Adds the forecast of a batch, that of an ensemble as the mean of its members, and its products.

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
        values = self._physical(frames, reference)
        if members is not None:
            for member in members:  # one after the other in their place: members are the largest arrays
                member[:] = self._physical(member, reference)
            values = members.mean(axis=0)
            for channel, ensemble in enumerate(self.ensembles.values()):
                # Each field is a channel; rain and frames are scored with all of theirs.
                c = slice(channel, channel + 1) if self.fields is not None else slice(None)
                known = mask if mask is None else np.broadcast_to(mask, targets.shape)[..., c]
                ensemble.update(members[..., c], truth[..., c], known)
            for product, metrics in self.products.items():
                field = single(product, members, guards.thresholds_of(self.field, self.data))
                metrics._add(self._scaled(field, reference), field, targets, truth, mask)
        self._add(frames, values, targets, truth, mask)

    def _add(
        self, frames: np.ndarray, values: np.ndarray, targets: np.ndarray, truth: np.ndarray, mask: np.ndarray | None
    ) -> None:
        """Adds frames in [0, 1] and their physical values."""
        self.latest = frames
        self.frames.update(frames, targets, mask)
        if self.rain is not None:
            self.rain.update(values, truth, mask)
        if self.fields is not None:
            self.fields.update(values, truth, mask)

    def _physical(self, frames: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        """Returns frames in the units of the data, or as they are if these have none."""
        if self.data is not None:
            return self.data.physical(frames, reference)
        return frames if self.field is None else self.field.physical(frames)

    def _scaled(self, values: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        """Returns physical values on the scale of the model; the inverse of `_physical`."""
        data: Any = self.data
        if data is None:
            rain: Any = self.field
            return values if rain is None else np.asarray(rain.transform.forward(values), np.float32)
        if data.channels.climatology is not None:
            climatology: Any = reference
            return np.asarray(data.channels.unclipped(values, np.nan_to_num(climatology)), np.float32)
        return np.asarray(data.channels.scaled(values, reference), np.float32)

    def scores(self) -> Scores:
        """Returns the scores of all metrics."""
        others = [one.compute() for one in (self.rain, self.fields, *self.ensembles.values()) if one is not None]
        return {name: values for scores in (self.frames.compute(), *others) for name, values in scores.items()}

    def speed(self) -> float:
        """Returns the speed in sequences per second."""
        steady = self.times[1:] or self.times
        return sum(n for n, _ in steady) / sum(seconds for _, seconds in steady)
