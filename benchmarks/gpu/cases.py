"""The models, layers and operations whose values and gradients a GPU must share with the CPU."""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import convlstm
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.st_lstm import STLSTMCell
from convlstm.architectures.steps import STEPS
from convlstm.architectures.trajgru import TrajGRU
from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.models import EncoderForecaster
from convlstm.ops.activations import gated_halves, gelu
from convlstm.ops.convolution import conv2d, grouped_conv2d
from convlstm.ops.depthwise import depthwise_conv2d
from convlstm.ops.motion_equations import Pair, motion_equations
from convlstm.ops.norms import batch_norm, group_norm
from convlstm.ops.sampling import bilinear, drift, starts
from convlstm.ops.warp import warp_product

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import yaml
from mlx.utils import tree_flatten, tree_unflatten


@dataclass(frozen=True)
class Case:
    """A computation with its inputs.

    Attributes:
        name: Name for --cases.
        make: Function that returns what is called: a module, whose weights are drawn, or a function.
        inputs: Shapes of the arrays that it is called with.
        more: Further arguments of the call. Default: none.
        gradient: True to compare gradients of weights and inputs, too; "weights" for those alone. Default: True.
        trains: True for gradients in training, of `training_loss` if a model has it; False for those of the forecast.
            Default: True.
        limits: Largest differences of values and of gradients, relative to the largest value of an array.
        share: Share of an array's values that must keep the limit: less than 1 where rounding decides between ranks or
            on which side of a threshold a value lies. Default: 1.
        rain: True for inputs that are blobs that move, as motion needs them. Default: False, uniform noise.
    """

    name: str
    make: Callable[[], Callable[..., Any]]
    inputs: tuple[tuple[int, ...], ...]
    more: tuple[Any, ...] = ()
    gradient: bool | str = True
    trains: bool = True
    limits: tuple[float, float] = (1e-4, 1e-3)
    share: float = 1.0
    rain: bool = False

    @property
    def is_model(self) -> bool:
        """True if it forecasts frames."""
        return bool(self.more)


FRAMES, HORIZON = (2, 4, 16, 16, 1), 3
SKY = (1, 5, 64, 64, 1)


def _same(function: Callable[..., Any], **options: Any) -> Callable[[], Callable[..., Any]]:
    return lambda: partial(function, **options)


def _model(name: str, kind: Callable[..., nn.Module], *, shape: tuple[int, ...] = FRAMES, **arguments: Any) -> Case:
    return Case(name, partial(kind, **arguments), (shape,), (HORIZON,))


def _rain(
    name: str, kind: Callable[..., nn.Module], *, gradient: bool | str = False, trains: bool = True, **arguments: Any
) -> Case:
    # Ranks, thresholds and iterations of the motion turn rounding into differences of some pixels.
    return Case(name, partial(kind, **arguments), (SKY,), (HORIZON,), gradient, trains, (2e-2, 5e-2), 0.99, True)


def _forecaster(name: str, cell: str = "convlstm", **options: Any) -> Case:
    arguments: dict[str, Any] = {"hidden_channels": (24, 16), "kernel_size": 3, "patch_size": 2, "concatenate": True}
    return _model(name, EncoderForecaster, cell=cell, **arguments | options)


def models() -> list[Case]:
    """Returns the models: those below, and each further one of configs/model with few channels."""
    known = _known_models()
    names = {getattr(case.make, "func", case.make).__name__ for case in known}  # type: ignore[attr-defined]
    for file in sorted((Path(convlstm.__file__).parent / "configs" / "model").glob("*.yaml")):
        target = yaml.safe_load(file.read_text(encoding="utf-8")).get("_target_", "")
        module, _, name = target.rpartition(".")
        if target and name not in names:
            kind = getattr(importlib.import_module(module), name)
            small: dict[str, Any] = {"hidden_channels": (8, 8), "frames": FRAMES[1]}
            accepted = inspect.signature(kind.__init__).parameters
            known.append(_model(file.stem, kind, **{key: value for key, value in small.items() if key in accepted}))
            names.add(name)
    return known


