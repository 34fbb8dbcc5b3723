"""Counts of events over frames."""

from convlstm.metrics.events import fractions, pooled, window_counts

import numpy as np
import pytest


def test_an_event_at_the_edge_has_its_window_cut():
    """Only 4 of the 9 pixels whose windows see a corner lie inside."""
    x = np.zeros((1, 5, 6), bool)
    x[0, 0, 0] = True
    assert fractions(x, x, 3).tolist() == [[4, 4, 4]]
    assert window_counts(np.ones((1, 5, 6), bool), 3)[0, 0].tolist() == [4, 6, 6, 6, 6, 4]


def test_an_even_window_reaches_further_back():
    x = np.zeros((1, 1, 6), bool)
    x[0, 0, 2] = True
    assert window_counts(x, 2)[0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert window_counts(x, 4)[0, 0].tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 16, 17, 25, 400])
def test_window_counts_are_those_of_a_loop(size, rng):
    x = rng.random((2, 9, 13)) < 0.5
    expected = np.zeros(x.shape, int)
    for n, i, j in np.ndindex(*x.shape):
        top, left = i - size // 2, j - size // 2
        expected[n, i, j] = x[n, max(top, 0) : top + size, max(left, 0) : left + size].sum()
    np.testing.assert_array_equal(window_counts(x, size), expected)


def test_counts_of_large_full_windows_fit():
    """300 in a row does not fit 8 bits, 90,000 in a square does not fit 16."""
    assert window_counts(np.ones((1, 300, 301), bool), 600).max() == 300 * 301
    assert window_counts(np.ones((1, 300, 301), bool), 256).max() == 256 * 256


def test_pooled_squares(rng):
    x = rng.random((2, 7, 10)) < 0.1
    expected = [
        [[x[n, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3].any() for j in range(3)] for i in range(2)] for n in (0, 1)
    ]
    np.testing.assert_array_equal(pooled(x, 3), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 12, 16, 40])
def test_windows_over_columns_that_go_round(size):
    rng = np.random.default_rng(size)
    x = rng.random((2, 9, 12)) > 0.7
    counts = window_counts(x, size, circular=True)
    columns = min(size, 12)
    rows = np.pad(x.astype(int), [(0, 0), (size, size), (0, 0)])
    expected = np.zeros(x.shape, int)
    for i in range(size):
        for j in range(columns):
            start = size + i - size // 2
            expected += np.roll(rows, columns // 2 - j, axis=2)[:, start : start + 9]
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(window_counts(np.roll(x, 5, 2), size, circular=True), np.roll(counts, 5, 2))
    moved = fractions(np.roll(x[:1], 5, 2), np.roll(x[1:], 5, 2), size, circular=True)
    np.testing.assert_array_equal(moved, fractions(x[:1], x[1:], size, circular=True))


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("size", [1, 3, 4, 9, 40])
def test_fractions_of_rain_in_a_part_of_the_frame(size, circular, rng):
    """Only the windows that reach the rain are counted; the sums are those of all windows."""
    f, t = np.zeros((2, 3, 20, 25), bool)
    f[0, 4:7, 16:19], t[0, 5:9, 18:21] = rng.random((3, 3)) < 0.7, True
    t[2, 19, 0] = True
    a, b = (window_counts(x, size, circular=circular).astype(float) for x in (f, t))
    expected = np.stack([(a * a).sum(axis=(1, 2)), (a * b).sum(axis=(1, 2)), (b * b).sum(axis=(1, 2))], axis=1)
    assert (expected[[0, 2]].sum(axis=1) > 0).all()
    np.testing.assert_array_equal(fractions(f, t, size, circular=circular), expected)
