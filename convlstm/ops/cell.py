"""The base class of convolutional recurrent cells: channels, kernels, and the grid of the states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from convlstm.arguments import check_flags, check_whole
from convlstm.ops.algorithm import check_algorithm
from convlstm.ops.convolution import Pair, int_pair, odd_pair, output_size, padding_rule

import mlx.core as mx
import mlx.nn as nn


class RecurrentCell(nn.Module):
    """A cell with one convolution of its input and one of its hidden state, which lies on the output's grid.

    Args:
        in_channels: Channels C of the input; 0 for a cell without input.
        out_channels: Channels O of the hidden state.
        kernel_size: Kernel of the input's convolution, odd; an int or (height, width).
        recurrent_kernel_size: Kernel of the hidden state's convolution, odd; None for `kernel_size`.
        algorithm: Algorithm of both convolutions, one of `ops.algorithm.ALGORITHMS`.
        stride: Stride of the input's convolution; an int or a pair.
        padding: Padding of the input's convolution: 'same', 'valid', an int or a pair. With 'circular' the columns of
            both convolutions go round.
        dilation: Dilation of the input's convolution; an int or a pair.
        even_kernels: If True, kernels may be even.

    Raises:
        ValueError: An argument does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        recurrent_kernel_size: int | Pair | None,
        algorithm: str,
        *,
        stride: int | Pair,
        padding: str | int | Pair,
        dilation: int | Pair,
        even_kernels: bool = False,
    ):
        super().__init__()
        name = type(self).__name__
        check_flags(name, even_kernels=even_kernels)
        self.in_channels = check_whole(name, "in_channels", in_channels, 0)
        self.out_channels = check_whole(name, "out_channels", out_channels)
        size = partial(int_pair, minimum=1) if even_kernels else odd_pair
        self.kernel_size = size(name, "kernel_size", kernel_size)
        recurrent = kernel_size if recurrent_kernel_size is None else recurrent_kernel_size
        self.recurrent_kernel_size = size(name, "recurrent_kernel_size", recurrent)
        self.stride = int_pair(name, "stride", stride, 1)
        self.padding = padding_rule(name, padding)
        self.dilation = int_pair(name, "dilation", dilation, 1)
        self.algorithm = check_algorithm(name, algorithm)

    def _extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}"
        )

    def output_size(self, height: int, width: int) -> Pair:
        """Returns the states' grid (height, width) for an input of this size; raises ValueError if it is empty."""
        name = type(self).__name__
        return output_size(name, (height, width), self.kernel_size, self.stride, self.padding, self.dilation)

    @property
    def recurrent_padding(self) -> str:
        """Padding of the hidden state's convolution, which keeps the grid: 'same' or 'circular'."""
        return "circular" if self.padding == "circular" else "same"

    @property
    def keeps_grid(self) -> bool:
        """True if the states have the input's grid for any size: stride 1, no dilation, 'same' padding."""
        (kh, kw), half = self.kernel_size, (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        keeps = self.padding == "same" or (self.padding == half and kh % 2 == kw % 2 == 1)
        return self.stride == self.dilation == (1, 1) and keeps

    def check_driven(self, x: mx.array | None, state: object) -> None:
        """Raises ValueError if a cell with input gets none, or if a cell without input gets one or has no state.

        Raises TypeError if the input is no array of MLX.
        """
        name = type(self).__name__
        if x is not None:
            check_array(name, x)
        if self.in_channels and x is None:
            raise ValueError(f"[{name}] expected an input with {self.in_channels} channels but got None.")
        if not self.in_channels and (x is not None or state is None):
            raise ValueError(f"[{name}] with in_channels=0, 'x' must be None and a state must be given.")

    def check_input(self, shape: tuple[int, ...]) -> Pair:
        """Returns the states' grid for an input of shape NHWC; raises ValueError if the shape does not fit the cell."""
        if len(shape) != 4 or shape[-1] != self.in_channels:
            raise ValueError(
                f"[{type(self).__name__}] expected an input of shape NHWC or HWC with C={self.in_channels} channels "
                f"but got shape {tuple(shape)}."
            )
        return self.output_size(*shape[1:3])


def uniform(shape: tuple[int, ...]) -> mx.array:
    """Returns kernels (O, kh, kw, C) drawn evenly from -b to b with b = 1 / sqrt(kh kw C), as PyTorch draws them."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return mx.random.uniform(-bound, bound, shape)


def check_array(owner: str, x: object) -> None:
    """Raises TypeError if an input is no array of MLX, such as one of NumPy."""
    if not isinstance(x, mx.array):
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}".removeprefix("builtins.")
        raise TypeError(f"[{owner}] expected an array of MLX but got {kind}. Convert it: mx.array(x).")


def check_grid(owner: str, made_for: Pair | None, grid: Pair) -> None:
    """Raises ValueError if peepholes with a weight per pixel are for another grid of the states."""
    if made_for is not None and grid != made_for:
        raise ValueError(
            f"[{owner}] the peepholes were made for a state grid of {made_for} but this input's is {grid}. "
            "Leave 'grid_size' out for a layer that works on any grid."
        )


def check_states(owner: str, state: Sequence[mx.array], shape: tuple[int, ...]) -> tuple[mx.array, mx.array]:
    """Returns a state `(h, c)`; raises ValueError if they are not of this shape."""
    shapes = [tuple(s.shape) for s in state]
    if shapes != [shape, shape]:
        raise ValueError(f"[{owner}] 'state' must be (h, c), each of shape {shape}, but got shapes {shapes}.")
    return state[0], state[1]
