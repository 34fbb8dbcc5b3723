"""Arrays of clips, which are read in parts and never mapped into memory."""

from __future__ import annotations

import math

from convlstm.datasets.clips.layouts import Layout
from convlstm.datasets.clips.sources import Stack
from convlstm.datasets.readers.errors import ReadError
from convlstm.datasets.readers.numpy_arrays import array_of, members

import numpy as np
import pytest

SIZES = {"N": 3, "T": 5, "H": 4, "W": 6, "C": 2}
ORDERS = ["NTHWC", "TNHW", "NTCHW", "THW", "THWC", "CTHW", "HWT", "NHWT", "TCHWN"]
KINDS = ["C", "Fortran", "npz", "packed"]


def stack(folder, array, order, kind="C"):
    if kind in ("C", "Fortran"):
        path = folder / "clips.npy"
        np.save(path, np.asfortranarray(array) if kind == "Fortran" else array)
        return Stack(path, "clips", array_of(path), Layout(order), 1000.0)
    path = folder / "clips.npz"
    (np.savez if kind == "npz" else np.savez_compressed)(path, clips=array)
    return Stack(path, "clips", members(path)["clips"], Layout(order), 1000.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_frames_and_extremes_of_every_order(tmp_path, order, kind):
    shape = [SIZES[axis] for axis in order]
    array = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape).astype(np.float32)
    source = stack(tmp_path, array, order, kind)
    clip, positions = (2 if "N" in order else 0), [4, 0, 3]
    view = np.einsum(f"{order}->{''.join(axis for axis in 'NTHWC' if axis in order)}", array)
    expected = (view[clip] if "N" in order else view)[positions].reshape(3, 4, 6, -1) / np.float32(1000)
    np.testing.assert_array_equal(source.frames(clip, positions), expected)
    facts = source.facts()
    assert (facts.frames, facts.height, facts.width) == (5, 4, 6)
    assert (facts.low, facts.high) == (0, array.size - 1)


def test_a_missing_value_shows_in_the_extremes(tmp_path):
    array = np.ones((5, 4, 6), np.float32)
    array[3, 2, 1] = np.nan
    facts = stack(tmp_path, array, "THW").facts()
    assert np.isnan([facts.low, facts.high]).all()


def test_extremes_of_several_pieces(tmp_path):
    array = np.zeros((3, 1000, 1001), np.float32)  # of twelve megabytes
    array[0, 0, 0], array[2, -1, -1] = -2, 7
    facts = stack(tmp_path, array, "THW").facts()
    assert (facts.low, facts.high) == (-2, 7)


@pytest.mark.parametrize("order", ["NTHW", "HWT"])
def test_a_file_that_is_shortened_while_it_is_read(tmp_path, order):
    """A mapped file would end the process with SIGBUS."""
    array = np.zeros([SIZES[axis] for axis in order], np.float32)
    source = stack(tmp_path, array, order)
    source.frames(0, [4])
    with source.path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(ReadError, match=r"clips\.npy can no longer be read: .*is cut off"):
        source.frames(0, [4])
