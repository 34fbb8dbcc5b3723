"""The base class of forecasters that predict the next frame at every step and read it at the following step."""

from __future__ import annotations

from collections.abc import Callable

from convlstm.architectures.input_frames import depth_to_space, space_to_depth

import mlx.core as mx
import mlx.nn as nn

# Returns the frame that a step after the known ones reads, from the step's number and the last prediction, (N, 1, ...).
Feed = Callable[[int, mx.array], mx.array]


class FeedbackForecaster(nn.Module):
    r"""A model that predicts frame t + 1 from frame t and its state, and reads its own predictions to forecast.

        x_t = the true frame for t < T_in, afterwards y_{t-1}
        y_t, state = step(x_t, state)

    for t = 0 ... T_in + horizon - 2; the last `horizon` of the y_t are the forecast. Training minimises the loss of all
    y_t. Scheduled sampling replaces predictions by true frames at random, or true frames by predictions. Frames are
    patches of `patch_size` x `patch_size` pixels as channels.

    A subclass has `check_input(inputs, horizon)` and `_unroll(x, steps, feed, key) -> (predictions, penalty or None)`.
    `_unroll` walks over the patches `x` (N, K, H', W', C') and then takes `steps` further steps, each of which reads
    `feed(number of the step, last prediction)`. The predictions are (N, K + steps, H', W', C'). The penalty is added to
    the training loss.
    """

    # True tells training that `training_loss` takes a `truth_share`.
    feeds_back = True

    def __init__(self, in_channels: int, patch_size: int):
        super().__init__()
        self.in_channels, self.patch_size = in_channels, patch_size

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        raise NotImplementedError

    def _unroll(self, x: mx.array, steps: int, feed: Feed, key: mx.array | None) -> tuple[mx.array, mx.array | None]:
        raise NotImplementedError

    def _check_truth(self, inputs: mx.array, horizon: int, truth: mx.array | None, mask: mx.array | None) -> None:
        """Raises ValueError if only one of truth and mask is given, or if a shape does not fit."""
        name = type(self).__name__
        if (truth is None) != (mask is None):
            given, missing = ("mask", "truth") if truth is None else ("truth", "mask")
            raise ValueError(f"[{name}] '{given}' came without '{missing}'. Give both, or neither.")
        if truth is None or mask is None:
            return
        N, T_in, *frame = inputs.shape
        if truth.ndim != 5 or (truth.shape[0], *truth.shape[2:]) != (N, *frame) or truth.shape[1] < horizon - 1:
            raise ValueError(
                f"[{name}] 'truth' must be at least {horizon - 1} frames after the inputs, of shape "
                f"{(N, horizon - 1, *frame)}, but got shape {tuple(truth.shape)}."
            )
        if tuple(mask.shape) not in ((N, horizon - 1), (N, T_in + horizon - 2)):
            raise ValueError(
                f"[{name}] 'mask' must have a value for each sequence and step after the inputs, shape "
                f"{(N, horizon - 1)}, or after the first of them, shape {(N, T_in + horizon - 2)}, but got shape "
                f"{tuple(mask.shape)}."
            )

    def _walk(
        self, inputs: mx.array, horizon: int, truth: mx.array | None, mask: mx.array | None, key: mx.array | None
    ) -> tuple[mx.array, mx.array | None]:
        """Returns the predictions of all next frames, and the penalty of the walk."""
        self.check_input(inputs, horizon)
        self._check_truth(inputs, horizon, truth, mask)
        x = space_to_depth(inputs, self.patch_size)
        if truth is None or mask is None:
            frames, penalty = self._unroll(x, horizon - 1, lambda _, y: y, key)
            return depth_to_space(frames, self.patch_size), penalty
        truth = space_to_depth(truth.astype(inputs.dtype), self.patch_size)
        N, steps = mask.shape
        if steps > horizon - 1:
            x, truth = x[:, :1], mx.concatenate([x[:, 1:], truth], axis=1)
        feeds_truth = (mask != 0).reshape(N, steps, 1, 1, 1) & ~mx.isnan(truth[:, :steps])

        def feed(t: int, y: mx.array) -> mx.array:
            return mx.where(feeds_truth[:, t : t + 1], truth[:, t : t + 1], y)

        frames, penalty = self._unroll(x, steps, feed, key)
        return depth_to_space(frames, self.patch_size), penalty

    def unroll_frames(
        self,
        inputs: mx.array,
        horizon: int,
        *,
        truth: mx.array | None = None,
        mask: mx.array | None = None,
        key: mx.array | None = None,
    ) -> mx.array:
        """Returns predictions of all next frames: of the inputs from the second on, and of the frames after them.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to predict after the inputs.
            truth: The frames after the inputs, (N, horizon - 1 or more, H, W, C). NaN is never read: the prediction
                takes its place. Default: none.
            mask: Nonzero for each sequence and step that reads the true frame instead of its prediction: for the frames
                after the inputs, (N, horizon - 1), or for those after the first input, (N, T_in + horizon - 2).
                Default: all inputs are read, and no true frame after them.
            key: Key of the dropout in training; None draws from MLX's global state.

        Returns:
            (N, T_in + horizon - 1, H, W, C).
        """
        return self._walk(inputs, horizon, truth, mask, key)[0]

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns a forecast of the frames after the inputs.

        Args:
            inputs: (N, T_in, H, W, C).
            horizon: Number of frames to forecast.
            key: Key of the dropout in training; None draws from MLX's global state.

        Returns:
            (N, horizon, H, W, C).
        """
        return self.unroll_frames(inputs, horizon, key=key)[:, -horizon:]

    def training_loss(
        self,
        loss: Callable[..., mx.array],
        inputs: mx.array,
        targets: mx.array,
        mask: mx.array | None,
        key: mx.array,
        *,
        truth_share: mx.array | None = None,
        input_mask: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Returns the training loss, which is that of all predicted frames, and the loss of the forecast alone.

        The model reads in training what it reads in forecasts: unknown inputs as the data fill them, and its own
        predictions for unknown targets. Neither has a loss.

        Args:
            loss: Called as `loss(forecast, targets, mask)`.
            inputs, targets: (N, T_in, H, W, C) and (N, T_out, H, W, C).
            mask: Nonzero for known targets; None if all are known.
            key: Key of the dropout masks and of the draw of the frames to feed.
            truth_share: Probabilities of feeding the true frame, drawn for each sequence and step: of the targets,
                (1,), or of the inputs after the first and of the targets, (2,). Default: inputs always, targets never.
            input_mask: Nonzero for known inputs. Default: all are known.

        Raises:
            ValueError: `truth_share` has another shape.
        """
        N, T_out = targets.shape[:2]
        truth = feeds_truth = None
        if truth_share is not None:
            if tuple(truth_share.shape) not in ((1,), (2,)):
                raise ValueError(
                    f"[{type(self).__name__}] 'truth_share' must be the probabilities of feeding a true target, shape "
                    f"(1,), or a true input and a true target, shape (2,), but got shape {tuple(truth_share.shape)}."
                )
            truth = targets if mask is None else mx.where(mask != 0, targets, mx.nan)
            steps = [inputs.shape[1] - 1, T_out - 1][-truth_share.size :]
            shares = mx.concatenate([mx.broadcast_to(truth_share[n], (steps[n],)) for n in range(len(steps))])
            feeds_truth = mx.random.bernoulli(shares, (N, sum(steps)), key=self._sampling_key(key))
        frames, penalty = self._walk(inputs, T_out, truth, feeds_truth, key)
        forecast = loss(frames[:, -T_out:], targets, mask)
        following = inputs[:, 1:]
        if mask is not None or input_mask is not None:
            parts = [
                mx.ones(frames.shape, mx.bool_) if known is None else mx.broadcast_to(known, frames.shape) != 0
                for known, frames in ((input_mask, inputs), (mask, targets))
            ]
            mask = mx.concatenate([parts[0][:, 1:], parts[1]], axis=1)
        total = loss(frames, mx.concatenate([following, targets], axis=1), mask)
        return total if penalty is None else total + penalty, forecast

    def _sampling_key(self, key: mx.array) -> mx.array:
        """Returns the key for the draw of the frames to feed, if `key` is for other draws as well."""
        return key
