"""Code and settings in the working folder that a command must not run or read."""

from __future__ import annotations

import os
import subprocess
import sys

from convlstm.backend.python_process import command
from tests.support.project import PROJECT

import pytest

MODULES = ("ctypes", "json", "typing", "convlstm", "mlx", "numpy", "sitecustomize", "usercustomize", "encodings")


@pytest.fixture
def hostile(tmp_path):
    """A folder whose modules leave a file when they run, and whose settings of matplotlib are unusable."""
    for name in MODULES:
        code = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit('{name} of a stranger ran')\n"
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "matplotlibrc").write_bytes(b"figure.dpi: \xff\xfe\n")
    return tmp_path


def run(line, folder, **environment):
    variables = {**os.environ, **environment}
    return subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("path", ["", ":", ".", ".:..", "{folder}"])
def test_a_process_of_ours_does_not_run_the_working_folder(hostile, monkeypatch, path):
    monkeypatch.setenv("PYTHONPATH", path.format(folder=hostile))
    monkeypatch.chdir(hostile)
    monkeypatch.setattr(sys, "path", ["", ".", str(hostile), *sys.path])
    line = command("import ctypes, json, mlx.core, numpy, convlstm, sys; print(sys.argv[1])", "argument")
    done = run(line, hostile)
    assert (done.returncode, done.stdout) == (0, "argument\n"), done.stderr
    assert not (hostile / "ran").exists()


def test_the_package_is_found_in_its_own_folder(monkeypatch):
    monkeypatch.chdir(PROJECT)
    done = run(command("import convlstm; print(convlstm.__file__)"), PROJECT)
    assert done.stdout == f"{PROJECT / 'convlstm' / '__init__.py'}\n", done.stderr


@pytest.mark.parametrize("script", ["evaluate.py", "forecast.py"])
def test_with_an_empty_kernel_cache_a_command_runs_nothing_of_the_working_folder(hostile, script):
    compiler = hostile / "c++"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\nfor last; do :; done\n: > "$last"\n')
    compiler.chmod(0o755)
    code = f"import sys; sys.path.pop(0); sys.path.insert(0, {str(PROJECT)!r})\n"
    code += "from convlstm.ops.cpu.library import _check\nfrom pathlib import Path\n"
    code += "try:\n    _check(Path('no.so'), Path('no.so'))\nexcept RuntimeError as error:\n    print(error)\n"
    done = run([sys.executable, "-I", "-c", code], hostile, XDG_CACHE_HOME=str(hostile / "cache"))
    assert "no.so: cannot open shared object file" in done.stdout, done.stderr
    done = run(
        [sys.executable, PROJECT / script, "ckpt=none"],
        hostile,
        XDG_CACHE_HOME=str(hostile / "cache"),
        CXX=str(compiler),
    )
    assert done.returncode == 1
    assert not (hostile / "ran").exists()


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_settings_of_matplotlib_in_the_working_folder_are_not_read(hostile, kind):
    settings = hostile / "matplotlibrc"
    if kind == "fifo":
        settings.unlink()
        os.mkfifo(settings)
    code = f"import sys; sys.path[0] = {str(PROJECT)!r}\nimport convlstm.report, matplotlib, os\n"
    code += "print(matplotlib.rcParams['figure.dpi'], os.path.exists('matplotlibrc'))"
    done = run([sys.executable, "-I", "-c", code], hostile, MPLCONFIGDIR=str(hostile / "own"))
    assert (done.returncode, done.stdout) == (0, "100.0 True\n"), done.stderr
