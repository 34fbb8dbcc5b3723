"""What a kind of fault is: a function that tries it so many times and says of each what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fault_tests.bench import Bench

import numpy as np


@dataclass(frozen=True)
class Try:
    """One fault, and what came of it.

    Attributes:
        kind: The row of the table that counts it, such as 'SIGKILL at a write'.
        lost: What was lost; "" where nothing was.
        note: What is not a loss, but not as it should be either.
    """

    kind: str
    lost: str = ""
    note: str = ""


Fault = Callable[[Bench, np.random.Generator, int], Iterator[Try]]
"""`fault(bench, rng, count)` yields `count` tries."""
