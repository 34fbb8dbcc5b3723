"""ConvLSTM layers one after the other, without a forecaster around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.layers import ConvLSTM, State

import mlx.core as mx
import mlx.nn as nn


class ConvLSTMSequence(nn.Module):
    """ConvLSTM layers of which each reads the hidden states of the one before.

    What other libraries call a ConvLSTM often is this: layers without an output of frames. Their weights are converted
    to it (`python -m convlstm.convert`), to be used as a part of a model of one's own.

    Args:
        layers: The arguments of each `ConvLSTM`, the first one first: mappings with `in_channels`, `out_channels` and
            what else it takes.

    Raises:
        ValueError: There is no layer, or one does not fit the one before it.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]]):
        super().__init__()
        if not layers:
            raise ValueError("[ConvLSTMSequence] 'layers' must describe at least one layer but got none.")
        self.layers = [ConvLSTM(**layer) for layer in layers]
        for n, (layer, following) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            if layer.cell.out_channels != following.cell.in_channels:
                raise ValueError(
                    f"[ConvLSTMSequence] layer {n} has {layer.cell.out_channels} channels but layer {n + 1} reads "
                    f"{following.cell.in_channels}."
                )

    def __call__(
        self, x: mx.array, states: Sequence[State | None] | None = None, *, key: mx.array | None = None
    ) -> tuple[mx.array, list[State]]:
        """The last layer's hidden states, and the final state of each layer.

        Args:
            x: (N, L, H, W, C).
            states: A state to start from for each layer, or None for zeros. Default: zeros.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, L, H', W', O), and a list of `(h, c)`.
        """
        starts = [None] * len(self.layers) if states is None else list(states)
        if len(starts) != len(self.layers):
            raise ValueError(
                f"[ConvLSTMSequence] 'states' must have one entry for each of the {len(self.layers)} layers but has "
                f"{len(starts)}."
            )
        keys = [None] * len(self.layers) if key is None else list(mx.random.split(key, len(self.layers)))
        after = []
        for layer, start, k in zip(self.layers, starts, keys, strict=True):
            x, state = layer(x, start, key=k)
            after.append(state)
        return x, after