def _known_models() -> list[Case]:
    levels: dict[str, Any] = {
        "hidden_channels": (8, 12),
        "downsample": [
            {"channels": 4, "kernel_size": 7, "stride": 2, "padding": 3},
            {"channels": 8, "kernel_size": 3, "stride": 2, "padding": 1},
        ],
        "upsample": [
            {"channels": 4, "kernel_size": 4, "stride": 2, "padding": 1},
            {"channels": 8, "kernel_size": 4, "stride": 2, "padding": 1},
        ],
        "patch_size": 1,
        "concatenate": False,
        "head_channels": (8,),
        "activation": "linear",
    }
    stack: dict[str, Any] = {"hidden_channels": (16, 16), "kernel_size": 5, "patch_size": 4}
    simvp: dict[str, Any] = {"frames": 4, "hidden_channels": 8, "translator_channels": 32, "blocks": 2}
    return [
        _forecaster("encoder_forecaster", next_frame_weight=1.0),
        _forecaster("encoder_forecaster 5x5", kernel_size=5, peepholes=False),
        _forecaster("encoder_forecaster recompute", recompute=True),
        _forecaster("encoder_forecaster circular", padding="circular"),
        _forecaster("convgru", "convgru"),
        _forecaster("trajgru", "trajgru", links=5),
        _forecaster("shi2017", peepholes=False, **levels),
        _forecaster("shi2017 trajgru", "trajgru", links=(3, 3), **levels),
        _model("convlstm_stack", ConvLSTMStack, **stack),
        _model("predrnn", PredRNN, **stack),
        _model("predrnn_v2", PredRNN, decoupling=0.1, **stack),
        _model("simvp", SimVP, **simvp),
        _model("simvp_incepu", SimVP, translator="incepu", **simvp | {"hidden_channels": 16}),
        Case("persistence", Persistence, (FRAMES,), (HORIZON,), gradient=False),
        _rain("advection_residual", AdvectionResidual, gradient="weights", hidden_channels=(8,), points=8),
        _rain("extrapolation", Extrapolation, points=16),
        _rain("sprog", SPROG, levels=4, points=16),
        _rain("steps", STEPS, members=3, levels=4, points=16, minutes=5.0, pixel_km=1.0),
        _rain("learned_steps", LearnedSTEPS, gradient=True, trains=False, members=3, hidden_channels=(8,), levels=3),
    ]


