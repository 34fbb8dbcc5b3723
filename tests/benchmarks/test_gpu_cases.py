"""The cases of the script for a GPU, and that nothing of the CPU's path is used on a GPU, whose choice is mocked."""

from __future__ import annotations

import platform

from benchmarks.gpu import correctness
from benchmarks.gpu.cases import cases, models
from benchmarks.gpu.correctness import TRAINING, computed, trained
from convlstm.backend import blas, jit, precompiled_header
from convlstm.cli.configuration import CONFIGS
from convlstm.ops import algorithm
from convlstm.ops.cpu import library
from tests.support.reference import close

import mlx.core as mx
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("without_compilation")


@pytest.fixture
def on_gpu(monkeypatch):
    """MLX says that its device is a GPU, while it computes on the CPU as before. Kernels of the CPU end the test."""

    def refused(*_, **__):
        raise AssertionError("a kernel of the CPU is called on a GPU")

    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(library.Library, "call", refused)
    for module in (algorithm, library):
        for name in ("available", "library"):
            monkeypatch.setattr(module, name, refused)


def test_every_model_of_the_configuration_is_a_case():
    wanted = set()
    for file in (CONFIGS / "model").glob("*.yaml"):
        target = yaml.safe_load(file.read_text(encoding="utf-8")).get("_target_")
        wanted |= {target.rpartition(".")[2]} if target else set()
    assert wanted <= {type(case.make()).__name__ for case in models()}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_on_a_gpu_every_case_takes_mlx_s_own_operations(case, on_gpu):
    results = computed(case)
    mx.eval(results)
    assert all(np.isfinite(np.array(a)).all() for a in results.values())
    assert any(name.startswith("gradient") for name in results) is bool(case.gradient)


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.name)
def test_on_a_gpu_training_takes_mlx_s_own_operations(case, on_gpu):
    before = trained(TRAINING[0])
    results = trained(case)
    assert all(np.isfinite(np.array(a)).all() for a in results.values())
    close(np.array(results["value 0"]), np.array(before["value 0"]), 0.05)


def test_on_a_gpu_nothing_is_compiled_for_the_cpu(on_gpu, monkeypatch, tmp_path):
    """Without g++ and without a folder to write to, `mx.compile` stays on, and no header is compiled."""
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    disabled = []
    monkeypatch.setattr(jit.mx, "disable_compile", lambda: disabled.append(True))
    jit.prepare()
    assert disabled == []
    assert precompiled_header.start() is None
    assert blas.slow_blas_warning() is None


def test_macos_keeps_its_own_blas(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(blas.ctypes, "CDLL", lambda *_, **__: pytest.fail("a library is loaded"))
    assert blas.load_fast_blas.__wrapped__() == blas.Blas("accelerate")


def test_differences_see_a_wrong_value_a_nan_and_a_missing_array(tmp_path):
    case = correctness.case_of("gelu")
    right = {"value 0": np.array([1.0, -2.0]), "gradient of inputs.0": np.array([0.5, 0.25])}
    reference, ours = tmp_path / "reference.npz", tmp_path / "ours.npz"
    np.savez(reference, **right)
    for change, key, agrees in ((0.0, "value 0", True), (1e-3, "value 0", False), (4e-4, "gradient of inputs.0", True)):
        np.savez(ours, **{name: a + change * (name == key) for name, a in right.items()})
        found = correctness.differences(case, ours, reference)
        assert found["agrees"] is agrees
        assert max(found["value"], found["gradient"]) == pytest.approx(change / abs(right[key]).max(), abs=1e-9)
    np.savez(ours, **right | {"value 0": np.array([np.nan, -2.0])})
    assert not correctness.differences(case, ours, reference)["agrees"]
    np.savez(ours, **{"value 0": right["value 0"]})
    with pytest.raises(correctness.WorkerError, match="computed different things"):
        correctness.differences(case, ours, reference)
