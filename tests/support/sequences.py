"""Random sequences in batches, and simple forecasters."""

from convlstm.architectures.baselines import Persistence, Zeros

import numpy as np

persistence, zeros = Persistence(), Zeros()
BASELINES = {"persistence": persistence, "zeros": zeros}


def sequences(n=6, t_in=3, horizon=4, size=(8, 9), channels=1, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.random((n, t_in, *size, channels), dtype=np.float32)
    return inputs, rng.random((n, horizon, *size, channels), dtype=np.float32)


def batched(inputs, targets, size, **more):
    for i in range(0, len(inputs), size):
        part = slice(i, i + size)
        yield {"inputs": inputs[part], "targets": targets[part], **{name: value[part] for name, value in more.items()}}


def halves(inputs, horizon):
    return persistence(inputs, horizon) * 0.5
