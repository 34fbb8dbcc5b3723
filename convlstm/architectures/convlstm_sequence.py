"""A sequence of ConvLSTM layers, without the output layer of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.layers import ConvLSTM, State

import mlx.core as mx
import mlx.nn as nn


class ConvLSTMSequence(nn.Module):
    """ConvLSTM layers, each of which reads the hidden states of the one before.

    Other libraries often call this a ConvLSTM: layers without an output of frames. `python -m convlstm.convert` turns
    their weights into this class, which can be a part of your own model.

    Args:
        layers: The arguments of each `ConvLSTM`, first layer first: mappings with `in_channels`, `out_channels` and any
            other argument.

    Raises:
        ValueError: There is no layer, or one does not fit the one before it.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]]):
        super().__init__()
        if not layers:
            raise ValueError("[ConvLSTMSequence] 'layers' must describe at least one layer but got none.")
        self.layers = [ConvLSTM(**layer) for layer in layers]
        for n, (layer, following) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            channels = layer.cell.out_channels * (2 if layer.bidirectional and layer.merge == "concat" else 1)
            if channels != following.cell.in_channels:
                raise ValueError(
                    f"[ConvLSTMSequence] layer {n} has {channels} channels but layer {n + 1} reads "
                    f"{following.cell.in_channels}."
                )

    def __call__(
        self, x: mx.array, states: Sequence[State | None] | None = None, *, key: mx.array | None = None
    ) -> tuple[mx.array, list[State]]:
        """Returns the last layer's hidden states, and the final state of each layer.

        Args:
            x: (N, L, H, W, C).
            states: Initial state of each layer, or None for zeros. Default: zeros.
            key: Key of the dropout masks in training; None draws from MLX's global state.

        Returns:
            (N, L, H', W', O), or (N, H', W', O) if the last layer has `return_sequences=False`; a list of `(h, c)`.
        """
        starts = [None] * len(self.layers) if states is None else list(states)
        if len(starts) != len(self.layers):
            raise ValueError(
                f"[ConvLSTMSequence] 'states' must have one entry for each of the {len(self.layers)} layers but has "
                f"{len(starts)}."
            )
        keys = [None] * len(self.layers) if key is None else list(mx.random.split(key, len(self.layers)))
        ends = []
        for layer, start, k in zip(self.layers, starts, keys, strict=True):
            x, state = layer(x, start, key=k)
            ends.append(state)
        return x, ends
