"""Units and text of lead times."""

from convlstm.evaluation.lead_times import lead_time, lead_times

import pytest


@pytest.mark.parametrize(
    ("lead", "interval", "text"),
    [
        (-2, None, "t-2"), (0, None, "t0"), (3, None, "+3"), (0, 5, "now"), (-2, 5, "-10 min"), (60, 5, "+300 min"),
        (1, 2.5, "+2.5 min"), (1, 60, "+1 h"), (5, 360, "+30 h"), (3, 90, "+4.5 h"), (-1, 360, "-6 h"),
        (2, 1440, "+2 d"), (3, 10080, "+21 d"), (1, 43829.1, "+30.4369 d"),
    ],
)  # fmt: skip
def test_headings(lead, interval, text):
    assert lead_time(lead, interval) == text


def test_axes_count_hours_beyond_three():
    assert lead_times(3, None) == ([1, 2, 3], "frames")
    assert lead_times(36, 5)[1] == "min"
    assert lead_times(37, 5)[1] == "h"
    assert lead_times(37, 5)[0][11] == 1
    assert lead_times(3, 360) == ([6, 12, 18], "h")
    assert lead_times(2, 2880) == ([2, 4], "d")
