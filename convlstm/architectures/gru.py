"""The ConvGRU cell and the layer that unrolls it over time."""

from __future__ import annotations

import math

from convlstm.ops.algorithm import check_algorithm
from convlstm.ops.convolution import Pair, conv2d, int_pair, odd_pair, output_size, padding_rule
from convlstm.ops.gru_gates import check_activation, gru_gates

import mlx.core as mx
import mlx.nn as nn


class ConvGRUCell(nn.Module):
    r"""One time step of a convolutional GRU.

        z = sigmoid(W_xz * x + b_xz + W_hz * h + b_hz)
        r = sigmoid(W_xr * x + b_xr + W_hr * h + b_hr)
        g = f(W_xh * x + b_xh + r . (W_hh * h + b_hh))
        h' = (1 - z) . g + z . h

    `*` is a convolution and `.` the Hadamard product. Stride, padding and dilation belong to the convolution of the
    input; the convolution of the hidden state has stride 1 and keeps the state's grid.

    Parameters: `Wx` (3O, kh, kw, C) and `bx` (3O,), without input there are none; `Wh` (3O, kh, kw, O) and `bh` (3O,);
    in the order z, r, h.

    Args:
        in_channels: Channels C of the input. 0 makes a cell that no input drives: it is called with `x=None` and a
            state.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd; an int or (height, width). Default: 3.
        stride: Stride of the input convolution; an int or a pair. Default: 1.
        padding: Padding of the input convolution: 'same', 'valid', an int or a pair. Default: 'same'.
        dilation: Dilation of the input convolution; an int or a pair. Default: 1.
        bias: Whether there are biases. Default: True.
        state_activation: f: 'leaky_relu', of slope 0.2 below zero as in the paper, or 'tanh'. Default: 'leaky_relu'.
        recurrent_kernel_size: Kernel of the hidden state's convolution, odd. Default: `kernel_size`.
        algorithm: Of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU where it fits, as
            'winograd' does. Default: 'auto'.

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
        super().__init__()
        name = type(self).__name__
        if not isinstance(in_channels, int) or in_channels < 0:
            raise ValueError(f"[{name}] 'in_channels' must be at least 1, or 0 for no input, but got {in_channels!r}.")
        if not isinstance(out_channels, int) or out_channels < 1:
            raise ValueError(f"[{name}] 'out_channels' must be at least 1 but got {out_channels!r}.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = odd_pair(name, "kernel_size", kernel_size)
        recurrent = kernel_size if recurrent_kernel_size is None else recurrent_kernel_size
        self.recurrent_kernel_size = odd_pair(name, "recurrent_kernel_size", recurrent)
        self.stride = int_pair(name, "stride", stride, 1)
        self.padding = padding_rule(name, padding)
        self.dilation = int_pair(name, "dilation", dilation, 1)
        self.state_activation = check_activation(name, state_activation)
        self.algorithm = check_algorithm(name, algorithm)
        if in_channels:
            self.Wx = uniform((3 * out_channels, *self.kernel_size, in_channels))
        self.Wh = uniform((3 * out_channels, *self.recurrent_kernel_size, out_channels))
        if bias and in_channels:
            self.bx = mx.zeros(3 * out_channels)
        if bias:
            self.bh = mx.zeros(3 * out_channels)

    def _extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, bias={'bh' in self}, "
            f"state_activation={self.state_activation!r}"
        )

    def output_size(self, height: int, width: int) -> Pair:
        """Grid (height, width) of the states for an input of this size; ValueError where nothing would be left."""
        name = type(self).__name__
        return output_size(name, (height, width), self.kernel_size, self.stride, self.padding, self.dilation)

    def initial_state(self, batch: int, height: int, width: int) -> mx.array:
        """Zeros for `h`, (batch, height, width, O), on a grid of the state's size."""
        return mx.zeros((batch, height, width, self.out_channels), self.Wh.dtype)

    def check_input(self, shape: tuple[int, ...]) -> Pair:
        """The grid of the states for an input of shape NHWC; ValueError where the cell does not take it."""
        if len(shape) != 4 or shape[-1] != self.in_channels:
            raise ValueError(
                f"[{type(self).__name__}] expected an input of shape NHWC or HWC with C={self.in_channels} channels "
                f"but got shape {tuple(shape)}."
            )
        return self.output_size(*shape[1:3])

    def check_state(self, state: mx.array | None, batch: int, grid: Pair) -> mx.array:
        """The state, zeros for None; ValueError where its shape is not (batch, *grid, O)."""
        if state is None:
            return self.initial_state(batch, *grid)
        shape = (batch, *grid, self.out_channels)
        if tuple(state.shape) != shape:
            raise ValueError(
                f"[{type(self).__name__}] 'state' must be of shape {shape} but got shape {tuple(state.shape)}."
            )
        return state

    def check_driven(self, x: mx.array | None, state: mx.array | None) -> mx.array:
        """What leads: the input, or the state of a cell without input; ValueError where the other one came."""
        if self.in_channels and x is None:
            raise ValueError(
                f"[{type(self).__name__}] expected an input with {self.in_channels} channels but got None."
            )
        if not self.in_channels and (x is not None or state is None):
            raise ValueError(f"[{type(self).__name__}] with in_channels=0 it is called with x=None and a state.")
        return state if x is None else x  # type: ignore[return-value]

    def project(self, x: mx.array) -> tuple[mx.array, ...]:
        """All that the step needs of the input: the share of the pre-activations, (N, H, W, C) -> (N, H', W', 3O)."""
        self.check_input(x.shape)
        return (conv2d(x, self.Wx, self.stride, self.padding, self.dilation, self.algorithm),)

    def recur(self, projected: tuple[mx.array, ...], h: mx.array) -> mx.array:
        """The hidden state's share of the pre-activations, (N, H', W', O) -> (N, H', W', 3O)."""
        return conv2d(h, self.Wh, algorithm=self.algorithm)

    def step(self, projected: tuple[mx.array, ...], h: mx.array, recurrent_mask: mx.array | None = None) -> mx.array:
        """The next state from what `project` gave, () for no input, and the state.

        `recurrent_mask`, broadcast to `h`, multiplies the hidden state before its convolution.
        """
        y = self.recur(projected, h if recurrent_mask is None else h * recurrent_mask)
        bx, bh = self.get("bx"), self.get("bh")
        return gru_gates(projected[0] if projected else None, y, h, bx, bh, self.state_activation, self.algorithm)

    def __call__(self, x: mx.array | None, state: mx.array | None = None) -> mx.array:
        """One time step.

        Args:
            x: Input NHWC or HWC; None where `in_channels` is 0.
            state: `h`, NHWO on the output's grid, or HWO as the input; None means zeros.

        Returns:
            The new `h`, NHWO, or HWO where the input has no batch axis. It is the output and the state.
        """
        first = self.check_driven(x, state)
        if first.ndim == 3:
            return self(None if x is None else x[None], None if state is None else state[None])[0]
        projected = () if x is None else self.project(x)
        _, height, width, _ = projected[0].shape if projected else first.shape
        return self.step(projected, self.check_state(state, first.shape[0], (height, width)))


