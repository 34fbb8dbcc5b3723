"""The ConvLSTM cell, and the layer that unrolls it over time.

The equations of a time step are code in `ops.gates.lstm_gates`, which `ConvLSTMCell.step` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convlstm.arguments import check_flags, check_number
from convlstm.ops.cell import RecurrentCell, check_grid, check_states, uniform
from convlstm.ops.cell_activations import cell_gates, check_activation
from convlstm.ops.convolution import Pair, conv2d, int_pair
from convlstm.ops.dropout import check_shares, dropout_mask
from convlstm.ops.unroll import CellFilters, fits, prepare_cell, unroll_cell

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

State = tuple[mx.array, mx.array]

OUTPUTS = ("cell", "candidate")
MERGES: dict[str | None, Callable] = {
    "concat": lambda a, b: mx.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: lambda a, b: (a, b),
}


class ConvLSTMCell(RecurrentCell):
    r"""One time step of a convolutional LSTM.

        i = sigmoid(W_xi * x + W_hi * h + W_ci . c + b_i)
        f = sigmoid(W_xf * x + W_hf * h + W_cf . c + b_f)
        g = tanh(W_xg * x + W_hg * h + b_g)
        c' = f . c + i . g
        o = sigmoid(W_xo * x + W_ho * h + W_co . c' + b_o)
        h' = o . tanh(c')

    `*` is a convolution and `.` the Hadamard product. Stride, padding and dilation belong to the convolution of the
    input. The convolution of the hidden state has stride 1 and keeps the state's grid, as in Keras's `ConvLSTM2D`.

    Parameters: `Wx` (4O, kh, kw, C), `Wh` (4O, kh, kw, O) and `bias` (4O,), the gates in the order i, f, g, o; the
    peepholes `Wci`, `Wcf`, `Wco`. The paper writes c for the index g of the candidate: W_xc, W_hc, b_c.

    Args:
        in_channels: Channels C of the input. 0 gives a cell without input, called with `x=None` and a state.
        out_channels: Channels O of the hidden state and of the cell state.
        kernel_size: Size of the convolution kernels, odd unless `even_kernels`; an int or (height, width). Default: 5.
        stride: Stride of the input's convolution; an int or a pair. Default: 1.
        padding: Padding of the input's convolution: 'same' (output size ceil(size / stride), padded as Keras does),
            'valid' (none), an int or a pair; or 'circular', 'same' with columns that go round, also in the hidden
            state's convolution, for grids that go round the earth. 'circular' is slower. Default: 'same'.
        dilation: Dilation of the input's convolution; an int or a pair. Default: 1.
        bias: If True, the gates have biases. Default: True.
        peepholes: If True, the gates see the cell state (W_ci, W_cf, W_co). Default: True.
        grid_size: Height and width of the only grid of the state. The peepholes then have weights per channel and
            pixel, (H, W, O), as in the paper. Default: none, any grid and weights per channel, (O,).
        forget_bias: Initial value of the forget gate's bias. Default: 1.
        recurrent_kernel_size: Kernel of the hidden state's convolution, odd. Default: `kernel_size`.
        state_activation, recurrent_activation: Activations in place of tanh, and of sigmoid in the gates i, f and o,
            by the names in `ops.cell_activations`. Only the default pair has a fast path. Default: 'tanh', 'sigmoid'.
        even_kernels: If True, kernels may be even, as in Keras ('same' then pads more below and right). Default: False.
        output: 'cell' for h' as above, or 'candidate' for h' = o . g, which the first releases of OpenSTL compute, so
            that their weights can be used. 'candidate' has no fast path. Default: 'cell'.
        algorithm: Algorithm of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU if the kernel
            is 3x3 or 5x5 and the type float32; 'winograd' raises an error if it cannot. Default: 'auto'.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.

    Source: Shi et al., Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting, 2015,
    equation 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 5,
        *,
        stride: int | Pair = 1,
        padding: str | int | Pair = "same",
        dilation: int | Pair = 1,
        bias: bool = True,
        peepholes: bool = True,
        grid_size: Pair | None = None,
        forget_bias: float = 1.0,
        recurrent_kernel_size: int | Pair | None = None,
        state_activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        even_kernels: bool = False,
        output: str = "cell",
        algorithm: str = "auto",
    ):
        geometry: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        geometry |= {"even_kernels": even_kernels}
        super().__init__(in_channels, out_channels, kernel_size, recurrent_kernel_size, algorithm, **geometry)
        name = type(self).__name__
        check_flags(name, bias=bias, peepholes=peepholes)
        forget_bias = check_number(name, "forget_bias", forget_bias)
        self.grid_size = None if grid_size is None else int_pair(name, "grid_size", grid_size, 1)
        if self.grid_size is not None and not peepholes:
            raise ValueError(
                f"[{name}] 'grid_size' is the size of the peepholes, so with peepholes=False it must be None but got "
                f"{grid_size!r}."
            )
        if output not in OUTPUTS:
            raise ValueError(f"[{name}] 'output' must be one of {', '.join(OUTPUTS)} but got {output!r}.")
        self.output = output
        self.state_activation = check_activation(name, "state_activation", state_activation)
        self.recurrent_activation = check_activation(name, "recurrent_activation", recurrent_activation)

        O = self.out_channels
        if self.in_channels:
            self.Wx = uniform((4 * O, *self.kernel_size, self.in_channels))
        self.Wh = uniform((4 * O, *self.recurrent_kernel_size, O))
        if bias:
            self.bias = mx.concatenate([mx.zeros(O), mx.full((O,), forget_bias), mx.zeros(2 * O)])
        if peepholes:
            shape = (O,) if self.grid_size is None else (*self.grid_size, O)
            self.Wci, self.Wcf, self.Wco = mx.zeros(shape), mx.zeros(shape), mx.zeros(shape)

    def _extra_repr(self) -> str:
        options = f"bias={'bias' in self}, peepholes={'Wci' in self}, grid_size={self.grid_size}"
        return f"{super()._extra_repr()}, {options}"

    @property
    def peepholes(self) -> tuple[mx.array, mx.array, mx.array] | None:
        """`W_ci, W_cf, W_co`, or None if the cell has none."""
        return (self.Wci, self.Wcf, self.Wco) if "Wci" in self else None

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Returns zeros for `h` and `c`, each (batch, height, width, O), on a grid of the state's size."""
        zeros = mx.zeros((batch, height, width, self.out_channels), self.Wh.dtype)
        return zeros, zeros

    def check_state(self, state: State | None, batch: int, grid: Pair) -> State:
        """Returns the state (batch, *grid, O), zeros for None; raises ValueError if it or the grid does not fit."""
        check_grid(type(self).__name__, self.grid_size, grid)
        if state is None:
            return self.initial_state(batch, *grid)
        return check_states(type(self).__name__, state, (batch, *grid, self.out_channels))

    def project(self, x: mx.array) -> mx.array:
        """Returns the input's part of the pre-activations, with the bias: (N, H, W, C) -> (N, H', W', 4O)."""
        self.check_input(x.shape)
        z = conv2d(x, self.Wx, self.stride, self.padding, self.dilation, self.algorithm)
        return z + self.bias if "bias" in self else z

    def project_sequence(self, x: mx.array) -> mx.array:
        """Returns `project` of all time steps: (N, L, H, W, C) -> (N, L, H', W', 4O)."""
        z = self.project(x.reshape(-1, *x.shape[2:]))
        return z.reshape(*x.shape[:2], *z.shape[1:])

    def step(self, z: mx.array | None, state: State, recurrent_mask: mx.array | None = None) -> State:
        """Returns the next state: the convolution of `h`, then the gates.

        Args:
            z: Result of `project`, (N, H', W', 4O), or None for a cell without input.
            state: `(h, c)`, each (N, H', W', O).
            recurrent_mask: Factor of the hidden state before its convolution, broadcast to `h`. Default: none.
        """
        h, c = state
        h = h if recurrent_mask is None else h * recurrent_mask
        zh = conv2d(h, self.Wh, padding=self.recurrent_padding, algorithm=self.algorithm)
        zx = self.get("bias") if z is None else z
        gates = cell_gates(self.output, self.state_activation, self.recurrent_activation)
        return gates(zh if zx is None else zh + zx, c, self.peepholes)

    def __call__(self, x: mx.array | None, state: State | None = None) -> State:
        """Returns the state after one time step.

        Args:
            x: Input NHWC or HWC; None if `in_channels` is 0.
            state: `(h, c)`, each NHWO on the output's grid, or HWO like the input; None means zeros.

        Returns:
            The new `(h, c)`, each NHWO, or HWO if the input has no batch axis.
        """
        self.check_driven(x, state)
        first = state[0] if x is None else x  # type: ignore[index]
        if first.ndim == 3:
            state = None if state is None else (state[0][None], state[1][None])
            h, c = self(None if x is None else x[None], state)
            return h[0], c[0]
        z = None if x is None else self.project(x)
        _, height, width, _ = first.shape if z is None else z.shape
        return self.step(z, self.check_state(state, first.shape[0], (height, width)))


