"""The ConvLSTM cell and the layer that unrolls it over time."""

from __future__ import annotations

import math
from typing import NamedTuple

from convlstm.arguments import check_flags, check_number, check_whole
from convlstm.ops.algorithm import check_algorithm, takes_winograd
from convlstm.ops.convolution import Pair, conv2d, int_pair, odd_pair, output_size, padding_rule
from convlstm.ops.gates import candidate_gates, lstm_gates
from convlstm.ops.recurrence import Filters, prepare, unroll, unroll_prepared

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

State = tuple[mx.array, mx.array]


class LayerFilters(NamedTuple):
    """The prepared kernels of a layer's input, None where it has none to prepare, and of its hidden state."""

    x: Filters | None
    h: Filters


OUTPUTS = ("cell", "candidate")
MERGE_MODES = ("concat", "sum", "mul", "ave")


class ConvLSTMCell(nn.Module):
    r"""One time step of a convolutional LSTM.

        i = sigmoid(W_xi * x + W_hi * h + W_ci . c + b_i)
        f = sigmoid(W_xf * x + W_hf * h + W_cf . c + b_f)
        c' = f . c + i . tanh(W_xc * x + W_hc * h + b_c)
        o = sigmoid(W_xo * x + W_ho * h + W_co . c' + b_o)
        h' = o . tanh(c')

    `*` is a convolution and `.` the Hadamard product. Stride, padding and dilation belong to the convolution of the
    input; the convolution of the hidden state has stride 1 and keeps the state's grid, as in Keras's `ConvLSTM2D`.

    Parameters: `Wx` (4O, kh, kw, C), `Wh` (4O, kh, kw, O), `bias` (4O,) with the gates in the order i, f, g, o, where g
    is the candidate (index c in W_xc above); `Wci`, `Wcf`, `Wco`.

    Args:
        in_channels: Channels C of the input. 0 makes a cell that no input drives: it is called with `x=None` and a
            state.
        out_channels: Channels O of the hidden and the cell state.
        kernel_size: Size of the convolution kernels, odd; an int or (height, width). Default: 5.
        stride: Stride of the input convolution; an int or a pair. Default: 1.
        padding: Padding of the input convolution: 'same' (output size ceil(size / stride), padded as Keras does),
            'valid' (none), an int or a pair. Default: 'same'.
        dilation: Dilation of the input convolution; an int or a pair. Default: 1.
        bias: Whether the gates have biases. Default: True.
        peepholes: Whether the gates see the cell state (W_ci, W_cf, W_co). Default: True.
        grid_size: Height and width of the state's grid. With it the peepholes have a weight per channel and place,
            (H, W, O), as in the paper, and the cell works on this grid only; without it a weight per channel, (O,).
        forget_bias: Initial value of the forget gate's bias. Default: 1.
        recurrent_kernel_size: Kernel of the hidden state's convolution, odd. Default: `kernel_size`.
        output: 'cell' for h' as above, or 'candidate' for h' = o . g: what OpenSTL's first releases computed, so that
            weights of theirs can be used. It has no fast path. Default: 'cell'.
        algorithm: Of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU where it fits, as
            'winograd' does. Default: 'auto'.

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
        output: str = "cell",
        algorithm: str = "auto",
    ):
        super().__init__()
        name = type(self).__name__
        if type(in_channels) is not int or in_channels < 0:
            raise ValueError(f"[{name}] 'in_channels' must be at least 1, or 0 for no input, but got {in_channels!r}.")
        check_whole(name, "in_channels", in_channels, 0)
        check_whole(name, "out_channels", out_channels)
        check_flags(name, bias=bias, peepholes=peepholes)
        forget_bias = check_number(name, "forget_bias", forget_bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = odd_pair(name, "kernel_size", kernel_size)
        recurrent = kernel_size if recurrent_kernel_size is None else recurrent_kernel_size
        self.recurrent_kernel_size = odd_pair(name, "recurrent_kernel_size", recurrent)
        self.stride = int_pair(name, "stride", stride, 1)
        self.padding = padding_rule(name, padding)
        self.dilation = int_pair(name, "dilation", dilation, 1)
        self.grid_size = None if grid_size is None else int_pair(name, "grid_size", grid_size, 1)
        if self.grid_size is not None and not peepholes:
            raise ValueError(
                f"[{name}] 'grid_size' is the size of the peepholes, so with peepholes=False it must be None but got "
                f"{grid_size!r}."
            )

        if output not in OUTPUTS:
            raise ValueError(f"[{name}] 'output' must be one of {', '.join(OUTPUTS)} but got {output!r}.")
        self.output, self.algorithm = output, check_algorithm(name, algorithm)

        O = out_channels
        if in_channels:
            self.Wx = self._uniform((4 * O, *self.kernel_size, in_channels))
        self.Wh = self._uniform((4 * O, *self.recurrent_kernel_size, O))
        if bias:
            self.bias = mx.concatenate([mx.zeros(O), mx.full((O,), forget_bias), mx.zeros(2 * O)])
        if peepholes:
            shape = (O,) if self.grid_size is None else (*self.grid_size, O)
            self.Wci, self.Wcf, self.Wco = mx.zeros(shape), mx.zeros(shape), mx.zeros(shape)

    @staticmethod
    def _uniform(shape: tuple[int, ...]) -> mx.array:
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        return mx.random.uniform(-bound, bound, shape)

    def _extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, bias={'bias' in self}, peepholes={'Wci' in self}, "
            f"grid_size={self.grid_size}"
        )

    @property
    def peepholes(self) -> tuple[mx.array, mx.array, mx.array] | None:
        """`W_ci, W_cf, W_co`, or None where the cell has none."""
        return (self.Wci, self.Wcf, self.Wco) if "Wci" in self else None

    def output_size(self, height: int, width: int) -> Pair:
        """Grid (height, width) of the states for an input of this size; ValueError where nothing would be left."""
        name = type(self).__name__
        return output_size(name, (height, width), self.kernel_size, self.stride, self.padding, self.dilation)

    @property
    def keeps_grid(self) -> bool:
        """Whether the states have the input's grid whatever its size: stride 1, no dilation, 'same' padding."""
        half = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        return self.stride == self.dilation == (1, 1) and self.padding in ("same", half)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Zeros for `h` and `c`, each (batch, height, width, O), on a grid of the state's size."""
        zeros = mx.zeros((batch, height, width, self.out_channels), self.Wh.dtype)
        return zeros, zeros

    def check_input(self, shape: tuple[int, ...]) -> Pair:
        """The grid of the states for an input of shape NHWC; ValueError where the cell does not take it."""
        if len(shape) != 4 or shape[-1] != self.in_channels:
            raise ValueError(
                f"[{type(self).__name__}] expected an input of shape NHWC or HWC with C={self.in_channels} channels "
                f"but got shape {tuple(shape)}."
            )
        return self.output_size(*shape[1:3])

    def project(self, x: mx.array) -> mx.array:
        """The input's share of the pre-activations, with the bias: (N, H, W, C) -> (N, H', W', 4O)."""
        self.check_input(x.shape)
        z = conv2d(x, self.Wx, self.stride, self.padding, self.dilation, self.algorithm)
        return z + self.bias if "bias" in self else z

    def step(self, z: mx.array | None, state: State, recurrent_mask: mx.array | None = None) -> State:
        """The next state from a projected input (N, H', W', 4O), or None for no input, and the state.

        `recurrent_mask`, broadcast to `h`, multiplies the hidden state before its convolution.
        """
        h, c = state
        zh = conv2d(h if recurrent_mask is None else h * recurrent_mask, self.Wh, algorithm=self.algorithm)
        if z is not None:
            zh = zh + z
        elif "bias" in self:
            zh = zh + self.bias
        gates = lstm_gates if self.output == "cell" else candidate_gates
        return gates(zh, c, self.peepholes)

    def check_state(self, state: State | None, batch: int, grid: Pair) -> State:
        """The state, zeros for None; ValueError where its shape is not (batch, *grid, O) or not the peepholes'."""
        name = type(self).__name__
        if self.grid_size is not None and grid != self.grid_size:
            raise ValueError(
                f"[{name}] the peepholes were made for a state grid of {self.grid_size} but this input's is {grid}. "
                "Leave 'grid_size' out for a layer that works on any grid."
            )
        if state is None:
            return self.initial_state(batch, *grid)
        shape = (batch, *grid, self.out_channels)
        shapes = [tuple(s.shape) for s in state]
        if shapes != [shape, shape]:
            raise ValueError(f"[{name}] 'state' must be (h, c), each of shape {shape}, but got shapes {shapes}.")
        return state[0], state[1]

    def __call__(self, x: mx.array | None, state: State | None = None) -> State:
        """One time step.

        Args:
            x: Input NHWC or HWC; None where `in_channels` is 0.
            state: `(h, c)`, each NHWO on the output's grid, or HWO as the input; None means zeros.

        Returns:
            The new `(h, c)`, each NHWO, or HWO where the input has no batch axis.
        """
        first = _check_driven(self, x, state)
        if first.ndim == 3:
            state = None if state is None else (state[0][None], state[1][None])
            h, c = self(None if x is None else x[None], state)
            return h[0], c[0]
        z = None if x is None else self.project(x)
        _, height, width, _ = first.shape if z is None else z.shape
        return self.step(z, self.check_state(state, first.shape[0], (height, width)))


