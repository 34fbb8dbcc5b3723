from convlstm.datasets.archives.frame_statistics import INFINITE, NEGATIVE, blocks_of, measure
from tests.support.radar_archives import (
    SHAPE,
)

import numpy as np
import pytest


def test_wet_blocks_in_closed_form():
    frame = np.zeros(SHAPE, np.float32)
    frame[30:34, 40:] = 1
    missing, wet, flags, blocks = measure(frame, ["mm/h"], (200.0, 1.6))
    assert (missing, wet, flags) == (0, 32 / 1920, 0)
    # 32 and 8 rows by 32 and 16 columns.
    assert blocks / 65535 == pytest.approx(np.array([[0, 16 / (32 * 16)], [0, 16 / (8 * 16)]]), abs=1e-5)


def test_blocks_are_32_pixels_or_a_sixteenth_of_the_frame():
    rows, columns = blocks_of((70, 1600))
    assert rows.tolist() == [0, 32, 64]
    assert columns.tolist() == list(range(0, 1600, 100))
    assert [len(axis) for axis in blocks_of((5000, 20))] == [16, 1]


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        ([0, 0.05, 0.1, np.nan], "mm/h", (0.25, 1 / 3, 0)),
        ([-1, 0.05, 0.1, 3], "mm/h", (0.25, 2 / 3, NEGATIVE)),
        ([-np.inf, np.inf, 1e20, 3], "mm/h", (0.75, 1, INFINITE)),
        ([-1, np.inf, np.nan, np.nan], "mm/h", (1, 0, NEGATIVE + INFINITE)),
        # 0.1 mm/h by Marshall and Palmer is 23.01 - 16 = 7.01 dBZ.
        ([-32, 7, 7.02, 40], "dBZ", (0, 0.5, 0)),
        ([-np.inf, np.inf, 20, np.nan], "dBZ", (0.5, 0.5, INFINITE)),
        ([-3, 0, 0.01, 255], "raw", (0, 0.5, 0)),
        ([np.inf, -np.inf, np.nan, 7], "raw", (0.75, 1, INFINITE)),
    ],
)
def test_statistics_of_a_frame(values, units, expected):
    frame = np.array(values, np.float32).reshape(2, 2)
    assert measure(frame, [units], (200.0, 1.6))[:3] == pytest.approx(expected)