def uniform(shape: tuple[int, ...]) -> mx.array:
    """Kernels drawn evenly from -b to b, b = 1 / sqrt(inputs of an output)."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return mx.random.uniform(-bound, bound, shape)


def _pieces(a: mx.array, number: int) -> list[mx.array]:
    """`mx.split(a, number)`, whose gradient is one concatenation.

    From the eleventh piece on, that of MLX's own is a sum of as many arrays as there are pieces, each as large as all.
    """
    if number <= 10:
        return list(mx.split(a, number))
    size = a.shape[0] // number
    ends = [number * n // 10 for n in range(1, 10)]
    parts = mx.split(a, [size * end for end in ends])
    return [piece for part in parts for piece in _pieces(part, part.shape[0] // size)]


class ConvGRU(nn.Module):
    """A ConvGRU cell unrolled over a sequence.

    What the cell computes of the input alone, it computes once for all time steps, outside the recurrence, unless it
    recomputes.

    Args:
        in_channels: Channels C of the input; 0 for a layer that its state alone drives.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd. Default: 3.
        dropout: Share of the input's values set to zero in training, the same for all time steps. Default: 0.
        recurrent_dropout: Share of the hidden state's values that its convolution does not see in training, the same
            for all time steps. Default: 0.
        recompute: Whether the gradient computes each step again instead of keeping what lies between its state and the
            next one: much less memory, for more time. Default: False.
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
        for name, share in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"[{type(self).__name__}] '{name}' must be at least 0 and below 1 but got {share}.")
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
        """The sequence's hidden states and the final one.

        Args:
            x: Input NLHWC or LHWC, L the length; None where `in_channels` is 0.
            state: `h`, NHWO (or HWO as the input), None for zeros.
            length: Number of steps of a layer without input.
            key: Key of the dropout masks; None draws from MLX's global state, as `mlx.nn.Dropout` does.

        Returns:
            `outputs, state`: NLHWO, and NHWO, the last of them. Without a batch axis in the input there is none in what
            is returned.
        """
        name, first = type(self).__name__, self.cell.check_driven(x, state)
        if x is None and length is None:
            raise ValueError(f"[{name}] a layer without input needs the 'length' to unroll.")
        if x is not None and x.ndim not in (4, 5):
            raise ValueError(f"[{name}] expected an input of shape NLHWC or LHWC but got shape {tuple(x.shape)}.")
        if first.ndim == (3 if x is None else 4):
            outputs, state = self(*(None if a is None else a[None] for a in (x, state)), length=length, key=key)
            return outputs[0], state[0]
        return self._walk(x, state, length, key)

    def _walk(self, x, state, length, key) -> tuple[mx.array, mx.array]:
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

        steps: list = [()] * length
        if x is not None:
            drop = self._mask((batch, 1, *frame), self.dropout, key)
            # The time first: what a step needs is in one piece.
            x = (x if drop is None else x * drop).swapaxes(0, 1).reshape(-1, *frame)
            shares = (x,) if self.recompute else cell.project(x)
            steps = list(zip(*(_pieces(a, length) for a in shares), strict=True))

        def step(h, *given):
            return cell.step(given, h, mask)

        def whole_step(h, *given):
            return cell.step(cell.project(*given) if given else (), h, mask)

        # Memory goes to the input's shares, too, and to their gradients: who is short of it computes them step by step.
        if self.recompute:
            step = nn.utils.checkpoint(cell, whole_step)
        outputs = []
        for given in steps:
            h = step(h, *given)
            outputs.append(h)
        return mx.stack(outputs, axis=1), h

    def _mask(self, shape, share: float, key) -> mx.array | None:
        """A dropout mask; None outside training."""
        if not self.training or share == 0:
            return None
        return (mx.random.bernoulli(1 - share, tuple(shape), key=key) / (1 - share)).astype(self.cell.Wh.dtype)
