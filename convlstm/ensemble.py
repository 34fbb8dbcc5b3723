"""Ensembles: several forecasts of the same frames, by several checkpoints or from inputs that are a little off."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.forecaster import Forecaster
from convlstm.perturbation import Perturbation
from convlstm.training import checkpoint
from convlstm.training.search import ages
from convlstm.training.soundness import checksums
from convlstm.writers.forecast import Layer

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Ensemble(nn.Module):
    """Several models as one, with a forecast of each: `ensemble(inputs, horizon)`, or their `mean`.

    Args:
        models: Each forecasts as `model(inputs, horizon)`.
        perturbed: Members of each model, each from inputs of its own. Default: 1, from the inputs as they are.
        perturbation: What makes such inputs, where there is more than one. Default: `Perturbation()`.

    Attributes:
        size: The number of members, M.

    Raises:
        ValueError: There are fewer than two members.
    """

    def __init__(
        self,
        models: Sequence[Callable[[mx.array, int], mx.array]],
        *,
        perturbed: int = 1,
        perturbation: Perturbation | None = None,
    ):
        super().__init__()
        _check_members("Ensemble", len(models), perturbed)
        self.models = list(models)
        self.perturbed, self.perturbation = perturbed, Perturbation() if perturbation is None else perturbation

    @property
    def size(self) -> int:
        return len(self.models) * self.perturbed

    def members(self, inputs: mx.array, horizon: int) -> Iterator[mx.array]:
        """The forecasts one after the other, (N, horizon, H, W, C) each: those of the first model first."""
        frames = None if self.perturbed == 1 else np.array(inputs.astype(mx.float32))
        for number in range(self.size):
            own = inputs if frames is None else mx.array(self.perturbation(frames, number)).astype(inputs.dtype)
            yield self.models[number // self.perturbed](own, horizon)

    def __call__(self, inputs: mx.array, horizon: int) -> mx.array:
        """Forecasts of the frames after the inputs, (N, T_in, H, W, C) -> (M, N, horizon, H, W, C)."""
        forecasts = []
        for forecast in self.members(inputs, horizon):
            mx.eval(forecast)  # one at a time needs the memory of one
            forecasts.append(forecast)
        return mx.stack(forecasts)

    def mean(self, inputs: mx.array, horizon: int) -> mx.array:
        """The mean of the members, on the model's scale, (N, horizon, H, W, C)."""
        total = None
        for forecast in self.members(inputs, horizon):
            total = forecast if total is None else total + forecast
            mx.eval(total)
        assert total is not None
        return total / self.size


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
        _check_members("EnsembleForecaster", len(forecasters), perturbed)
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


@dataclass(frozen=True)
class Weights:
    """Weights of a checkpoint: `ema` is as in `convlstm.load`."""

    folder: Path
    ema: bool | None = None


def weights_of(paths: Sequence[str | Path], *, previous: bool = False, plain: bool = False) -> list[Weights]:
    """The weights that checkpoints give an ensemble.

    Args:
        paths: Of runs or of checkpoints.
        previous: Whether to take those that were kept before each, too; of a run the last one and those before it
            beside the best. Of several from one step the first is taken, damaged ones are left out with a warning.
            Default: False.
        plain: Whether to take the plain weights beside the averaged ones. Default: False.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ValueError: `plain` is True and no checkpoint has averaged weights, or a checkpoint is named twice.
    """
    folders: list[Path] = []
    named: dict[Path, str | Path] = {}
    for path in paths:
        found = checkpoint.find(path)
        if (place := found.resolve()) in named:
            raise ValueError(
                f"[ensemble] 'paths' must be of different checkpoints but '{named[place]}' and '{path}' are one: its "
                "forecast would count twice. Leave one out."
            )
        named[place] = path
        folders += _kept(found, found == Path(path).expanduser()) if previous else [found]
    weights = [Weights(folder) for folder in folders]
    if plain:
        averaged = [folder for folder in folders if checkpoint.EMA in (checksums(folder) or {})]
        if not averaged:
            raise ValueError(
                "[ensemble] 'plain' must be False where no checkpoint has averaged weights (trainer.ema) but got True."
            )
        weights += [Weights(folder, ema=False) for folder in averaged]
    return weights


def _kept(folder: Path, named: bool) -> list[Path]:
    """A checkpoint and those kept from before it and, unless it was named itself, the run's others."""
    bases = [folder] if named else [folder, folder.with_name("best"), folder.with_name("last")]
    steps: dict[int, Path] = {}
    for candidate in (kept for base in bases for kept in ages(base)):
        if not candidate.is_dir():
            continue
        try:
            checkpoint.verify(candidate)
            steps.setdefault(checkpoint.read_state(candidate)["step"], candidate)
        except checkpoint.CheckpointError as error:
            warnings.warn(f"{error} So '{candidate}' is no member.", stacklevel=3)
    return list(steps.values())


def _check_members(owner: str, models: int, perturbed: int) -> None:
    check_whole(owner, "perturbed", perturbed)
    if models * perturbed < 2:
        raise ValueError(
            f"[{owner}] an ensemble must have at least 2 members but got {models} model{'s' * (models != 1)} and "
            f"perturbed={perturbed}. Give more models, or more members of each by 'perturbed'."
        )
