"""The ConvGRU cell, and the layer that unrolls it over time.

The equations of a time step are code in `ops.gru_gates.reference_gru_gates`; `gru_gates` computes the same faster.
"""

from __future__ import annotations

from typing import Any

from convlstm.arguments import check_flags
from convlstm.ops.cell import RecurrentCell, uniform
from convlstm.ops.convolution import Pair, conv2d
from convlstm.ops.dropout import check_shares, dropout_mask
from convlstm.ops.gru_gates import check_activation, gru_gates
from convlstm.ops.prepared_convolution import StepConvolution

import mlx.core as mx
import mlx.nn as nn


class ConvGRUCell(RecurrentCell):
    r"""One time step of a convolutional GRU.

        z = sigmoid(W_xz * x + b_xz + W_hz * h + b_hz)
        r = sigmoid(W_xr * x + b_xr + W_hr * h + b_hr)
        g = f(W_xh * x + b_xh + r . (W_hh * h + b_hh))
        h' = (1 - z) . g + z . h

    `*` is a convolution and `.` the Hadamard product. Stride, padding and dilation belong to the convolution of the
    input. The convolution of the hidden state has stride 1 and keeps the state's grid.

    Parameters: `Wx` (3O, kh, kw, C) and `bx` (3O,), only with an input; `Wh` (3O, kh, kw, O) and `bh` (3O,). Their
    order is z, r, h.

    Args:
        in_channels: Channels C of the input. 0 makes a cell without input, called with `x=None` and a state.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd; an int or (height, width). Default: 3.
        stride: Stride of the input's convolution; an int or a pair. Default: 1.
        padding: Padding of the input's convolution: 'same', 'valid', an int or a pair; or 'circular', 'same' with
            columns that go round, also in the hidden state's convolution. Default: 'same'.
        dilation: Dilation of the input's convolution; an int or a pair. Default: 1.
        bias: If True, the cell has biases. Default: True.
        state_activation: f: 'leaky_relu', of slope 0.2 below zero as in the paper, or 'tanh'. Default: 'leaky_relu'.
        recurrent_kernel_size: Kernel of the hidden state's convolution, odd. Default: `kernel_size`.
        algorithm: Algorithm of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU if it fits,
            and so does 'winograd'. Default: 'auto'.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.

    Source: Shi et al., Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model, 2017, equation 1. The
    biases are those of the authors' program.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: str | int | Pair = "same",
        dilation: int | Pair = 1,
        bias: bool = True,
        state_activation: str = "leaky_relu",
        recurrent_kernel_size: int | Pair | None = None,
        algorithm: str = "auto",
    ):
        geometry: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        super().__init__(in_channels, out_channels, kernel_size, recurrent_kernel_size, algorithm, **geometry)
        name = type(self).__name__
        check_flags(name, bias=bias)
        self.state_activation = check_activation(name, state_activation)
        C, O = self.in_channels, self.out_channels
        if C:
            self.Wx = uniform((3 * O, *self.kernel_size, C))
        self.Wh = uniform((3 * O, *self.recurrent_kernel_size, O))
        if bias and C:
            self.bx = mx.zeros(3 * O)
        if bias:
            self.bh = mx.zeros(3 * O)

    def _extra_repr(self) -> str:
        return f"{super()._extra_repr()}, bias={'bh' in self}, state_activation={self.state_activation!r}"

    def initial_state(self, batch: int, height: int, width: int) -> mx.array:
        """Returns zeros for `h`, (batch, height, width, O), on a grid of the state's size."""
        return mx.zeros((batch, height, width, self.out_channels), self.Wh.dtype)

    def check_state(self, state: mx.array | None, batch: int, grid: Pair) -> mx.array:
        """Returns the state, zeros for None; raises ValueError if its shape is not (batch, *grid, O)."""
        if state is None:
            return self.initial_state(batch, *grid)
        shape = (batch, *grid, self.out_channels)
        if tuple(state.shape) != shape:
            raise ValueError(
                f"[{type(self).__name__}] 'state' must be of shape {shape} but got shape {tuple(state.shape)}."
            )
        return state

    def project(self, x: mx.array) -> tuple[mx.array, ...]:
        """Returns everything that a step reads of the input: its pre-activations, NHWC -> (N, H', W', 3O)."""
        self.check_input(x.shape)
        return (conv2d(x, self.Wx, self.stride, self.padding, self.dilation, self.algorithm),)

    def convolutions(self, sparing: bool = False) -> tuple[StepConvolution, ...]:
        """Returns the hidden state's convolutions for the steps of one walk, or `sparing` ones for a single step."""
        return (self._convolution(self.Wh, sparing),)

    def _convolution(self, W: mx.array, sparing: bool) -> StepConvolution:
        return StepConvolution(W, self.recurrent_padding, self.algorithm, trains=self.training, sparing=sparing)

    def recur(
        self, projected: tuple[mx.array, ...], h: mx.array, convolutions: tuple[StepConvolution, ...]
    ) -> mx.array:
        """Returns the hidden state's part of the pre-activations, (N, H', W', O) -> (N, H', W', 3O)."""
        return convolutions[0](h)

    def step(
        self,
        projected: tuple[mx.array, ...],
        h: mx.array,
        recurrent_mask: mx.array | None = None,
        convolutions: tuple[StepConvolution, ...] | None = None,
    ) -> mx.array:
        """Returns the next state: the convolution of `h`, then the gates.

        Args:
            projected: Result of `project`, or () for a cell without input.
            h: State (N, H', W', O).
            recurrent_mask: Factor of the hidden state before its convolution, broadcast to `h`. Default: none.
            convolutions: Result of `convolutions`, which the steps of a walk share. Default: those of a single step.
        """
        x = projected[0] if projected else None
        convolutions = self.convolutions(sparing=True) if convolutions is None else convolutions
        y = self.recur(projected, h if recurrent_mask is None else h * recurrent_mask, convolutions)
        return gru_gates(x, y, h, self.get("bx"), self.get("bh"), self.state_activation, self.algorithm)

    def __call__(self, x: mx.array | None, state: mx.array | None = None) -> mx.array:
        """Returns the state after one time step, which is also the output.

        Args:
            x: Input NHWC or HWC; None if `in_channels` is 0.
            state: `h`, NHWO on the output's grid, or HWO like the input; None means zeros.

        Returns:
            The new `h`, NHWO, or HWO if the input has no batch axis.
        """
        self.check_driven(x, state)
        first: mx.array = state if x is None else x  # type: ignore[assignment]
        if first.ndim == 3:
            return self(None if x is None else x[None], None if state is None else state[None])[0]
        projected = () if x is None else self.project(x)
        _, height, width, _ = projected[0].shape if projected else first.shape
        return self.step(projected, self.check_state(state, first.shape[0], (height, width)))


