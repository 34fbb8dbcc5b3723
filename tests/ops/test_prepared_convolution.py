"""Convolutions of the steps of a walk, whose kernels are transformed once."""

from __future__ import annotations

from convlstm.ops.convolution import conv2d
from convlstm.ops.cpu.library import library
from convlstm.ops.prepared_convolution import StepConvolution, convolve, prepare
from tests.support.reference import close, normal

import mlx.core as mx
import pytest


def walk(x, W, b, step_of, steps=4):
    """Returns the state after some steps, x <- tanh(W * x + b), as a function of x, W and b."""
    step = step_of(W)
    for _ in range(steps):
        x = mx.tanh(step(x) + b)
    return x


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("trains", [True, False])
def test_a_walk_and_its_gradients_are_those_of_mlx(size, trains, kernels, rng):
    given = [normal(rng, (2, 9, 6, 7)), normal(rng, (7, size, size, 7)) * 0.1, normal(rng, (7,))]
    dy = normal(rng, given[0].shape)

    def prepared(*given):
        return walk(*given, lambda W: StepConvolution(W, trains=trains))

    def native(*given):
        return walk(*given, lambda W: lambda x: conv2d(x, W, algorithm="native"))

    (y,), gradients = mx.vjp(prepared, given, [dy])
    (expected,), native_gradients = mx.vjp(native, given, [dy])
    for actual, known in zip((y, *gradients), (expected, *native_gradients), strict=True):
        close(actual, known, 3e-5)


@pytest.mark.parametrize(
    ("size", "padding", "algorithm"), [(7, "same", "auto"), (3, "circular", "auto"), (3, "same", "native")]
)
def test_what_has_no_kernel_is_convolved_as_before(size, padding, algorithm, rng):
    x, W = normal(rng, (1, 5, 8, 3)), normal(rng, (2, size, size, 3))
    step = StepConvolution(W, padding, algorithm)
    close(step(x), conv2d(x, W, padding=padding, algorithm="native"), 1e-5)
    half = x.astype(mx.bfloat16)
    assert StepConvolution(W.astype(mx.bfloat16), padding, algorithm)(half).dtype == mx.bfloat16


def test_kernels_of_other_sizes_are_refused(kernels):
    prepared = prepare(mx.zeros((4, 3, 3, 5)))
    with pytest.raises(ValueError, match="were not prepared from 4 x 3 x 3 x 70 numbers"):
        convolve(mx.zeros((1, 4, 4, 70)), prepared, 4, 3)


def test_a_kernel_takes_over_no_memory_that_somebody_needs(kernels, rng):
    x, W, dy = normal(rng, (1, 4, 4, 3)), normal(rng, (3, 3, 3, 3)), normal(rng, (1, 4, 4, 3))
    _, turned, zeros = prepare(W)
    before = mx.contiguous(zeros + 1)

    def gradient():
        numbers, shapes = [*x.shape, 3, 3, 1], [x.shape, before.shape]
        return library().call("convlstm_convolution_backward", [x, turned, dy, before], shapes, numbers, {1: 3})[1]

    first, second = gradient(), gradient()
    mx.eval(first, second)
    assert (before == 1).all()
    assert (first == second).all()
    assert not (first == before).all()
