"""The cell of PredRNN: an LSTM with one memory that passes through time and one that passes up through the layers."""

from __future__ import annotations

from typing import Any

from convlstm.arguments import check_number, check_whole
from convlstm.ops import st_lstm
from convlstm.ops.algorithm import check_algorithm, takes_winograd
from convlstm.ops.cell import check_array, uniform
from convlstm.ops.convolution import Pair, conv2d, grid_padding, int_pair, odd_pair
from convlstm.ops.linear import linear

import mlx.core as mx
import mlx.nn as nn

# h, c and m.
STState = tuple[mx.array, mx.array, mx.array]
# One of three: the CPU's filters; the kernels of h and x to i, f, g, o, (4O, k, k, O + C), and of x and m to i', f',
# g', (3O, k, k, C + O); or None, if every convolution has its own norm.
CellFilters = st_lstm.StepFilters | tuple[mx.array, mx.array] | None


class GridLayerNorm(nn.Module):
    """Layer normalisation over a whole frame, as PyTorch's `LayerNorm([C, H, W])`.

    It subtracts the mean of each sample of (N, H, W, C), divides by its deviation, multiplies by `weight` and adds
    `bias`, both (H, W, C).
    """

    def __init__(self, grid: Pair, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = mx.ones((*grid, channels)), mx.zeros((*grid, channels))

    def __call__(self, x: mx.array) -> mx.array:
        flat = mx.fast.layer_norm(x.flatten(1), self.weight.flatten(), self.bias.flatten(), self.eps)
        return flat.reshape(x.shape)


class STLSTMCell(nn.Module):
    r"""One time step of a spatiotemporal LSTM.

        i = sigmoid(W_xi * x + W_hi * h),  f = sigmoid(W_xf * x + W_hf * h + b_f),  g = tanh(W_xg * x + W_hg * h)
        c' = f . c + i . g
        i' = sigmoid(W_xi' * x + W_mi * m),  f' = sigmoid(W_xf' * x + W_mf * m + b_f),  g' = tanh(W_xg' * x + W_mg * m)
        m' = f' . m + i' . g'
        o = sigmoid(W_xo * x + W_ho * h + W_o * [c', m'])
        h' = o . tanh(W_1 * [c', m'])

    `*` is a convolution, W_1 is 1x1, `.` the Hadamard product. The only bias is the constant b_f. The memory `c` stays
    with the cell; `m` comes from the cell below, or for the lowest cell from the topmost one a step earlier.

    Parameters, the gates in the order of the published code: `Wx` (7O, k, k, C) with i, f, g, i', f', g', o; `Wh`
    (4O, k, k, O) with i, f, g, o; `Wm` (3O, k, k, O) with i', f', g'; `Wo` (O, k, k, 2O); `W1` (O, 1, 1, 2O). With
    `norm_grid` also `norm_x`, `norm_h`, `norm_m` and `norm_o`, each a `weight` and a `bias`.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels O of the hidden state and of both memories.
        kernel_size: Size of the kernels, odd; an int or (height, width). Default: 5.
        norm_grid: Height and width of the frames. Every convolution but W_1 is then normalised over the whole frame
            (`layer_norm` of the published code), and the cell works on this grid only. Default: None, no normalisation.
        forget_bias: b_f. Default: 1.
        padding: 'same', or 'circular' for columns that go round, which is slower. Default: 'same'.
        algorithm: Algorithm of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU if it fits
            (3x3 and 5x5, float32); 'winograd' raises an error if it does not. Default: 'auto'.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.

    Source: Wang et al., PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs, 2017, in
    the form of its published code, predrnn-pytorch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 5,
        *,
        norm_grid: Pair | None = None,
        forget_bias: float = 1.0,
        padding: str = "same",
        algorithm: str = "auto",
    ):
        super().__init__()
        self.in_channels = check_whole("STLSTMCell", "in_channels", in_channels)
        self.out_channels = check_whole("STLSTMCell", "out_channels", out_channels)
        self.kernel_size = odd_pair("STLSTMCell", "kernel_size", kernel_size)
        self.norm_grid = None if norm_grid is None else int_pair("STLSTMCell", "norm_grid", norm_grid, 1)
        self.forget_bias = check_number("STLSTMCell", "forget_bias", forget_bias)
        self.padding = grid_padding("STLSTMCell", padding)
        self.algorithm = check_algorithm("STLSTMCell", algorithm)

        O = out_channels
        sizes = {"x": (7 * O, in_channels), "h": (4 * O, O), "m": (3 * O, O), "o": (O, 2 * O)}
        for name, (outputs, inputs) in sizes.items():
            self[f"W{name}"] = uniform((outputs, *self.kernel_size, inputs))
            if self.norm_grid is not None:
                self[f"norm_{name}"] = GridLayerNorm(self.norm_grid, outputs)
        self.W1 = uniform((O, 1, 1, 2 * O))

    def _extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, norm_grid={self.norm_grid}, "
            f"forget_bias={self.forget_bias}, padding={self.padding!r}"
        )

    def initial_state(self, batch: int, height: int, width: int) -> STState:
        """Returns zeros for `h`, `c` and `m`, each (batch, height, width, O)."""
        zeros = mx.zeros((batch, height, width, self.out_channels), self.Wh.dtype)
        return zeros, zeros, zeros

    def _check(self, x: mx.array, state: STState | None) -> STState:
        """Returns the state, zeros for None; raises ValueError if a shape does not fit."""
        check_array("STLSTMCell", x)
        if x.ndim != 4 or x.shape[-1] != self.in_channels:
            raise ValueError(
                f"[STLSTMCell] expected an input of shape NHWC with C={self.in_channels} channels but got shape "
                f"{tuple(x.shape)}."
            )
        N, H, W, _ = x.shape
        if self.norm_grid not in (None, (H, W)):
            raise ValueError(
                f"[STLSTMCell] the normalisation was made for a grid of {self.norm_grid} but this input's is {(H, W)}. "
                "Leave 'norm_grid' out for a cell that works on any grid."
            )
        if state is None:
            return self.initial_state(N, H, W)
        shape, shapes = (N, H, W, self.out_channels), [tuple(s.shape) for s in state]
        if shapes != [shape] * 3:
            raise ValueError(f"[STLSTMCell] 'state' must be (h, c, m), each of shape {shape}, but got shapes {shapes}.")
        return state

    def prepare(self) -> CellFilters:
        """Returns the kernels as `step` reads them: joined, so that a step has three convolutions and not four."""
        fits = takes_winograd("STLSTMCell", self.algorithm, self.kernel_size, self.Wh.dtype)
        if self.norm_grid is not None:
            return None
        if fits and self.padding == "same":
            return st_lstm.prepare(self.Wx, self.Wh, self.Wm, self.Wo, trains=self.training)
        return self._joined()

    def _joined(self) -> tuple[mx.array, mx.array]:
        """Returns the kernels of h and x to i, f, g, o, and of x and m to i', f', g'."""
        Wx_c, Wx_m = st_lstm.by_memory(self.Wx, 0)
        return mx.concatenate([self.Wh, Wx_c], axis=-1), mx.concatenate([Wx_m, self.Wm], axis=-1)

    def step(
        self, x: mx.array, state: STState, filters: CellFilters, *, products: bool = False
    ) -> tuple[STState, tuple[mx.array, mx.array] | None, CellFilters]:
        """Returns the state after one step of a longer walk.

        Args:
            x: Input NHWC.
            state: `(h, c, m)`, each NHWO.
            filters: Result of `prepare` for the first step of a walk, and for the others that of the step before.
            products: If True, the additions to the memories are returned, too. Default: False.

        Returns:
            The new `(h, c, m)`; `i . g` and `i' . g'`, or None; the filters for the next step.
        """
        h, c, m = self._check(x, state)
        kernels = isinstance(filters, st_lstm.StepFilters) and all(a.dtype == mx.float32 for a in (x, h, c, m))
        if kernels:
            options: dict[str, Any] = {"forget_bias": self.forget_bias, "products": products}
            options["kernel_size"] = self.kernel_size[0]
            c, m, z, both, filters = st_lstm.step(x, h, c, m, filters, **options)  # type: ignore[arg-type]
        else:
            z, z_m = self._convolved(x, h, m, filters)
            c, m, z, *added = st_lstm.gates(z, z_m, c, m, mx.array(self.forget_bias, z.dtype))
            z = z + self._normed("o", self._convolve(mx.concatenate([c, m], axis=-1), self.Wo))
            both = (added[0], added[1]) if products else None
        of_c, of_m = mx.split(self.W1[:, 0, 0], 2, axis=-1)
        mixed = linear(c, of_c, algorithm=self.algorithm) + linear(m, of_m, algorithm=self.algorithm)
        h = st_lstm.gated(z, mixed, kernels=kernels)
        return (h, c, m), both, filters

    def _convolved(self, x: mx.array, h: mx.array, m: mx.array, filters: CellFilters) -> tuple[mx.array, mx.array]:
        """Returns the pre-activations of i, f, g, o (that of o without the memories' part) and of i', f', g'."""
        convolve = self._convolve
        if self.norm_grid is None:
            W, W_m = self._joined() if isinstance(filters, st_lstm.StepFilters | None) else filters
            return convolve(mx.concatenate([h, x], axis=-1), W), convolve(mx.concatenate([x, m], axis=-1), W_m)
        zx, zx_m = st_lstm.by_memory(self._normed("x", convolve(x, self.Wx)), -1)
        return zx + self._normed("h", convolve(h, self.Wh)), zx_m + self._normed("m", convolve(m, self.Wm))

    def _convolve(self, x: mx.array, W: mx.array) -> mx.array:
        return conv2d(x, W, padding=self.padding, algorithm=self.algorithm)

    def _normed(self, name: str, z: mx.array) -> mx.array:
        return z if self.norm_grid is None else self[f"norm_{name}"](z)

    def __call__(self, x: mx.array, state: STState | None = None) -> STState:
        """Returns the state after one time step.

        Args:
            x: Input NHWC.
            state: `(h, c, m)`, each NHWO; `m` may come from another cell. None means zeros.

        Returns:
            The new `(h, c, m)`.
        """
        return self.step(x, self._check(x, state), self.prepare())[0]
