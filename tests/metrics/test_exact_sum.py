import math

from convlstm.metrics.exact_sum import ExactSum

import numpy as np


def test_exact_sums():
    numbers = [1.0, 1e16, 3.0, -1e16, 2.0**-30, 1e8]
    for order in (numbers, numbers[::-1], sorted(numbers)):
        total = ExactSum((1,))
        for number in order:
            total.add(np.array([number]))
        assert total.value.tolist() == [math.fsum(numbers)]
    rows = ExactSum((3, 2))
    rows.add(np.array([[1.0, 2.0]]), start=1)
    assert rows.value.tolist() == [[0, 0], [1, 2], [0, 0]]
