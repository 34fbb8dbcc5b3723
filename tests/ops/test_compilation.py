"""What is compiled by MLX, and where."""

from __future__ import annotations

from unittest import mock

from convlstm.ops import compilation
from convlstm.ops.cpu.library import UnavailableError

import mlx.core as mx
import pytest


def double(x: mx.array) -> mx.array:
    return 2 * x


@pytest.fixture
def before(monkeypatch) -> mock.Mock:
    before = mock.Mock()
    monkeypatch.setattr(compilation, "before_compiling", before)
    return before


class Calls:
    """A step with state that counts how often Python runs it."""

    def __init__(self):
        self.state, self.calls = {"sum": mx.array(0.0)}, 0

    def __call__(self, x: mx.array) -> mx.array:
        self.calls += 1
        self.state["sum"] = self.state["sum"] + x
        return self.state["sum"] * 2


def test_with_kernels_a_cpu_compiles_no_step(before, kernels):
    assert compilation.whole(double) is double
    before.assert_not_called()


def test_without_kernels_a_cpu_compiles_steps(before, monkeypatch):
    monkeypatch.setattr(compilation, "on_cpu", lambda: True)
    monkeypatch.setattr(compilation, "library", mock.Mock(side_effect=UnavailableError))
    step = Calls()
    compiled = compilation.whole(step, step.state, step.state)
    before.assert_called_once()
    assert [compiled(mx.array(x)).item() for x in (1.0, 2.0, 3.0)] == [2, 6, 12]
    assert step.calls < 3


def test_a_gpu_compiles_steps_and_needs_neither_kernels_nor_a_compiler(before, monkeypatch):
    monkeypatch.setattr(compilation, "on_cpu", lambda: False)
    monkeypatch.setattr(compilation, "library", mock.Mock(side_effect=AssertionError))
    step = Calls()
    compiled = compilation.whole(step, step.state, step.state)
    assert [compiled(mx.array(x)).item() for x in (1.0, 2.0, 3.0)] == [2, 6, 12]
    assert step.calls < 3
    before.assert_not_called()


def test_elementwise_equations_are_compiled_when_they_are_first_called(before):
    equations = mock.Mock(side_effect=double)
    compiled = compilation.elementwise(lambda x: equations(x))
    before.assert_not_called()
    assert [compiled(mx.array(x)).item() for x in (1.0, 2.0)] == [2, 4]
    assert before.called
    equations.assert_called_once()


def test_equations_for_gpus_are_compiled_there_and_without_kernels(before, monkeypatch, kernels):
    for on_cpu, found, calls, prepared in ((True, True, 2, 0), (True, False, 1, 2), (False, False, 1, 0)):
        monkeypatch.setattr(compilation, "on_cpu", lambda value=on_cpu: value)
        monkeypatch.setattr(compilation, "_has_kernels", lambda value=found: value)
        before.reset_mock()
        equations = mock.Mock(side_effect=double)
        function = compilation.on_gpus(lambda x, equations=equations: equations(x))
        assert [function(mx.array(x)).item() for x in (1.0, 2.0)] == [2, 4]
        assert (equations.call_count, before.call_count) == (calls, prepared)