def _check_driven(cell: ConvLSTMCell, x: mx.array | None, state: State | None) -> mx.array:
    """What leads: the input, or the hidden state of a cell without input; ValueError where the other one came."""
    if cell.in_channels and x is None:
        raise ValueError(f"[{type(cell).__name__}] expected an input with {cell.in_channels} channels but got None.")
    if not cell.in_channels and (x is not None or state is None):
        raise ValueError(f"[{type(cell).__name__}] with in_channels=0 it is called with x=None and a state.")
    return state[0] if x is None else x  # type: ignore[index]


class ConvLSTM(nn.Module):
    r"""A ConvLSTM cell unrolled over a sequence.

    The convolution of the input runs once for all time steps; only the hidden state's convolution is inside the
    recurrence.

    Args:
        in_channels: Channels C of the input; 0 for a layer that its state alone drives.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the convolution kernels, odd. Default: 5.
        reverse: Whether to walk through the sequence from its last step to its first. Default: False.
        bidirectional: Whether a second cell walks the other way. Default: False.
        merge: How the two directions' outputs become one: 'concat' (2O channels), 'sum', 'mul', 'ave', or None for a
            pair of outputs. Default: 'concat'.
        return_sequences: Whether to return the hidden states of all steps or only the last one walked. Default: True.
        dropout: Share of the input's values set to zero in training, the same for all time steps. Default: 0.
        recurrent_dropout: Share of the hidden state's values hidden from the gates in training, the same for all time
            steps. Default: 0.
        algorithm: How the recurrence is computed: 'native' with MLX's convolution and automatic gradient; 'winograd'
            with the kernels of `convlstm.ops.cpu` (recurrent kernels of 3x3 and 5x5, float32); 'auto' takes the latter
            on a CPU where it fits. Recurrent dropout, in training, is always 'native'. Default: 'auto'.
        recompute: Whether the gradient computes the gates again instead of keeping them: a third of the memory of a
            layer's states, for more time. Default: False.
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
        if merge is not None and merge not in MERGE_MODES:
            raise ValueError(f"[ConvLSTM] 'merge' must be one of {', '.join(MERGE_MODES)} or None but got {merge!r}.")
        for name, share in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not isinstance(share, int | float) or not 0 <= share < 1:
                raise ValueError(f"[ConvLSTM] '{name}' must be at least 0 and below 1 but got {share!r}.")
        flags = {"reverse": reverse, "bidirectional": bidirectional, "return_sequences": return_sequences}
        check_flags("ConvLSTM", recompute=recompute, **flags)
        check_algorithm("ConvLSTM", algorithm)
        self.recompute = recompute
        self.reverse, self.bidirectional, self.merge = reverse, bidirectional, merge
        self.return_sequences = return_sequences
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.cell = ConvLSTMCell(in_channels, out_channels, kernel_size, algorithm=algorithm, **cell)
        if bidirectional:
            self.other_cell = ConvLSTMCell(in_channels, out_channels, kernel_size, algorithm=algorithm, **cell)

    def _extra_repr(self) -> str:
        return f"reverse={self.reverse}, bidirectional={self.bidirectional}, merge={self.merge!r}"

    def __call__(self, x: mx.array | None, state=None, *, length: int | None = None, key: mx.array | None = None):
        """The sequence's hidden states and the final state.

        Args:
            x: Input NLHWC or LHWC, L the length; None where `in_channels` is 0.
            state: `(h, c)`, each NHWO (or HWO as the input), None for zeros; a pair of such pairs, for the layer's own
                direction and the other one, where it is bidirectional.
            length: Number of steps of a layer without input.
            key: Key of the dropout masks; None draws from MLX's global state, as `mlx.nn.Dropout` does.

        Returns:
            `outputs, state`. Outputs are NLHWO in the order of the input's time, whichever way the layer walks, or NHWO
            with `return_sequences=False`: the last step walked. The state has the form of the argument. Without a batch
            axis in the input there is none in what is returned.
        """
        start = state if state is None or not self.bidirectional else state[0]
        first = _check_driven(self.cell, x, start)
        if x is None and length is None:
            raise ValueError("[ConvLSTM] a layer without input needs the 'length' to unroll.")
        if x is not None and x.ndim not in (4, 5):
            raise ValueError(f"[ConvLSTM] expected an input of shape NLHWC or LHWC but got shape {tuple(x.shape)}.")
        if first.ndim == (3 if x is None else 4):
            x, state = tree_map(lambda a: None if a is None else a[None], (x, state))
            return tree_map(lambda a: None if a is None else a[0], self(x, state, length=length, key=key))

        if not self.bidirectional:
            return self._walk(self.cell, x, state, length, self.reverse, key)[:2]
        start, other_start = (None, None) if state is None else state
        key, other_key = (None, None) if key is None else mx.random.split(key)
        outputs, state, _ = self._walk(self.cell, x, start, length, self.reverse, key)
        other_outputs, other_state, _ = self._walk(self.other_cell, x, other_start, length, not self.reverse, other_key)
        return self._merge(outputs, other_outputs), (state, other_state)

    @property
    def algorithm(self) -> str:
        """How the recurrence is computed; chosen when the layer is made."""
        return self.cell.algorithm

    def _takes_winograd(self, cell: ConvLSTMCell, *states: mx.array) -> bool:
        if cell.output != "cell":
            return False
        arrays = [cell.Wh, *states, *([cell.bias] if "bias" in cell else []), *(cell.peepholes or ())]
        other = [a.dtype for a in arrays if a.dtype != mx.float32]
        return takes_winograd("ConvLSTM", cell.algorithm, cell.recurrent_kernel_size, [*other, mx.float32][0])

    def prepare(self) -> LayerFilters | None:
        """The kernels as `walk` reads them; None where they are read as they are."""
        cell = self.cell
        drops = self.training and self.recurrent_dropout > 0
        if drops or not self._takes_winograd(cell):
            return None
        options = {"trains": self.training, "sparing": self.recompute}
        return LayerFilters(prepare(cell.Wx, **options) if self._convolves(cell) else None, prepare(cell.Wh, **options))

    def walk(
        self, x: mx.array, state: State | None, filters: LayerFilters | None, *, key: mx.array | None = None
    ) -> tuple[mx.array, State, LayerFilters | None]:
        """As a call, for one part of a longer walk, such as one step of a model that is fed with its own output.

        Args:
            x: Input NLHWC.
            state: `(h, c)`, each NHWO; None for zeros.
            filters: What `prepare` gave, for the first part, and what the part before returned, for the others. The
                kernels are then transformed once for all parts, and their gradient is added up in one place.
            key: Key of the dropout masks.

        Returns:
            `outputs, state, filters`.

        Raises:
            ValueError: The layer walks backwards or both ways, or a shape does not fit.
        """
        if self.bidirectional or self.reverse:
            raise ValueError("[ConvLSTM] only a layer that walks forwards can walk in parts.")
        _check_driven(self.cell, x, state)
        return self._walk(self.cell, x, state, None, False, key, filters)

    def _walk(self, cell: ConvLSTMCell, x, state, length, reverse: bool, key, filters=None):
        key, recurrent_key = (None, None) if key is None else mx.random.split(key)
        if x is None:
            batch, *grid = state[0].shape[:3]
        else:
            batch, length, *frame = x.shape
            grid = cell.check_input((batch, *frame))
            x = self._dropped(x, (batch, 1, *frame), self.dropout, key)
        if length < 1:
            raise ValueError(f"[ConvLSTM] needs at least 1 time step but got {length}.")
        h, c = cell.check_state(state, batch, tuple(grid))
        mask = self._dropped(None, h.shape, self.recurrent_dropout, recurrent_key)

        if mask is None and self._takes_winograd(cell, h, c):
            outputs, h, c, filters = self._unroll(cell, x, h, c, length, reverse, filters)
            return outputs if self.return_sequences else h, (h, c), filters

        def step(z, h, c):
            return cell.step(z, (h, c), mask)

        if self.recompute:
            step = nn.utils.checkpoint(cell, step)
        z = None if x is None else self._project(cell, x)
        hidden: list[mx.array] = [h] * length
        for t in range(length - 1, -1, -1) if reverse else range(length):
            h, c = step(None if z is None else z[:, t], h, c)
            hidden[t] = h
        return mx.stack(hidden, axis=1) if self.return_sequences else h, (h, c), None

    def _unroll(self, cell: ConvLSTMCell, x, h, c, length, reverse: bool, filters: LayerFilters | None):
        """The walk as one operation, which convolves the input itself where it can."""
        x = None if x is None else x.astype(h.dtype)
        Wx = cell.Wx if x is not None and self._convolves(cell) else None
        bias = cell.bias if "bias" in cell else mx.zeros(4 * cell.out_channels)
        if x is not None and Wx is None:
            x, bias = self._project(cell, x), mx.zeros(4 * cell.out_channels)
        # Outside training a gradient is rare, and what it would need is not kept.
        options = {"length": length, "recompute": self.recompute or not self.training}
        if filters is None:
            return *unroll(x, h, c, Wx, cell.Wh, bias, cell.peepholes, reverse=reverse, **options), None
        options |= {"kernel_size": cell.recurrent_kernel_size[0]}
        outputs, h, c, *after = unroll_prepared(x, h, c, *filters, bias, cell.peepholes, **options)
        return outputs, h, c, LayerFilters(*after)  # type: ignore[arg-type]

    @staticmethod
    def _convolves(cell: ConvLSTMCell) -> bool:
        """Whether the walk's operation knows the input's convolution."""
        return bool(cell.in_channels) and cell.keeps_grid and cell.kernel_size == cell.recurrent_kernel_size

    def _project(self, cell: ConvLSTMCell, x: mx.array) -> mx.array:
        """The input's share of the pre-activations of all steps: (N, L, H, W, C) -> (N, L, H', W', 4O)."""
        z = cell.project(x.reshape(-1, *x.shape[2:]))
        return z.reshape(*x.shape[:2], *z.shape[1:])

    def _dropped(self, x: mx.array | None, shape, share: float, key) -> mx.array | None:
        """`x` times a dropout mask of `shape`, or the mask where `x` is None; unchanged outside training."""
        if not self.training or share == 0:
            return x
        mask = (mx.random.bernoulli(1 - share, tuple(shape), key=key) / (1 - share)).astype(self.cell.Wh.dtype)
        return mask if x is None else x * mask

    def _merge(self, a: mx.array, b: mx.array):
        if self.merge is None:
            return a, b
        if self.merge == "concat":
            return mx.concatenate([a, b], axis=-1)
        if self.merge == "mul":
            return a * b
        return (a + b) / (2 if self.merge == "ave" else 1)
