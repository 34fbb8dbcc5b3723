"""Small ConvLSTM stacks, and the same network in NumPy."""

from __future__ import annotations

from convlstm.architectures.convlstm_stack import ConvLSTMStack
from tests.support import reference
from tests.support.reference import doubles, randomise

import numpy as np
import pytest

SMALL = {"hidden_channels": (3, 4), "kernel_size": 3, "patch_size": 2}
# Layers that take different paths through `convlstm.layers`.
FORMS = {
    "published": {},
    "paper": {"bias": True, "peepholes": True},
    "native": {"bias": True, "algorithm": "native"},
    "wide": {"kernel_size": (3, 5), "peepholes": True, "recurrent_kernel_size": 7},
}
forms = pytest.mark.parametrize("form", FORMS)


def small(rng, in_channels=1, **arguments):
    """Returns a small stack with random weights."""
    return randomise(ConvLSTMStack(in_channels, **{**SMALL, **arguments}), rng)


def slow(model, inputs, horizon, fed=None):
    """Returns the predictions of the stack in NumPy, step by step. `fed[t]` are the frames to feed at step t."""
    p, weights = model.patch_size, doubles(model.parameters())
    inputs = np.array(inputs, dtype=np.float64)
    N, T_in, H, W, C = inputs.shape
    states = [(np.zeros((N, H // p, W // p, n["cell"]["Wh"].shape[-1])),) * 2 for n in weights["layers"]]
    frames = []
    for t in range(T_in + horizon - 1):
        frame = inputs[:, t] if t < T_in else frames[-1]
        frame = fed.get(t, frame) if fed else frame
        x = np.zeros((N, H // p, W // p, p * p * C))
        for row in range(p):
            for column in range(p):
                x[..., (row * p + column) * C : (row * p + column + 1) * C] = frame[:, row::p, column::p]
        for n, layer in enumerate(weights["layers"]):
            states[n] = reference.cell(x, *states[n], layer["cell"])
            x = states[n][0]
        y, frame = reference.convolve(x, weights["output"]["weight"]), np.zeros((N, H, W, C))
        for row in range(p):
            for column in range(p):
                frame[:, row::p, column::p] = y[..., (row * p + column) * C : (row * p + column + 1) * C]
        frames.append(frame)
    return np.stack(frames, axis=1)
