"""Kernels that MLX compiled and that were cut off."""

from __future__ import annotations

import os
import re
import shutil
import struct
import threading
import time
from unittest import mock

from convlstm.backend import jit
from convlstm.backend.jit import SETTLED, drop_damaged, prepare

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
    complete, cut, empty, short, zeros, tail = (library(tmp_path, f"{n}.so") for n in range(6))
    other = library(tmp_path, "a.cpp")
    size = complete.stat().st_size
    os.truncate(cut, size - 1)
    os.truncate(empty, 0)
    os.truncate(short, 20)
    for path, length in ((zeros, 0), (tail, size // 2)):
        os.truncate(path, length)
        os.truncate(path, size)
    os.truncate(other, 100)
    for path in (complete, cut, empty, short, zeros, tail, other):
        settle(path)
    with pytest.warns(UserWarning, match=rf"5 compiled kernels in '{tmp_path}' were damaged and are compiled anew"):
        dropped = drop_damaged(tmp_path)
    assert dropped == [cut, empty, short, zeros, tail]
    assert sorted(tmp_path.iterdir()) == sorted([complete, other])
    assert drop_damaged(tmp_path) == []


def test_a_missing_folder_holds_no_damage(tmp_path):
    assert drop_damaged(tmp_path / "none") == []


def test_the_folder_is_the_one_that_mlx_uses(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "mlx" / mx.__version__ / "cpu"
    folder.mkdir(parents=True)
    (folder / "a.so").touch()
    settle(folder / "a.so")
    with pytest.warns(UserWarning, match="1 compiled kernels"):
        assert drop_damaged() == [folder / "a.so"]


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Returns a function that puts a `g++` first on the path, and the folder of compiled functions into `tmp_path`."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    monkeypatch.setattr(jit.mx, "disable_compile", mock.Mock())

    def make(script: str) -> None:
        file = tmp_path / "bin" / "g++"
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")

    return make


def refused(text: str) -> None:
    with pytest.warns(UserWarning, match=f"^Functions are not compiled, which costs speed: {re.escape(text)}"):
        prepare()
    jit.mx.disable_compile.assert_called_once()


def test_no_compiler(compiler, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    refused("there is no g++. Install it")


def test_a_compiler_that_fails(compiler, tmp_path):
    compiler("echo No space left on device >&2; exit 1")
    refused(f"g++ fails: No space left on device. Check that g++ can write to '{tmp_path}'")


def test_a_library_that_does_not_load(compiler, tmp_path):
    compiler('for last; do :; done; echo text > "$last"')  # as on a disk mounted with noexec
    refused(f"nothing can be kept in '{tmp_path}': ")


def test_a_full_disk(compiler, tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "LEAST_FREE", 1 << 62)
    refused(f"'{tmp_path}' has only ")


def test_a_missing_folder(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    refused(f"nothing can be kept in '{tmp_path / 'missing'}': ")


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_where_all_is_well_nothing_changes(compiler, tmp_path):
    prepare()
    jit.mx.disable_compile.assert_not_called()
    assert list(tmp_path.iterdir()) == []


def test_the_preparations_are_made_once_and_only_before_the_first_function_of_a_cpu(monkeypatch):
    calls = []
    monkeypatch.setattr(jit, "prepare", lambda: calls.append("prepare"))
    monkeypatch.setattr(jit, "drop_damaged", lambda: calls.append("drop"))
    monkeypatch.setattr(jit, "_at_first_use", [])
    jit.before_compiling()  # nothing is due in a process that is no command
    jit.prepare_at_first_use(lambda: calls.append("header"))
    assert calls == ["drop"]
    calls.clear()
    for device, expected in ((mx.gpu, []), (mx.cpu, ["prepare", "header"]), (mx.cpu, ["prepare", "header"])):
        monkeypatch.setattr(jit.mx, "default_device", lambda device=device: mx.Device(device))
        jit.before_compiling()
        assert calls == expected


def test_a_library_that_is_being_written_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "SETTLED", 1.0)
    complete = library(tmp_path, "a.so").read_bytes()
    (tmp_path / "a.so").write_bytes(complete[:-1])

    def finish():
        time.sleep(0.4)
        (tmp_path / "a.so").write_bytes(complete)

    writer = threading.Thread(target=finish)
    writer.start()
    assert drop_damaged(tmp_path) == []
    writer.join()
    (tmp_path / "a.so").write_bytes(complete[:-1])
    os.utime(tmp_path / "a.so", (2**32, 2**32))  # a clock that was set back
    with pytest.warns(UserWarning, match="1 compiled kernels"):
        assert drop_damaged(tmp_path) == [tmp_path / "a.so"]
