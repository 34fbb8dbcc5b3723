"""Every class and function that a configuration may name, with valid arguments, and wrong values for each argument."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm import losses
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.frame_mover import FrameMover
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.datasets import transforms
from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.datasets.gridded_fields import GriddedFields
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.radar_mixture import RadarMixture
from convlstm.datasets.readers import FORMATS, make_reader
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.datasets.video_clips import VideoClips
from convlstm.ensemble_losses import EnsembleScore
from convlstm.models import EncoderForecaster
from convlstm.runs import loggers
from convlstm.training import sampling, schedules
from convlstm.training.loop import Trainer
from convlstm.training.optimizers import CycledAdam, Muon
from tests.support import ocean, radar_archives, tiny

import mlx.core as mx
import numpy as np

WRONG = (
    *(12, -1, 0.5, math.nan, math.inf, 10**30, 10**400, True, None),
    *("", "5m", "\x1b[31m", "a\0b", [], [1, "x"], {}, {"a": 1}),
)


@dataclass(frozen=True)
class Taker:
    """A class or a function of arguments.

    Attributes:
        build: Takes the arguments by name.
        valid: Arguments with which it is built.
        names: The arguments to be changed.
        use: Uses what was built, since some values fail only then. Default: nothing.
    """

    build: Callable[..., Any]
    valid: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    use: Callable[[Any], Any] = lambda built: None

    def fault(self, name: str, value: Any) -> str:
        """Gives an argument another value; returns the error unless it names argument and value, or "" if all is well.

        Missing libraries and paths where nothing exists are no faults.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.use(self.build(**{**self.valid, name: value}))
        except (ImportError, FileNotFoundError) as error:
            return "" if str(error) else repr(error)
        except (TypeError, ValueError) as error:
            return "" if names(str(error), name, value) else f"{type(error).__name__}: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""


def names(text: str, argument: str, value: Any) -> bool:
    """Returns True if an error message names its owner and an argument, or shows the argument's value."""
    return bool(re.match(r"\[\w+\] ", text)) and (bool(re.search(rf"\b{argument}\b", text)) or repr(value) in text)


def taker(build: Callable[..., Any], use: Callable[[Any], Any] = lambda built: None, **valid: Any) -> Taker:
    """Returns the taker of all arguments of a function or a class."""
    parameters = inspect.signature(build).parameters.values()
    return Taker(build, valid, tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD), use)


