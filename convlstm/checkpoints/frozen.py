"""Layers that training leaves as they are, chosen by the names of their arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from convlstm.checkpoints import tensors

import mlx.core as mx
import mlx.nn as nn

# More patterns than any model has layers, which a stranger's configuration may still list.
MOST_PATTERNS = 1000


def frozen_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Returns the names that match a pattern, or that lie below a layer that matches one.

    Args:
        names: Dotted names of arrays, such as `encoder.0.cell.Wx`.
        patterns: Names, in which `*` stands for any characters: `encoder`, `*.bias`.
    """
    return [name for name in names if any(fnmatchcase(name, text) for p in patterns for text in (p, f"{p}.*"))]


def recorded_patterns(config: dict[str, Any]) -> list[str]:
    """Returns the patterns of the frozen layers in a checkpoint's configuration.

    Raises:
        ValueError: They are not a list of texts of a reasonable length.
    """
    patterns = config.get("freeze") or []
    if not (
        isinstance(patterns, list) and all(isinstance(p, str) for p in patterns) and len(patterns) <= MOST_PATTERNS
    ):
        raise ValueError(f"'freeze' must be a list of at most {MOST_PATTERNS} names of layers.")
    return patterns


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freezes the arrays of a model that match a pattern, and returns their names.

    Optimizers, averages of the weights and gradients leave them out from then on.

    Args:
        model: The model.
        patterns: As for `frozen_names`.

    Raises:
        ValueError: A pattern matches nothing, or nothing is left to train.
    """
    names = list(tensors.named(model.parameters()))
    for pattern in patterns:
        if not frozen_names(names, [pattern]):
            layers = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
            raise ValueError(
                f"[freeze] 'freeze' must name layers of the model but got '{pattern}', which matches none. "
                f"Its layers: {', '.join(layers)}."
            )
    for prefix, module in model.named_modules():
        arrays = {f"{prefix}.{key}" if prefix else key: key for key, value in module.items() if _is_array(value)}
        module.freeze(keys=[arrays[name] for name in frozen_names(arrays, patterns)], recurse=False)
    if patterns and not tensors.named(model.trainable_parameters()):
        raise ValueError("[freeze] 'freeze' must leave layers to train, but all match. Name fewer.")
    return frozen_names(names, patterns)


def training_mode(model: nn.Module) -> None:
    """Puts a model into training mode, except batch normalisations that are frozen: their statistics would change."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm) and "weight" in module and "weight" in module._no_grad:
            module.eval()


def _is_array(value: Any) -> bool:
    return isinstance(value, mx.array)
