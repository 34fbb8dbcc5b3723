from itertools import pairwise

from convlstm.datasets.windows import Windows, breaks, split_by_dates, split_by_time, step_of, window_starts
from tests.support.radar_archives import START

import numpy as np
import pytest


def at(*minutes):
    return START + np.array([round(minute * 60) for minute in minutes]).astype("timedelta64[s]")


def one_event(times):
    return np.zeros(len(times), int)


class Series:
    def __init__(self, times, step, event=None):
        self.times, self.step, self.event = times, step, one_event(times) if event is None else event


def series(frames, step=5, first=0):
    return Series(at(*(first + step * np.arange(frames))), step)


def test_step_is_the_most_common_difference():
    times = at(0, 5, 10, 20, 30, 35)
    assert step_of(times, one_event(times)) == 5
    assert step_of(times, np.array([0, 0, 1, 1, 1, 2])) == 10  # 5, 10, 10
    assert step_of(at(0, 2.5, 5), np.zeros(3)) == 2.5
    assert np.isnan(step_of(at(0), np.zeros(1)))
    assert np.isnan(step_of(at(0, 5), np.array([0, 1])))


def test_the_smaller_of_two_equally_common_steps_counts():
    assert step_of(at(0, 10, 15, 25, 30), np.zeros(5)) == 5


def test_breaks():
    times = at(0, 5, 10.4, 15, 25, 27, 32)
    assert breaks(times, one_event(times), 5).tolist() == [False, False, False, True, True, False]
    assert breaks(at(0, 5, 10), np.array([0, 0, 1]), 5).tolist() == [False, True]


def test_windows_do_not_cross_gaps():
    times = at(0, 5, 10, 15, 25, 30, 35)
    assert window_starts(times, one_event(times), 5, 3).tolist() == [0, 1, 4]
    assert window_starts(times, one_event(times), 5, 4).tolist() == [0]
    assert window_starts(times, one_event(times), 5, 5).tolist() == []
    assert window_starts(times[:1], np.zeros(1), float("nan"), 2).tolist() == []


def test_windows_do_not_cross_events():
    times = at(0, 5, 10, 15, 20, 25)
    assert window_starts(times, np.array([0, 0, 0, 1, 1, 1]), 5, 3).tolist() == [0, 3]


def test_stride_counts_from_the_end_of_a_gap():
    times = at(*range(0, 35, 5), *range(40, 65, 5))
    assert window_starts(times, one_event(times), 5, 2, 3).tolist() == [0, 3, 7, 10]


def test_windows_of_several_series_in_the_order_of_time():
    late, early = series(3, first=100), series(4, step=10)
    windows = Windows.of([(0, late, 1), (3, early, 1)], 2, 1)
    assert windows.series.tolist() == [3, 3, 3, 0, 0]
    assert windows.start.tolist() == [0, 1, 2, 0, 1]
    assert windows.first.tolist() == at(0, 10, 20, 100, 105).tolist()
    assert windows.last.tolist() == at(10, 20, 30, 105, 110).tolist()
    assert len(windows.take(np.array([1, 4]))) == 2


def blocks(windows, shares, length, step=5):
    parts = split_by_time(windows, shares, np.timedelta64(length * step * 60, "s"))
    return None if parts is None else [part.start.tolist() for part in parts]


def test_split_in_closed_form():
    # 24 windows of 2 frames. The gap after a block is as long as a window, so it costs 2 windows.
    windows = Windows.of([(0, series(25), 1)], 2, 1)
    assert blocks(windows, [0.5, 0.25, 0.25], 2) == [
        list(range(10)),
        list(range(12, 17)),
        list(range(19, 24)),
    ]
    assert blocks(windows, [2, 1, 1], 2) == blocks(windows, [0.5, 0.25, 0.25], 2)
    assert blocks(windows, [1], 2) == [list(range(24))]


@pytest.mark.parametrize("length", [2, 5, 9])
@pytest.mark.parametrize("stride", [1, 2, 7])
@pytest.mark.parametrize("gaps", [False, True])
def test_no_frame_is_shared_and_the_gap_is_a_window(length, stride, gaps, rng):
    keep = np.sort(rng.choice(400, 380, replace=False)) if gaps else np.arange(400)
    one = Series(at(*(5 * keep)), 5)
    windows = Windows.of([(0, one, 1)], length, stride)
    gap = np.timedelta64(length * 5, "m")
    parts = split_by_time(windows, [0.7, 0.1, 0.2], gap)
    for before, after in pairwise(parts):
        assert after.first.min() - before.last.max() >= gap
    used = sum(map(len, parts))
    assert [len(part) / used for part in parts] == pytest.approx([0.7, 0.1, 0.2], abs=0.05)
    # Only windows between the blocks are left out.
    assert len(windows) - used <= 2 * (2 * length // stride + 2)


def test_a_gap_in_time_costs_no_windows():
    windows = Windows.of([(0, series(6), 1), (1, series(6, first=10000), 1)], 3, 1)
    assert blocks(windows, [0.5, 0.5], 3) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_the_shortest_series_that_can_be_split():
    # 3 windows of 4 frames with 3 unused frames between them.
    assert blocks(Windows.of([(0, series(18), 1)], 4, 1), [0.7, 0.1, 0.2], 4) == [[0], [7], [14]]
    assert blocks(Windows.of([(0, series(17), 1)], 4, 1), [0.7, 0.1, 0.2], 4) is None
    assert blocks(Windows.of([(0, series(3), 1)], 4, 1), [0.7, 0.3], 4) is None


def test_longer_windows_delay_the_next_block():
    slow, fast = series(4, step=60), series(60)
    windows = Windows.of([(0, slow, 1), (1, fast, 1)], 4, 1)
    first, second = split_by_time(windows, [0.1, 0.9], np.timedelta64(20, "m"))
    assert 0 in first.series
    assert second.first.min() >= slow.times[-1] + np.timedelta64(20, "m")


def test_dates_split_windows_and_leave_out_those_across():
    windows = Windows.of([(0, series(12), 1)], 3, 1)  # from minute 0, 5, 10, ...
    parts = split_by_dates(windows, [at(20)[0], at(37)[0]])
    assert [(part.first.min(), part.last.max()) for part in parts] == [
        (at(0)[0], at(15)[0]),
        (at(20)[0], at(35)[0]),
        (at(40)[0], at(55)[0]),
    ]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert [len(block) for block in split_by_dates(windows, [at(100)[0]])] == [10, 0]


def test_every_second_frame():
    """Windows of 3 frames that are two steps apart begin at every frame and end before the gap."""
    windows = Windows.of([(0, series(8), 2)], 3, 1)
    assert windows.start.tolist() == [0, 1, 2, 3]
    assert ((windows.last - windows.first) == np.timedelta64(20, "m")).all()
