"""Frames as patches: space to depth, and back."""

from __future__ import annotations

from convlstm.architectures.input_frames import depth_to_space, space_to_depth

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("size", [1, 2, 3])
def test_space_to_depth_follows_the_channel_rule(size, rng):
    x = rng.normal(size=(2, 4, 6, 12, 3)).astype(np.float32)
    y = np.array(space_to_depth(mx.array(x), size))
    assert y.shape == (2, 4, 6 // size, 12 // size, 3 * size**2)
    for row in range(size):
        for column in range(size):
            for c in range(3):
                np.testing.assert_array_equal(y[..., (row * size + column) * 3 + c], x[..., row::size, column::size, c])
    np.testing.assert_array_equal(depth_to_space(mx.array(y), size), x)


def test_depth_to_space_of_known_values():
    y = depth_to_space(mx.array([[[1, 2, 3, 4], [5, 6, 7, 8]]]), 2)
    assert y[..., 0].tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]
