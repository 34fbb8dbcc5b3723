"""PredRNN and PredRNN-v2: cells with a second memory that passes up the layers and then to the next time step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convlstm.architectures.feedback import Feed, FeedbackForecaster
from convlstm.architectures.input_frames import check_channels, check_frames
from convlstm.architectures.st_lstm import STLSTMCell, STState
from convlstm.arguments import check_flags, check_number
from convlstm.ops.circular import is_circular
from convlstm.ops.convolution import Pair

import mlx.core as mx
import mlx.nn as nn


class PredRNN(FeedbackForecaster):
    r"""A stack of spatiotemporal LSTM cells that predicts each frame from the frame before.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        h_t^n, c_t^n, m_t^n = STLSTM^n(h_t^{n-1}, (h_{t-1}^n, c_{t-1}^n, m_t^{n-1}))
        h_t^0 = x_t,  m_t^0 = m_{t-1}^top
        y_t = W_y * h_t^top

    for t = 0 ... T_in + horizon - 2. y_t predicts frame t + 1; the last `horizon` of them are the forecast. The frames
    are patches of `patch_size` x `patch_size` pixels as channels; W_y is 1x1, linear and without bias. Training
    minimises the loss of all predictions, including those of input frames, and may feed true frames by a schedule of
    `convlstm.training.sampling`. With `decoupling` it is PredRNN-v2, which adds to the training loss

        decoupling * mean |cos(W_a * (i . g), W_a * (i' . g'))|

    to make the two memories take up different content. The cosine is that of a channel's values at all pixels, the mean
    is over sequences, channels, layers and steps, and W_a is 1x1 and the same for all layers.

    Args:
        in_channels: Channels of the frames, in and out. Default: 1.
        hidden_channels: Channels of the cells, first layer first. All must be equal, since the second memory passes
            through all layers. Default: four of 128.
        kernel_size: Kernel of the cells, odd; an int or (height, width). Default: 5.
        patch_size: Side of the square patches that become channels. Default: 4.
        norm_grid: Height and width of the frames in patches. The convolutions are then normalised over the whole frame,
            and the model works on frames of this size only. Default: None, no normalisation.
        forget_bias: Added to the pre-activations of the forget gates; not learned. Default: 1.
        decoupling: Weight of the decoupling loss. Default: None, no such loss and no W_a.
        padding: None, zeros around the frames, or 'circular' for frames whose columns go round the earth, which is
            slower. Default: None.
        algorithm: Algorithm of the convolutions: 'auto', 'native' or 'winograd', as in the cell. Default: 'auto'.
        recompute: If True, the gradient computes each step again instead of keeping its gates: less memory, more time.
            Default: False.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Wang et al., PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs, 2017;
    Wang et al., PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning, 2021 (v2); in the form of
    their published code, predrnn-pytorch, which OpenSTL also uses.
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
        padding: str | None = None,
        algorithm: str = "auto",
        recompute: bool = False,
    ):
        super().__init__(in_channels, patch_size)
        check_channels("PredRNN", in_channels, hidden_channels, patch_size)
        if not hidden_channels or len(set(hidden_channels)) > 1:
            raise ValueError(
                "[PredRNN] 'hidden_channels' must be one number or more, all equal, since a memory passes through all "
                f"layers, but got {list(hidden_channels)}."
            )
        if decoupling is not None and not check_number("PredRNN", "decoupling", decoupling) > 0:
            raise ValueError(f"[PredRNN] 'decoupling' must be above 0, or None for none, but got {decoupling}.")
        check_flags("PredRNN", recompute=recompute)
        self.decoupling, self.recompute = decoupling, recompute
        self.circular = is_circular("PredRNN", padding)
        O, channels = hidden_channels[0], in_channels * patch_size**2
        options: dict[str, Any] = {"norm_grid": norm_grid, "forget_bias": forget_bias, "algorithm": algorithm}
        options |= {} if padding is None else {"padding": padding}
        self.cells = [STLSTMCell(O if n else channels, O, kernel_size, **options) for n in range(len(hidden_channels))]
        self.output = nn.Conv2d(O, channels, 1, bias=False)
        if decoupling is not None:
            self.adapter = nn.Conv2d(O, O, 1, bias=False)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        grid = check_frames("PredRNN", inputs, horizon, self.in_channels, self.patch_size)
        norm_grid = self.cells[0].norm_grid
        if norm_grid not in (None, grid):
            raise ValueError(
                f"[PredRNN] the normalisation was made for {norm_grid[0]}x{norm_grid[1]} patches ('norm_grid') but "
                f"these frames have {grid[0]}x{grid[1]}."
            )

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, mx.array | None]:
        N, T, *grid, _ = x.shape
        state = self.cells[0].initial_state(N, grid[0], grid[1])
        hidden, cells, m = [state[0]] * len(self.cells), [state[1]] * len(self.cells), state[2]
        filters = [cell.prepare() for cell in self.cells]
        step = [self._step(cell) for cell in self.cells]
        frames: list[mx.array] = []
        penalties: list[mx.array] = []
        # Of known frames only the input of the lowest cell is known before the walk, a fiftieth of a step's products.
        # So every cell convolves its input together with its state.
        for t in range(T + steps):
            z = x[:, t] if t < T else feed(t - T, frames[-1])[:, 0]
            for n in range(len(self.cells)):
                (z, cells[n], m), added, filters[n] = step[n](z, (hidden[n], cells[n], m), filters[n])
                hidden[n] = z
                if added is not None:
                    penalties.append(self._likeness(*added))
            frames.append((z @ self.output.weight[:, 0, 0].T)[:, None])
        predictions = mx.concatenate(frames, axis=1)
        return predictions, None if self.decoupling is None else self.decoupling * mx.stack(penalties).mean()

    def _step(self, cell: STLSTMCell):
        """Returns the cell's step, which the gradient computes again if `recompute` is True."""

        def step(x: mx.array, state: STState, filters):
            return cell.step(x, state, filters, products=self.decoupling is not None)

        return nn.utils.checkpoint(cell, step) if self.recompute else step

    def _likeness(self, a: mx.array, b: mx.array) -> mx.array:
        """Returns the mean over sequences and channels of |cos| between the additions to two memories, after W_a."""
        W = self.adapter.weight[:, 0, 0].T
        a, b = ((x.flatten(1, 2) @ W).astype(mx.float32) for x in (a, b))
        inner, aa, bb = ((p * q).sum(axis=1) for p, q in ((a, b), (a, a), (b, b)))
        # An addition of zeros has no direction, and no gradient.
        return mx.abs(inner * mx.rsqrt(mx.maximum(aa, 1e-24)) * mx.rsqrt(mx.maximum(bb, 1e-24))).mean()
