"""The header that is compiled once for all functions of MLX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from convlstm.backend import precompiled_header
from convlstm.backend.files import temporary_of
from convlstm.ops.algorithm import on_cpu
from tests.support.project import PROJECT

import mlx.core as mx
import pytest

COMPILED = Path("mlx") / mx.__version__ / "cpu" / "mlx" / "backend" / "cpu" / "compiled_preamble.h.gch"
SOURCE = Path("mlx") / mx.__version__ / "cpu" / "function.cpp"

pytestmark = pytest.mark.skipif(not (sys.platform.startswith("linux") and on_cpu()), reason="needs Linux and a CPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for temporary files with a compiled header."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        thread = precompiled_header.start()
        thread.join()
    return folder


def test_nothing_but_the_header_is_left(folder):
    assert [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()] == [COMPILED]


def test_gpp_takes_it_for_the_functions_of_mlx(folder):
    source = folder / SOURCE
    source.write_text('#include "mlx/backend/cpu/compiled_preamble.h"\nint answer() { return 42; }\n', encoding="utf-8")
    include = Path(mx.__file__).parent / "include"
    # As MLX calls it; -H names each header that is read, with an exclamation mark if it was compiled before.
    command = [
        "g++",
        "-std=c++17",
        "-O3",
        "-Wall",
        "-fPIC",
        "-shared",
        "-I",
        include,
        source,
        "-o",
        folder / "a.so",
        "-H",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[0] == f"! {folder / COMPILED}"


def test_the_options_are_those_of_mlx(folder):
    library = Path(mx.__file__).parent / "lib" / "libmlx.so"
    assert " ".join(["g++", *precompiled_header._OPTIONS]).encode() in library.read_bytes()


def test_it_is_compiled_once(folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder))
    assert precompiled_header.start() is None


def test_one_process_at_a_time_compiles_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = tmp_path / COMPILED
    path.parent.mkdir(parents=True)
    other = temporary_of(path)
    other.touch()
    assert precompiled_header.start() is None
    assert other.exists()


@pytest.mark.parametrize(
    ("name", "value"), [("MLX_DISABLE_COMPILE", "1"), ("PATH", "/nowhere")], ids=["not compiled", "no g++"]
)
def test_nothing_is_done_where_nothing_is_compiled(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(name, value)
    assert precompiled_header.start() is None


def test_nothing_is_done_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(precompiled_header, "LEAST_FREE", 1 << 62)
    assert precompiled_header.start() is None


def test_a_failure_is_silent_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(precompiled_header, "_OPTIONS", ("--no-such-option",))
    precompiled_header.start().join()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_end_of_the_process_ends_it(tmp_path):
    code = "import time\nfrom convlstm.backend import precompiled_header\nprecompiled_header.start()\ntime.sleep(0.3)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, cwd=PROJECT, check=True
    )
    assert done.returncode == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
