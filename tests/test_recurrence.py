"""The fast paths of `convlstm.ops` against their plain references and against float64."""

import re

from convlstm.ops.convolution import conv2d, output_size, pads
from convlstm.ops.gates import halved, lstm_gates, rational_tanh, reference_gates
from convlstm.ops.recurrence import reference_unroll, supports, unroll
from convlstm.ops.winograd import KERNELS, TILE, cook_toom, winograd

import mlx.core as mx
import numpy as np
import pytest
import reference
from reference import close, doubles, normal

KERNEL_SIZES = [(3, 3), (5, 5), (3, 5), (5, 3)]
# Whole tiles, ragged tiles, less than a tile, a single row.
GRIDS = [(8, 12), (7, 9), (2, 3), (1, 6)]
PEEPHOLES = ["none", "channel", "place"]


def arguments(rng, kernel_size, grid, peepholes, driven=True, N=2, L=3, C=2, O=3):
    """Random arguments of `unroll`, with values that keep the gates in motion."""
    channels = C + O if driven else O
    W = normal(rng, (4 * O, *kernel_size, channels), (kernel_size[0] * kernel_size[1] * channels) ** -0.5)
    shape = {"none": None, "channel": (O,), "place": (*grid, O)}[peepholes]
    return {
        "x": normal(rng, (N, L, *grid, C)) if driven else None,
        "h": normal(rng, (N, *grid, O)),
        "c": normal(rng, (N, *grid, O)),
        "W": W,
        "bias": normal(rng, (4 * O,), 0.5),
        "peepholes": None if shape is None else tuple(normal(rng, shape, 0.5) for _ in range(3)),
    }


def float64_unroll(given, **options):
    """`unroll` by the transcription of the paper's equations."""
    given = doubles({name: a for name, a in given.items() if a is not None})
    weights = {"Wh": given["W"], "bias": given["bias"]}
    if "x" in given:
        weights["Wx"], weights["Wh"] = np.split(given["W"], [given["x"].shape[-1]], axis=-1)
    weights |= dict(zip(("Wci", "Wcf", "Wco"), given.get("peepholes", ()), strict=False))
    return reference.layer(given.get("x"), given["h"], given["c"], weights, **options)


def compare(given, rng, **options):
    """Asserts that values and all gradients of `unroll` are the reference's."""
    fixed = {name: None for name, a in given.items() if a is None}
    values = {name: a for name, a in given.items() if a is not None}
    expected = reference_unroll(**given, **options)
    weights = [normal(rng, a.shape) for a in expected]

    def total(function, values):
        return sum((w * a).sum() for w, a in zip(weights, function(**values, **fixed, **options), strict=True))

    for actual, value in zip(unroll(**given, **options), expected, strict=True):
        close(actual, value, 2e-5)
    gradients, plain = (mx.grad(lambda v, f=f: total(f, v))(values) for f in (unroll, reference_unroll))
    assert gradients.keys() == plain.keys() == values.keys()
    for name, gradient in gradients.items():
        pairs = zip(gradient, plain[name], strict=True) if name == "peepholes" else [(gradient, plain[name])]
        for a, b in pairs:
            close(a, b, 2e-5)


