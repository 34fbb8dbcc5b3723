"""Kernels that MLX compiled and that were cut off."""

from __future__ import annotations

import os
import struct
import tempfile
import time

from convlstm.backend.jit import SETTLED, drop_damaged

import mlx.core as mx
import pytest


def library(folder, name):
    """A complete library as linkers write it: a header, content, the table of its sections."""
    path = folder / name
    header = struct.pack("<4s36xQ10xHHH", b"\x7fELF", 64 + 1000, 64, 3, 2)
    path.write_bytes(header + bytes(1000) + b"t" * 64 * 3)
    return path


def settle(path, seconds=2 * SETTLED):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_cut_off_libraries_are_removed_and_complete_ones_stay(tmp_path):
    complete, cut, empty, short, zeros, tail, young = (library(tmp_path, f"{n}.so") for n in range(7))
    other = library(tmp_path, "a.cpp")
    size = complete.stat().st_size
    os.truncate(cut, size - 1)
    os.truncate(empty, 0)
    os.truncate(short, 20)
    for path, length in ((zeros, 0), (tail, size // 2)):
        os.truncate(path, length)
        os.truncate(path, size)
    os.truncate(young, 100)
    os.truncate(other, 100)
    for path in (complete, cut, empty, short, zeros, tail, other):
        settle(path)
    settle(young, SETTLED / 2)
    with pytest.warns(UserWarning, match=rf"5 compiled kernels in '{tmp_path}' were damaged and are compiled anew"):
        dropped = drop_damaged(tmp_path)
    assert dropped == [cut, empty, short, zeros, tail]
    assert sorted(tmp_path.iterdir()) == sorted([complete, young, other])
    assert drop_damaged(tmp_path) == []


def test_a_missing_folder_holds_no_damage(tmp_path):
    assert drop_damaged(tmp_path / "none") == []


def test_the_folder_is_the_one_that_mlx_uses(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "mlx" / mx.__version__ / "cpu"
    folder.mkdir(parents=True)
    (folder / "a.so").touch()
    settle(folder / "a.so")
    with pytest.warns(UserWarning, match="1 compiled kernels"):
        assert drop_damaged() == [folder / "a.so"]
