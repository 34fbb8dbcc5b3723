"""Perturbed inputs for the members of an ensemble: frames with a small error of their motion and of their values."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any

from convlstm.arguments import check_number, check_whole

import numpy as np


@dataclass(frozen=True)
class Perturbation:
    r"""A random error of the frames' motion and of their values, drawn for each member and each sequence.

    X_{-s} is the frame s frames before the last one. With an error of the motion d = (dy, dx), the same for all pixels,
    and a smooth field g, the perturbed frame is

        Y_{-s}(x) = X_{-s}(x + s d) (1 + field g(x)),   d ~ motion N(0, 1),   g ~ N(0, 1)

    interpolated linearly, with the border's value outside unless the columns go round, and clipped to [0, 1]. The last
    frame does not move, but its content seems to have come along a motion that is faster by d. Dry pixels stay dry.

    The draw depends on the seed, on the number of the member and on the values of the frames. So the same sequence
    always gets the same draw, in a batch of any size, and another sequence gets another draw.

    Args:
        motion: Standard deviation of each component of the error of the motion, in pixels per frame. Default: 0.25.
        field: Standard deviation of the relative error of the values, on the model's scale. Default: 0.1.
        length: Length scale of g, which is white noise smoothed by a Gaussian of this width in pixels. Default: 16.
        seed: Seed of all draws. Default: 0.

    Raises:
        ValueError: An argument is negative or not a number.

    Source: Bowler et al., STEPS: A Probabilistic Precipitation Forecasting Scheme, 2006, for an error of the motion
    that is the same for the whole field.
    """

    motion: float = 0.25
    field: float = 0.1
    length: float = 16.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("motion", "field", "length"):
            check_number("Perturbation", name, getattr(self, name), 0)
        check_whole("Perturbation", "seed", self.seed, 0, (1 << 63) - 1)

    def __call__(self, inputs: np.ndarray, member: int, *, circular: bool = False) -> np.ndarray:
        """Returns the inputs of a member, float32 and of the same shape.

        Args:
            inputs: (N, T, H, W, C), in [0, 1], without missing values.
            member: Number of the member, from 0 on.
            circular: True if the columns go round. Default: False.
        """
        result = np.array(inputs, np.float32)
        for n, sequence in enumerate(result):
            content = zlib.crc32(sequence.tobytes())
            rng = np.random.default_rng([self.seed, member, content])
            error, noise = rng.normal(size=2) * self.motion, rng.normal(size=sequence.shape[1:3])
            for t in range(len(sequence)):
                sequence[t] = shifted(sequence[t], (t - len(sequence) + 1) * error, circular=circular)
            if self.field:
                sequence *= (1 + self.field * smoothed(noise, self.length)).astype(np.float32)[..., None]
            result[n] = np.clip(sequence, 0, 1)
        return result

    def describe(self) -> dict[str, Any]:
        """Returns the arguments as a record for JSON."""
        return asdict(self)


def shifted(frame: np.ndarray, by: np.ndarray, *, circular: bool = False) -> np.ndarray:
    """Returns a frame (H, W, C) moved by (rows, columns), interpolated linearly, with the border's value outside.

    With `circular` the columns go round.
    """
    for axis, distance in enumerate(np.asarray(by, np.float64).tolist()):
        if distance:
            side = frame.shape[axis]
            around = circular and axis == 1
            source = np.arange(side) - distance
            source = source if around else np.clip(source, 0, side - 1)
            low = np.floor(source).astype(np.int64)
            share = (source - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            below, above = (frame.take(n, axis, mode="wrap" if around else "clip") for n in (low, low + 1))
            frame = (1 - share) * below + share * above
    return frame


def smoothed(noise: np.ndarray, length: float) -> np.ndarray:
    """Returns white noise (H, W) smoothed by a Gaussian of a width in pixels, with its variance unchanged."""
    rows, columns = np.fft.fftfreq(noise.shape[0]), np.fft.fftfreq(noise.shape[1])
    response = np.exp(-2 * np.pi**2 * length**2 * (rows[:, None] ** 2 + columns**2))
    return np.fft.ifft2(np.fft.fft2(noise) * response).real / np.sqrt((response**2).mean())
