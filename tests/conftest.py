"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

from convlstm.blas import hold_to_one_thread  # before mlx.core, so that the tests run with a fast BLAS

import numpy as np
import pytest

# As train.py does: tests compare bits.
hold_to_one_thread()

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for each test, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """Folder of the four original MNIST files: CONVLSTM_DATA, else the data folder shared beside the checkout."""
    default = PROJECT.parent / "shared" / "data" / "mnist"
    root = Path(os.environ.get("CONVLSTM_DATA", default)).expanduser()
    if not any(root.glob("train-images-idx3-ubyte*")):
        pytest.skip(f"no MNIST files in {root}: set CONVLSTM_DATA to a folder that has train-images-idx3-ubyte.gz")
    return root
