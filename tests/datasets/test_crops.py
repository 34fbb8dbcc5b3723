from convlstm.datasets.archives.frame_statistics import blocks_of, measure
from convlstm.datasets.crops import Crops

import numpy as np
import pytest


def crops(known, size, **settings):
    shape = known.shape
    return Crops(known, size, **{"least_known": 0.8, "blocks": blocks_of(shape), "full_shape": shape, **settings})


def drawn(crops, rng, wet=None, times=400):
    return np.array([crops.draw(rng, wet) for _ in range(times)])


def test_fixed_is_the_centre_of_a_completely_known_frame():
    assert crops(np.ones((64, 64), int), (32, 32)).fixed == (16, 16)
    assert crops(np.ones((9, 12), int), (4, 7)).fixed == (2, 2)
    assert crops(np.ones((8, 8), int), (8, 8)).fixed == (0, 0)


def test_fixed_is_in_the_known_area():
    known = np.zeros((40, 60), int)
    known[5:20, 31:52] = 7
    top, left = crops(known, (10, 12)).fixed
    assert known[top : top + 10, left : left + 12].all()
    # The position there that is nearest to the centre (15, 24).
    assert (top, left) == (10, 31)
    # If no position is completely known, the one that is known most.
    known[12, 40] = 6
    assert crops(known, (15, 21)).fixed == (5, 31)


def test_fixed_is_the_best_of_all_positions(rng):
    known = rng.integers(0, 5, (20, 23))
    windows = np.lib.stride_tricks.sliding_window_view(known, (6, 9)).sum((2, 3))
    top, left = crops(known, (6, 9)).fixed
    assert windows[top, left] == windows.max()


def test_count_covers_the_known_area():
    known = np.zeros((60, 60), int)
    assert crops(known + 3, (20, 20)).count == 9
    known[:20] = 3
    assert crops(known, (20, 20)).count == 3
    assert crops(known, (60, 60)).count == 1
    assert crops(np.zeros((8, 8), int), (4, 4)).count == 1


def test_draws_are_even_over_all_positions(rng):
    places = drawn(crops(np.ones((64, 64), int), (61, 62)), rng, times=3000)
    counts = np.bincount(places[:, 0] * 3 + places[:, 1], minlength=12)
    assert len(counts) == 12
    assert np.abs(counts - 250).max() < 5 * 250**0.5


@pytest.mark.parametrize(("least", "expected"), [(1.0, 0), (0.5, 4), (0.0, 8)])
def test_draws_keep_to_positions_that_are_known_enough(rng, least, expected):
    known = np.zeros((64, 16), int)
    known[24:48, :8] = 4  # a crop of 8 is all known from 24 to 40, and half known 4 rows outside
    rows = drawn(crops(known[:, :8], (8, 8), least_known=least), rng, times=600)[:, 0]
    if least == 0:
        assert (rows.min(), rows.max()) == (0, 56)
    else:
        assert (rows.min(), rows.max()) == (24 - expected, 40 + expected)


def test_draws_if_no_position_is_known_enough(rng):
    known = np.zeros((32, 32), int)
    known[10:14, 20:24] = 1
    places = drawn(crops(known, (16, 16), least_known=0.9), rng)
    assert ((places[:, 0] <= 10) & (places[:, 0] + 16 >= 14)).all()
    assert ((places[:, 1] <= 20) & (places[:, 1] + 16 >= 24)).all()


def test_wet_positions_are_drawn_in_proportion(rng):
    """All rain is in one corner. Every wet draw touches it, and other draws do so by chance."""
    frame = np.zeros((128, 128), np.float32)
    frame[:32, :32] = 1
    wet = measure(frame, ["mm/h"], (200.0, 1.6))[3].astype(float)
    places = crops(np.ones((128, 128), int), (32, 32))
    even, soaked = drawn(places, rng, times=1500), drawn(places, rng, wet, times=1500)

    def touching(places):
        return ((places < 36).all(1)).mean()

    assert touching(soaked) == 1
    assert touching(even) == pytest.approx((36 / 97) ** 2, abs=0.04)
    # In proportion: the mean overlap is larger than among crops that merely touch.
    overlap = np.prod(np.clip(32 - soaked, 0, None) / 32, axis=1)
    assert overlap.mean() > 0.3


def test_wet_positions_are_in_the_known_area(rng):
    known = np.ones((128, 128), int)
    known[:40] = 0
    wet = np.ones((4, 4))
    places = drawn(crops(known, (32, 32), least_known=1.0), rng, wet)
    assert places[:, 0].min() >= 40
    assert places[:, 0].max() == 96


def test_without_rain_wet_draws_are_even(rng):
    places = drawn(crops(np.ones((64, 64), int), (32, 32)), rng, np.zeros((2, 2)))
    assert len(np.unique(places, axis=0)) > 200


def test_coarse_positions_use_the_blocks_below_them(rng):
    """Blocks are in pixels of the files, positions in coarse ones."""
    wet = np.zeros((4, 4))
    wet[3, 0] = 1  # rows 96 to 128 of 128, columns 0 to 32
    places = crops(np.ones((32, 32), int), (8, 8), blocks=blocks_of((128, 128)), full_shape=(128, 128), coarsen=4)
    drawn_ones = drawn(places, rng, wet)
    assert drawn_ones[:, 0].min() > 32 - 8 - 9
    assert drawn_ones[:, 1].max() < 9


def test_a_draw_is_a_function_of_its_generator():
    places = crops(np.ones((64, 64), int), (16, 16))
    wet = np.ones((2, 2))
    one, two = (drawn(places, np.random.default_rng(3), wet, times=20) for _ in range(2))
    assert np.array_equal(one, two)
