"""The ensemble forecaster: several forecasts of the same frames, by several checkpoints or from perturbed inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convlstm.architectures.ensemble import check_members
from convlstm.architectures.perturbation import Perturbation
from convlstm.arguments import check_numbers
from convlstm.forecasting.forecaster import Forecaster
from convlstm.metrics.events import lowest_event
from convlstm.writers.forecast import Layer

import numpy as np

# Units in which 0.5 is a threshold that makes sense.
_WITH_THRESHOLD = ("mm/h", "dBZ", "raw", "")


class EnsembleForecaster(Forecaster):
    """A forecaster of an ensemble's mean, in physical units; `layers` has its spread and its probabilities.

    Args:
        forecasters: The forecasters of the members. Their units and numbers of input frames must be the same, and the
            frame intervals and pixel sizes of their training must not differ by more than 5 percent.
        perturbed, perturbation: As in `Ensemble`.
        thresholds: Thresholds of the probabilities, in physical units; for a single field only. Default: those of the
            checkpoint's data, else 0.5 for rain and for values in [0, 1], and none for other fields.

    Attributes:
        layers: Fields of the last call by name: `spread`, the standard deviation around the mean, and for each
            threshold `probability_at_least_...`, the share of members at or above it. Of several fields each has its
            own, such as `spread_sst`. Empty for batches, and for frames of several channels that are no fields.

    Raises:
        ValueError: There are fewer than two members, the forecasters do not fit each other, or there are thresholds
            and several fields.
    """

    def __init__(
        self,
        forecasters: Sequence[Forecaster],
        *,
        perturbed: int = 1,
        perturbation: Perturbation | None = None,
        thresholds: Sequence[float] | None = None,
    ):
        if not isinstance(forecasters, Sequence) or not all(isinstance(each, Forecaster) for each in forecasters):
            raise ValueError(
                f"[EnsembleForecaster] 'forecasters' must be a list of forecasters but got {forecasters!r}."
            )
        check_members("EnsembleForecaster", len(forecasters), perturbed)
        first = forecasters[0]
        for other in forecasters[1:]:
            for name in ("units", "input_frames", "frame_interval", "pixel_km"):
                a, b = getattr(first, name), getattr(other, name)
                # Pixels of one kilometre are 999.7 m wide on some maps.
                close = isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=0.05)
                if a != b and not close:
                    raise ValueError(
                        f"[EnsembleForecaster] 'forecasters' must have the same '{name}' but got {a!r} and {b!r}."
                    )
        super().__init__(
            first.model, first.scale, input_frames=first.input_frames, horizon=first.horizon, record=first.record
        )
        self.forecasters, self.perturbed = list(forecasters), perturbed
        self.perturbation = Perturbation() if perturbation is None else perturbation
        if thresholds is None:
            of_data = (first.record.get("data") or {}).get("thresholds")
            thresholds = of_data or ([0.5] if self.units in _WITH_THRESHOLD else [])
        self.thresholds = tuple(check_numbers("EnsembleForecaster", "thresholds", thresholds))
        if self.thresholds and len(names := [name for name, _ in self._fields()]) > 1:
            raise ValueError(
                f"[EnsembleForecaster] 'thresholds' need a single field but the forecast has {', '.join(names)}. Leave "
                "them out."
            )
        self.layers: dict[str, Layer] = {}

    def _fields(self) -> list[tuple[str, str]]:
        """Returns names and units of the fields; a single one, or frames that are no fields, have no name."""
        targets = getattr(self.scale, "targets", ())
        if len(targets) > 1:
            return [(target.field.name, target.field.units) for target in targets]
        return [("", self.units)]

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.forecasters) * self.perturbed

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
        steps = self.horizon if horizon is None else horizon
        for number in range(self.size):
            forecaster = self.forecasters[number // self.perturbed]

            def perturbed(y: np.ndarray, number: int = number) -> np.ndarray:
                y = y if perturb is None else perturb(y)
                circular = getattr(self.forecasters[number // self.perturbed].model, "circular", False)
                return y if self.perturbed == 1 else self.perturbation(y, number, circular=circular)

            forecast = forecaster(frames, steps, times=times, degrees=degrees, perturb=perturbed)
            self.missing, self.clipped = forecaster.missing, forecaster.clipped
            yield forecast

    def __call__(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Returns the mean of the members' forecasts. Arguments, result and errors are those of `Forecaster`."""
        mean = squares = counts = np.zeros(0)
        members = self.members(frames, horizon, times=times, degrees=degrees, perturb=perturb)
        for number, forecast in enumerate(members, 1):
            if number == 1:
                mean, squares = np.zeros(forecast.shape), np.zeros(forecast.shape)
                counts = np.zeros((len(self.thresholds), *forecast.shape), np.float32)
            # Welford's recurrence, which needs each member only once.
            change = forecast - mean
            mean += change / number
            squares += change * (forecast - mean)
            for k, threshold in enumerate(self.thresholds):
                counts[k] += forecast >= lowest_event(threshold)
        shares = np.where(np.isnan(mean), np.nan, counts / self.size)
        self._set_layers(np.sqrt(squares / (self.size - 1)), shares)
        return mean.astype(np.float32)

    def _set_layers(self, spread: np.ndarray, shares: np.ndarray) -> None:
        """Sets `layers` from the spread and from the share of members at or above each threshold."""
        self.layers, fields = {}, self._fields()
        if spread.ndim == 3:
            spread, shares = spread[..., None], shares[..., None]
        if spread.ndim == 5 or spread.shape[-1] != len(fields):
            return
        for channel, (name, own_units) in enumerate(fields):
            units = {"mm/h": "mm h-1", "raw": "1", "": "1"}.get(own_units, own_units)
            ending, of = (f"_{name}", f" of {name}") if name else ("", "")
            text = f"standard deviation{of} of {self.size} members"
            self.layers[f"spread{ending}"] = Layer(spread[..., channel], units, text)
            for threshold, share in zip(self.thresholds, shares[..., channel], strict=True):
                text = f"{threshold:g}".replace("-", "minus_").replace(".", "p")
                short = {"mm/h": "_mmh", "dBZ": "_dBZ"}.get(own_units, "")
                self.layers[f"probability_at_least_{text}{short}"] = Layer(
                    share,
                    "1",
                    f"probability of {threshold:g} {own_units or 'of 1'} or more, the share of {self.size} members",
                    {"threshold": threshold, "threshold_units": units},
                )

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance of the first forecaster, with all checkpoints and the perturbation of the inputs."""
        ensemble: dict[str, Any] = {
            "members": self.size,
            "checkpoints": [f.record.get("checkpoint") for f in self.forecasters],
        }
        if self.perturbed > 1:
            ensemble["perturbation"] = self.perturbation.describe()
        return super().provenance() | {"ensemble": ensemble}
