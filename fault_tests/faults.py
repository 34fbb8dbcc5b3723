"""The interface of a fault: a function that tries it a number of times and reports each result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fault_tests.bench import Bench

import numpy as np


@dataclass(frozen=True)
class Try:
    """The result of one fault.

    Attributes:
        kind: Row of the table that counts it, such as 'SIGKILL at a write'.
        lost: Description of the loss; "" if there was none.
        note: Description of a flaw that is no loss.
        outcome: Word for the result if several are right, such as 'refused'. The table counts them.
        seconds: Time that it took, if that matters. The table has the longest one.
    """

    kind: str
    lost: str = ""
    note: str = ""
    outcome: str = ""
    seconds: float = 0.0


Fault = Callable[[Bench, np.random.Generator, int], Iterator[Try]]
"""`fault(bench, rng, count)` yields `count` tries."""
