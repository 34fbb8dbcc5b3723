"""Export to a function of MLX: a file that MLX runs in Python, C++ and Swift, without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convlstm.architectures.members import draws_members
from convlstm.backend import files
from convlstm.export.pytorch import ExportError
from convlstm.ops.algorithm import without_kernels

import mlx.core as mx
import mlx.nn as nn
import numpy as np

ENDING = ".mlxfn"


def write(path: Path, model: nn.Module, shape: tuple[int, ...], horizon: int) -> None:
    """Writes the forecast of a model as a function of frames to a new file.

    The shapes are fixed: recurrences are unrolled, and patches are counted, while the function is recorded. The CPU's
    kernels are no operations of MLX's own, so the function has plain convolutions instead.

    Args:
        path: The file, which must not exist.
        model: The model, `model(inputs, horizon)`.
        shape: (N, T, H, W, C) of the inputs.
        horizon: The number of frames to forecast.

    Raises:
        ExportError: The model draws random numbers, or has steps that MLX cannot record; or the file exists.
        ValueError: The model takes no inputs of this shape.
        OSError: It cannot be written.
    """
    if draws_members(model):
        raise ExportError(
            f"{type(model).__name__} draws its members at random, and a function of MLX would draw the same ones in "
            "every call. It cannot be exported."
        )
    if path.exists():
        raise ExportError(f"'{path}' exists already. Choose another name.")
    if hasattr(model, "check_input"):
        model.check_input(mx.zeros(shape), horizon)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder, since MLX writes more than a file if a function has large constants.
    with without_kernels(), files.replacing(path) as temporary:
        mx.disable_compile()
        try:
            mx.export_function(str(temporary), lambda inputs: model(inputs, horizon), mx.zeros(shape))
        except (ValueError, RuntimeError) as error:
            raise ExportError(
                f"MLX cannot record {type(model).__name__}: {str(error).rstrip('.')}. It cannot be exported."
            ) from error
        finally:
            mx.enable_compile()


def difference(path: Path, inputs: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference between an exported function's forecast and another one."""
    function: Any = mx.import_function(str(path))
    (forecast,) = function(mx.array(inputs))
    return float(np.abs(np.array(forecast) - expected).max())