def layers() -> list[Case]:
    """Returns layers, cells and operations."""
    sequence, image = (2, 5, 18, 14, 8), (2, 18, 14, 16)
    return [
        Case("ConvLSTM", partial(ConvLSTM, 8, 16), (sequence,)),
        Case("ConvLSTM 3x3, reverse", partial(ConvLSTM, 8, 12, 3, reverse=True, peepholes=False), (sequence,)),
        Case("ConvLSTM bidirectional", partial(ConvLSTM, 8, 8, 3, bidirectional=True), (sequence,)),
        Case("ConvLSTM strides", partial(ConvLSTM, 8, 8, 3, stride=2, recurrent_kernel_size=5), (sequence,)),
        Case("ConvLSTM grid", partial(ConvLSTM, 8, 8, 3, grid_size=(18, 14)), (sequence,)),
        Case("ConvLSTMCell", partial(ConvLSTMCell, 16, 16, 3), (image,)),
        Case("ConvGRU", partial(ConvGRU, 8, 16), (sequence,)),
        Case("TrajGRU", partial(TrajGRU, 8, 8, links=5), (sequence,)),
        Case("STLSTMCell", partial(STLSTMCell, 16, 16), (image,)),
        Case("conv2d 3x3", _same(conv2d), (image, (32, 3, 3, 16))),
        Case("conv2d 5x5", _same(conv2d), ((2, 32, 32, 64), (64, 5, 5, 64))),
        Case("conv2d strides", _same(conv2d, stride=(2, 2)), (image, (8, 3, 3, 16))),
        Case("conv2d one channel", _same(conv2d), ((2, 18, 14, 1), (8, 5, 5, 1))),
        Case("conv2d circular", _same(conv2d, padding="circular"), (image, (8, 3, 3, 16))),
        Case("grouped_conv2d", _same(grouped_conv2d, groups=4), (image, (16, 3, 3, 4))),
        Case("depthwise_conv2d", _same(depthwise_conv2d, dilation=3), (image, (5, 5, 16))),
        Case("group_norm", _same(group_norm, groups=4, activation="silu"), (image, (16,), (16,), (16,))),
        Case("batch_norm", lambda: lambda x, w, b: batch_norm(x, w, b)[0], (image, (16,), (16,))),
        Case("gelu", _same(gelu), (image,)),
        Case("gated_halves", _same(gated_halves), (image,)),
        Case("warp_product", _same(warp_product), (image, (2, 18, 14, 6), (8, 48))),
        Case("bilinear", _same(_moved), ((2, 18, 14), (2, 18, 14), (2, 18, 14))),
        Case("drift", _same(_drifted), ((3, 32, 32), (32, 32, 2), (3, 2)), gradient=False),
        Case("motion_equations", _same(_equations), ((2, 5, 32, 32), (2, 2, 32, 32)), gradient=False),
    ]


def _moved(field: mx.array, down: mx.array, right: mx.array) -> mx.array:
    y, x = (mx.arange(n, dtype=mx.float32) for n in field.shape[1:])
    return bilinear(field, y[:, None] + 3 * down + 0.1, x + 3 * right + 0.1)


def _drifted(fields: mx.array, flow: mx.array, errors: mx.array) -> tuple[mx.array, ...]:
    return drift(fields, starts(*fields.shape), 3 * flow, errors)


def _equations(frames: mx.array, u: mx.array) -> tuple[mx.array, ...]:
    return tuple(motion_equations(frames, u, [Pair(4, 1, 1.0), Pair(4, 2, 0.5)]))


def cases() -> list[Case]:
    """Returns all cases."""
    return models() + layers()


def drawn(case: Case) -> list[np.ndarray]:
    """Returns the inputs of a case."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    if not case.rain:
        signed = not case.is_model
        return [rng.uniform(-1 if signed else 0, 1, shape).astype(np.float32) for shape in case.inputs]
    (N, T, H, W, C) = case.inputs[0]
    y, x, t = np.arange(H)[:, None], np.arange(W), np.arange(T)[:, None, None]
    frames = np.zeros((T, H, W))
    for _ in range(12):
        row, column, size = rng.uniform(0, H), rng.uniform(0, W), rng.uniform(3, 7)
        frames += rng.uniform(0.2, 0.6) * np.exp(-((y - row - 0.8 * t) ** 2 + (x - column - 1.5 * t) ** 2) / size**2)
    frames = np.where(frames > 0.15, np.clip(frames, 0, 1), 0).astype(np.float32)
    return [np.broadcast_to(frames[None, ..., None], (N, T, H, W, C)).copy()]


def draw_weights(module: nn.Module, name: str) -> None:
    """Gives a module weights that depend on its name alone."""
    rng = np.random.default_rng(zlib.crc32(f"weights of {name}".encode()))
    flat: Any = tree_flatten(module.parameters())
    weights = []
    for key, array in flat:
        bound = float(np.prod(array.shape[1:])) ** -0.5 if array.ndim > 1 else 0.1
        values = rng.uniform(-bound, bound, array.shape).astype(np.float32)
        # Variances, and scales of norms, which would else make all values small.
        around_one = key.endswith("running_var") or (array.ndim == 1 and bool(mx.all(array == 1).item()))
        weights.append((key, mx.array(1 + values if around_one else values)))
    module.update(tree_unflatten(weights))