@pytest.mark.parametrize("peepholes", PEEPHOLES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_unroll_equals_its_reference(kernel_size, grid, peepholes, rng):
    reverse = (KERNEL_SIZES.index(kernel_size) + GRIDS.index(grid)) % 2 == 0
    compare(arguments(rng, kernel_size, grid, peepholes), rng, reverse=reverse)


@pytest.mark.parametrize("peepholes", PEEPHOLES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("kernel_size", "grid"), [((3, 3), (5, 8)), ((5, 5), (8, 8)), ((3, 5), (6, 7))])
def test_unroll_without_input_equals_its_reference(kernel_size, grid, reverse, peepholes, rng):
    compare(arguments(rng, kernel_size, grid, peepholes, driven=False), rng, length=4, reverse=reverse)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("grid", [(4, 4), (32, 34)])
def test_unroll_for_few_and_many_tiles_and_steps(grid, length, rng):
    # 1 tile to 72 tiles a sample: steps share one weight-gradient product, or take several.
    compare(arguments(rng, (3, 3), grid, "channel", N=3, L=length, C=1, O=2), rng)


def test_each_argument_has_a_gradient_of_its_own(rng):
    given = arguments(rng, (3, 3), (5, 6), "channel")
    given.pop("peepholes")
    for name in given:
        compare({**given, "peepholes": None, name: given[name] * 0.1}, rng)
        one = mx.grad(lambda a, name=name: unroll(**{**given, name: a})[0].sum())(given[name])
        plain = mx.grad(lambda a, name=name: reference_unroll(**{**given, name: a})[0].sum())(given[name])
        close(one, plain, 2e-5)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_of_one_result_alone(part, rng):
    given = arguments(rng, (3, 3), (5, 6), "place")
    both = [mx.grad(lambda W, f=f: f(**{**given, "W": W})[part].sum())(given["W"]) for f in (unroll, reference_unroll)]
    close(*both, 2e-5)


def test_unroll_compiles(rng):
    given = arguments(rng, (3, 3), (5, 6), "channel")

    def total(W, x):
        return (unroll(**{**given, "W": W, "x": x})[0] ** 2).sum()

    compiled = mx.compile(mx.value_and_grad(total, argnums=(0, 1)))
    value, gradients = compiled(given["W"], given["x"])
    plain_value, plain = mx.value_and_grad(total, argnums=(0, 1))(given["W"], given["x"])
    close(value, plain_value, 1e-6)
    for a, b in zip(gradients, plain, strict=True):
        close(a, b, 1e-6)


# Seen over six draws: 6e-6 after ten steps and 9e-6 for one convolution; MLX's own convolution is within 5e-7.
WINOGRAD_ERROR = 2e-5


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_error_against_float64(kernel_size, rng):
    for driven in (True, False):
        given = arguments(rng, kernel_size, (13, 10), "place", driven, N=2, L=10, C=4, O=8)
        expected = float64_unroll(given, length=10)
        for actual, value in zip(unroll(**given, length=10), expected, strict=True):
            close(actual, value, WINOGRAD_ERROR)


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_error_of_one_winograd_convolution_against_float64(kernel_size, rng):
    x, w = normal(rng, (2, 18, 15, 32)), normal(rng, (16, *kernel_size, 32))
    wino = winograd(kernel_size, 18, 15)
    y = wino.from_tiles(wino.scatter(wino.gather(x) @ wino.filters(w)))
    close(y, reference.convolve(*doubles((x, w))), WINOGRAD_ERROR)


@pytest.mark.parametrize("r", KERNELS)
def test_cook_toom_is_a_convolution(r, rng):
    AT, G, BT = cook_toom(TILE, r)
    assert AT.shape == (TILE, TILE + r - 1)
    w, d = rng.normal(size=r), rng.normal(size=TILE + r - 1)
    np.testing.assert_allclose(AT @ ((G @ w) * (BT @ d)), np.correlate(d, w), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("m", "r"), [(1, 3), (2, 3), (2, 2), (3, 5)])
def test_cook_toom_for_other_sizes(m, r, rng):
    AT, G, BT = cook_toom(m, r)
    w, d = rng.normal(size=r), rng.normal(size=m + r - 1)
    np.testing.assert_allclose(AT @ ((G @ w) * (BT @ d)), np.correlate(d, w), rtol=0, atol=1e-12)


def inner(a, b):
    assert a.shape == b.shape
    return float((np.array(a, np.float64) * np.array(b, np.float64)).sum())


def adjoint(forward, backward, x, y):
    """Asserts <A x, y> = <x, A^T y>, to the precision of the sums."""
    Ax, ATy = forward(x), backward(y)
    scale = np.linalg.norm(np.array(Ax)) * np.linalg.norm(np.array(y))
    assert abs(inner(Ax, y) - inner(x, ATy)) < 2e-6 * scale
    assert abs(inner(Ax, y)) > 1e-4 * scale


@pytest.mark.parametrize("grid", [*GRIDS, (16, 4), (5, 5), (13, 3)])
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_transposes_are_adjoints(kernel_size, grid, rng):
    wino = winograd(kernel_size, *grid)
    x, w = normal(rng, (2, *grid, 3)), normal(rng, (4, *kernel_size, 3))
    V, U = wino.gather(x), wino.filters(w)
    M = V @ U
    tiles = wino.to_tiles(x)
    adjoint(wino.gather, lambda dV: wino.from_tiles(wino.gather_transposed(dV)), x, normal(rng, V.shape))
    adjoint(wino.filters, wino.filters_transposed, w, normal(rng, U.shape))
    adjoint(wino.scatter, wino.scatter_transposed, normal(rng, M.shape), normal(rng, wino.scatter(M).shape))
    adjoint(wino.to_tiles, wino.from_tiles, x, normal(rng, tiles.shape))
    assert mx.array_equal(wino.from_tiles(tiles), x)


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_gather_transposed_leaves_zeros_beyond_the_grid(kernel_size, rng):
    wino = winograd(kernel_size, 6, 7)
    tiles = wino.gather_transposed(normal(rng, wino.gather(mx.zeros((2, 6, 7, 3))).shape))
    assert mx.array_equal(wino.to_tiles(wino.from_tiles(tiles)), tiles)


@pytest.mark.parametrize(
    ("kernel_size", "fits"),
    [((3, 3), True), ((5, 3), True), ((1, 3), False), ((7, 7), False), ((5, 7), False)],
)
def test_supports(kernel_size, fits):
    assert supports(kernel_size) is fits


@pytest.mark.parametrize("compiled", [False, True])
def test_rational_tanh(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    x = np.linspace(-20, 20, 400_001, dtype=np.float32)
    error = np.abs(np.array(function(mx.array(x)), np.float64) - np.tanh(x.astype(np.float64)))
    assert error.max() < 5e-7
    small = np.array([1e-8, -1e-20, 0, 1e-4], np.float32)
    np.testing.assert_allclose(function(mx.array(small)), small, rtol=1e-6, atol=0)
    ends = np.array(function(mx.array([np.inf, -np.inf, 1e30, -1e30])))
    np.testing.assert_allclose(ends, [1, -1, 1, -1], rtol=0, atol=5e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_rational_tanh_is_a_function_of_each_value(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    # Lengths that fill vector registers and that do not.
    for shape in ((1,), (7,), (3, 5), (33, 2, 5)):
        x = mx.random.normal(shape, key=mx.random.key(0))
        close(function(x), np.tanh(np.array(x, np.float64)), 1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_nan_stays_nan_in_rational_tanh(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    x = np.zeros(37, np.float32)
    x[[0, 11, 36]] = np.nan
    assert np.array_equal(np.isnan(np.array(function(mx.array(x)))), np.isnan(x))


@pytest.mark.parametrize("gate", range(4))
def test_nan_in_any_gate_reaches_the_hidden_state(gate, rng):
    z, c = np.array(normal(rng, (2, 3, 4, 8))), normal(rng, (2, 3, 4, 2))
    z[1, 2, 3, 2 * gate] = np.nan
    for function in (lstm_gates, reference_gates):
        h, after = function(mx.array(z), c)
        lost = np.zeros((2, 3, 4, 2), bool)
        lost[1, 2, 3, 0] = True
        assert np.array_equal(np.isnan(np.array(h)), lost)
        assert np.array_equal(np.isnan(np.array(after)), lost if gate < 3 else np.zeros_like(lost))


@pytest.mark.parametrize("where", ["x", "h", "c", "W", "bias", "peepholes"])
@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5)])
def test_nan_in_any_argument_reaches_the_outputs(kernel_size, where, rng):
    given = arguments(rng, kernel_size, (8, 8), "channel")
    spoilt = given[where][0] if where == "peepholes" else given[where]
    spoilt = spoilt.reshape(-1)
    spoilt[0] = mx.array(float("nan"))
    spoilt = spoilt.reshape((given[where][0] if where == "peepholes" else given[where]).shape)
    given[where] = (spoilt, *given[where][1:]) if where == "peepholes" else spoilt
    for function in (unroll, reference_unroll):
        outputs, _, _ = function(**given)
        assert mx.isnan(outputs[0, 0, 0, 0]).any()
        assert mx.isnan(outputs[0, -1, 0, 0]).any()


@pytest.mark.parametrize("peepholes", PEEPHOLES)
def test_gates_equal_their_reference(peepholes, rng):
    shape = {"none": None, "channel": (3,), "place": (5, 7, 3)}[peepholes]
    z, c = normal(rng, (2, 5, 7, 12), 3), normal(rng, (2, 5, 7, 3), 3)
    W = [] if shape is None else [normal(rng, shape) for _ in range(3)]
    weights = [normal(rng, c.shape) for _ in "hc"]

    def total(function, z, c, *W):
        return sum((w * a).sum() for w, a in zip(weights, function(z, c, tuple(W) or None), strict=True))

    for actual, expected in zip(
        lstm_gates(z, c, tuple(W) or None), reference_gates(z, c, tuple(W) or None), strict=True
    ):
        close(actual, expected, 2e-6)
    numbers = tuple(range(2 + len(W)))
    gradients, plain = (
        mx.grad(lambda *a, f=f: total(f, *a), argnums=numbers)(z, c, *W) for f in (lstm_gates, reference_gates)
    )
    for a, b in zip(gradients, plain, strict=True):
        close(a, b, 5e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_gates_in_half_precision_are_the_reference_s(dtype, rng):
    z, c = normal(rng, (1, 2, 2, 8)).astype(dtype), normal(rng, (1, 2, 2, 2)).astype(dtype)
    for actual, expected in zip(lstm_gates(z, c), reference_gates(z, c), strict=True):
        assert actual.dtype == dtype
        assert mx.array_equal(actual, expected)


def test_halved_makes_a_sigmoid_of_a_tanh(rng):
    z = normal(rng, (4, 6))
    i, f, g, o = np.tanh(np.array(halved(z)))
    for gate, value in zip((i, f, o), (z[0], z[1], z[3]), strict=True):
        np.testing.assert_allclose((gate + 1) / 2, mx.sigmoid(value), rtol=0, atol=1e-6)
    np.testing.assert_allclose(g, mx.tanh(z[2]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "dilation", "expected"),
    [(4, 3, 2, 1, (0, 1)), (5, 3, 2, 1, (1, 1)), (7, 5, 2, 1, (2, 2)), (8, 5, 3, 1, (1, 2)), (6, 3, 1, 2, (2, 2)),
     (9, 1, 2, 1, (0, 0)), (3, 3, 5, 1, (0, 0))],
)  # fmt: skip
def test_same_pads(length, kernel, stride, dilation, expected):
    rows, columns = pads((length, 1), (kernel, 1), (stride, 1), "same", (dilation, 1))
    assert rows == expected == reference.same_pads(length, kernel, stride, dilation)
    assert columns == (0, 0)


def test_conv2d_defaults_to_a_convolution_that_keeps_the_grid(rng):
    x, w = normal(rng, (2, 5, 6, 3)), normal(rng, (4, 3, 5, 3))
    close(conv2d(x, w), reference.convolve(*doubles((x, w))), 1e-6)


def test_output_size_names_its_owner_and_what_is_too_small():
    assert output_size("It", (7, 8), (3, 5), (2, 1), "valid") == (3, 4)
    message = (
        "[It] an input of 4x9 is too small for kernel_size=(3, 3), dilation=(2, 2), padding='valid': no output is left."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        output_size("It", (4, 9), (3, 3), (1, 1), "valid", (2, 2))