def takers(folder: Path) -> dict[str, Taker]:
    """Returns all takers by name; their data are written to the folder."""
    pictures, sea, clips = folder / "pictures", folder / "sea.nc", folder / "clips"
    radar_archives.write_pictures(pictures, 24)
    ocean.write_ocean(sea)
    clips.mkdir()
    for number in range(10):
        np.save(clips / f"{number}.npy", np.full((30, 16, 16), number, np.uint8))
    shared: dict[str, Any] = {"index": str(folder / "index"), "progress": False}
    lengths: dict[str, Any] = {"input_frames": 2, "target_frames": 2}
    of_rain: dict[str, Any] = {"archive": str(pictures), "reader": radar_archives.OPTIONS, **lengths}
    of_sea: dict[str, Any] = {"archive": str(sea), "variable": "sst", **lengths}
    of_archive: dict[str, Any] = {"path": pictures, "options": radar_archives.OPTIONS}
    steps = (mx.array(0), mx.array(7))
    x = mx.full((1, 2, 4, 4, 1), 0.5)

    def scored(loss: Any) -> None:
        mx.eval(loss(x, x))

    def scheduled(rate: Any) -> None:
        mx.eval([rate(step) for step in steps] if callable(rate) else rate)

    def there_and_back(transform: Any) -> None:
        transform.inverse(transform.forward(np.zeros(3, np.float32)))

    def sequence(data: Any) -> None:
        data.sample("train", 0)

    def looked(read: Any) -> Any:
        return read.look(), read.step, read.coarsen, read.frame_size

    bins: dict[str, Any] = {"bins": [0.2, 0.5], "weights": [1, 2, 3]}
    found = {
        "RadarEcho": taker(RadarEcho, sequence, **of_rain, **shared),
        "RadarEcho, synthetic": taker(
            RadarEcho, sequence, input_frames=1, target_frames=1, frame_size=16, train_sequences=2, progress=False
        ),
        "RadarEcho's reader": Taker(
            lambda **reader: RadarEcho(**{**of_rain, **shared, "reader": reader}),
            radar_archives.OPTIONS,
            ("pattern", "units", "scale", "missing", "luminance"),
        ),
        "RadarMixture": taker(
            RadarMixture, sequence, parts={"a": {}}, input_frames=1, target_frames=1, frame_size=16, train_sequences=2
        ),
        "GriddedFields": taker(GriddedFields, sequence, **of_sea, **shared),
        "VideoClips": taker(VideoClips, sequence, path=str(clips), **shared),
        "MovingMNIST": taker(
            MovingMNIST, sequence, digits=tiny.blots(), root=str(folder), frame_size=16, digit_size=8, train_sequences=2
        ),
        "SyntheticRadar": taker(SyntheticRadar, frame_size=16, frames=2),
        "Archive": taker(Archive, **of_archive, cache=folder / "index", progress=False),
        "ForecastInput": taker(ForecastInput, looked, **of_archive, frames=2),
        "NewestFrames": taker(NewestFrames, lambda read: read.look(), **of_archive),
        "Reflectivity": taker(transforms.Reflectivity, there_and_back),
        "LogRain": taker(transforms.LogRain, there_and_back),
        "Linear": taker(transforms.Linear, there_and_back),
        "Standard": taker(transforms.Standard, there_and_back, mean=0.0, std=1.0),
        "to_unit": taker(transforms.to_unit, transform=None, values=[1.0, 2.0]),
        "WandB": taker(loggers.WandB),
        "MLflow": taker(loggers.MLflow),
        "constant": taker(schedules.constant, scheduled, learning_rate=0.1, warmup_steps=2),
        "cosine": taker(schedules.cosine, scheduled, learning_rate=0.1, steps=10),
        "staircase": taker(schedules.staircase, scheduled, learning_rate=0.1, every=2),
        "one_cycle": taker(schedules.one_cycle, scheduled, learning_rate=0.1, steps=10),
        "one_cycle_beta": taker(schedules.one_cycle_beta, scheduled, steps=10),
        "linear": taker(sampling.linear, scheduled),
        "exponential": taker(sampling.exponential, scheduled),
        "inverse_sigmoid": taker(sampling.inverse_sigmoid, scheduled),
        "reverse": taker(sampling.reverse, scheduled),
        "CycledAdam": taker(CycledAdam, learning_rate=0.1, beta1=0.9),
        "Muon": taker(Muon, learning_rate=0.1),
        "BinaryCrossEntropy": taker(losses.BinaryCrossEntropy, scored),
        "Balanced": taker(losses.Balanced, scored, **bins),
        "BalancedMeanSquaredError": taker(losses.BalancedMeanSquaredError, scored, **bins),
        "BalancedMeanAbsoluteError": taker(losses.BalancedMeanAbsoluteError, scored, **bins),
        "SoftCriticalSuccess": taker(losses.SoftCriticalSuccess, scored, thresholds=[0.2, 0.5]),
        "EnsembleScore": taker(EnsembleScore, lambda loss: mx.eval(loss(mx.stack([x, x]), x))),
        "WeightedSum": taker(
            losses.WeightedSum, scored, losses=[losses.MeanSquaredError(), losses.MeanAbsoluteError()]
        ),
        "Trainer": taker(Trainer, max_steps=10, batch_size=2),
        "EncoderForecaster": taker(EncoderForecaster, hidden_channels=[4], kernel_size=3, patch_size=2),
        "ConvLSTMStack": taker(ConvLSTMStack, hidden_channels=[4], kernel_size=3, patch_size=2),
        "FrameMover": taker(FrameMover, hidden_channels=[4], kernel_size=3, patch_size=2),
        "PredRNN": taker(PredRNN, hidden_channels=[4], kernel_size=3, patch_size=2),
        "SimVP": taker(SimVP, frames=2),
        "AdvectionResidual": taker(AdvectionResidual),
        "SPROG": taker(SPROG),
        "STEPS": taker(STEPS),
        "LearnedSTEPS": taker(LearnedSTEPS, hidden_channels=[4]),
        "Extrapolation": taker(Extrapolation),
        "Persistence": taker(Persistence),
    }
    for format, reader in FORMATS.items():
        options = tuple(option.name for option in dataclasses.fields(reader))
        if options:
            found[f"reader of {format}"] = Taker(make_reader, {"format": format}, options)
    return found
