"""PredRNN and PredRNN-v2: cells whose second memory zigzags up through the layers and on to the next time step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlstm.architectures.feedback import Feed, FeedbackForecaster
from convlstm.architectures.frames import check_channels, check_frames
from convlstm.architectures.st_lstm import STLSTMCell, STState
from convlstm.arguments import check_flags, check_number
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn


class PredRNN(FeedbackForecaster):
    r"""A stack of spatiotemporal LSTM cells that predicts one frame from the frame before.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^n, c_t^n, m_t^n = STLSTM^n(h_t^{n-1}, (h_{t-1}^n, c_{t-1}^n, m_t^{n-1}))
        h_t^0 = x_t,  m_t^0 = m_{t-1}^top
        y_t = W_y * h_t^top

    for t = 0 ... T_in + horizon - 2, where y_t predicts frame t + 1; the last `horizon` of them are the forecast. The
    frames are patches of `patch_size` x `patch_size` pixels as channels; W_y is 1x1, linear and without bias. Training
    minimises the loss of all predictions, those of the input frames too, and may feed true frames by a schedule of
    `convlstm.training.sampling`. With `decoupling` it is PredRNN-v2, which adds to what training minimises

        decoupling * mean |cos(W_a * (i . g), W_a * (i' . g'))|

    where the cosine is that of a channel's values at all places, the mean that over sequences, channels, layers and
    steps, and W_a is 1x1 and the same for all layers: the two memories are to take up different things.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the cells, the first one first; all the same, as the second memory passes through
            them. Default: four of 128.
        kernel_size: Kernel of the cells, odd; an int or (height, width). Default: 5.
        patch_size: Side of the square patches that become channels. Default: 4.
        norm_grid: Height and width of the frames in patches. With it the convolutions are normalised over all of the
            frame, and the model works on frames of this size only. Default: None, no normalisation.
        forget_bias: Added to the pre-activations of the forget gates; not learned. Default: 1.
        decoupling: Weight of the decoupling loss; None: none, and no W_a. Default: None.
        algorithm: Of the convolutions: 'auto', 'native' or 'winograd', as the cell's. Default: 'auto'.
        recompute: Whether the gradient computes each step again instead of keeping its gates: less memory, more time.
            Default: False.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Wang et al., PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs, 2017;
    Wang et al., PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning, 2021 (v2); in the form of
    their published code, predrnn-pytorch, which OpenSTL's is as well.
    """

    def __init__(
        self,
        in_channels: int = 1,
        hidden_channels: Sequence[int] = (128, 128, 128, 128),
        *,
        kernel_size: int | Pair = 5,
        patch_size: int = 4,
        norm_grid: Pair | None = None,
        forget_bias: float = 1.0,
        decoupling: float | None = None,
        algorithm: str = "auto",
        recompute: bool = False,
    ):
        super().__init__(in_channels, patch_size)
        if not hidden_channels or len(set(hidden_channels)) > 1:
            raise ValueError(
                "[PredRNN] 'hidden_channels' must be one number or more, all the same, since a memory passes through "
                f"all layers, but got {list(hidden_channels)}."
            )
        check_channels("PredRNN", in_channels, hidden_channels, patch_size)
        if decoupling is not None and not check_number("PredRNN", "decoupling", decoupling) > 0:
            raise ValueError(f"[PredRNN] 'decoupling' must be above 0, or None for none, but got {decoupling}.")
        check_flags("PredRNN", recompute=recompute)
        self.decoupling, self.recompute = decoupling, recompute
        O, channels = hidden_channels[0], in_channels * patch_size**2
        options: dict[str, Any] = {"norm_grid": norm_grid, "forget_bias": forget_bias, "algorithm": algorithm}
        self.cells = [STLSTMCell(O if n else channels, O, kernel_size, **options) for n in range(len(hidden_channels))]
        self.output = nn.Conv2d(O, channels, 1, bias=False)
        if decoupling is not None:
            self.adapter = nn.Conv2d(O, O, 1, bias=False)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError where the frames' channels or size, or the horizon, do not fit the model."""
        grid = check_frames("PredRNN", inputs, horizon, self.in_channels, self.patch_size)
        made_for = self.cells[0].norm_grid
        if made_for not in (None, grid):
            raise ValueError(
                f"[PredRNN] the normalisation was made for {made_for[0]}x{made_for[1]} patches ('norm_grid') but these "
                f"frames have {grid[0]}x{grid[1]}."
            )

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, mx.array | None]:
        N, known, *grid, _ = x.shape
        state = self.cells[0].initial_state(N, grid[0], grid[1])
        hidden, cells, m = [state[0]] * len(self.cells), [state[1]] * len(self.cells), state[2]
        filters = [cell.prepare() for cell in self.cells]
        step = [self._step(cell) for cell in self.cells]
        frames: list[mx.array] = []
        penalties: list[mx.array] = []
        # Of the known frames, too, nothing but the lowest cell's input is known ahead, a fiftieth of a step's products:
        # the cell takes them together with those of its state.
        for t in range(known + steps):
            z = x[:, t] if t < known else feed(t - known, frames[-1])[:, 0]
            for n in range(len(self.cells)):
                (z, cells[n], m), added, filters[n] = step[n](z, (hidden[n], cells[n], m), filters[n])
                hidden[n] = z
                if added is not None:
                    penalties.append(self._likeness(*added))
            frames.append((z @ self.output.weight[:, 0, 0].T)[:, None])
        walked = mx.concatenate(frames, axis=1)
        return walked, None if self.decoupling is None else self.decoupling * mx.stack(penalties).mean()

    def _step(self, cell: STLSTMCell):
        """The cell's step, which the gradient computes again where `recompute` asks for it."""

        def step(x: mx.array, state: STState, filters):
            return cell.step(x, state, filters, products=self.decoupling is not None)

        return nn.utils.checkpoint(cell, step) if self.recompute else step

    def _likeness(self, a: mx.array, b: mx.array) -> mx.array:
        """Mean over sequences and channels of |cos| between what two memories take up, seen through W_a."""
        W = self.adapter.weight[:, 0, 0].T
        a, b = ((x.flatten(1, 2) @ W).astype(mx.float32) for x in (a, b))
        inner, aa, bb = ((p * q).sum(axis=1) for p, q in ((a, b), (a, a), (b, b)))
        # Where nothing is taken up there is no direction, and no gradient.
        return mx.abs(inner * mx.rsqrt(mx.maximum(aa, 1e-24)) * mx.rsqrt(mx.maximum(bb, 1e-24))).mean()
