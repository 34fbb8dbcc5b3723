"""Fields on the grids of a pyramid."""

from convlstm.architectures.pyramid import bands, doubled, halved, merged, on_grids, sizes
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(2, 3, 4), (6, 6), (5, 7), (3, 1, 9)])
def test_halved_has_the_means_of_squares(shape, rng):
    x = rng.normal(size=shape)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, side % 2) for side in shape[-2:]], mode="edge")
    rows, columns = (side // 2 for side in padded.shape[-2:])
    expected = np.empty((*shape[:-2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            expected[..., i, j] = padded[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(-2, -1))
    close(halved(mx.array(x.astype(np.float32))), expected, 1e-6)


def test_doubled_interpolates_between_the_centres_of_pixels(rng):
    x = rng.normal(size=(3, 4))
    expected = np.empty((6, 8))
    for i in range(6):
        for j in range(8):
            # The centre of fine pixel i is at (i + 1/2) / 2 - 1/2 of the coarse grid.
            (a, b), (c, d) = ((np.floor(p), p - np.floor(p)) for p in ((i + 0.5) / 2 - 0.5, (j + 0.5) / 2 - 0.5))
            rows, columns = np.clip([a, a + 1], 0, 2).astype(int), np.clip([c, c + 1], 0, 3).astype(int)
            expected[i, j] = [1 - b, b] @ x[np.ix_(rows, columns)] @ [1 - d, d]
    found = doubled(mx.array(x.astype(np.float32)), (6, 8))
    close(found, expected, 1e-6)
    close(doubled(mx.array(x.astype(np.float32)), (5, 7)), expected[:5, :7], 1e-6)


def test_noise_keeps_one_variance_in_all_fine_pixels(rng):
    fine = np.array(doubled(normal(rng, (4000, 6, 6)), (12, 12)))
    variance = fine.var(axis=0)[2:-2, 2:-2]
    np.testing.assert_allclose(variance, (5 / 8) ** 2, rtol=0.15)


@pytest.mark.parametrize("size", [(16, 24), (13, 11), (4, 4)])
def test_bands_merge_to_the_field_and_separate_scales(size, rng):
    x = normal(rng, (2, *size))
    parts = bands(x, 4)
    assert [part.shape[1:] for part in parts] == sizes(*size, 4)
    close(merged(parts), x, 1e-6)
    flat = bands(mx.full((1, *size), 3.0), 4)
    assert all(mx.abs(part).max() < 1e-6 for part in flat[:-1])
    close(flat[-1], np.full(flat[-1].shape, 3.0), 1e-6)


def test_a_field_of_one_grid_on_all_of_them(rng):
    grids = sizes(20, 12, 4)
    x = normal(rng, (2, *grids[2]))
    fields = on_grids(x, 2, grids)
    assert [field.shape[1:] for field in fields] == grids
    close(fields[2], x, 0)
    close(fields[1], doubled(x, grids[1]), 0)
    close(fields[0], doubled(doubled(x, grids[1]), grids[0]), 0)
    close(fields[3], halved(x), 0)
