"""The forecaster of a model that draws its members itself, such as STEPS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convlstm.architectures.coarse_pixels import CoarsePixels
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.arguments import check_whole
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import FieldScale, Scale
from convlstm.products import Products

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class DrawnForecaster(EnsembleForecaster):
    """A forecaster of the mean of a model's own members, in physical units; `layers` has spread and probabilities.

    A `LearnedSTEPS` takes frames of any step and pixels once `adopt` has told it what they are.

    Args:
        model: `model(inputs, horizon)` returns the members, (M, N, horizon, H, W, C), and `model.size` is M.
        scale, input_frames, horizon, most_clipped, record: As in `Forecaster`.
        thresholds, products: As in `EnsembleForecaster`.

    Attributes:
        size: Number of members, at least 2, which can be set.
        products, layers, all_members, about: As in `EnsembleForecaster`.
        pixels: The blocks of pixels that are averaged to one for the model.
        trained_km: Side of a pixel in km in the configuration of the model; NaN for models that are not told it.
    """

    def __init__(
        self,
        model: nn.Module,
        scale: Scale | FieldScale | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        products: Products | None = None,
        **options: Any,
    ):
        self._drawn = _Drawn(model)
        member = Forecaster(self._drawn, scale, **options)  # type: ignore[arg-type]
        super().__init__([member], perturbed=int(model.size), thresholds=thresholds, products=products)
        self.model = model  # type: ignore[assignment]
        self.pixels = CoarsePixels()
        self.trained_km: float = getattr(model, "pixel_km", math.nan)

    @property
    def size(self) -> int:
        return self.perturbed

    @size.setter
    def size(self, members: int) -> None:
        self.model.size = self.perturbed = check_whole("DrawnForecaster", "size", members, 2)

    def adopt(self, *, minutes: float | None = None, pixel_km: float | Sequence[float] | None = None) -> None:
        """Tells a `LearnedSTEPS` the step and the pixels of the frames of further calls.

        Pixels that are smaller than those of training are averaged, by the whole number that comes closest to them, and
        forecasts are brought back to the pixels of the frames, see `convlstm.architectures.coarse_pixels`. Larger ones
        are taken as they are.

        Args:
            minutes: Minutes from frame to frame. Default: as before; at first those of the checkpoint's configuration.
            pixel_km: Side of a pixel in km, or height and width. Default: likewise.

        Raises:
            ValueError: The model is another one, or a number is not positive.
        """
        if not isinstance(self.model, LearnedSTEPS):
            raise ValueError(
                f"[DrawnForecaster] 'adopt' is for LearnedSTEPS, but the model is {type(self.model).__name__}."
            )
        if pixel_km is not None:
            height, width = [pixel_km] * 2 if isinstance(pixel_km, int | float) else pixel_km
            self.pixels = CoarsePixels.towards(self.trained_km, height, width)
            pixel_km = self.pixels.side(height, width)
        self.model.adopt(minutes=minutes, pixel_km=pixel_km)

    def members(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the members' forecasts. Arguments, results and errors are those of `Forecaster`."""
        (member,) = self.forecasters
        frames, restored = self._averaged(frames)
        try:
            for number in range(self.size):
                self._drawn.number = number
                forecast = member(frames, horizon, times=times, degrees=degrees, perturb=perturb)
                self.missing, self.clipped = member.missing, member.clipped
                yield restored(forecast)
        finally:
            self._drawn.forget()

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance of a `Forecaster` with the number of members."""
        averaged = {} if self.pixels.single else {"averaged_pixels": list(self.pixels.factors)}
        return Forecaster.provenance(self) | {"ensemble": {"members": self.size} | averaged}

    def _averaged(self, frames: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Returns frames of the model's pixels, and the way back of forecasts of the same number of dimensions."""
        array = np.asarray(frames)
        if self.pixels.single or array.ndim not in (3, 4, 5) or 0 in array.shape or array.dtype.kind not in "iufb":
            return frames, lambda forecast: forecast  # `Forecaster` says what is wrong
        x = array[..., None] if array.ndim == 3 else array
        size = (x.shape[-3], x.shape[-2])
        wanted = x.shape[-4] if self.input_frames is None else self.input_frames
        never = ~np.isfinite(x[..., -wanted:, :, :, :]).any(axis=-4, keepdims=True)

        def restored(forecast: np.ndarray) -> np.ndarray:
            means = forecast[..., None] if array.ndim == 3 else forecast
            fields = self.pixels.restored(means, size)
            if never.any():
                np.copyto(fields, np.float32(np.nan), where=never)
            return fields[..., 0] if array.ndim == 3 else fields

        means = self.pixels.averaged(x)
        return means[..., 0] if array.ndim == 3 else means, restored


class _Drawn:
    """One member of a model's forecast at a time, drawn once for all of them: member 0 is asked for first."""

    def __init__(self, model: Any):
        self.model, self.number = model, 0
        self.forget()

    def forget(self) -> None:
        """Frees the members."""
        self._members = None

    def parameters(self) -> dict[str, Any]:
        return {}  # large frames are not cut into tiles, in which the members would differ

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        self.model.check_input(inputs, horizon)

    def __call__(self, inputs: mx.array, horizon: int) -> mx.array:
        if self.number == 0:
            self._members = self.model(inputs, horizon)
            mx.eval(self._members)
        return self._members[self.number]  # type: ignore[index]
