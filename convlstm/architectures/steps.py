"""STEPS: an ensemble of rain moved on, with noise in place of the details that cannot be forecast."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from convlstm.architectures.cascade import Cascade, bands, cascade, weights_of_power, with_mean
from convlstm.architectures.distribution import in_order, ranks
from convlstm.architectures.extrapolation import arrived
from convlstm.architectures.motion import bilinear, positions
from convlstm.architectures.sprog import SPROG, missing
from convlstm.arguments import check_number, check_numbers, check_whole
from convlstm.ops.circular import go_round

import mlx.core as mx
import numpy as np

# Pixels of the grey rim of the mask around rain.
_RIM = 10
# Members that are computed at a time.
_CHUNK = 4


class STEPS(SPROG):
    r"""The ensemble of STEPS: members with as many details as the rain has now, which differ the more the later it is.

    As in `SPROG`, but the process of each band gets noise, and the motion an error, both drawn for each member:

        x_{k,t} = phi1_k x_{k,t-1} + phi2_k x_{k,t-2} + phi0_k e_{k,t}
        u_t = u + (f(t; parallel) a p + f(t; perpendicular) b q) / (60 / minutes / pixel_km),  f(t; a, b, c) = a t^b + c

    The noise e has the spectrum of the last frame, and in each band the variance 1. p and q are the directions along
    and across the motion, a and b are drawn once for each member from a Laplace distribution of variance 1, and t is in
    minutes. Rain can grow only near the rain of the step before: beyond a mask that widens from step to step,
    with a rim of ten pixels, there is none. Values get the last frame's distribution.

    Args:
        members: Number of members, at least 2. Default: 24.
        minutes: Minutes from frame to frame. Default: 5, unless `adopt` takes those of the data.
        pixel_km: Side of a pixel in km. Default: 1, unless `adopt` takes that of the data.
        parallel, perpendicular: The three parameters of the motion's error along and across it, in km/h. Default: those
            of Bowler et al.; zeros for none.
        seed: Seed of all draws. Default: 0.
        **options: The other arguments of `SPROG`.

    Attributes:
        size: The number of members.

    Raises:
        ValueError: An argument, or the shape of the input, does not fit.

    Sources: Bowler et al., STEPS: A Probabilistic Precipitation Forecasting Scheme, 2006; Pulkkinen et al., Pysteps: an
    Open-Source Python Library for Probabilistic Precipitation Nowcasting (v1.0), 2019.
    """

    def __init__(
        self,
        members: int = 24,
        minutes: float | None = None,
        pixel_km: float | None = None,
        *,
        parallel: Sequence[float] = (10.88, 0.23, -7.68),
        perpendicular: Sequence[float] = (5.76, 0.31, -2.72),
        seed: int = 0,
        rates: Sequence[float] | None = None,
        **options: Any,
    ):
        if options.pop("matching", "cdf") != "cdf":
            raise ValueError("[STEPS] 'matching' must be cdf: members get the distribution of the last frame.")
        super().__init__(rates=rates, **options)
        self.size = check_whole("STEPS", "members", members, 2)
        self._given |= {"minutes": minutes, "pixel_km": pixel_km}
        self._take(minutes=5.0 if minutes is None else minutes, pixel_km=1.0 if pixel_km is None else pixel_km)
        self.parallel = _three("parallel", parallel)
        self.perpendicular = _three("perpendicular", perpendicular)
        self.seed = check_whole("STEPS", "seed", seed, 0, (1 << 63) - 1)

    def _take(self, **facts: Any) -> None:
        for name in ("minutes", "pixel_km"):
            if name in facts:
                setattr(self, name, check_number("STEPS", name, facts.pop(name), above=0))
        if facts:
            super()._take(**facts)

    def __call__(self, inputs: mx.array, horizon: int, *, key: mx.array | None = None) -> mx.array:
        """Returns the members' forecasts.

        Args:
            inputs: (N, T_in, H, W, 1) with T_in of at least 3.
            horizon: Number of frames to forecast.
            key: Key of the draws. Default: made from `seed` and the values of each sequence, so that a sequence has the
                same members in a batch of any size.

        Returns:
            (M, N, horizon, H, W, 1).
        """
        self.check_input(inputs, horizon)
        sequences = []
        for n in range(len(inputs)):
            own = mx.random.key(self._content(inputs[n])) if key is None else mx.random.split(key, len(inputs))[n]
            sequences.append(self._ensemble(inputs[n : n + 1], horizon, own))
            mx.eval(sequences[-1])
        return mx.stack(sequences, axis=1)

    def mean(self, inputs: mx.array, horizon: int) -> mx.array:
        """Returns the mean of the members, on the model's scale, (N, horizon, H, W, 1)."""
        return self(inputs, horizon).mean(axis=0)

    def _content(self, sequence: mx.array) -> int:
        rest = self.seed % 2**32
        return zlib.crc32(np.array(sequence.astype(mx.float32)).tobytes()) ^ rest ^ (self.seed >> 32) * 0x9E3779B1

    def _ensemble(self, inputs: mx.array, horizon: int, key: mx.array) -> mx.array:
        """Returns the members of one sequence (1, T, H, W, 1), (M, horizon, H, W, 1)."""
        flow = self.flow(inputs)
        frames = self.lagrangian(inputs, flow)
        parts = (
            cascade(frames, self.levels),
            noise_spectrum(frames[0], circular=self.circular),
            mx.sort(frames[:, -1].flatten(1), axis=1),
        )
        first, gone = self._mask(frames[:, -1]), missing(inputs)
        keys = mx.random.split(key, self.size)
        members = []
        for start in range(0, self.size, _CHUNK):
            members.append(self._members(keys[start : start + _CHUNK], horizon, flow, first, gone, *parts))
            mx.eval(members[-1])
        return mx.concatenate(members)[..., None].astype(inputs.dtype)

    def _members(
        self,
        keys: mx.array,
        horizon: int,
        flow: mx.array,
        mask: mx.array,
        gone: mx.array,
        state: Cascade,
        spectrum: mx.array,
        values: mx.array,
    ) -> mx.array:
        """Returns some members, (m, horizon, H, W), by the processes of the bands and by motions of their own."""
        (H, W), m = state.size, len(keys)
        weights, powers = mx.array(bands(H, W, self.levels)), mx.array(weights_of_power(H, W, self.levels))
        phi1, phi2, phi0, deviation = (
            a.reshape(-1, 1, 1) for a in (state.phi1, state.phi2, state.phi0, state.deviations[:, 0])
        )
        x, y = (weights * state.spectra[0, i] / state.deviations[0, i].reshape(-1, 1, 1) for i in range(2))
        values = mx.broadcast_to(values, (m, H * W))
        motions, noises = keys_of(keys)
        error = self._motion_error(flow, motions)
        rows, columns = positions(H, W)
        u = flow.transpose(0, 3, 1, 2)
        nowhere = mx.zeros((m, 1, H, W))
        place = rows + nowhere, columns + nowhere
        frames = []
        for lead in range(horizon):
            white = [white_noise(mx.random.split(k, horizon)[lead], H, W) for k in noises]
            noise = mx.fft.rfft2(mx.stack(white)) * spectrum
            power = (noise.real**2 + noise.imag**2).reshape(m, -1) @ powers
            scale = phi0 * mx.rsqrt(mx.maximum(power, 1e-12))[..., None, None]
            x, y = phi1 * x + phi2 * y + scale * (weights * noise[:, None]), x
            z = mx.fft.irfft2(with_mean((deviation * x).sum(axis=-3), state.spectra[:, 0]), s=(H, W))
            z, wet = self._masked(z, mask)
            z = in_order(values, ranks(z.flatten(1))).reshape(m, H, W) * wet
            mask = self._mask(z)
            # The field moves from where the member's own motion has brought it.
            moving = u + error((lead + 1) * self.minutes)
            d = bilinear(moving, *place, self.circular)
            d = bilinear(moving, place[0] - d[:, :1] / 2, place[1] - d[:, 1:] / 2, self.circular)
            place = place[0] - d[:, :1], place[1] - d[:, 1:]
            frame = arrived(mx.where(gone, mx.nan, z)[:, None], *place, border=self.border)[:, 0]
            frames.append(self._scale.inverse(frame))
            mx.eval(x, y, mask, *place, frames[-1])
        return mx.stack(frames, axis=1)

    def _masked(self, z: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
        """Returns forecasts (m, H, W) weakened by the mask, and True where rain is possible."""
        low = z.min(axis=(1, 2), keepdims=True)
        z = low + (z - low) * mask
        return z, z > low

    def _mask(self, z: mx.array) -> mx.array:
        """Returns 1 near the rain of (m, H, W), and less up to 0 over the rim around."""
        reach = max(1, int((self.minutes / self.pixel_km - 1) / 2))
        distance = city_blocks(z >= self._scale.threshold - 1e-4, reach + _RIM + 1, circular=self.circular)
        return mx.clip(_RIM + 1 - mx.maximum(distance - reach, 0), 0, _RIM + 1) / (_RIM + 1)

    def _motion_error(self, flow: mx.array, keys: mx.array) -> Callable[[float], mx.array]:
        """Returns the function of the lead time in minutes that gives the members' errors, (m, 2, H, W)."""
        u = flow.transpose(0, 3, 1, 2)
        speed = mx.sqrt((u * u).sum(axis=1, keepdims=True))
        along = mx.where(speed > 1e-6, u / mx.maximum(speed, 1e-6), 0)
        across = mx.concatenate([-along[:, 1:], along[:, :1]], axis=1)
        draws = mx.stack([laplace(2, key) for key in keys]) * (self.minutes / (60 * self.pixel_km))

        def error(minutes: float) -> mx.array:
            a, b = (p * minutes**q + r for p, q, r in (self.parallel, self.perpendicular))
            return (a * draws[:, :1])[..., None, None] * along + (b * draws[:, 1:])[..., None, None] * across

        return error


def keys_of(keys: mx.array) -> tuple[mx.array, mx.array]:
    """Returns two keys of each key, one for the motion and one for the noise."""
    pairs = mx.stack([mx.random.split(key, 2) for key in keys])
    return pairs[:, 0], pairs[:, 1]


def laplace(number: int, key: mx.array) -> mx.array:
    """Returns draws from the Laplace distribution of variance 1."""
    u = mx.random.uniform(-0.5, 0.5, (number,), key=key)
    return -mx.sign(u) * mx.log(mx.maximum(1 - 2 * mx.abs(u), 1e-7)) / math.sqrt(2)


def white_noise(key: mx.array, H: int, W: int) -> mx.array:
    """Returns draws from the normal distribution for the pixels of a frame, (H, W)."""
    return mx.random.normal((H, W), key=key)


def noise_spectrum(frames: mx.array, *, circular: bool = False) -> mx.array:
    """Returns the amplitudes of rain, (T, H, W) -> (H, W // 2 + 1): the spectrum that noise gets.

    The step from no rain to rain, which has a spectrum of its own, is removed before, and a Tukey window lets the field
    fade at its border, only at that of the rows if the columns go round. Without rain the noise is white.
    """
    _, H, W = frames.shape
    wet = frames > 0
    step = mx.where(wet, frames, mx.inf).min()
    field = mx.where(wet, frames - step, 0).mean(axis=0)
    across = np.zeros(W) if circular else np.arange(W) / W - 0.5
    r = np.hypot(np.arange(H)[:, None] / H - 0.5, across)
    window = np.where(r < 0.5, 0.5 * (1 + np.cos(np.pi * (np.clip(r, 0.4, 0.5) / 0.1 - 4))), 0)
    amplitude = mx.abs(mx.fft.rfft2(field * mx.array(window.astype(np.float32))))
    return mx.where(amplitude.max() > 0, amplitude, 1)


def city_blocks(wet: mx.array, most: int, *, circular: bool = False) -> mx.array:
    """Returns the distance of each pixel (..., H, W) to the next wet one in steps down or across, up to `most`.

    With `circular` the columns go round.
    """
    if circular:
        W = wet.shape[-1]
        return city_blocks(go_round(wet, most, most, -1), most)[..., most : most + W]
    distance = mx.where(wet, 0, float(most))
    for axis in (-1, -2):
        steps = mx.arange(wet.shape[axis], dtype=mx.float32).reshape((-1,) + (1,) * (-1 - axis))
        down = mx.cummin(distance - steps, axis=axis) + steps
        up = mx.cummin(distance + steps, axis=axis, reverse=True) - steps
        distance = mx.minimum(down, up)
    return mx.minimum(distance, most)


def _three(name: str, values: Sequence[float]) -> list[float]:
    numbers = check_numbers("STEPS", name, values)
    if len(numbers) != 3:
        raise ValueError(f"[STEPS] '{name}' must be three numbers a, b, c of a t^b + c but got {list(values)}.")
    return numbers
