"""Frames that several test files forecast from."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rain(rng):
    """Returns six frames of 17x23 in mm/h within the range of LogRain()."""
    return rng.uniform(0.2, 50, (6, 17, 23)).astype(np.float32)
