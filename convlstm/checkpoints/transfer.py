"""Start of a training from the weights of a checkpoint, of which some may not fit the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convlstm.checkpoints import tensors
from convlstm.checkpoints.replaced import CheckpointError, again_if_replaced
from convlstm.checkpoints.verification import EMA, MODEL, damaged, read_checksums, verify

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten


@dataclass(frozen=True)
class Transfer:
    """The arrays that a model has taken from a checkpoint.

    Attributes:
        folder: The checkpoint.
        taken: Names of the arrays that the model has taken over.
        anew: Names of the model's other arrays, which keep their first values, each with the reason.
        unused: Names of arrays in the checkpoint that the model does not have.
    """

    folder: Path
    taken: list[str]
    anew: dict[str, str]
    unused: list[str]


@again_if_replaced
def take_weights(folder: Path, model: nn.Module) -> Transfer:
    """Gives a model the arrays of a checkpoint that have the names and the shapes of its own.

    Averaged weights count if the checkpoint has them, as in forecasts. The other arrays of the model stay as they are.

    Raises:
        CheckpointError: The checkpoint is damaged, none of its arrays fits, or one that fits is not finite.
    """
    verify(folder)
    averaged = [EMA] if EMA in (read_checksums(folder) or {}) else []
    arrays: dict[str, mx.array] = {}
    for name in (MODEL, *averaged):
        try:
            arrays |= tensors.read(folder / name)
        except (OSError, tensors.TensorFileError) as error:
            raise damaged(folder / name, error) from error
    own = tensors.named(model.parameters())
    anew = {name: reason for name, array in own.items() if (reason := _misfit(array, arrays.get(name)))}
    taken = {name: arrays[name].astype(array.dtype) for name, array in own.items() if name not in anew}
    if not taken:
        raise CheckpointError(
            f"no array in '{folder}' has the name and the shape of one in the model, a {type(model).__name__}. "
            "Choose the model that the checkpoint was trained with, or another checkpoint."
        )
    if wrong := [name for name, array in taken.items() if not mx.isfinite(array).all().item()]:
        raise CheckpointError(
            f"{len(wrong)} of {len(taken)} weights in '{folder}' have values that are NaN or infinite, such as "
            f"'{wrong[0]}'. Take another checkpoint."
        )
    model.update(tree_unflatten(list((own | taken).items())))
    return Transfer(folder, list(taken), anew, [name for name in arrays if name not in own])


def _misfit(own: mx.array, other: mx.array | None) -> str:
    """Returns why the model cannot take an array of the checkpoint, or ""."""
    if other is None:
        return "not in the checkpoint"
    if own.shape != other.shape:
        return f"{tuple(other.shape)} in the checkpoint, {tuple(own.shape)} in the model"
    both_floating = mx.issubdtype(own.dtype, mx.floating) and mx.issubdtype(other.dtype, mx.floating)
    return "" if both_floating or own.dtype == other.dtype else "another type in the checkpoint"
