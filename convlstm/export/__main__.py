"""Writes a trained model to a file that runs without this package: for PyTorch, or as a function of MLX.

usage: convlstm export ckpt=RUN out=PATH [KEY=VALUE ...]

  ckpt=RUN          a run's folder, of which the best checkpoint is taken, or a checkpoint's folder
  out=FOLDER        for PyTorch: forecaster.py, weights.safetensors and settings.json, which need neither MLX nor
                    convlstm; for EncoderForecaster with ConvLSTM or ConvGRU layers
  out=FILE.mlxfn    a function of MLX for Python, C++ and Swift, with fixed shapes; for most models
  input_frames=N    frames that it reads (those of training)
  horizon=N         frames that it forecasts (those of training)
  height=N width=N  pixels (those of training)
  batch=N           sequences at once (1)

The numbers are those of a function of MLX; in PyTorch all but the channels are free. The forecast of the export is
compared with that of the model, and the largest difference is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend.files import remove
from convlstm.backend.program_frame import framed
from convlstm.checkpoints.finite import check_finite
from convlstm.export import mlx_function, pytorch
from convlstm.export.pytorch import ExportError
from convlstm.ops.algorithm import without_kernels

import mlx.core as mx
import numpy as np

NUMBERS = ("input_frames", "horizon", "height", "width", "batch")
KEYS = ("ckpt", "out", *NUMBERS)
CLOSE = 1e-4
"""The largest difference that rounding explains, on the model's scale from 0 to 1."""


@framed("convlstm export")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status: 0; 1 if nothing was written; 2 if the arguments are wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & {*arguments} or not arguments:
        print(__doc__.strip())
        return 0
    try:
        given = parsed(arguments)
    except ExportError as error:
        print(f"convlstm export: {error}", file=sys.stderr)
        return 2
    try:
        export(**given)
    except (ValueError, OSError) as error:
        print(f"convlstm export: {error} Nothing was written.", file=sys.stderr)
        return 1
    return 0


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments of `export` from texts KEY=VALUE.

    Raises:
        ExportError: A key is unknown, missing or there twice, or a number is none.
    """
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in KEYS or not value:
            raise ExportError(f"arguments must be KEY=VALUE with one of {', '.join(KEYS)} but got '{argument}'.")
        if key in given:
            raise ExportError(f"'{key}' must be given once but got '{argument}', too.")
        if key in NUMBERS and (not value.isdecimal() or int(value) < 1):
            raise ExportError(f"'{key}' must be a whole number of at least 1 but got '{value}'.")
        given[key] = int(value) if key in NUMBERS else value
    if missing := [key for key in ("ckpt", "out") if key not in given]:
        raise ExportError(f"'{missing[0]}' must be given: convlstm export ckpt=RUN out=PATH.")
    return given


def export(
    ckpt: str | Path,
    out: str | Path,
    *,
    input_frames: int | None = None,
    horizon: int | None = None,
    height: int | None = None,
    width: int | None = None,
    batch: int = 1,
) -> float | None:
    """Exports a checkpoint's model, compares the forecasts of both, and prints what was done.

    Args:
        ckpt: A run's or a checkpoint's folder.
        out: A file that ends in `.mlxfn`, or a folder for PyTorch.
        input_frames, horizon, height, width: Sizes of a function of MLX. Default: those of training.
        batch: Its number of sequences. Default: 1.

    Returns:
        The largest difference between the two forecasts; None where there is no PyTorch to compare with.

    Raises:
        ExportError: The model cannot be exported in this form, a size is unknown, the export exists already, or its
            forecast differs, in which case nothing is left.
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    loaded = checkpoints.load_all(ckpt)
    check_finite(loaded.model, loaded.folder)
    data = {**(loaded.config.get("data") or {}), **(loaded.state.get("data") or {})}
    frame = list(data.get("frame_shape") or (None, None, 1))
    sizes: dict[str, Any] = {
        "input_frames": input_frames or data.get("input_frames"),
        "height": height or frame[0],
        "width": width or frame[1],
        "horizon": horizon or data.get("target_frames"),
    }
    for key, value in sizes.items():
        if value is None:
            raise ExportError(f"the checkpoint does not say '{key}': give {key}=NUMBER.")
    channels = int(getattr(loaded.model, "in_channels", frame[2]))
    shape = (batch, sizes["input_frames"], sizes["height"], sizes["width"], channels)
    path = Path(out).expanduser()
    is_function = path.suffix == mlx_function.ENDING
    if is_function:
        mlx_function.write(path, loaded.model, shape, sizes["horizon"])
    else:
        pytorch.write(path, loaded.model, loaded.state.get("data") or {})
    inputs = waves(shape)
    with without_kernels():  # which round differently, and some models enlarge that
        expected = np.array(loaded.model(mx.array(inputs), sizes["horizon"]))
    found = (mlx_function if is_function else pytorch).difference(path, inputs, expected)
    if found is not None and not found < CLOSE:
        remove(path)
        raise ExportError(
            f"the forecast of the export differs from the model's by {found:.1g}, more than rounding does."
        )
    _report(path, loaded.model, shape, sizes["horizon"], found)
    return found


def waves(shape: tuple[int, ...]) -> np.ndarray:
    """Returns frames (N, T, H, W, C) of smooth waves that move, from 0 to 1: models that look for motion find it."""
    n, t, y, x, c = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    values = np.sin((x - t) / 5 + n) * np.cos((y + 0.5 * t) / 7 + c) + 0.5 * np.sin((x + y - 2 * t) / 11)
    return np.clip(values / 1.5, 0, 1).astype(np.float32)


def _report(path: Path, model: Any, shape: tuple[int, ...], horizon: int, found: float | None) -> None:
    N, T, H, W, C = shape
    print(f"model       {type(model).__name__}")
    if path.suffix == mlx_function.ENDING:
        print(f"written     {path}: ({N}, {T}, {H}, {W}, {C}) -> {horizon} frames, on the model's scale, 0 to 1")
    else:
        print(f"written     {path}: {', '.join(sorted(one.name for one in path.iterdir()))}")
    if found is None:
        print("compared    not: PyTorch and safetensors are not installed here")
        return
    print(f"compared    forecasts of {horizon} frames of {H}x{W} pixels differ by at most {found:.1g}")


if __name__ == "__main__":
    sys.exit(main())
