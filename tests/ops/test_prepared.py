"""A walk in parts, with kernels that are transformed once, against the whole walk."""

from __future__ import annotations

from convlstm.ops.recurrence import prepare, reference_unroll, unroll, unroll_prepared
from tests.support.walks import (
    GRADIENTS,
    INPUTS,
    arguments,
    assert_equals_reference,
    drawn,
    same,
    steps,
    value_and_gradients,
)

import mlx.core as mx
import pytest

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.mark.parametrize("options", [{"trains": True}, {"trains": True, "sparing": True}, {"trains": False}])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("parts", [[1, 1, 1, 1, 1], [2, 3], [5]])
def test_parts_of_a_walk_equal_the_whole(parts, inputs, options, rng):
    # The last grid has many tiles per step.
    for kernel_size, recompute, grid in ((3, False, (7, 6)), (5, True, (7, 6)), (3, False, (46, 48))):
        given = arguments(rng, kernel_size, grid, "channel", inputs, L=5, C=5, O=9)
        weights = drawn(rng, given, 5)

        def in_parts(x, h, c, Wx, Wh, bias, peepholes, kernel_size=kernel_size, recompute=recompute):
            Ux, Uh = None if Wx is None else prepare(Wx, **options), prepare(Wh, **options)
            outputs, start = [], 0
            for count in parts:
                part = None if x is None else x[:, start : start + count]
                how = {"kernel_size": kernel_size, "length": count, "recompute": recompute}
                some, h, c, Ux, Uh = unroll_prepared(part, h, c, Ux, Uh, bias, peepholes, **how)
                outputs.append(some)
                start += count
            return mx.concatenate(outputs, axis=1), h, c

        expected = value_and_gradients(unroll, given, weights, **steps(given, 5))
        actual = value_and_gradients(in_parts, given, weights)
        assert_equals_reference(actual, expected)
        compiled = mx.compile(lambda given, f=in_parts, weights=weights: value_and_gradients(f, given, weights))
        same(compiled(given), actual, 2e-6)


@pytest.mark.parametrize("sparing", [False, True])
def test_parts_that_feed_on_their_own_output(sparing, rng):
    """The output of a step is the input of the next one, as in a forecaster."""
    given = arguments(rng, peepholes="none", L=1, C=3)
    x, h, c, Wx, Wh, bias, _ = given.values()

    def prepared(Wx, Wh, x):
        (Ux, Uh), (h_, c_) = (prepare(Wx, sparing=sparing), prepare(Wh, sparing=sparing)), (h, c)
        for _ in range(4):
            x, h_, c_, Ux, Uh = unroll_prepared(x, h_, c_, Ux, Uh, bias, kernel_size=3)
        return (x**2).sum()

    def plain(Wx, Wh, x):
        h_, c_ = h, c
        for _ in range(4):
            x, h_, c_ = reference_unroll(x, h_, c_, Wx, Wh, bias)
        return (x**2).sum()

    for function in (mx.value_and_grad(f, argnums=(0, 1, 2)) for f in (prepared, mx.compile(prepared))):
        same(function(Wx, Wh, x), mx.value_and_grad(plain, argnums=(0, 1, 2))(Wx, Wh, x), GRADIENTS)


@pytest.mark.parametrize("sparing", [False, True])
def test_a_walk_left_unfinished_keeps_the_gradients_of_its_parts(sparing, rng):
    """Only the result of the first part counts: a later part neither adds nor removes a gradient."""
    x, h, c, Wx, Wh, bias, _ = arguments(rng, peepholes="none", L=4).values()

    def prepared(Wx, Wh, later):
        Ux, Uh = prepare(Wx, sparing=sparing), prepare(Wh, sparing=sparing)
        outputs, h_, c_, Ux, Uh = unroll_prepared(x[:, :2], h, c, Ux, Uh, bias, kernel_size=3)
        if later:
            unroll_prepared(x[:, 2:], h_, c_, Ux, Uh, bias, kernel_size=3)
        return (outputs**2).sum()

    expected = mx.grad(lambda *W: (unroll(x[:, :2], h, c, *W, bias)[0] ** 2).sum(), argnums=(0, 1))(Wx, Wh)
    for later in (False, True):
        same(mx.grad(lambda *W, later=later: prepared(*W, later), argnums=(0, 1))(Wx, Wh), expected, 5e-6)


def test_filters_of_other_kernels_are_refused(rng):
    x, h, c, Wx, Wh, bias, _ = arguments(rng, 3, peepholes="none").values()
    with pytest.raises(ValueError, match=r"\[unroll_prepared\] 'Uh' was prepared from kernels of another size"):
        unroll_prepared(None, h, c, None, prepare(Wh), bias, kernel_size=5, length=2)
    with pytest.raises(ValueError, match=r"\[unroll_prepared\] 'Uh' was prepared from kernels of another size"):
        unroll_prepared(None, h, c, None, prepare(Wh, sparing=True), bias, kernel_size=5, length=2)
    with pytest.raises(ValueError, match=r"\[unroll_prepared\] 'Ux' was prepared from kernels of another size"):
        unroll_prepared(mx.concatenate([x] * 9, axis=-1), h, c, prepare(Wx), prepare(Wh), bias, kernel_size=3)
