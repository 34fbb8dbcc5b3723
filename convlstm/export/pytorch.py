"""Export to PyTorch: the weights, the settings, and a file of code that needs neither MLX nor this package."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import convlstm
from convlstm.architectures.convgru import ConvGRUCell
from convlstm.architectures.resample import Resample
from convlstm.architectures.trajgru import TrajGRUCell
from convlstm.backend import files
from convlstm.convert.layouts import CONVOLUTION, FRAME, SAME, Layout
from convlstm.convert.sources import write_state_dict
from convlstm.models import EncoderForecaster

import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

CODE = Path(__file__).with_name("forecaster.py")
"""The code that is written beside the weights. Nothing here imports it, except to check an export."""
WEIGHTS, SETTINGS = "weights.safetensors", "settings.json"
# (O,) and (O, 1, 1); MLX's (O, kh, kw, C) and (C, O, kh, kw) of PyTorch's transposed convolutions.
_CHANNELS = Layout(lambda a: a[:, 0, 0], lambda a: a[:, None, None])
_TRANSPOSED = Layout(lambda a: a.transpose(1, 2, 3, 0), lambda a: a.transpose(3, 0, 1, 2))


class ExportError(ValueError):
    """A model that cannot be exported, or a place that it cannot be written to."""


def write(folder: Path, model: nn.Module, data: Mapping[str, Any]) -> None:
    """Writes a model for PyTorch to a new folder: `forecaster.py`, `weights.safetensors` and `settings.json`.

    Args:
        folder: The folder, which must not exist.
        model: The model.
        data: The record of its training data, such as their scale.

    Raises:
        ExportError: PyTorch's code has no such model, or the folder exists.
        OSError: It cannot be written.
    """
    settings, arrays = settings_of(model), state_dict(model)
    if folder.exists():
        raise ExportError(f"'{folder}' exists already. Choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    about = {"by": f"convlstm {convlstm.__version__}", "model": settings, "data": dict(data)}
    with files.replacing(folder) as temporary:
        temporary.mkdir(exist_ok=True)
        shutil.copyfile(CODE, temporary / CODE.name)
        write_state_dict(temporary / WEIGHTS, arrays)
        (temporary / SETTINGS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def settings_of(model: nn.Module) -> dict[str, Any]:
    """Returns what PyTorch's code must know of a model beside its weights.

    Raises:
        ExportError: It has no such model. The message says what differs.
    """
    if not isinstance(model, EncoderForecaster):
        raise ExportError(
            f"{type(model).__name__} has no form in PyTorch here; only EncoderForecaster with ConvLSTM or ConvGRU "
            "layers has. ConvLSTMStack, PredRNN and SimVP run in OpenSTL's code: convlstm convert RUN FILE.pth. For "
            "MLX in other languages: out=FILE.mlxfn."
        )
    if model.circular:
        raise ExportError(
            "columns that go round (padding='circular') have no form in PyTorch here. Use out=FILE.mlxfn."
        )
    cells = [layer.cell for layer in (*model.encoder, *model.forecaster)]
    for cell in cells:
        if isinstance(cell, TrajGRUCell):
            raise ExportError("TrajGRU layers have no form in PyTorch here, since they warp their states.")
        sides = (*cell.kernel_size, *cell.recurrent_kernel_size)
        if not cell.keeps_grid or any(side % 2 == 0 for side in sides):
            raise ExportError(
                "layers with strides, dilation, padding other than 'same' or even kernels have no form in PyTorch here."
            )
    return {
        "cell": "convgru" if isinstance(cells[0], ConvGRUCell) else "convlstm",
        "patch_size": model.patch_size,
        "concatenate": model.concatenate,
        "activation": model.activation,
        "encoder": [_cell(layer.cell) for layer in model.encoder],
        "forecaster": [_cell(layer.cell) for layer in model.forecaster],
        "downsample": [_resample(part) for part in model.downsample],
        "upsample": [_resample(part) for part in model.upsample],
        "head": [_resample(part) for part in model.head],
        "output": [model.output.weight.shape[-1], model.output.weight.shape[0]],
    }


def state_dict(model: nn.Module) -> dict[str, np.ndarray]:
    """Returns the weights by name, in PyTorch's layouts."""
    arrays: dict[str, Any] = tree_flatten(model.parameters(), destination={})  # type: ignore[assignment]
    return {name: np.ascontiguousarray(_layout(name, a.ndim).theirs(np.array(a))) for name, a in arrays.items()}


def difference(folder: Path, inputs: np.ndarray, expected: np.ndarray) -> float | None:
    """Returns the largest difference between an export's forecast and another one; None where PyTorch is missing.

    Args:
        folder: The folder of `write`.
        inputs: (N, T, H, W, C).
        expected: (N, horizon, H, W, C).
    """
    if find_spec("torch") is None or find_spec("safetensors") is None:
        return None
    import torch

    spec = spec_from_file_location("convlstm_exported_forecaster", folder / CODE.name)
    module = module_from_spec(spec)  # type: ignore[arg-type]
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder holds what was written, and no more
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    finally:
        sys.dont_write_bytecode = before
    with torch.no_grad():
        frames = torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 1, 4, 2, 3)))
        forecast = module.load(folder)(frames, expected.shape[1]).numpy()
    return float(np.abs(forecast.transpose(0, 1, 3, 4, 2) - expected).max())


def _cell(cell: Any) -> dict[str, Any]:
    arrays = {name: cell[name] for name in cell if name.startswith(("W", "b")) and hasattr(cell[name], "shape")}
    shapes = {name: list(_layout(f"cell.{name}", a.ndim).theirs(np.array(a)).shape) for name, a in arrays.items()}
    gates = getattr(cell, "recurrent_activation", "sigmoid")
    return {"state_activation": cell.state_activation, "recurrent_activation": gates, "weights": shapes}


def _resample(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, Resample):
        return None
    weight = part.conv.weight
    return {
        "channels": [weight.shape[-1], weight.shape[0]],
        "kernel_size": list(part.kernel_size),
        "stride": list(part.stride),
        "padding": list(part.padding),
        "up": part.up,
        "bias": "bias" in part.conv,
        "negative_slope": part.negative_slope,
    }


def _layout(name: str, dimensions: int) -> Layout:
    """Returns the layout of an array by its name and the number of its dimensions."""
    if dimensions == 4:
        return _TRANSPOSED if name.startswith("upsample.") else CONVOLUTION
    if ".Wc" in name:  # peepholes, of channels or of pixels
        return FRAME if dimensions == 3 else _CHANNELS
    return SAME
