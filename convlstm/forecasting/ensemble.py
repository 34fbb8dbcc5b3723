"""Ensembles: several forecasts of the same frames, by several checkpoints or from inputs that are a little off."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convlstm.architectures.ensemble import check_members
from convlstm.architectures.perturbation import Perturbation
from convlstm.forecasting.forecaster import Forecaster
from convlstm.writers.forecast import Layer

import numpy as np


class EnsembleForecaster(Forecaster):
    """Forecasts the mean of an ensemble, in physical units; `layers` has its spread and its probabilities.

    Args:
        forecasters: They must have the same units, take the same number of frames, and be trained on steps and pixels
            that differ by no more than a twentieth.
        perturbed, perturbation: As in `Ensemble`.
        thresholds: Of the probabilities, in physical units. Default: those of the checkpoint's data, else 0.5.

    Attributes:
        layers: Of the last call, by name: `spread`, the standard deviation around the mean, and for each threshold
            `probability_at_least_...`, the share of members at or above it. Empty where frames have several channels.

    Raises:
        ValueError: There are fewer than two members, or the forecasters do not fit each other.
    """

    def __init__(
        self,
        forecasters: Sequence[Forecaster],
        *,
        perturbed: int = 1,
        perturbation: Perturbation | None = None,
        thresholds: Sequence[float] | None = None,
    ):
        check_members("EnsembleForecaster", len(forecasters), perturbed)
        first = forecasters[0]
        for other in forecasters[1:]:
            for name in ("units", "input_frames", "frame_interval", "pixel_km"):
                here, there = getattr(first, name), getattr(other, name)
                # Pixels of one kilometre are 999.7 m wide on some maps.
                close = isinstance(here, float) and isinstance(there, float) and math.isclose(here, there, rel_tol=0.05)
                if here != there and not close:
                    raise ValueError(
                        f"[EnsembleForecaster] 'forecasters' must have the same '{name}' but got {here!r} and "
                        f"{there!r}."
                    )
        super().__init__(
            first.model, first.scale, input_frames=first.input_frames, horizon=first.horizon, record=first.record
        )
        self.forecasters, self.perturbed = list(forecasters), perturbed
        self.perturbation = Perturbation() if perturbation is None else perturbation
        known = (first.record.get("data") or {}).get("thresholds") or [0.5]
        self.thresholds = tuple(float(threshold) for threshold in (known if thresholds is None else thresholds))
        self.layers: dict[str, Layer] = {}

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.forecasters) * self.perturbed

    def members(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[np.ndarray]:
        """The forecasts one after the other; arguments, results and errors are a `Forecaster`'s."""
        steps = self.horizon if horizon is None else horizon
        for number in range(self.size):
            forecaster = self.forecasters[number // self.perturbed]

            def own(y: np.ndarray, number: int = number) -> np.ndarray:
                y = y if perturb is None else perturb(y)
                return y if self.perturbed == 1 else self.perturbation(y, number)

            forecast = forecaster(frames, steps, perturb=own)
            self.missing = forecaster.missing
            yield forecast

    def __call__(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """The mean of the members' forecasts; arguments, result and errors are a `Forecaster`'s."""
        mean = squares = counts = np.zeros(0)
        for number, forecast in enumerate(self.members(frames, horizon, perturb=perturb), 1):
            if number == 1:
                mean, squares = np.zeros(forecast.shape), np.zeros(forecast.shape)
                counts = np.zeros((len(self.thresholds), *forecast.shape), np.float32)
            # By Welford's recurrence: no member has to be kept.
            change = forecast - mean
            mean += change / number
            squares += change * (forecast - mean)
            for k, threshold in enumerate(self.thresholds):
                counts[k] += forecast >= threshold
        shares = np.where(np.isnan(mean), np.nan, counts / self.size)
        self._keep(np.sqrt(squares / (self.size - 1)), shares)
        return mean.astype(np.float32)

    def _keep(self, spread: np.ndarray, shares: np.ndarray) -> None:
        self.layers = {}
        if spread.ndim == 5 or (spread.ndim == 4 and spread.shape[-1] != 1):
            return
        spread, shares = (a[..., 0] if spread.ndim == 4 else a for a in (spread, shares))
        units = {"mm/h": "mm h-1", "dBZ": "dBZ"}.get(self.units, "1")
        words = f"{self.size} members"
        self.layers["spread"] = Layer(spread, units, f"standard deviation of {words}")
        for threshold, share in zip(self.thresholds, shares, strict=True):
            text = f"{threshold:g}".replace("-", "minus_").replace(".", "p")
            short = {"mm/h": "_mmh", "dBZ": "_dBZ"}.get(self.units, "")
            self.layers[f"probability_at_least_{text}{short}"] = Layer(
                share,
                "1",
                f"probability of {threshold:g} {self.units or 'of 1'} or more, the share of {words}",
                {"threshold": threshold, "threshold_units": units},
            )

    def provenance(self) -> dict[str, Any]:
        """That of the first forecaster, with all checkpoints and what the inputs went through."""
        told: dict[str, Any] = {
            "members": self.size,
            "checkpoints": [f.record.get("checkpoint") for f in self.forecasters],
        }
        if self.perturbed > 1:
            told["perturbation"] = self.perturbation.describe()
        return super().provenance() | {"ensemble": told}
