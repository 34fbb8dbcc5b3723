"""Arguments, values and gradients of the recurrence, and the precision to which they are compared."""

from __future__ import annotations

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from tests.support.reference import normal, same

import mlx.core as mx

# An input to convolve, no input, the result of a convolution.
INPUTS = ["driven", "undriven", "projected"]
NAMES = ("x", "h", "c", "Wx", "Wh", "bias", "peepholes")
# Relative to the largest value. The errors against float64 are up to 1.2e-5 in values and 3.1e-5 in gradients (of Wx,
# 5x5, many tiles); those of MLX's own convolution and gradients are below 2e-6.
VALUES, GRADIENTS = 2e-5, 5e-5


def arguments(rng, kernel_size=3, grid=(5, 6), peepholes="channel", inputs="driven", N=2, L=3, C=2, O=3):
    """Returns random arguments of `unroll`, with values that do not saturate the gates."""
    k, channels = kernel_size, (C if inputs == "driven" else 0) + O
    scale = (k * k * channels) ** -0.5
    shape = {"none": None, "channel": (O,), "place": (*grid, O)}[peepholes]
    return {
        "x": None if inputs == "undriven" else normal(rng, (N, L, *grid, C if inputs == "driven" else 4 * O)),
        "h": normal(rng, (N, *grid, O)),
        "c": normal(rng, (N, *grid, O)),
        "Wx": normal(rng, (4 * O, k, k, C), scale) if inputs == "driven" else None,
        "Wh": normal(rng, (4 * O, k, k, O), scale),
        "bias": normal(rng, (4 * O,), 0.5),
        "peepholes": None if shape is None else tuple(normal(rng, shape, 0.5) for _ in range(3)),
    }


def steps(given, L=3):
    """Returns the `length` that `unroll` needs if there is no input."""
    return {"length": L} if given["x"] is None else {}


def drawn(rng, given, L=3):
    """Returns weights for outputs, h and c; gradients are those of the weighted sum."""
    h = given["h"].shape
    return [normal(rng, (h[0], L, *h[1:])), normal(rng, h), normal(rng, h)]


def value_and_gradients(function, given, weights, **options):
    """Returns outputs, h and c, and the gradient of each argument that is not None."""
    fixed = {name: None for name, a in given.items() if a is None}

    def total(values):
        results = function(**values, **fixed, **options)
        return sum((w * a).sum() for w, a in zip(weights, results, strict=True)), *results

    values = {name: a for name, a in given.items() if a is not None}
    (_, *results), gradients = mx.value_and_grad(total)(values)
    assert gradients.keys() == values.keys()
    return results, gradients


def assert_equals_reference(actual, expected):
    """Asserts that values and gradients equal those of a reference, to the precision of Winograd's convolutions."""
    for result, reference, tolerance in zip(actual, expected, (VALUES, GRADIENTS), strict=True):
        same(result, reference, tolerance)


def float64_unroll(x, h, c, Wx, Wh, bias, peepholes, *, length=None):
    """Returns `reference_unroll` in float64, without `mx.conv2d` and `mx.sigmoid`, which compute float64 in float32."""

    def convolve(x, w):
        (H, W), k = x.shape[1:3], w.shape[1]
        x = mx.pad(x, [(0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)])
        return sum(x[:, a : a + H, b : b + W] @ w[:, a, b].T for a in range(k) for b in range(k))

    def sigmoid(x):
        return 0.5 * mx.tanh(0.5 * x) + 0.5

    outputs = []
    for t in range(length if x is None else x.shape[1]):
        z = convolve(h, Wh) + bias
        if x is not None:
            z = z + (x[:, t] if Wx is None else convolve(x[:, t], Wx))
        i, f, g, o = mx.split(z, 4, axis=-1)
        Wci, Wcf, Wco = peepholes
        c_after = sigmoid(f + Wcf * c) * c + sigmoid(i + Wci * c) * mx.tanh(g)
        h, c = sigmoid(o + Wco * c_after) * mx.tanh(c_after), c_after
        outputs.append(h)
    return mx.stack(outputs, axis=1), h, c