class ConvLSTM(nn.Module):
    r"""A ConvLSTM cell unrolled over a sequence.

    The input's convolution runs once for all time steps. A step has only the hidden state's convolution and the gates.

    Args:
        in_channels: Channels C of the input; 0 for a layer without input, driven by its state alone.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd. Default: 5.
        reverse: If True, the layer walks from the last time step to the first. Default: False.
        bidirectional: If True, a second cell walks the other way. Default: False.
        merge: Combination of the two directions' outputs: 'concat' (2O channels), 'sum', 'mul', 'ave', or None for a
            pair of outputs. Default: 'concat'.
        return_sequences: If False, only the last computed hidden state is returned. Default: True.
        dropout: Share of the input's values set to zero in training, the same at all time steps. Default: 0.
        recurrent_dropout: The same for the hidden state before its convolution. Default: 0.
        algorithm: Algorithm of the recurrence: 'native' uses MLX's convolution and automatic gradient, 'winograd' the
            kernels of `convlstm.ops.cpu` (recurrent kernels of 3x3 and 5x5, float32); 'auto' takes the latter on a CPU
            if they fit. With recurrent dropout, training is always 'native'. Default: 'auto'.
        recompute: If True, the gradient computes the gates again instead of keeping them. It needs a third of the
            memory for a layer's states, but more time. Default: False.
        **cell: The other arguments of `ConvLSTMCell`.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 5,
        *,
        reverse: bool = False,
        bidirectional: bool = False,
        merge: str | None = "concat",
        return_sequences: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        algorithm: str = "auto",
        recompute: bool = False,
        **cell,
    ):
        super().__init__()
        if not isinstance(merge, str | None) or merge not in MERGES:
            raise ValueError(
                f"[ConvLSTM] 'merge' must be one of {', '.join(filter(None, MERGES))} or None but got {merge!r}."
            )
        check_shares("ConvLSTM", dropout=dropout, recurrent_dropout=recurrent_dropout)
        flags = {"reverse": reverse, "bidirectional": bidirectional, "return_sequences": return_sequences}
        check_flags("ConvLSTM", recompute=recompute, **flags)
        self.reverse, self.bidirectional, self.merge = reverse, bidirectional, merge
        self.return_sequences, self.recompute = return_sequences, recompute
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.cell = ConvLSTMCell(in_channels, out_channels, kernel_size, algorithm=algorithm, **cell)
        if bidirectional:
            self.other_cell = ConvLSTMCell(in_channels, out_channels, kernel_size, algorithm=algorithm, **cell)

    def _extra_repr(self) -> str:
        return f"reverse={self.reverse}, bidirectional={self.bidirectional}, merge={self.merge!r}"

    def __call__(self, x: mx.array | None, state=None, *, length: int | None = None, key: mx.array | None = None):
        """Returns the sequence's hidden states and the final state, as `outputs, state`.

        Args:
            x: Input NLHWC or LHWC, L the length; None if `in_channels` is 0.
            state: `(h, c)`, each NHWO (or HWO like the input), None for zeros. A bidirectional layer takes a pair of
                such pairs: for its own direction and for the other one.
            length: Number of steps of a layer without input.
            key: Key of the dropout masks; None draws from MLX's global state, as `mlx.nn.Dropout` does.

        Returns:
            Outputs NLHWO, in the input's order of time even if the layer walks backwards, or NHWO with
            `return_sequences=False`; the state in the form of the argument. Without a batch axis if the input has none.
        """
        start = state if state is None or not self.bidirectional else state[0]
        self.cell.check_driven(x, start)
        if x is None and length is None:
            raise ValueError("[ConvLSTM] a layer without input needs the 'length' to unroll.")
        if x is not None and x.ndim not in (4, 5):
            raise ValueError(f"[ConvLSTM] expected an input of shape NLHWC or LHWC but got shape {tuple(x.shape)}.")
        if (start[0].ndim == 3) if x is None else (x.ndim == 4):
            x, state = tree_map(lambda a: None if a is None else a[None], (x, state))
            return tree_map(lambda a: None if a is None else a[0], self(x, state, length=length, key=key))

        if not self.bidirectional:
            return self._unroll(self.cell, x, state, length, self.reverse, key)[:2]
        start, other_start = (None, None) if state is None else state
        key, other_key = (None, None) if key is None else mx.random.split(key)
        outputs, state, _ = self._unroll(self.cell, x, start, length, self.reverse, key)
        others, other_state, _ = self._unroll(self.other_cell, x, other_start, length, not self.reverse, other_key)
        return MERGES[self.merge](outputs, others), (state, other_state)

    def prepare(self) -> CellFilters | None:
        """Returns the kernels transformed for `walk`, or None if `walk` uses them as they are."""
        if (self.training and self.recurrent_dropout > 0) or not fits(self.cell):
            return None
        return prepare_cell(self.cell, trains=self.training, recompute=self.recompute)

    def walk(
        self, x: mx.array, state: State | None, filters: CellFilters | None, *, key: mx.array | None = None
    ) -> tuple[mx.array, State, CellFilters | None]:
        """Unrolls one part of a longer walk, such as one step of a model that is fed with its own output.

        Args:
            x: Input NLHWC.
            state: `(h, c)`, each NHWO; None for zeros.
            filters: Result of `prepare` for the first part, and for the others that of the part before. The kernels
                are then transformed once for all parts, and their gradient is summed in one place.
            key: Key of the dropout masks.

        Returns:
            `outputs, state, filters`.

        Raises:
            ValueError: The layer walks backwards or both ways, or a shape does not fit.
        """
        if self.bidirectional or self.reverse:
            raise ValueError("[ConvLSTM] only a layer that walks forwards can walk in parts.")
        self.cell.check_driven(x, state)
        return self._unroll(self.cell, x, state, None, False, key, filters)

    def _unroll(self, cell: ConvLSTMCell, x, state, length, reverse: bool, key, filters=None):
        key, recurrent_key = (None, None) if key is None else mx.random.split(key)
        if x is None:
            batch, *grid = state[0].shape[:3]
        else:
            batch, length, *frame = x.shape
            grid = cell.check_input((batch, *frame))
            mask = self._mask((batch, 1, *frame), self.dropout, key)
            x = x if mask is None else x * mask
        if length < 1:
            raise ValueError(f"[ConvLSTM] needs at least 1 time step but got {length}.")
        h, c = cell.check_state(state, batch, tuple(grid))
        mask = self._mask(h.shape, self.recurrent_dropout, recurrent_key)

        if mask is None and fits(cell, h, c):
            # Outside training a gradient is rare, so nothing is kept for it.
            options = {"length": length, "reverse": reverse, "recompute": self.recompute or not self.training}
            outputs, h, c, filters = unroll_cell(cell, x, h, c, filters, **options)
            return outputs if self.return_sequences else h, (h, c), filters

        def step(z, h, c):
            return cell.step(z, (h, c), mask)

        if self.recompute:
            step = nn.utils.checkpoint(cell, step)
        z = None if x is None else cell.project_sequence(x)
        hidden: list[mx.array] = [h] * length
        for t in range(length - 1, -1, -1) if reverse else range(length):
            h, c = step(None if z is None else z[:, t], h, c)
            hidden[t] = h
        return mx.stack(hidden, axis=1) if self.return_sequences else h, (h, c), None

    def _mask(self, shape: tuple[int, ...], share: float, key: mx.array | None) -> mx.array | None:
        """Returns a dropout mask, or None outside training."""
        return dropout_mask(shape, share, key, self.cell.Wh.dtype) if self.training and share > 0 else None
