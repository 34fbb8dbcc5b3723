"""The TrajGRU cell, which reads its hidden state along learned flows, and its layer."""

from __future__ import annotations

from convlstm.architectures.convgru import ConvGRU, ConvGRUCell
from convlstm.arguments import check_whole
from convlstm.ops.cell import uniform
from convlstm.ops.convolution import Pair, conv2d, grid_padding, odd_pair
from convlstm.ops.gru_gates import ACTIVATIONS
from convlstm.ops.prepared_convolution import StepConvolution
from convlstm.ops.warp import warp_product

import mlx.core as mx


class TrajGRUCell(ConvGRUCell):
    r"""One time step of a trajectory GRU: a ConvGRU that reads its hidden state at the origins of learned flows.

        flow = W_f * f(W_fx * x + b_fx + W_fh * h + b_fh) + b_f
        w = [warp(h, flow^1), ..., warp(h, flow^L)]
        z = sigmoid(W_xz * x + b_xz + W_hz w + b_hz)
        r = sigmoid(W_xr * x + b_xr + W_hr w + b_hr)
        g = f(W_xh * x + b_xh + r . (W_hh w + b_hh))
        h' = (1 - z) . g + z . h

    `warp(h, flow)[i, j]` is `h` at (i, j) - flow[i, j], bilinear between the pixels and 0 beyond the border, unless the
    columns go round. Every convolution has stride 1 and keeps the grid.

    Parameters: `Wx` (3O, kh, kw, C), `bx` (3O,), `Wfx` (F, fh, fw, C) and `bfx` (F,), only with an input;
    `Wfh` (F, fh, fw, O), `bfh` (F,), `Wf` (2L, fh, fw, F) and `bf` (2L,), row and column of one link after the other;
    `Wh` (3O, 1, 1, L O), link by link, and `bh` (3O,). The gates' order is z, r, h. `Wf` and `bf` start at 0: no flow.

    Args:
        in_channels: Channels C of the input. 0 makes a cell without input, called with `x=None` and a state.
        out_channels: Channels O of the hidden state.
        kernel_size: Size of the input's kernel, odd; an int or (height, width). Default: 3.
        links: Number L of flows. Default: 13.
        flow_channels: Channels F between the two convolutions of the flows. Default: 32.
        flow_kernel_size: Size of the flows' kernels, odd; an int or (height, width). Default: 5.
        padding: 'same', or 'circular' for columns that go round, in the convolutions and along the flows. Default:
            'same'.
        bias: If True, the cell has biases. Default: True.
        state_activation: f: 'leaky_relu', of slope 0.2 below zero as in the paper, or 'tanh'. Default: 'leaky_relu'.
        algorithm: Algorithm of the convolutions: 'native' is MLX's own; 'auto' takes Winograd's on a CPU if it fits,
            and so does 'winograd'. Default: 'auto'.

    Raises:
        ValueError: An argument, or the shape of an input or a state, does not fit.

    Source: Shi et al., Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model, 2017, equation 4. The
    sign of the flow and the biases are those of the authors' program.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        *,
        links: int = 13,
        flow_channels: int = 32,
        flow_kernel_size: int | Pair = 5,
        padding: str = "same",
        bias: bool = True,
        state_activation: str = "leaky_relu",
        algorithm: str = "auto",
    ):
        name = type(self).__name__
        links = check_whole(name, "links", links)
        flow_channels = check_whole(name, "flow_channels", flow_channels)
        size = odd_pair(name, "flow_kernel_size", flow_kernel_size)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            recurrent_kernel_size=1,
            padding=grid_padding(name, padding),
            bias=bias,
            state_activation=state_activation,
            algorithm=algorithm,
        )
        self.links = links
        self.Wh = uniform((3 * out_channels, 1, 1, links * out_channels))
        if in_channels:
            self.Wfx = uniform((flow_channels, *size, in_channels))
        self.Wfh = uniform((flow_channels, *size, out_channels))
        self.Wf = mx.zeros((2 * links, *size, flow_channels))
        if bias and in_channels:
            self.bfx = mx.zeros(flow_channels)
        if bias:
            self.bfh, self.bf = mx.zeros(flow_channels), mx.zeros(2 * links)

    def _extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, links={self.links}, "
            f"flow_channels={self.Wf.shape[-1]}, flow_kernel_size={self.Wf.shape[1:3]}, bias={'bh' in self}, "
            f"state_activation={self.state_activation!r}, padding={self.padding!r}"
        )

    def project(self, x: mx.array) -> tuple[mx.array, ...]:
        """Returns everything that a step reads of the input: NHWC -> (N, H, W, 3O) and, for the flows, (N, H, W, F)."""
        gates = super().project(x)
        flow = conv2d(x, self.Wfx, padding=self.padding, algorithm=self.algorithm)
        return *gates, flow + self.bfx if "bfx" in self else flow

    def convolutions(self, sparing: bool = False) -> tuple[StepConvolution, ...]:
        """Returns the convolutions of the flows for the steps of one walk, or `sparing` ones for a single step."""
        return self._convolution(self.Wfh, sparing), self._convolution(self.Wf, sparing)

    def flow(self, projected: tuple[mx.array, ...], h: mx.array, convolutions: tuple[StepConvolution, ...]) -> mx.array:
        """Returns the flows (N, H, W, 2L) of a step, in pixels."""
        f = convolutions[0](h)
        if projected:
            f = f + projected[1]
        if "bfh" in self:
            f = f + self.bfh
        f = ACTIVATIONS[self.state_activation](f)
        flow = convolutions[1](f)
        return flow + self.bf if "bf" in self else flow

    def recur(
        self, projected: tuple[mx.array, ...], h: mx.array, convolutions: tuple[StepConvolution, ...]
    ) -> mx.array:
        """Returns the hidden state's part of the pre-activations, (N, H, W, O) -> (N, H, W, 3O)."""
        flow, circular = self.flow(projected, h, convolutions), self.padding == "circular"
        return warp_product(h, flow, self.Wh[:, 0, 0], self.algorithm, circular=circular)


class TrajGRU(ConvGRU):
    """A TrajGRU cell unrolled over a sequence: a layer like `ConvGRU`, with the same arguments, of a `TrajGRUCell`."""

    cell_class = TrajGRUCell