class ConvGRU(nn.Module):
    """A ConvGRU cell unrolled over a sequence.

    The part of a step that depends on the input alone is computed once for all time steps, except with `recompute`.

    Args:
        in_channels: Channels C of the input; 0 for a layer without input, driven by its state alone.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd. Default: 3.
        dropout: Share of the input's values set to zero in training, the same at all time steps. Default: 0.
        recurrent_dropout: The same for the hidden state before its convolution. Default: 0.
        recompute: If True, the gradient computes each step again instead of keeping the values between one state and
            the next: much less memory, for more time. Default: False.
        **cell: The other arguments of the cell.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.
    """

    cell_class: type[ConvGRUCell] = ConvGRUCell

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recompute: bool = False,
        **cell,
    ):
        super().__init__()
        check_shares(type(self).__name__, dropout=dropout, recurrent_dropout=recurrent_dropout)
        check_flags(type(self).__name__, recompute=recompute)
        self.dropout, self.recurrent_dropout, self.recompute = dropout, recurrent_dropout, recompute
        self.cell = self.cell_class(in_channels, out_channels, kernel_size, **cell)

    def __call__(
        self,
        x: mx.array | None,
        state: mx.array | None = None,
        *,
        length: int | None = None,
        key: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Returns the sequence's hidden states and the last of them.

        Args:
            x: Input NLHWC or LHWC, L the length; None if `in_channels` is 0.
            state: `h`, NHWO (or HWO like the input), None for zeros.
            length: Number of steps of a layer without input.
            key: Key of the dropout masks; None draws from MLX's global state, as `mlx.nn.Dropout` does.

        Returns:
            `outputs, state`, NLHWO and NHWO. Without a batch axis if the input has none.
        """
        self.cell.check_driven(x, state)
        name = type(self).__name__
        if x is None and length is None:
            raise ValueError(f"[{name}] a layer without input needs the 'length' to unroll.")
        if x is not None and x.ndim not in (4, 5):
            raise ValueError(f"[{name}] expected an input of shape NLHWC or LHWC but got shape {tuple(x.shape)}.")
        if (state.ndim == 3) if x is None else (x.ndim == 4):  # type: ignore[union-attr]
            outputs, state = self(*(None if a is None else a[None] for a in (x, state)), length=length, key=key)
            return outputs[0], state[0]
        return self._unroll(x, state, length, key)

    def _unroll(self, x, state, length, key) -> tuple[mx.array, mx.array]:
        cell = self.cell
        key, recurrent_key = (None, None) if key is None else mx.random.split(key)
        if x is None:
            batch, *grid = state.shape[:3]
        else:
            batch, length, *frame = x.shape
            grid = cell.check_input((batch, *frame))
        if length < 1:
            raise ValueError(f"[{type(self).__name__}] needs at least 1 time step but got {length}.")
        h = cell.check_state(state, batch, tuple(grid))
        mask = self._mask(h.shape, self.recurrent_dropout, recurrent_key)

        inputs: list = [()] * length
        if x is not None:
            input_mask = self._mask((batch, 1, *frame), self.dropout, key)
            # Time comes first, so that the values of a step are contiguous.
            x = (x if input_mask is None else x * input_mask).swapaxes(0, 1).reshape(-1, *frame)
            parts = (x,) if self.recompute else cell.project(x)
            inputs = list(zip(*(_pieces(a, length) for a in parts), strict=True))

        convolutions = cell.convolutions()

        def step(h, *projected):
            return cell.step(projected, h, mask, convolutions)

        def whole_step(h, *x):
            return cell.step(cell.project(*x) if x else (), h, mask)

        # The projected inputs and their gradients also need memory, so `recompute` computes them step by step.
        if self.recompute:
            step = nn.utils.checkpoint(cell, whole_step)
        outputs = []
        for projected in inputs:
            h = step(h, *projected)
            outputs.append(h)
        return mx.stack(outputs, axis=1), h

    def _mask(self, shape: tuple[int, ...], share: float, key: mx.array | None) -> mx.array | None:
        """Returns a dropout mask, or None outside training."""
        return dropout_mask(shape, share, key, self.cell.Wh.dtype) if self.training and share > 0 else None


def _pieces(a: mx.array, number: int) -> list[mx.array]:
    """Returns `mx.split(a, number)`, but with a gradient that is one concatenation.

    The gradient of MLX's split into more than ten pieces is a sum of as many arrays as pieces, each as large as `a`.
    """
    if number <= 10:
        return list(mx.split(a, number))
    size = a.shape[0] // number
    ends = [number * n // 10 for n in range(1, 10)]
    parts = mx.split(a, [size * end for end in ends])
    return [piece for part in parts for piece in _pieces(part, part.shape[0] // size)]
