"""The recurrence of `convlstm.ops.cpu`, against its plain reference and against float64."""

from __future__ import annotations

import re
from functools import partial

from convlstm.ops.recurrence import reference_unroll, unroll
from tests.support import reference
from tests.support.reference import close, doubles
from tests.support.walks import (
    GRADIENTS,
    INPUTS,
    NAMES,
    arguments,
    assert_equals_reference,
    drawn,
    float64_unroll,
    same,
    steps,
    value_and_gradients,
)

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

pytestmark = pytest.mark.usefixtures("kernels")

# Whole tiles of 4x4, ragged tiles, less than a tile, a single row.
GRIDS = [(8, 12), (7, 9), (2, 3), (1, 6)]
PEEPHOLES = ["none", "channel", "place"]


def compare(rng, given, L=3, **options):
    """Asserts that values and all gradients of `unroll` equal the reference's."""
    weights = drawn(rng, given, L)
    options = {**steps(given, L), **options}
    expected = value_and_gradients(reference_unroll, given, weights, **options)
    assert_equals_reference(value_and_gradients(unroll, given, weights, **options), expected)


@pytest.mark.parametrize("peepholes", PEEPHOLES)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_unroll_equals_its_reference(kernel_size, grid, inputs, peepholes, rng):
    given = arguments(rng, kernel_size, grid, peepholes, inputs)
    for reverse, recompute in ((False, False), (True, True)):
        compare(rng, given, reverse=reverse, recompute=recompute)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inputs", INPUTS)
def test_reverse_and_recompute_in_every_combination(inputs, reverse, recompute, rng):
    compare(rng, arguments(rng, 5, (7, 9), "place", inputs), reverse=reverse, recompute=recompute)


# Less than a vector, a vector of 8 or 16 floats, a little more, several vectors and a part of one.
@pytest.mark.parametrize("peepholes", ["channel", "place"])
@pytest.mark.parametrize("O", [1, 3, 8, 9, 16, 17, 24, 33])
def test_any_number_of_channels(O, peepholes, rng):
    for C, inputs, recompute in (
        (1, "driven", False),
        (9, "driven", True),
        (40, "driven", False),
        (0, "projected", True),
    ):
        compare(rng, arguments(rng, 3, (5, 6), peepholes, inputs, N=1, L=2, C=C, O=O), 2, recompute=recompute)


# A chunk of the backward walk has up to 512 tiles: all steps at once, then 3, 3 and 1, 2 and 1, and 1 each.
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("N", "grid", "L"), [(3, (4, 4), 1), (3, (4, 4), 9), (2, (32, 36), 7), (1, (64, 64), 3), (1, (90, 96), 2)]
)
def test_few_and_many_tiles_and_steps(N, grid, L, recompute, rng):
    for inputs, reverse in (("driven", False), ("projected", True), ("undriven", True)):
        given = arguments(rng, 3, grid, "channel", inputs, N=N, L=L, C=1, O=2)
        compare(rng, given, L, reverse=reverse, recompute=recompute)


# Such a walk does not convolve its first hidden state, whether the input's convolution runs ahead (few tiles) or not.
@pytest.mark.parametrize("grid", [(7, 9), (64, 68)])
@pytest.mark.parametrize("inputs", INPUTS)
def test_a_walk_from_zeros_and_from_a_single_other_value(inputs, grid, rng):
    given = arguments(rng, 3, grid, "channel", inputs, N=2, L=3, C=3, O=5)
    zeros = np.zeros(given["h"].shape, np.float32)
    one = zeros.copy()
    one[-1, -1, -1, -1] = 1
    for h, reverse in ((zeros, False), (zeros, True), (one, False)):
        for recompute in (False, True):
            compare(rng, {**given, "h": mx.array(h)}, reverse=reverse, recompute=recompute)


@pytest.mark.parametrize("recompute", [False, True])
def test_more_tiles_than_are_transformed_at_a_time(recompute, rng):
    # 528 tiles of 17 channels are more than products.h transforms at a time, for a convolution and for a gradient.
    compare(rng, arguments(rng, 5, (88, 96), "channel", N=1, L=2, C=17, O=17), 2, recompute=recompute)


def test_each_argument_has_its_own_gradient(rng):
    given = arguments(rng, peepholes="none")
    for name in NAMES[:-1]:
        one, plain = (
            mx.grad(lambda a, f=f, name=name: f(**{**given, name: a})[0].sum())(given[name])
            for f in (unroll, reference_unroll)
        )
        close(one, plain, GRADIENTS)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_of_one_result_alone(part, recompute, rng):
    given = arguments(rng, peepholes="place")
    gradients = [
        mx.grad(lambda W, f=f: f(**{**given, "Wh": W}, recompute=recompute)[part].sum())(given["Wh"])
        for f in (unroll, reference_unroll)
    ]
    close(*gradients, GRADIENTS)


