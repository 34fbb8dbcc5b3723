"""The doctor's report, apart from how fast the machine is."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

from convlstm import doctor
from convlstm.backend import blas
from convlstm.ops.cpu.library import UnavailableError, library
from tests.support.project import PROJECT

import mlx.core as mx
import pytest

linux_cpu = pytest.mark.skipif(
    platform.system() != "Linux" or mx.default_device() != mx.Device(mx.cpu), reason="about Linux CPUs"
)
fast_blas = pytest.mark.skipif(blas.load_fast_blas().path is None, reason="no fast BLAS here")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "convlstm.doctor", "--size", "128", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@linux_cpu
@fast_blas
def test_the_report_names_device_version_blas_and_figures():
    output = run().stdout
    found = blas.load_fast_blas()
    assert re.search(rf"^mlx +{re.escape(mx.__version__)} \(.*mlx-cpu.*\)$", output, re.M)
    assert re.search(r"^device +Device\(cpu, 0\)$", output, re.M)
    assert re.search(rf"^BLAS +{found.name}, {re.escape(str(found.path))}$", output, re.M)
    assert re.search(r"^loggers +tensorboard (\d|not).*, wandb (\d|not).*, mlflow (\d|not)", output, re.M)
    assert re.search(r"^GEMM 128 +[\d.]+ GFLOP/s$", output, re.M)
    assert re.search(r"^  MLX's own +[\d.]+ GFLOP/s: the BLAS above is \d+ times as fast$", output, re.M)
    assert re.search(r"^convolution +[\d.]+ ms, [\d.]+ GFLOP/s", output, re.M)
    assert re.search(r"^kernels +\S", output, re.M)
    assert re.search(r"^mx.compile +\S", output, re.M)


@linux_cpu
def test_a_slow_blas_is_a_fault_with_its_remedy():
    done = run(CONVLSTM_BLAS="none")
    assert done.returncode == 1
    assert re.search(r"^BLAS +built-in$", done.stdout, re.M)
    assert "  MLX's own" not in done.stdout
    assert "! MLX uses a slow BLAS on this CPU" in done.stdout


@linux_cpu
def test_the_report_names_the_kernels(kernels, capsys):
    assert doctor.check_kernels() == []
    found = library()
    expected = f"kernels      {found.path}, vectors of {found.lanes} floats, threads: {found.threads}\n"
    assert capsys.readouterr().out == expected
    assert found.lanes in (4, 8, 16)
    assert found.path.is_file()


@linux_cpu
def test_no_kernels_are_a_fault_with_its_remedy():
    done = run(CONVLSTM_KERNELS="none")
    assert done.returncode == 1
    assert re.search(r"^kernels +none$", done.stdout, re.M)
    expected = "! No fast kernels on this CPU: CONVLSTM_KERNELS=none asks for MLX's own. Unset it. The convolutions of "
    assert expected in done.stdout
    assert "UserWarning" not in done.stderr


def test_missing_kernels_are_no_fault_on_other_systems(monkeypatch, capsys):
    def lacking():
        raise UnavailableError("they are made for Linux, and this is Darwin.")

    monkeypatch.setattr(doctor, "library", lacking)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(doctor, "_on_cpu", lambda: True)
    assert doctor.check_kernels() == []
    assert capsys.readouterr().out == "kernels      none\n"
    monkeypatch.setattr(doctor, "_on_cpu", lambda: False)
    assert doctor.check_kernels() == []
    assert capsys.readouterr().out == ""


@linux_cpu
def test_without_a_compiler_the_report_names_the_package(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    (remedy,) = doctor.check_compile()
    assert "no g++" in capsys.readouterr().out
    assert "sudo apt install g++" in remedy


@linux_cpu
def test_a_broken_compiler_is_reported(tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo no headers; exit 1; }\n')
    compiler.chmod(0o755)
    done = run(PATH=f"{tmp_path}:{os.environ['PATH']}", TMPDIR=str(tmp_path), CONVLSTM_KERNELS="compile")
    assert done.returncode == 1
    assert "! mx.compile fails: " in done.stdout
    assert f"! No fast kernels on this CPU: {compiler} could not build them: " in done.stdout
    assert "MLX_DISABLE_COMPILE=1" in done.stdout


def test_two_backends_are_a_fault(monkeypatch):
    monkeypatch.setattr(doctor, "_installed_backends", lambda: ["mlx-cpu", "mlx-cuda-13"])
    (remedy,) = doctor.check_backends()
    assert remedy.startswith("mlx-cpu and mlx-cuda-13 overwrite each other's files.")


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", None), ("200000 100000", 2.0), ("150000 100000", 1.5), ("", None)]
)
def test_quota_is_read_in_cores(tmp_path, text, expected):
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert doctor._quota(file) == expected
    assert doctor._quota(tmp_path / "absent") is None


@linux_cpu
def test_a_quota_below_the_cores_asks_for_fewer_threads(monkeypatch):
    for name in doctor.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "_cores", lambda: 64)
    monkeypatch.setattr(doctor, "_quota", lambda file: 1.5)
    assert doctor.check_threads() == ["This container may use 1.5 cores of 64. Set OMP_NUM_THREADS=1."]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.check_threads() == []


def test_a_size_must_be_positive():
    done = run("--size", "0")
    assert done.returncode == 2
    assert "--size must be positive but got 0" in done.stderr
