"""A check that the weights of a checkpoint are numbers."""

from __future__ import annotations

from pathlib import Path

from convlstm.checkpoints.verification import CheckpointError

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten


def check_finite(model: nn.Module, folder: Path) -> None:
    """Raises CheckpointError if weights of a model are NaN or infinite.

    Args:
        model: The model.
        folder: The checkpoint that it comes from, for the message.
    """
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
    wrong = [name for name, array in weights.items() if not mx.isfinite(array).all().item()]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} of {len(weights)} weights in '{folder}' have values that are NaN or infinite, such as "
            f"'{wrong[0]}', as after a training that diverged. Take another checkpoint."
        )
