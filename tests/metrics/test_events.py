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
