"""The activations that a ConvLSTM cell can have in place of tanh and sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from convlstm.ops.gates import candidate_gates, lstm_gates, reference_gates

import mlx.core as mx

CELL_ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "hard_sigmoid": lambda x: _clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda x: _clip(0.2 * x + 0.5, 0, 1),
    "hard_tanh": lambda x: _clip(x, -1, 1),
    "relu": lambda x: mx.maximum(x, 0),
    "softsign": lambda x: x / (1 + mx.abs(x)),
    "linear": lambda x: x,
}
"""Functions by name. Keras 2's `hard_sigmoid` has the slope 0.2, that of Keras 3 and of PyTorch 1 / 6."""


def _clip(x: mx.array, low: float, high: float) -> mx.array:
    return mx.minimum(mx.maximum(x, low), high)


USUAL = ("tanh", "sigmoid")
"""The pair that has fast paths."""


def cell_gates(output: str, state_activation: str, recurrent_activation: str) -> Callable:
    """Returns the gates of a cell, a function like `ops.gates.lstm_gates`.

    Args:
        output: 'cell' for h' = o . tanh(c'), 'candidate' for h' = o . g.
        state_activation: Activation in place of tanh.
        recurrent_activation: Activation in place of sigmoid.
    """
    if (state_activation, recurrent_activation) == USUAL:
        return lstm_gates if output == "cell" else candidate_gates
    sigmoid, tanh = CELL_ACTIVATIONS[recurrent_activation], CELL_ACTIVATIONS[state_activation]
    return partial(reference_gates if output == "cell" else candidate_gates, sigmoid=sigmoid, tanh=tanh)


def check_activation(owner: str, name: str, value: str) -> str:
    """Returns the name of an activation, or raises ValueError if it is not one of `CELL_ACTIVATIONS`."""
    if not isinstance(value, str) or value not in CELL_ACTIVATIONS:
        raise ValueError(f"[{owner}] '{name}' must be one of {', '.join(CELL_ACTIVATIONS)} but got {value!r}.")
    return value