def test_arguments_that_are_not_contiguous(rng):
    given = arguments(rng, grid=(6, 6), peepholes="place")
    turned = {**given, "x": given["x"].swapaxes(2, 3), "h": given["h"][:, ::-1], "c": given["c"].swapaxes(1, 2)}
    turned["Wh"], turned["bias"] = given["Wh"].swapaxes(1, 2), mx.broadcast_to(given["bias"][:1], given["bias"].shape)
    turned["peepholes"] = tuple(mx.broadcast_to(p[:1, :1], p.shape) for p in given["peepholes"])
    compare(rng, turned)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("inputs", INPUTS)
def test_unroll_compiles(inputs, recompute, rng):
    for _ in range(2):  # the second time with other values
        given = arguments(rng, inputs=inputs)
        weights = drawn(rng, given)
        function = partial(value_and_gradients, unroll, weights=weights, recompute=recompute, **steps(given))
        same(mx.compile(function)(given=given), function(given=given), 1e-6)


def test_a_compiled_function_takes_new_values(rng):
    fixed = arguments(rng)

    def gradient(Wh, x):
        return mx.grad(lambda Wh, x: (unroll(**{**fixed, "Wh": Wh, "x": x})[0] ** 2).sum(), argnums=(0, 1))(Wh, x)

    compiled = mx.compile(gradient)
    for _ in range(3):
        given = arguments(rng)
        same(compiled(given["Wh"], given["x"]), gradient(given["Wh"], given["x"]), 1e-6)


def test_float64_unroll_is_the_transcription_of_the_equations(rng):
    given = doubles(arguments(rng, 5, (7, 9), "place", L=4))
    weights = {name: given[name] for name in ("Wx", "Wh", "bias")}
    weights |= dict(zip(("Wci", "Wcf", "Wco"), given["peepholes"], strict=True))
    wide = tree_map(lambda a: mx.array(a, mx.float64), given)
    for a, b in zip(float64_unroll(**wide), reference.layer(*(given[n] for n in "xhc"), weights), strict=True):
        close(a, b, 1e-13)


# The last one has more tiles than are summed at once, and the largest error of a gradient.
@pytest.mark.parametrize(
    ("grid", "N", "L", "C", "O"), [((7, 9), 2, 3, 2, 3), ((13, 10), 2, 10, 20, 24), ((88, 96), 1, 2, 17, 17)]
)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_error_against_float64(kernel_size, inputs, grid, N, L, C, O, rng):
    given = arguments(rng, kernel_size, grid, "place", inputs, N=N, L=L, C=C, O=O)
    weights, options = drawn(rng, given, L), steps(given, L)
    wide = {name: tree_map(lambda a: a.astype(mx.float64), a) for name, a in given.items() if a is not None}
    exact = value_and_gradients(float64_unroll, {**given, **wide}, [w.astype(mx.float64) for w in weights], **options)
    for recompute in (False, True):
        assert_equals_reference(value_and_gradients(unroll, given, weights, recompute=recompute, **options), exact)


@pytest.mark.parametrize("where", NAMES)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_nan_in_any_argument_reaches_the_outputs(kernel_size, where, rng):
    given = arguments(rng, kernel_size, (8, 8), C=3, O=9)
    spoilt = given[where][0] if where == "peepholes" else given[where]
    values = np.array(spoilt)
    values.reshape(-1)[0] = np.nan
    given[where] = (mx.array(values), *given[where][1:]) if where == "peepholes" else mx.array(values)
    for function in (unroll, reference_unroll):
        outputs, *last = function(**given)
        assert mx.isnan(outputs[0, 0, 0, 0, 0])
        assert mx.isnan(outputs[0, -1, 0, 0, 0])
        assert all(mx.isnan(a[0, 0, 0, 0]) for a in last)


def test_nan_in_one_sample_stays_there_and_leaves_nothing_behind(rng):
    given = arguments(rng, 5, (7, 6), N=2, C=3, O=9)
    weights = drawn(rng, given)
    before = value_and_gradients(unroll, given, weights)
    x = np.array(given["x"])
    x[0] = np.nan
    outputs, gradients = value_and_gradients(unroll, {**given, "x": mx.array(x)}, weights)
    for spoilt, clean in zip(
        (*outputs, gradients["x"], gradients["h"]), (*before[0], before[1]["x"], before[1]["h"]), strict=True
    ):
        assert mx.isnan(spoilt[0]).all()
        assert mx.array_equal(spoilt[1], clean[1])
    same(value_and_gradients(unroll, given, weights), before, 0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("c", lambda a: a[..., :-1], "[unroll] 'c' must have shape"),
        ("bias", lambda a: a[:-4], "[unroll] 'bias' must have shape"),
        ("x", lambda a: a[..., :1], "[unroll] 'x' must have shape"),
        ("Wh", lambda a: a[..., :-1], "[unroll] 'Wh' must be of shape"),
        ("peepholes", lambda a: (a[0], a[1][:-1], a[2]), "[unroll] 'W_cf' must have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, change, message, rng):
    given = arguments(rng, peepholes="channel")
    with pytest.raises(ValueError, match=re.escape(message)):
        unroll(**{**given, name: change(given[name])})
