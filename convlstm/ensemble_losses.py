"""Losses of ensembles, called as `loss(members, target, mask=None)` with the members (M, N, T, H, W, C) in front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.arguments import check_number, check_numbers, check_wholes

import mlx.core as mx

# Least energy of a band that its logarithm sees, on the model's scale.
_LEAST = 1e-5
# Most members whose pairs are looked at one by one.
_PAIRS = 10


class EnsembleScore:
    r"""The almost fair CRPS of members, of pixels and of means over blocks, on two scales, and the power of members.

        CRPS_k = mean_i |x_i - y| - (1 - epsilon) / (2 M (M - 1)) sum_ij |x_i - x_j|,   epsilon = (1 - alpha) / M
        loss = sum_k w_k CRPS_k(y) + rate_weight sum_k w_k CRPS_k(R) + spectrum_weight S
        R = min(low (high / low)^y, ceiling) in mm/h, and 0 for y <= 0
        S = mean_j (log(E_j(x) + 1e-5) - log(E_j(y) + 1e-5))^2

    k are the sides of the blocks. With alpha = 1 the CRPS is fair: in the mean, the best members are draws from the
    distribution of the truth, for any number of them. A little less than 1 prevents members that cancel. E_j is the
    energy of the octave j of waves, from 2^(j+1) to 2^(j+2) pixels, the mean square of Haar's details of each frame, in
    which rates below the floor count as the floor. That of the members is their mean. A mean over a block is one over
    its known pixels, and the block counts if at least half of it is known. Details count where all their pixels are
    known, and frames and octaves where any do.

    It is no mean over pixels: the average over parts of a batch, or over several machines, is not quite that of the
    whole.

    Args:
        blocks: Sides of the blocks in pixels; 1 is pixels. Default: (1, 4, 16).
        weights: Weight of each block. Default: 1 each.
        rate_weight: Weight of the CRPS in mm/h. Default: 0.1.
        spectrum_weight: Weight of the power. Default: 0.3.
        octaves: Octaves of the power, from waves of 2 pixels on. Default: 4.
        rates: Rain rates in mm/h of 0 and 1 on the model's scale. Default: those of `Reflectivity`.
        ceiling: Rates above this count as this in the CRPS, in mm/h. Default: 50.
        floor: Rates below this count as this in the power, in mm/h: radars differ in the weakest rain that they see.
            Default: 0.1.
        alpha: Share of the fair CRPS, a number or one for each block. At 0 it is the plain one, whose best members are
            evenly spaced quantiles. Default: 0.95.

    Raises:
        ValueError: An argument is out of its range, or the shapes of a call do not fit.

    Sources: Lang et al., AIFS-CRPS: Ensemble Forecasting Using a Model Trained with a Loss Function Based on the
    Continuous Ranked Probability Score, 2024; Ferro, Fair Scores for Ensemble Forecasts, 2014.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (1, 4, 16),
        weights: Sequence[float] | None = None,
        *,
        rate_weight: float = 0.1,
        spectrum_weight: float = 0.3,
        octaves: int = 4,
        rates: Sequence[float] = (0.01682826752826455, 516.6767210708891),
        ceiling: float = 50.0,
        floor: float = 0.1,
        alpha: float | Sequence[float] = 0.95,
    ):
        owner = type(self).__name__
        self.blocks = check_wholes(owner, "blocks", blocks)
        self.weights = [1.0] * len(self.blocks) if weights is None else check_numbers(owner, "weights", weights)
        if not self.blocks or len(self.weights) != len(self.blocks) or min(self.weights) < 0:
            raise ValueError(
                f"[{owner}] 'weights' must be one number of at least 0 for each of 'blocks', {self.blocks}, but got "
                f"{self.weights}."
            )
        self.rate_weight = check_number(owner, "rate_weight", rate_weight, 0)
        self.spectrum_weight = check_number(owner, "spectrum_weight", spectrum_weight, 0)
        (self.octaves,) = check_wholes(owner, "octaves", [octaves])
        given = check_numbers(owner, "rates", rates)
        if len(given) != 2 or not 0 < given[0] < given[1]:
            raise ValueError(f"[{owner}] 'rates' must be two rain rates, 0 < low < high, but got {list(rates)}.")
        self.rates = given
        self.ceiling = check_number(owner, "ceiling", ceiling, above=0)
        self.floor = check_number(owner, "floor", floor, 0)
        alphas = check_numbers(owner, "alpha", [alpha] if isinstance(alpha, int | float) else alpha)
        self.alphas = alphas * len(self.blocks) if len(alphas) == 1 else alphas
        if len(self.alphas) != len(self.blocks) or not all(0 <= each <= 1 for each in self.alphas):
            raise ValueError(
                f"[{owner}] 'alpha' must be a number in [0, 1], or one for each of 'blocks', {self.blocks}, but got "
                f"{alpha}."
            )

    def __call__(self, members: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        """Returns the loss, a scalar.

        Args:
            members: (M, N, T, H, W, C), M of at least 2.
            target: (N, T, H, W, C).
            mask: Nonzero where the target is known; of the target's shape or broadcastable to it. Default: everywhere.
        """
        if members.ndim != 6 or members.shape[1:] != target.shape or len(members) < 2:
            raise ValueError(
                "[EnsembleScore] 'members' must be two or more of the target's shape, "
                f"(M, {', '.join(map(str, target.shape))}), but got {tuple(members.shape)}."
            )
        known = mx.ones(target.shape) if mask is None else (mx.broadcast_to(mask, target.shape) != 0)
        known = known.astype(mx.float32)
        # Missing values are replaced first: the gradient at a NaN is NaN.
        x, y = mx.where(known, members, 0), mx.where(known, target, 0)
        total = self._scores(x, y, known)
        if self.rate_weight:
            total = total + self.rate_weight * self._scores(self.rain(x), self.rain(y), known)
        if self.spectrum_weight:
            low, high = self.rates
            floor = math.log(max(self.floor, low) / low) / math.log(high / low)
            x, y = mx.maximum(x, floor), mx.maximum(y, floor)
            total = total + self.spectrum_weight * self.power_error(x, y, known)
        return total

    def _scores(self, x: mx.array, y: mx.array, known: mx.array) -> mx.array:
        terms = []
        for side, weight, alpha in zip(self.blocks, self.weights, self.alphas, strict=True):
            count = block_means(known, side)
            share = mx.maximum(count, 1 / side**2)
            a, b = (block_means(v, side) / share for v in (x, y))
            terms.append(weight * self.crps(a, b, (count >= 0.5).astype(mx.float32), alpha))
        return mx.stack(terms).sum()

    def crps(self, x: mx.array, y: mx.array, weight: mx.array, alpha: float) -> mx.array:
        """Returns the weighted mean of the almost fair CRPS of members (M, ...) for truths (...)."""
        M = len(x)
        error = mx.abs(x - y).mean(axis=0)
        if M <= _PAIRS:  # faster than sorting
            pairs = sum(mx.abs(x[i] - x[j]) for i in range(M) for j in range(i))
        else:  # each value counts as often as it is the larger one, less as often as it is the smaller one
            weights = mx.arange(1 - M, M, 2).astype(x.dtype)
            pairs = mx.sort(mx.moveaxis(x, 0, -1), axis=-1) @ weights
        epsilon = (1 - alpha) / M
        value = error - (1 - epsilon) / (M * (M - 1)) * pairs
        return _sum(value * weight) / mx.maximum(_sum(weight), 1)

    def rain(self, y: mx.array) -> mx.array:
        """Returns rain rates in mm/h, at most `ceiling`, of values on the model's scale."""
        low, high = self.rates
        width = math.log(high / low)
        most = math.log(self.ceiling / low) / width
        return mx.where(y > 0, low * mx.exp(mx.clip(y, 0, most) * width), 0)

    def power_error(self, x: mx.array, y: mx.array, known: mx.array) -> mx.array:
        """Returns S for members (M, N, T, H, W, C)."""
        errors, counted = [], []
        for _ in range(self.octaves):
            if min(y.shape[2:4]) < 2:
                break
            x_coarse, y_coarse = (block_means(v, 2) for v in (x, y))
            whole = (block_means(known, 2) == 1).astype(mx.float32)
            blocks = whole.sum(axis=(2, 3, 4))
            n, frames = mx.maximum(blocks, 1), blocks > 0
            # The mean square of the details of a block of 2 x 2 is the mean of squares less the square of the mean.
            of_x, of_y = (
                ((block_means(v * v, 2) - c * c) * whole).sum(axis=(-3, -2, -1)) / n
                for v, c in ((x, x_coarse), (y, y_coarse))
            )
            error = mx.log(mx.maximum(of_x.mean(axis=0), 0) + _LEAST) - mx.log(mx.maximum(of_y, 0) + _LEAST)
            errors.append((error * error * frames).sum() / mx.maximum(frames.sum(), 1))
            counted.append(frames.any())
            x, y, known = x_coarse, y_coarse, whole
        return mx.stack(errors).sum() / mx.maximum(mx.stack(counted).sum(), 1) if errors else mx.zeros(())


def block_means(x: mx.array, side: int) -> mx.array:
    """Returns the means of blocks of `side` x `side` pixels, (..., H, W, C); what is over at the border is left out."""
    if side == 1:
        return x
    *lead, H, W, C = x.shape
    h, w = H // side, W // side
    # One axis after the other: over two axes at once a mean takes ten times as long.
    x = x[..., : h * side, : w * side, :].reshape(*lead, h, side, w * side * C).sum(axis=-2)
    x = x.reshape(*lead, h, w, side) if C == 1 else x.reshape(*lead, h, w, side, C)
    x = x.sum(axis=-1)[..., None] if C == 1 else x.sum(axis=-2)
    return x / side**2


def _sum(values: mx.array) -> mx.array:
    # Frame by frame: on a CPU, MLX sums a large array in one float32, which loses three digits.
    return values.sum(axis=tuple(range(2, values.ndim))).sum()
