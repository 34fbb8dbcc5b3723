"""Arrays of wrong shapes, types and values, handed to what takes arrays."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import convlstm  # noqa: F401  before mlx.core
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.baselines import Persistence, Zeros
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation, advect
from convlstm.architectures.frames import as_unit
from convlstm.architectures.motion import motion
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.trajgru import TrajGRU
from convlstm.evaluation.scoring import evaluate
from convlstm.layers import ConvLSTM
from convlstm.losses import Balanced, BinaryCrossEntropy, MeanAbsoluteError, MeanSquaredError
from convlstm.metrics import FrameMetrics, RainMetrics
from convlstm.models import EncoderForecaster

import mlx.core as mx
import mlx.nn as nn
import numpy as np

SHAPE = (2, 3, 8, 8, 1)
FLOW = (2, 8, 8, 2)


# What takes arrays, the shapes that fit, and whether they are MLX's (else NumPy's).
Taker = tuple[Callable[..., Any], tuple[tuple[int, ...], ...], bool]


def takers() -> dict[str, Taker]:
    """By name, all that is tried."""
    models: dict[str, nn.Module] = {
        "EncoderForecaster": EncoderForecaster(hidden_channels=[4], kernel_size=3, patch_size=2),
        "ConvLSTMStack": ConvLSTMStack(hidden_channels=[4], kernel_size=3, patch_size=2),
        "PredRNN": PredRNN(hidden_channels=[4, 4], kernel_size=3, patch_size=2),
        "AdvectionResidual": AdvectionResidual(hidden_channels=[4], points=4),
        "Extrapolation": Extrapolation(points=4),
        "Persistence": Persistence(),
        "Zeros": Zeros(),
    }
    losses: dict[str, Callable[..., mx.array]] = {
        "MeanSquaredError": MeanSquaredError(),
        "MeanAbsoluteError": MeanAbsoluteError(),
        "BinaryCrossEntropy": BinaryCrossEntropy(),
        "Balanced": Balanced([0.5], [1, 2]),
    }
    layers = {kind.__name__: kind(1, 4, 3) for kind in (ConvLSTM, ConvGRU, TrajGRU)}
    found: dict[str, Taker] = {
        "as_unit": (as_unit, (SHAPE,), True),
        "motion": (lambda x: motion(x, points=4), (SHAPE,), True),
        "advect": (lambda x, flow: advect(x, flow, 2), ((2, 8, 8, 1), FLOW), True),
        "FrameMetrics": (scored(FrameMetrics), (SHAPE, SHAPE, SHAPE), False),
        "RainMetrics": (scored(lambda: RainMetrics([0.5], units="mm/h")), (SHAPE, SHAPE, SHAPE), False),
        "evaluate": (evaluated, (SHAPE, SHAPE, SHAPE), False),
    }
    found |= {name: (lambda x, model=model: model(x, 2), (SHAPE,), True) for name, model in models.items()}
    found |= {name: (loss, (SHAPE, SHAPE, SHAPE), True) for name, loss in losses.items()}
    return found | {name: (lambda x, layer=layer: layer(x)[0], (SHAPE,), True) for name, layer in layers.items()}


def scored(make: Callable[[], Any]) -> Callable[..., Any]:
    """A fresh score at every call."""

    def score(forecast: Any, target: Any, mask: Any) -> Any:
        metrics = make()
        metrics.update(forecast, target, mask)
        return metrics.compute()

    return score


def evaluated(inputs: Any, targets: Any, mask: Any) -> Any:
    """Persistence, evaluated on one batch."""
    return evaluate({"persistence": Persistence()}, [{"inputs": inputs, "targets": targets, "mask": mask}])


@dataclass
class ArrayCase:
    """Arrays for a taker, of which one is not as it must be; `kind` says how."""

    number: int
    taker: str
    kind: str
    arrays: list[np.ndarray]

    def __str__(self) -> str:
        return f"#{self.number} {self.taker} {self.kind}: " + ", ".join(
            f"{a.dtype}{list(a.shape)}" for a in self.arrays
        )


KINDS = ("axis less", "axis more", "size", "empty", "type", "nan", "infinite", "huge")


def array_cases(number: int, seed: int) -> Iterator[ArrayCase]:
    """Random cases, a function of the seed."""
    known = takers()
    for n in range(number):
        rng = random.Random(f"{seed} {n}")
        name = rng.choice(list(known))
        shapes = known[name][1]
        generator = np.random.default_rng([seed, n])
        arrays = [generator.random(shape, np.float32) for shape in shapes]
        place, kind = rng.randrange(len(arrays)), rng.choice(KINDS)
        arrays[place] = wrong(rng, kind, arrays[place])
        yield ArrayCase(n, name, kind, arrays)


def wrong(rng: random.Random, kind: str, array: np.ndarray) -> np.ndarray:
    """The array, not as it must be."""
    axis = rng.randrange(array.ndim)
    if kind == "axis less":
        return array.take(0, axis)
    if kind == "axis more":
        return np.expand_dims(array, axis)
    if kind == "size":
        return np.concatenate([array, array.take([0], axis)], axis)
    if kind == "empty":
        return array.take([], axis)
    if kind == "type":
        return array.astype(rng.choice(["uint8", "int32", "int64", "bool", "float16", "complex64", "uint32"]))
    array = array.copy()
    array.flat[rng.randrange(array.size)] = {"nan": np.nan, "infinite": np.inf, "huge": 3e38}[kind]
    return array


def told(case: ArrayCase, taker: Taker) -> str:
    """What the taker raised, unless it is an error of ours that names its owner; "" where all is well."""
    call, _, mlx = taker
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what overflows
            result = call(*(mx.array(a) if mlx else a for a in case.arrays))
            mx.eval(result if mlx else [])
    except (TypeError, ValueError) as error:
        return "" if str(error).startswith("[") and "nanobind" not in str(error) else f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
