"""The order of the axes of stacks."""

from convlstm.datasets.clips.layouts import Layout, check_order, layout_of

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((50, 64, 64), "THW"),
        ((50, 64, 48, 3), "THWC"),
        ((50, 64, 48, 1), "THWC"),
        ((1000, 20, 64, 64), "NTHW"),
        ((20, 20, 64, 64), "NTHW"),
        ((20, 5, 64, 64), "TNHW"),
        ((5, 20, 64, 64), "NTHW"),
        ((100, 20, 64, 48, 3), "NTHWC"),
        ((100, 20, 3, 64, 48), "NTCHW"),
        ((20, 7, 64, 48, 3), "TNHWC"),
    ],
)
def test_a_shape_that_leaves_no_doubt(shape, order):
    assert layout_of(shape, 20, None, "the array a.npy").order == order


@pytest.mark.parametrize(
    "shape", [(20, 10000, 64, 64), (100, 3, 64, 64), (10, 10, 64, 64), (4, 5, 64, 64, 2), (40,) * 6]
)
def test_a_shape_that_may_mean_several_orders_is_asked_for(shape):
    with pytest.raises(ValueError, match=r"the array a.npy is of \d+ x .*does not tell the order.*data.order=NT"):
        layout_of(shape, 20, None, "the array a.npy")


def test_the_published_test_set_of_moving_mnist_is_known_by_its_name():
    for length in (6, 20):
        assert layout_of((20, 10000, 64, 64), length, None, "the array mnist_test_seq.npy").order == "TNHW"
    # Another file of that name is not taken for it.
    assert layout_of((10000, 20, 64, 64), 20, None, "the array mnist_test_seq.npy").order == "NTHW"


def test_the_order_that_is_named_counts():
    assert layout_of((20, 10000, 64, 64), 20, "TNHW", "a").sizes((20, 10000, 64, 64)) == {
        "N": 10000, "T": 20, "H": 64, "W": 64, "C": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"'order' must name 3 axes, since a is of 5 x 6 x 7, but got 'NTHW'"):
        layout_of((5, 6, 7), 2, "NTHW", "a")
    with pytest.raises(ValueError, match=r"with order=TCHW a frame has 4 channels, but frames are grey \(1\) or red"):
        layout_of((9, 4, 6, 7), 2, "TCHW", "a")


@pytest.mark.parametrize("order", ["THWX", "NTH", "TTHW", "thw", 3])
def test_other_letters_are_refused(order):
    with pytest.raises(ValueError, match=r"'order' must name the axes of the arrays by N \(clips\)"):
        check_order(order)
    check_order(None)
    check_order("WHTN")


@pytest.mark.parametrize("order", ["NTHWC", "TNHWC", "NTCHW", "NCTHW", "CWHTN"])
def test_frames_come_back_in_every_order(rng, order):
    clips = rng.integers(0, 256, (3, 5, 6, 7, 3), np.uint8)
    stored = np.transpose(clips, ["NTHWC".index(letter) for letter in order])
    np.testing.assert_array_equal(Layout(order).frames(stored, 2, [4, 1, 2]), clips[2, [4, 1, 2]])


def test_absent_axes_have_one_entry(rng):
    clip = rng.integers(0, 256, (5, 6, 7), np.uint8)
    np.testing.assert_array_equal(Layout("THW").frames(clip, 0, [1, 3]), clip[[1, 3], ..., None])
    np.testing.assert_array_equal(Layout("HWT").frames(np.moveaxis(clip, 0, 2), 0, [1, 3]), clip[[1, 3], ..., None])
