"""Moving-MNIST that fails, or sends its program a signal, at a sequence given in the environment."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from convlstm.datasets.digits import Digits
from convlstm.datasets.moving_mnist import MovingMNIST
from fault_tests.child import block

import numpy as np

SIGNAL, ERROR = "FAULT_SIGNAL", "FAULT_ERROR"
"""Environment variables: `SPLIT:EPOCH:INDEX:`, then signal numbers joined by commas, or an exception's name."""

BLOCK = "FAULT_BLOCK"
"""Environment variable: `SPLIT:EPOCH:INDEX:` of a sequence whose loading never ends."""

TIME = "FAULT_TIME"
"""Environment variable with the path of a file that is created right before the signals, or before blocking."""

PAUSE = 0.005  # seconds between two signals


class LoaderError(Exception):
    """An exception outside every hierarchy, whose `args` cannot construct it again."""

    def __init__(self, split: str, index: int):
        super().__init__(f"[LoaderError] sequence {index} of '{split}' is meant to fail.")


KINDS = (OSError, MemoryError, KeyError, ValueError, RuntimeError, StopIteration, EOFError, AssertionError)
ERRORS = (LoaderError.__name__, *(kind.__name__ for kind in KINDS))
"""Names of the exceptions that the data can raise."""


def _error(name: str, split: str, index: int) -> BaseException:
    if name == LoaderError.__name__:
        return LoaderError(split, index)
    return KINDS[ERRORS.index(name) - 1](f"sequence {index} of '{split}' is meant to fail")


class Data(MovingMNIST):
    """The data of the runs: `MovingMNIST` with its arguments, but with images of noise, which take no time to draw."""

    def __init__(self, *, digits: str = "builtin", **arguments: Any):
        rng = np.random.default_rng(0)
        train, test = (rng.integers(0, 256, (n, 8, 8), np.uint8) for n in (30, 10))
        super().__init__(digits=Digits(train, test, digits), **arguments)

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        """Returns the sequence of `MovingMNIST`, unless the environment demands a fault here."""
        sequence = f"{split}:{epoch if split == 'train' else 0}:{index}:"
        if os.environ.get(BLOCK) == sequence:
            block(os.environ[TIME])
        for variable in (SIGNAL, ERROR):
            fault = os.environ.get(variable, "")
            if not fault.startswith(sequence):
                continue
            fault = fault.removeprefix(sequence)
            if variable == ERROR:
                raise _error(fault, split, index)
            if TIME in os.environ:
                Path(os.environ[TIME]).touch()
            for number in fault.split(","):
                os.kill(os.getpid(), int(number))
                time.sleep(PAUSE)
        return super().sample(split, index, seed=seed, epoch=epoch)
