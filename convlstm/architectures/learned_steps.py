"""A learned STEPS: an ensemble of rain whose memory, noise, growth and errors of motion a network has learned."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from convlstm.architectures.aligned_frames import AGES, aligned, carried, surprises
from convlstm.architectures.extrapolation import within
from convlstm.architectures.input_frames import check_channels, check_frames, depth_to_space, space_to_depth
from convlstm.architectures.lead_motion import origins
from convlstm.architectures.member_draws import DOUBLED, Shared, motion_errors, moved, noise_at
from convlstm.architectures.member_quantiles import LEVELS, at_members, quantiles
from convlstm.architectures.model_facts import FACTS
from convlstm.architectures.motion import motions
from convlstm.architectures.parameter_maps import ParameterMaps, lead_features
from convlstm.architectures.pyramid import bands, doubled, halved, merged, on_grids, sizes
from convlstm.architectures.quantile_maps import QuantileMaps
from convlstm.arguments import check_number, check_whole
from convlstm.ops.member_ranks import of_rank, ordered, ranks
from convlstm.ops.sampling import bilinear

import mlx.core as mx
import mlx.nn as nn
import numpy as np

# Members that are computed at a time.
_CHUNK = 4
# Typical wavelength of a band in pixels of its grid.
_WAVES = 3.0
# Least local standard deviation of a band, on the model's scale.
_LEAST = 0.01
# Time scale of the growth and decay that the network adds, in minutes.
_GROWTH = 20.0
# Motions, with cells of 1, 2, 4 and 8 pixels, and the one that moves earlier frames to the last.
_MOTIONS, _ALIGNING = 4, 1
# Bound of the logarithms of factors that the network gives.
_BOUND = 4.0


class LearnedSTEPS(nn.Module):
    r"""An ensemble of rain moved on, with bands of scales that fade and noise in their place, as learned from archives.

    As in `convlstm.architectures.steps.STEPS`, in coordinates that move with the rain. b_k is the band k of the last
    frame, on a grid of 2^k pixels, b'_k that of the one before, s_k the local standard deviation of b_k, and t the lead
    time in minutes:

        z_t = r_t + sum_k up(exp(-t e^{d_k,t} / l_k) ((1 - w_k,t) b_k + w_k,t b'_k) +
                             sqrt(1 - exp(-2 t / l_k)) e^{n_k,t} s_k e_k,t)
        l_k = a L_k^c,  L_k the wavelength of the band in km
        Z_t(x) = z_t(x_t),  x_t: where the air comes from along a motion with cells of 2^(f + g log2(t / 5)) pixels
        Y_t = max(0, Z_t + q_t(rank of Z_t among the members))

    e_k,t is noise with the lifetime l_k, drawn for each member; in forecasts it is even over the members, see
    `convlstm.architectures.member_draws.even`. The growth r, the damping d, the noise n and the shares w in (-1/2, 1/2)
    are maps from a network that walks once over the frames, which are moved to where the last one is. They start at 0,
    with l = 1.2 min / km: an untrained model is close to STEPS. The motion has an error for each member: one part for
    the whole frame, spread evenly over the members, and one that differs from place to place, which grow with lead time
    and speed as learned. The motion itself is the smoother, the longer the lead time: f and g are learned, see
    `convlstm.architectures.lead_motion`.

    q corrects the quantiles of the members in each pixel (`QuantileMaps`), from the quantiles themselves, from what the
    network has read, and from the errors of moving earlier frames to the last one. Each member keeps its rank, and so
    its pattern, and gets the quantile of its rank. Members share motion, network and paths; each of them costs its
    noise, one interpolation and one correction a frame.

    The model learns in minutes and km, and must be told the minutes between frames and the side of a pixel.

    Args:
        members: Members of a forecast. Default: 24.
        minutes, pixel_km: Minutes between frames and side of a pixel in km if a call does not tell them. Default: 5
            and 2.
        hidden_channels: Channels of the network's ConvLSTM layers. Default: (48,).
        patch_size: Side of the patches that become channels of the network. Default: 4.
        levels: Number of bands. Default: 7, the last one of 64 pixels and more.
        training_members: Members of a training step. Default: 4.
        training_leads: Lead times of a training step, drawn from those of the targets. Default: 4.
        training_minutes: Longest lead time that counts in training, in minutes. Default: 120.
        dry: Values below this count as 0, in frames, targets and forecasts, on the model's scale: archives differ in
            what they say of pixels without an echo. Default: 0.
        in_channels: Channels of the frames, which must be 1.
        seed: Seed of the draws of forecasts. Default: 0.

    Attributes:
        size: Members of a forecast.
        told: Facts that a call may tell.
        compiles: False.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Bowler et al., STEPS: A Probabilistic Precipitation Forecasting Scheme, 2006; Burt and Adelson, The
    Laplacian Pyramid as a Compact Image Code, 1983; Perez et al., FiLM: Visual Reasoning with a General Conditioning
    Layer, 2018, for how the network is told the lead time; Schefzik et al., Uncertainty Quantification in Complex
    Simulation Models Using Ensemble Copula Coupling, 2013, for the ranks.
    """

    told = FACTS
    # Compiling its many small operations takes minutes and hardly makes a step faster.
    compiles = False

    def __init__(
        self,
        members: int = 24,
        minutes: float = 5.0,
        pixel_km: float = 2.0,
        *,
        hidden_channels: Sequence[int] = (48,),
        patch_size: int = 4,
        levels: int = 7,
        training_members: int = 4,
        training_leads: int = 4,
        training_minutes: float = 120.0,
        dry: float = 0.0,
        in_channels: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        owner = type(self).__name__
        if not hidden_channels:
            raise ValueError(f"[{owner}] 'hidden_channels' must name at least one layer but got none.")
        check_channels(owner, in_channels, hidden_channels, patch_size)
        if in_channels != 1:
            raise ValueError(f"[{owner}] 'in_channels' must be 1, that of rain, but got {in_channels}.")
        if patch_size & (patch_size - 1):
            raise ValueError(f"[{owner}] 'patch_size' must be a power of two but got {patch_size}.")
        self.size = check_whole(owner, "members", members, 2)
        self.minutes = check_number(owner, "minutes", minutes, above=0)
        self.pixel_km = check_number(owner, "pixel_km", pixel_km, above=0)
        self.levels = check_whole(owner, "levels", levels, 3, 12)
        self.training_members = check_whole(owner, "training_members", training_members, 2)
        self.training_leads = check_whole(owner, "training_leads", training_leads)
        self.seed = check_whole(owner, "seed", seed, 0, 2**63 - 1)
        self.training_minutes = check_number(owner, "training_minutes", training_minutes, above=0)
        self.dry = check_number(owner, "dry", dry, 0)
        self.patch_size, self.in_channels = patch_size, in_channels
        self._level = patch_size.bit_length() - 1
        if self._level >= self.levels:
            raise ValueError(f"[{owner}] 'patch_size' must be below 2^levels but got {patch_size}.")
        self.maps = ParameterMaps(patch_size**2 + 4, hidden_channels, patch_size**2 + 3 * self.levels)
        self.quantiles = QuantileMaps(
            len(LEVELS), hidden_channels[-1] + 2 * len(AGES), channels=hidden_channels[-1], patch_size=patch_size
        )
        # Logarithm of the lifetime of waves of 1 km in minutes, and its power of the wavelength.
        self.lifetime = mx.array([math.log(1.2), 1.0])
        # Which motion counts after five minutes, as the power of 2 of its cells, and how much more with twice the time.
        self.smoothness = mx.array([0.0, 0.5])
        # Errors of the motion of the whole frame and of places: logarithm of km/h, logarithm of the share of the speed,
        # and power of the hours of lead time.
        self.motion_errors = mx.array([[math.log(5.0), math.log(0.05), 1.0], [math.log(4.0), math.log(0.05), 1.0]])

    def adopt(self, *, minutes: float | None = None, pixel_km: float | None = None) -> None:
        """Takes minutes between frames and side of a pixel in km for calls that do not tell them; None keeps them."""
        owner = type(self).__name__
        if minutes is not None:
            self.minutes = check_number(owner, "minutes", minutes, above=0)
        if pixel_km is not None:
            self.pixel_km = check_number(owner, "pixel_km", pixel_km, above=0)

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        """Raises ValueError if the frames' channels or size, or the horizon, do not fit the model."""
        check_frames(type(self).__name__, inputs, horizon, self.in_channels, self.patch_size)

    def __call__(
        self,
        inputs: mx.array,
        horizon: int,
        *,
        key: mx.array | None = None,
        minutes: mx.array | None = None,
        pixel_km: mx.array | None = None,
    ) -> mx.array:
        """Returns the members' forecasts.

        Args:
            inputs: (N, T_in, H, W, 1).
            horizon: Number of frames to forecast.
            key: Key of the draws. Default: made from `seed` and the values of each sequence, so that a sequence has the
                same members in a batch of any size.
            minutes: Minutes from frame to frame, (N,) or a number. Default: those of the model.
            pixel_km: Side of a pixel in km, likewise.

        Returns:
            (M, N, horizon, H, W, 1), with `training_members` members in training.
        """
        self.check_input(inputs, horizon)
        minutes, pixel_km = self._facts(len(inputs), minutes, pixel_km)
        frames = self._echoes(inputs)
        if self.training:
            own = mx.random.key(self.seed) if key is None else key
            return self.drawn(self.shared(frames, mx.arange(1, horizon + 1), minutes, pixel_km, horizon), own)
        sequences = []
        for n in range(len(inputs)):
            own = mx.random.key(self._content(frames[n])) if key is None else mx.random.split(key, len(inputs))[n]
            facts = minutes[n : n + 1], pixel_km[n : n + 1]
            shared = self.shared(frames[n : n + 1], mx.arange(1, horizon + 1), *facts, horizon)
            members = self._echoes(self._in_steps(shared, own))
            sequences.append(members[:, None, ..., None].astype(inputs.dtype))
        return sequences[0] if len(sequences) == 1 else mx.concatenate(sequences, axis=1)

    def mean(self, inputs: mx.array, horizon: int, **facts: Any) -> mx.array:
        """Returns the mean of the members, on the model's scale, (N, horizon, H, W, 1)."""
        return self(inputs, horizon, **facts).mean(axis=0)

    def training_loss(
        self,
        loss: Any,
        inputs: mx.array,
        targets: mx.array,
        mask: mx.array | None,
        key: mx.array,
        *,
        minutes: mx.array | None = None,
        pixel_km: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Returns the loss of members at some lead times, drawn from those of the targets, twice.

        Only pixels whose air was in the frame at the start count, since nothing is known of the rest, and only lead
        times of at most `training_minutes`.
        """
        horizon = targets.shape[1]
        self.check_input(inputs, horizon)
        choose, draw = mx.random.split(key)
        number = min(self.training_leads, horizon)
        chosen = mx.sort(mx.random.permutation(horizon, key=choose)[:number])
        minutes, pixel_km = self._facts(len(inputs), minutes, pixel_km)
        shared = self.shared(self._echoes(inputs), chosen + 1, minutes, pixel_km, horizon)
        members = self.drawn(shared, draw)
        known = within(shared.y, shared.x) & (shared.lead <= self.training_minutes)[..., None, None]
        known = known[..., None] if mask is None else known[..., None] & (mx.take(mask, chosen, axis=1) != 0)
        value = loss(members, self._echoes(mx.take(targets, chosen, axis=1)), known)
        return value, value

    def shared(self, inputs: mx.array, steps: mx.array, minutes: mx.array, pixel_km: mx.array, horizon: int) -> Shared:
        """Returns what the members share, for lead times of some numbers of frames up to `horizon`, (T,), rising."""
        N, _, H, W, _ = inputs.shape
        flows = motions(inputs, _MOTIONS)
        lead = steps * minutes[:, None]
        y, x = origins(flows, steps, horizon, self.smoothness[0] + self.smoothness[1] * mx.log2(lead / 5))
        fixed = mx.stop_gradient(y), mx.stop_gradient(x)
        flow = flows[_ALIGNING]
        grids = sizes(H, W, self.levels + 2)
        frames = aligned(inputs, flow)
        features = self._features(frames, flow, minutes, pixel_km)
        parameters = self.maps(features, lead, minutes, pixel_km)
        growth = depth_to_space(parameters[..., : self.patch_size**2], self.patch_size)[..., 0]
        maps = mx.clip(mx.moveaxis(parameters[..., self.patch_size**2 :], -1, 2), -_BOUND, _BOUND)

        wavelength = _WAVES * 2.0 ** mx.arange(self.levels) * pixel_km[:, None]
        lifetime = mx.exp(self.lifetime[0] + self.lifetime[1] * mx.log(wavelength))
        age = lead[..., None] / lifetime[:, None]
        kept, noise = [], []
        now, before = (bands(frames[:, t, ..., 0], self.levels) for t in (-1, -min(2, frames.shape[1])))
        for k, band in enumerate(now):
            ages = age[..., k][..., None, None]
            damping, amplitude, share = (
                on_grids(maps[:, :, i], self._level, grids[: self.levels])[k]
                for i in (k, self.levels + k, 2 * self.levels + k)
            )
            mixed = band[:, None] + 0.5 * mx.tanh(share) * (before[k] - band)[:, None]
            # The largest scales hold the mean of the field, which does not fade.
            kept.append(mixed * mx.exp(-ages * mx.exp(damping)) if k < self.levels - 1 else mixed)
            local = _deviation(band, grids[k : k + 3])[:, None]
            scale = DOUBLED if k else 1.0
            noise.append(scale * mx.sqrt(1 - mx.exp(-2 * ages)) * mx.exp(amplitude) * local)
        mean = merged(kept) + (1 - mx.exp(-lead / _GROWTH))[..., None, None] * growth
        kmh = mx.sqrt((flow * flow).sum(axis=-1)).mean(axis=(1, 2)) * pixel_km * 60 / minutes
        errors = tuple(
            (mx.exp(base) + mx.exp(share) * kmh)[:, None] * (lead / 60) ** power / pixel_km[:, None]
            for base, share, power in self.motion_errors
        )
        return Shared(
            mean=mean,
            noise=noise,
            y=y,
            x=x,
            lifetime=mx.stop_gradient(lifetime),
            lead=lead,
            errors=(errors[0], errors[1]),
            last=bilinear(mx.broadcast_to(inputs[:, -1:, ..., 0], y.shape), *fixed),
            features=carried(mx.concatenate([features, surprises(frames, self.patch_size)], axis=-1), *fixed),
            times=lead_features(lead, minutes, pixel_km),
        )

    def drawn(self, shared: Shared, key: mx.array) -> mx.array:
        """Returns the members of a training step, all at once, (M, N, T, H, W, 1)."""
        M, (N, T, H, W) = self.training_members, shared.mean.shape
        *keys, of_whole, of_local = mx.random.split(key, T + 2)
        noise: list[list[mx.array]] = []
        for t, one in enumerate(keys):
            noise.append(noise_at(shared, t, noise[-1] if noise else [], (M, N), one, free=True))
        fields = [mx.stack([step[k] for step in noise], axis=2) * shared.noise[k] for k in range(self.levels)]
        whole, local = (draw[:, :, :, None] for draw in motion_errors((M, N), (H, W), of_whole, of_local, free=True))
        z = moved(shared.mean + merged(fields), shared.y, shared.x, whole, local, shared.errors)
        return self._calibrated(z, shared)[..., None]

    def _in_steps(self, shared: Shared, key: mx.array) -> mx.array:
        """Returns the members of one sequence, (M, T, H, W), lead by lead."""
        _, T, H, W = shared.mean.shape
        *keys, of_whole, of_local = mx.random.split(key, T + 2)
        whole, local = motion_errors((self.size, 1), (H, W), of_whole, of_local)
        noise: list[mx.array] = []
        frames = []
        for t, one in enumerate(keys):
            now = shared.at(t)
            noise = noise_at(shared, t, noise, (self.size, 1), one)
            parts = []
            for m in range(0, self.size, _CHUNK):
                some = slice(m, m + _CHUNK)
                z = now.mean[:, 0] + merged([e[some] * now.noise[k][:, 0] for k, e in enumerate(noise)])
                deviations = now.errors[0][:, 0], now.errors[1][:, 0]
                parts.append(moved(z, now.y[:, 0], now.x[:, 0], whole[some], local[some], deviations))
                mx.eval(parts[-1])
            frames.append(self._calibrated(mx.concatenate(parts)[:, :, None], now)[:, 0, 0])
            mx.eval(noise, frames[-1])
        # Frames are put one behind the other, which is the fast way to copy them.
        return mx.stack(frames).swapaxes(0, 1)

    def _calibrated(self, z: mx.array, shared: Shared) -> mx.array:
        """Returns members (M, N, T, H, W) with corrected quantiles, 0 where they are negative."""
        M, N, T, H, W = z.shape
        rank = ranks(z)
        rising = ordered(z, rank)
        corrections = self.quantiles(
            quantiles(rising).reshape(N * T, H, W, -1),
            shared.last.reshape(N * T, H, W, 1),
            shared.features.reshape(N * T, *shared.features.shape[2:]),
            shared.times.reshape(N * T, -1),
        )
        rising = mx.maximum(rising + at_members(corrections, M).reshape(z.shape), 0)
        return of_rank(rising, rank)

    def _features(self, frames: mx.array, flow: mx.array, minutes: mx.array, pixel_km: mx.array) -> mx.array:
        """Returns what the network has read in the frames, which are where the last one is, (N, h, w, C)."""
        N, T, H, W, _ = frames.shape
        x = space_to_depth(frames, self.patch_size)
        h, w = x.shape[2:4]
        coarse = flow.reshape(N, h, self.patch_size, w, self.patch_size, 2).mean(axis=(2, 4))
        coarse = coarse * (pixel_km * 60 / minutes / 50)[:, None, None, None]
        about = mx.stack([minutes / 10, mx.log2(pixel_km)], axis=-1)[:, None, None]
        facts = mx.concatenate([coarse, mx.broadcast_to(about, (N, h, w, 2))], axis=-1)
        facts = mx.broadcast_to(facts[:, None], (N, T, h, w, 4))
        return self.maps.walk(mx.concatenate([x, facts], axis=-1))

    def _facts(self, N: int, minutes: Any, pixel_km: Any) -> tuple[mx.array, mx.array]:
        given = (self.minutes if minutes is None else minutes, self.pixel_km if pixel_km is None else pixel_km)
        return tuple(mx.broadcast_to(mx.array(a, mx.float32), (N,)) for a in given)  # type: ignore[return-value]

    def _echoes(self, values: mx.array) -> mx.array:
        return mx.where(values < self.dry, 0, values) if self.dry else values

    def _content(self, sequence: mx.array) -> int:
        rest = self.seed % 2**32
        return zlib.crc32(np.array(sequence.astype(mx.float32)).tobytes()) ^ rest ^ (self.seed >> 32) * 0x9E3779B1


def _deviation(band: mx.array, grids: list[tuple[int, int]]) -> mx.array:
    """Returns the standard deviation of a band (..., h, w) in windows of about eight pixels."""
    square = halved(halved(band * band))
    return mx.sqrt(doubled(doubled(square, grids[1]), grids[0]) + _LEAST**2)
