"""NumPy transcriptions in float64 of the papers' equations and of Keras's documentation, to test the layers with.

They are written apart from the package: another form of the padding rule, loops instead of fast paths.
"""

from __future__ import annotations

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


def randomise(module, rng: np.random.Generator):
    """Returns the module with random parameters: kernels that keep a variance of 1, the others of deviation 0.5."""

    def drawn(a):
        return normal(rng, a.shape, a[0].size ** -0.5 if a.ndim == 4 else 0.5)

    module.update(tree_map(drawn, module.parameters()))
    return module


def normal(rng: np.random.Generator, shape, scale: float = 1.0) -> mx.array:
    return mx.array(rng.normal(0, scale, shape).astype(np.float32))


def doubles(tree):
    """Returns a tree with its arrays as NumPy's, in float64."""
    return tree_map(lambda a: np.array(a, dtype=np.float64), tree)


def close(actual, expected, tolerance: float) -> None:
    """Asserts that no value is further from the expected than `tolerance` times the largest expected one."""
    actual, expected = np.array(actual, dtype=np.float64), np.array(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    error, largest = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= tolerance * largest, f"{error:.2e} of {largest:.2e}"


def same(actual, expected, tolerance: float = 2e-6) -> None:
    """Asserts that two trees of arrays are equal: to the last bit if the tolerance is 0."""
    actual, expected = tree_flatten(actual), tree_flatten(expected)
    assert [name for name, _ in actual] == [name for name, _ in expected]
    for (_, a), (_, b) in zip(actual, expected, strict=True):
        if tolerance:
            close(a, b, tolerance)
        else:
            assert np.array_equal(np.array(a), np.array(b), equal_nan=True)


def differ(a, b) -> bool:
    """Returns True if two arrays differ by more than 1e-3 anywhere."""
    return bool(np.abs(np.array(a) - np.array(b)).max() > 1e-3)


def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def same_pads(length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns the number of zeros before and after, by the rule in TensorFlow's guide to padding."""
    reach = dilation * (kernel - 1) + 1
    rest = length % stride
    total = max(reach - (stride if rest == 0 else rest), 0)
    return total // 2, total - total // 2


def pad(x, kernel, stride, padding, dilation):
    """Returns NHWC with the zeros that a padding rule adds around it."""
    if padding == "valid":
        return x
    if padding == "same":
        rows, columns = (same_pads(*v) for v in zip(x.shape[1:3], kernel, stride, dilation, strict=True))
    else:
        rows, columns = ((p, p) for p in pair(padding))
    return np.pad(x, [(0, 0), rows, columns, (0, 0)])


def convolve(x, w, stride=1, padding="same", dilation=1):
    """Returns the convolution (no flip) of NHWC with (O, kh, kw, C), as a sum over the taps of the kernel."""
    stride, dilation = pair(stride), pair(dilation)
    kernel = w.shape[1:3]
    x = pad(x, kernel, stride, padding, dilation)
    H, W = ((x.shape[1 + n] - dilation[n] * (kernel[n] - 1) - 1) // stride[n] + 1 for n in (0, 1))
    y = np.zeros((x.shape[0], H, W, w.shape[0]))
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            top, left = a * dilation[0], b * dilation[1]
            seen = x[
                :, top : top + (H - 1) * stride[0] + 1 : stride[0], left : left + (W - 1) * stride[1] + 1 : stride[1]
            ]
            y += seen @ w[:, a, b].T
    return y


def cell(x, h, c, weights, **geometry):
    """Returns h and c by the equations of Shi et al., 2015. `weights` has the names of `ConvLSTMCell`'s parameters."""
    if x is None:
        Xi = Xf = Xc = Xo = 0.0
    else:
        Xi, Xf, Xc, Xo = (convolve(x, w, **geometry) for w in np.split(weights["Wx"], 4))
    Hi, Hf, Hc, Ho = (convolve(h, w) for w in np.split(weights["Wh"], 4))
    bi, bf, bc, bo = np.split(weights["bias"], 4) if "bias" in weights else (0.0,) * 4
    Wci, Wcf, Wco = (weights.get(name, 0.0) for name in ("Wci", "Wcf", "Wco"))
    i = sigmoid(Xi + Hi + Wci * c + bi)
    f = sigmoid(Xf + Hf + Wcf * c + bf)
    C = f * c + i * np.tanh(Xc + Hc + bc)
    o = sigmoid(Xo + Ho + Wco * C + bo)
    return o * np.tanh(C), C


def layer(x, h, c, weights, length=None, reverse=False, **geometry):
    """Returns the hidden states of the cell over NLHWC, in the order of time, and the final state."""
    length = length if x is None else x.shape[1]
    outputs = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        h, c = cell(None if x is None else x[:, t], h, c, weights, **geometry)
        outputs[t] = h
    return np.stack(outputs, axis=1), h, c


def keras_output_length(length: int, kernel: int, padding: str, stride: int, dilation: int) -> int:
    """Returns the length of a convolution's output by Keras's closed form."""
    reach = kernel + (kernel - 1) * (dilation - 1)
    length = length if padding == "same" else length - reach + 1
    return (length + stride - 1) // stride


def keras_conv2d(x, kernel, strides=(1, 1), padding="same", dilation_rate=(1, 1)):
    """Returns `keras.ops.conv` of NHWC with HWIO, one window for each output."""
    x = pad(x, kernel.shape[:2], strides, padding, dilation_rate)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel.shape[:2], dilation_rate, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))[:, :: strides[0], :: strides[1]]
    return np.einsum("nhwcab,abco->nhwo", windows[..., :: dilation_rate[0], :: dilation_rate[1]], kernel)


def keras_conv_lstm_2d(x, kernel, recurrent_kernel, bias, **convolution):
    """Returns `keras.layers.ConvLSTM2D(..., recurrent_activation="sigmoid", return_sequences=True)`, from zeros.

    Kernels are HWIO with the gates i, f, c, o on the last axis.
    """
    filters = recurrent_kernel.shape[2]
    i, f, c, o = (slice(n * filters, (n + 1) * filters) for n in range(4))
    h_tm1 = c_tm1 = None
    outputs = []
    for t in range(x.shape[1]):
        x_i, x_f, x_c, x_o = (
            keras_conv2d(x[:, t], kernel[..., gate], **convolution) + bias[gate] for gate in (i, f, c, o)
        )
        if h_tm1 is None:
            h_tm1 = c_tm1 = np.zeros_like(x_i)
        h_i, h_f, h_c, h_o = (keras_conv2d(h_tm1, recurrent_kernel[..., gate]) for gate in (i, f, c, o))
        c_tm1 = sigmoid(x_f + h_f) * c_tm1 + sigmoid(x_i + h_i) * np.tanh(x_c + h_c)
        h_tm1 = sigmoid(x_o + h_o) * np.tanh(c_tm1)
        outputs.append(h_tm1)
    return np.stack(outputs, axis=1), h_tm1, c_tm1
