"""Everything that takes arrays, and a Hypothesis strategy for arrays of wrong shapes, types and values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import convlstm  # noqa: F401  before mlx.core
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.baselines import Persistence, Zeros
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation, advect
from convlstm.architectures.frame_mover import FrameMover
from convlstm.architectures.input_frames import as_unit
from convlstm.architectures.motion import motion
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.trajgru import TrajGRU
from convlstm.evaluation.scoring import evaluate
from convlstm.layers import ConvLSTM
from convlstm.losses import Balanced, BinaryCrossEntropy, MeanAbsoluteError, MeanSquaredError
from convlstm.metrics import RainMetrics
from convlstm.metrics.frames import FrameMetrics
from convlstm.models import EncoderForecaster

import mlx.core as mx
import numpy as np
from hypothesis import strategies as st

SHAPE = (2, 3, 8, 8, 1)
FLOW = (2, 8, 8, 2)


@dataclass(frozen=True)
class Taker:
    """A function of arrays.

    Attributes:
        build: Builds the function.
        shapes: Shapes of the arrays that it takes.
        mlx: True if they are MLX's arrays, False if they are NumPy's.
    """

    build: Callable[[], Callable[..., Any]]
    shapes: tuple[tuple[int, ...], ...] = (SHAPE,)
    mlx: bool = True

    def refusal(self, arrays: list[np.ndarray]) -> str:
        """Calls the function; returns the error unless it is one of ours that names its owner, or "" if all is well."""
        function = self.build()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # values overflow
                result = function(*(mx.array(a) if self.mlx else a for a in arrays))
                mx.eval(result if self.mlx else [])
        except (TypeError, ValueError) as error:
            ours = str(error).startswith("[") and "nanobind" not in str(error)
            return "" if ours else f"{type(error).__name__}: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""


def model(build: Callable[[], Any]) -> Taker:
    """Returns the taker of a model that forecasts two frames."""

    def built() -> Callable[..., Any]:
        forecaster = build()
        return lambda x: forecaster(x, 2)

    return Taker(built)


def layer(kind: Callable[..., Any]) -> Taker:
    """Returns the taker of a recurrent layer."""

    def built() -> Callable[..., Any]:
        recurrent = kind(1, 4, 3)
        return lambda x: recurrent(x)[0]

    return Taker(built)


def loss(build: Callable[[], Any]) -> Taker:
    """Returns the taker of a loss: prediction, target, mask."""
    return Taker(build, (SHAPE,) * 3)


def scores(build: Callable[[], Any]) -> Taker:
    """Returns the taker of scores: forecast, target, mask."""

    def score(forecast: Any, target: Any, mask: Any) -> Any:
        metrics = build()
        metrics.update(forecast, target, mask)
        return metrics.compute()

    return Taker(lambda: score, (SHAPE,) * 3, mlx=False)


def evaluated(inputs: Any, targets: Any, mask: Any) -> Any:
    """Evaluates persistence on one batch."""
    return evaluate({"persistence": Persistence()}, [{"inputs": inputs, "targets": targets, "mask": mask}])


LEVELS: dict[str, Any] = {"kernel_size": 3, "patch_size": 2}
TAKERS = {
    "as_unit": Taker(lambda: as_unit),
    "motion": Taker(lambda: lambda x: motion(x, points=4)),
    "advect": Taker(lambda: lambda x, flow: advect(x, flow, 2), ((2, 8, 8, 1), FLOW)),
    "FrameMetrics": scores(FrameMetrics),
    "RainMetrics": scores(lambda: RainMetrics([0.5], units="mm/h")),
    "evaluate": Taker(lambda: evaluated, (SHAPE,) * 3, mlx=False),
    "EncoderForecaster": model(lambda: EncoderForecaster(hidden_channels=[4], **LEVELS)),
    "ConvLSTMStack": model(lambda: ConvLSTMStack(hidden_channels=[4], **LEVELS)),
    "FrameMover": model(lambda: FrameMover(hidden_channels=[4], **LEVELS)),
    "PredRNN": model(lambda: PredRNN(hidden_channels=[4, 4], **LEVELS)),
    "AdvectionResidual": model(lambda: AdvectionResidual(hidden_channels=[4], points=4)),
    "Extrapolation": model(lambda: Extrapolation(points=4)),
    "Persistence": model(Persistence),
    "Zeros": model(Zeros),
    "MeanSquaredError": loss(MeanSquaredError),
    "MeanAbsoluteError": loss(MeanAbsoluteError),
    "BinaryCrossEntropy": loss(BinaryCrossEntropy),
    "Balanced": loss(lambda: Balanced([0.5], [1, 2])),
    "ConvLSTM": layer(ConvLSTM),
    "ConvGRU": layer(ConvGRU),
    "TrajGRU": layer(TrajGRU),
}

DTYPES = ("uint8", "int32", "int64", "bool", "float16", "complex64", "uint32")
KINDS = ("axis less", "axis more", "size", "empty", "type", "value")


@st.composite
def wrong_arrays(draw: st.DrawFn, shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    """Draws arrays of these shapes, one of them with a wrong shape, type or value."""
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape, np.float32) for shape in shapes]
    n = draw(st.integers(0, len(arrays) - 1))
    array, kind = arrays[n], draw(st.sampled_from(KINDS))
    axis = draw(st.integers(0, array.ndim - 1))
    if kind == "axis less":
        arrays[n] = array.take(0, axis)
    elif kind == "axis more":
        arrays[n] = np.expand_dims(array, axis)
    elif kind == "size":
        arrays[n] = np.concatenate([array, array.take([0], axis)], axis)
    elif kind == "empty":
        arrays[n] = array.take([], axis)
    elif kind == "type":
        arrays[n] = array.astype(draw(st.sampled_from(DTYPES)))
    else:
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.floats(width=32) | st.just(np.nan))
    return arrays
