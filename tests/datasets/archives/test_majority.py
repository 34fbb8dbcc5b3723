"""Decisions by the majority."""

from __future__ import annotations

from convlstm.datasets.archives.majority import credible_end, is_ahead, most_common, strangeness

import numpy as np
import pytest

NOON = np.datetime64("2020-06-01T12:00", "s")


def at(*minutes):
    """Returns times so many minutes after noon."""
    return NOON + np.array(minutes, "timedelta64[m]").astype("timedelta64[s]")


def test_the_most_common_value():
    assert most_common([]) is None
    assert most_common([], "a") is None
    assert most_common(["a", "b", "b"]) == "b"
    assert most_common(["a", "b"]) == "b", "the last"
    assert most_common(["a", "b"], "a") == "a", "the current one"
    assert most_common(["a", "b", "b"], "a") == "b"
    assert most_common(["a", "b"], "c") == "b"


@pytest.mark.parametrize(
    ("minutes", "end"),
    [
        ([-10, -5, 0], 0),
        ([-10, -5, 0, 5, 10], 10),  # the end of a period, or a clock that is late
        ([-10, -5, 0, 5, 10, 15, 20], 20),  # they continue those before
        ([-10, -5, 0, 120], 0),
        ([-10, -5, 0, 120, 125], 0),
        ([-10, -5, 0, 120, 125, 130], 130),  # most of the newest
        ([-10, -5, 0, 120, 240, 360, 480], 0),
        ([120], 120),
        ([0, 120], 0),
        ([-600, 120], -600),
        ([120, 240], 120),
        ([120, 125, 240], 125),
        ([120, 125, 130, 600_000], 130),
        ([-600, 100, 105, 110, 115], 115),
        ([-600], -600),
    ],
)
def test_frames_ahead_of_the_clock(minutes, end):
    assert credible_end(at(*minutes), NOON, 5, 5) == at(end)[0]


def test_without_a_step_no_frame_continues_another():
    assert credible_end(at(0, 120), NOON, float("nan"), 5) == NOON
    assert credible_end(at(0, 120), NOON, 120, 5) == at(120)[0]


def test_clocks_differ_by_ten_minutes():
    assert not is_ahead(at(10)[0], NOON)
    assert is_ahead(at(11)[0], NOON)


def test_strangeness_is_of_the_grid_and_then_of_the_name():
    files = [("a1.h5", "g", 1), ("a22.h5", "g", 1), ("copy of a3.h5", "g", 1), ("a4.h5", "other", 1), ("b5.h5", "x", 1)]
    assert strangeness(files) == [0, 0, 1, 2, 3]
    assert strangeness([("a1", "g", 1), ("b", "h", 1)]) == [0, 0]
    assert strangeness([("a1", "g", 1), ("a2", "g", 1), ("b", "h", 9)]) == [2, 2, 1]
