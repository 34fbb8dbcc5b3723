"""STEPS: an ensemble of rain moved on, with noise in place of the details that cannot be forecast."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from convlstm.architectures.cascade import Cascade, bands, cascade, continued
from convlstm.architectures.noise_filters import noise_spectrum, power_law, strengths, window
from convlstm.architectures.sprog import SPROG, missing
from convlstm.arguments import check_number, check_numbers, check_whole
from convlstm.ops.band_processes import BandProcesses
from convlstm.ops.distribution import matched, near, ranks, rising, weakened
from convlstm.ops.sampling import drift, starts

import mlx.core as mx
import numpy as np

NOISES, ADJUSTMENTS = ("nonparametric", "parametric"), ("none", "fixed", "auto")
MASKS = ("incremental", "obs", "sprog", "none")

# Pixels of the grey rim of the mask around rain.
_RIM = 10
# Members are computed together as long as they need less memory, at about so many bytes a pixel.
_TOGETHER, _PIXEL = 1 << 30, 160


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
        noise: Spectrum of the noise: 'nonparametric', that of the last frames, or 'parametric', two power laws fitted
            to it. Default: 'nonparametric'.
        adjustment: Factors of the noise of the bands, since a mask of no rain weakens it: 'none'; 'fixed',
            1 / (0.75 + 0.09 k) for the band k from 1 on; or 'auto', from fields of noise with such a mask.
            Default: 'none'.
        mask: Where rain is possible: 'incremental', near the rain of the step before; 'obs', where the last frame has
            rain; 'sprog', where a forecast of `SPROG` has it; or 'none', everywhere. Default: 'incremental'.
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
        noise: str = "nonparametric",
        adjustment: str = "none",
        mask: str = "incremental",
        parallel: Sequence[float] = (10.88, 0.23, -7.68),
        perpendicular: Sequence[float] = (5.76, 0.31, -2.72),
        seed: int = 0,
        rates: Sequence[float] | None = None,
        **options: Any,
    ):
        super().__init__(rates=rates, **options)
        for name, value, words in (
            ("noise", noise, NOISES),
            ("adjustment", adjustment, ADJUSTMENTS),
            ("mask", mask, MASKS),
        ):
            if value not in words:
                raise ValueError(f"[STEPS] '{name}' must be one of {', '.join(words)} but got {value!r}.")
        self.noise, self.adjustment, self.mask = noise, adjustment, mask
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
        return sequences[0][:, None] if len(sequences) == 1 else mx.stack(sequences, axis=1)

    def mean(self, inputs: mx.array, horizon: int) -> mx.array:
        """Returns the mean of the members, on the model's scale, (N, horizon, H, W, 1)."""
        return self(inputs, horizon).mean(axis=0)

    def _content(self, sequence: mx.array) -> int:
        rest = self.seed % 2**32
        return zlib.crc32(np.array(sequence.astype(mx.float32)).tobytes()) ^ rest ^ (self.seed >> 32) * 0x9E3779B1

    def _ensemble(self, inputs: mx.array, horizon: int, key: mx.array) -> mx.array:
        """Returns the members of one sequence (1, T, H, W, 1), (M, horizon, H, W, 1)."""
        _, _, H, W, _ = inputs.shape
        flow = self.flow(inputs)
        frames = self.lagrangian(inputs, flow)[0]
        inside = mx.array(window(H, W, circular=self.circular) > 0)
        # Without rain inside the noise's window there is none at all, as in pysteps.
        dry = mx.logical_and(frames[-1] > self._scale.threshold + 1e-4, inside).mean() <= self.dry_share
        frames = mx.where(dry, 0, frames)
        without = missing(inputs)[0]
        gone = without if without.any().item() else None
        adjusting, motions, noises = mx.random.split(key, 3)
        spectrum = power_law if self.noise == "parametric" else noise_spectrum
        amplitudes = spectrum(frames, circular=self.circular)
        state = cascade(frames[None], self.levels)
        masks = self._masks(frames[-1], state, horizon)
        factors = self._factors(frames[-1], amplitudes, adjusting)
        keys = mx.random.split(noises, self.size)
        draws = self.draws(motions)
        together = max(1, min(self.size, _TOGETHER // (_PIXEL * H * W)))
        members = []
        for start in range(0, self.size, together):
            part = slice(start, start + together)
            processes = BandProcesses(
                bands(H, W, self.levels),
                W,
                state.spectra[0, 0],
                state.spectra[0, 1],
                deviations=state.deviations[0],
                coefficients=mx.stack([state.phi1[0], state.phi2[0], state.phi0[0] * factors]),
                amplitudes=amplitudes,
                keys=keys[part],
            )
            members.append(self._members(processes, masks, draws[part], frames[-1], flow, gone))
        forecast = members[0] if len(members) == 1 else mx.concatenate(members)
        return forecast[..., None].astype(inputs.dtype)

    def _members(
        self,
        processes: BandProcesses,
        masks: list[mx.array],
        draws: mx.array,
        last: mx.array,
        flow: mx.array,
        gone: mx.array | None,
    ) -> mx.array:
        """Returns some members, (m, horizon, H, W), by the processes of the bands and by motions of their own."""
        (H, W), m = processes.size, len(draws)
        values, places, frames, z = rising(last.reshape(1, -1))[0], starts(m, H, W), [], last[None]
        for lead, mask in enumerate(masks):
            mask = self._near(z) if self.mask == "incremental" else mask
            z = mx.fft.irfft2(processes.step(), s=(H, W)).reshape(m, H * W)
            if self.matching == "cdf":
                z = matched(z, mask.reshape(-1, H * W), values).reshape(m, H, W)
            else:
                z, _ = weakened(z.reshape(m, H, W), mask)
                z = self._shifted(z, z >= self._scale.threshold - 1e-4, last)
            # The field moves from where the member's own motion has brought it.
            field = z if gone is None else mx.where(gone, mx.nan, z)
            frame, places = drift(field, places, flow, draws * self._errors(lead + 1), **self._drifting())
            frames.append(frame)
            mx.eval(frame, places, z)
        return mx.stack(frames, axis=1)

    def draws(self, key: mx.array) -> mx.array:
        """Returns the members' draws of the motion's error, along and across it, (M, 2)."""
        return mx.stack([laplace(2, one) for one in mx.random.split(key, self.size)])

    def _masks(self, last: mx.array, state: Cascade, horizon: int) -> list[mx.array]:
        """Returns the masks of the lead times, (1, H, W) each; incremental ones follow from the members."""
        wet = last >= self._scale.threshold - 1e-4
        if self.mask == "sprog":
            forecast = continued(state, horizon)[0]
            rank = ranks(forecast.flatten(1)).reshape(forecast.shape)
            return list((rank >= 1 - wet.mean()).astype(mx.float32)[:, None])
        return [wet.astype(mx.float32)[None] if self.mask == "obs" else mx.ones((1, *last.shape))] * horizon

    def _near(self, z: mx.array) -> mx.array:
        """Returns 1 near the rain of (m, H, W), and less up to 0 over the rim around."""
        reach = max(1, int((self.minutes / self.pixel_km - 1) / 2))
        return near(z, self._scale.threshold - 1e-4, reach, _RIM, circular=self.circular)

    def _factors(self, last: mx.array, amplitudes: mx.array, key: mx.array) -> mx.array:
        """Returns the factors of the noise of the bands, (levels,)."""
        if self.adjustment == "auto":
            return strengths(last, self._scale.threshold - 1e-4, amplitudes, self.levels, key)
        k = np.arange(1, self.levels + 1)
        return mx.array((1 / (0.75 + 0.09 * k) if self.adjustment == "fixed" else np.ones(len(k))).astype(np.float32))

    def _errors(self, lead: int) -> mx.array:
        """Returns the deviations of the motion's error along and across it, (2,), in pixels per frame."""
        minutes = lead * self.minutes
        errors = [p * minutes**q + r for p, q, r in (self.parallel, self.perpendicular)]
        return mx.array(errors) * (self.minutes / (60 * self.pixel_km))


def laplace(number: int, key: mx.array) -> mx.array:
    """Returns draws from the Laplace distribution of variance 1."""
    u = mx.random.uniform(-0.5, 0.5, (number,), key=key)
    return -mx.sign(u) * mx.log(mx.maximum(1 - 2 * mx.abs(u), 1e-7)) / math.sqrt(2)


def _three(name: str, values: Sequence[float]) -> list[float]:
    numbers = check_numbers("STEPS", name, values)
    if len(numbers) != 3:
        raise ValueError(f"[STEPS] '{name}' must be three numbers a, b, c of a t^b + c but got {list(values)}.")
    return numbers
