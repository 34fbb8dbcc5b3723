"""A synthetic radar: rain areas and cells that move, grow and decay, for use without an archive of radar files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.arguments import check_whole
from convlstm.datasets import arguments

import numpy as np

# mm/h. The weakest rain that the radar sees. Pixels below it are dry.
_SENSITIVITY = 0.1
# mm/h. Rates level off towards it, as when a radar's processing caps the reflectivity of hail.
_CEILING = 150.0
# Pixels between the nodes from which paths of the air are traced.
_SPACING = 16
_EDDIES = 4


class SyntheticRadar:
    """Rain rates of a random field that a smooth wind carries. Larger scales live longer.

    A Gaussian field `g` over a periodic domain, larger than the frame, is carried along paths of the air and mapped to
    rates:

        E|g(k)|^2 = (1 + (L k)^2)^(-slope / 2),   slope about 3.3
        corr(g_t(k), g_(t + n)(k)) = (1 + n tanh a) exp(-n a),   a = 2.15 step / (lifetime / k)
        rate = 0.1 + r (exp(c (g - g0)) - 1) if g > g0, else 0

    with `k` in cycles per km. Each sample draws its organisation between layers of rain (stratiform) and showers
    (convective). The organisation decides from which values the sample draws the outer scale `L`, `slope`, the
    elongation of rain areas, the wet share, which sets `g0`, and the median and 99th percentile of the wet pixels,
    which set `r` and `c`. The wind is a uniform wind that turns slowly, plus divergence-free eddies of 150 to 600 km
    that travel with it. Every frame is read from `g` once, at the positions of its air at the start, so that motion
    does not blur.

    The constants are those of rain on radar, measured on 2 km grids in the Netherlands, Finland and Queensland. Wet
    pixels have a median of 0.5 to 2.5 mm/h and a 99th percentile of 5 to 60 mm/h. Power in decibels falls as `k^-2.3`
    to `k^-2.9`; the spectrum of `g` is steeper, since cutting it at `g0` flattens it. Along its path, a scale keeps 1/e
    of its correlation for about 1.2 minutes per km of wavelength. It loses little of it at first, so correlation in
    time is not exponential.

    Args:
        frame_size: Side of the frame in pixels, or `(H, W)`, at least 8. Default: (128, 128).
        frames: Frames of a sample. Default: 15.
        step_minutes: Minutes from frame to frame. Default: 5.0.
        pixel_km: Side of a pixel in km. Default: 2.0.
        wind: Speed of the uniform wind in m/s, or `(low, high)`, from which each sample draws its own.
            Default: (0.0, 20.0).
        eddies: Root mean square speed of the eddies in m/s, or `(low, high)`. Default: 3.0.
        lifetime: Minutes per km of wavelength after which 1/e of a scale's correlation is left; `inf` for rain that
            only moves. Default: 1.2.
        wet_share: Share of wet pixels (0.1 mm/h and more) over all frames of a sample, or `(low, high)`.
            Default: (0.05, 0.6).
        convection: Organisation from 0 (stratiform) to 1 (convective), or `(low, high)`. Default: (0.0, 1.0).

    Raises:
        ValueError: If an argument is out of its range.

    References:
        Bell (1987), "A space-time stochastic model of rainfall for satellite remote-sensing studies"; Seed (2003), "A
        dynamic and spatial scaling approach to advection forecasting", for lifetimes that grow with scale.
    """

    def __init__(
        self,
        frame_size: int | Sequence[int] = (128, 128),
        frames: int = 15,
        *,
        step_minutes: float = 5.0,
        pixel_km: float = 2.0,
        wind: float | Sequence[float] = (0.0, 20.0),
        eddies: float | Sequence[float] = 3.0,
        lifetime: float = 1.2,
        wet_share: float | Sequence[float] = (0.05, 0.6),
        convection: float | Sequence[float] = (0.0, 1.0),
    ):
        self.frame_size = arguments.sides("SyntheticRadar", "frame_size", frame_size, 8)
        self.frames = check_whole("SyntheticRadar", "frames", frames, 1, arguments.MOST_FRAMES)
        self.step_minutes = arguments.number("SyntheticRadar", "step_minutes", step_minutes, 0.1, 1440)
        self.pixel_km = arguments.number("SyntheticRadar", "pixel_km", pixel_km, 0.01, 100)
        self.wind = arguments.number_range("SyntheticRadar", "wind", wind, 0, 100)
        self.eddies = arguments.number_range("SyntheticRadar", "eddies", eddies, 0, 100)
        self.lifetime = arguments.number("SyntheticRadar", "lifetime", lifetime, 0.01, math.inf)
        self.wet_share = arguments.number_range("SyntheticRadar", "wet_share", wet_share, 0.001, 1)
        self.convection = arguments.number_range("SyntheticRadar", "convection", convection, 0, 1)

        # The domain is periodic: rain that leaves the frame comes back only after crossing this margin.
        way = self.wind[1] * 0.06 * self.step_minutes * (self.frames - 1) / self.pixel_km
        self._domain = tuple(_fast_length(side + round(min(max(side / 2, way), 2 * side))) for side in self.frame_size)
        rows, columns = self._domain
        ky, kx = np.meshgrid(np.fft.fftfreq(rows), np.fft.rfftfreq(columns), indexing="ij")
        # Without waves shorter than two pixels in any direction: the corners of the spectrum would show as a grid.
        self._waves = np.flatnonzero(np.hypot(ky, kx) <= 0.5)
        ky, kx = (k.ravel()[self._waves].astype(np.float32) for k in (ky, kx))
        # Compensates for the smoothing of a quadratic B-spline, see _read.
        self._sharpening = 1 / ((0.75 + 0.25 * np.cos(2 * np.pi * ky)) * (0.75 + 0.25 * np.cos(2 * np.pi * kx)))
        # irfft2 takes the real part of these waves, half their variance.
        self._sharpening[(kx == 0) | (kx == 0.5)] *= math.sqrt(2)
        self._ky, self._kx = ky / np.float32(self.pixel_km), kx / np.float32(self.pixel_km)
        self._k = np.hypot(self._ky, self._kx)
        # The mean over the domain counts as a wave that is too long for it.
        self._k[0] = self._k[1:].min() / 2
        self._nodes = [np.arange(-1, (side - 1) // _SPACING + 3) * float(_SPACING) for side in self.frame_size]
        self._to_pixels = [
            _upsampling(side, len(nodes)) for side, nodes in zip(self.frame_size, self._nodes, strict=True)
        ]

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Returns rain rates in mm/h, (frames, H, W) float32 without NaN, with random numbers from `rng`."""
        convection = rng.uniform(*self.convection)
        low, high = self.wet_share
        # Showers cover smaller areas.
        wet = low + (high - low) * rng.random() ** (1 + convection)
        median = _SENSITIVITY + 0.4 * 5**convection * math.exp(0.25 * rng.standard_normal())
        heavy = median * 7 * 3.5**convection * math.exp(0.2 * rng.standard_normal())
        amplitude, memory = self._statistics(rng, convection)
        y, x = self._paths(rng)
        spectrum = np.zeros((self._domain[0], self._domain[1] // 2 + 1), np.complex64)
        field = np.empty((self.frames, *self.frame_size), np.float32)
        for frame, (rows, columns, out) in enumerate(zip(y, x, field, strict=True)):
            noise = amplitude * rng.standard_normal(2 * len(amplitude), np.float32).view(np.complex64)
            # AR(2) with the double root `memory`, started in its stationary state.
            if frame == 0:
                before, now = noise, noise
                first = 2 * memory / (1 + memory**2)
                rest = (1 - memory**2) / (1 + memory**2)
                innovation = (1 - memory**2) * np.sqrt(rest)
            elif frame == 1:
                before, now = now, first * now + rest * noise
            else:
                before, now = now, memory * (2 * now - memory * before) + innovation * noise
            spectrum.ravel()[self._waves] = now
            _read(np.fft.irfft2(spectrum, self._domain), rows, columns, out)
        return _rates(field, wet, median, heavy)

    def describe(self) -> dict:
        """Returns a record of the samples for JSON."""
        return {
            "name": "synthetic_radar",
            "frame_size": list(self.frame_size),
            "frames": self.frames,
            "step_minutes": self.step_minutes,
            "pixel_km": self.pixel_km,
            "wind": list(self.wind),
            "eddies": list(self.eddies),
            "lifetime": self.lifetime,
            "wet_share": list(self.wet_share),
            "convection": list(self.convection),
        }

    def _statistics(self, rng: np.random.Generator, convection: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the amplitude of each wave for a field of variance 1, and the share of it that a step keeps."""
        outer = 500.0 * 0.4**convection * math.exp(0.25 * rng.standard_normal())
        slope = 3.3 + 0.25 * rng.standard_normal()
        elongation, angle = rng.uniform(1.0, 3.0), rng.uniform(0.0, math.pi)
        k = self._k
        # Fronts and lines are long; the cells in them are round.
        along = np.abs(math.cos(angle) * self._kx + math.sin(angle) * self._ky) / k
        stretch = 1 + (elongation - 1) * along**2 / (1 + 20.0 * k)
        power = (1 + (outer * k * stretch) ** 2) ** np.float32(-slope / 2)
        power /= 4 * power.sum() / math.prod(self._domain) ** 2
        # (1 + x) exp(-x) is 1/e at x = 2.15.
        age = self.step_minutes * k * np.float32(2.15 / self.lifetime)
        return np.sqrt(power) * self._sharpening, np.exp(-age)

    def _paths(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns the row and the column of each pixel's air at the first frame, each (frames, H, W)."""
        scale = 0.06 * self.step_minutes / self.pixel_km  # m/s to pixels per step
        times = np.arange(self.frames)
        speed, heading = rng.uniform(*self.wind), rng.uniform(0.0, 2 * math.pi)
        turn = math.radians(10.0) * rng.standard_normal() * self.step_minutes / 60
        headings = heading + turn * times[:-1]
        moved = [np.append(0.0, np.cumsum(speed * scale * part(headings))) for part in (np.sin, np.cos)]

        waves = 2 * np.pi * self.pixel_km / np.exp(rng.uniform(math.log(150.0), math.log(600.0), _EDDIES))
        directions, phases = rng.uniform(0.0, 2 * math.pi, (2, _EDDIES))
        towards = np.stack([np.sin(directions), np.cos(directions)])
        across = np.stack([towards[1], -towards[0]]) * (rng.uniform(*self.eddies) * scale * math.sqrt(2 / _EDDIES))

        def eddy(position):
            return across @ np.cos(((waves * towards).T @ position + phases[:, None]).astype(np.float32))

        # The eddies stand still in coordinates that travel with the uniform wind.
        nodes = np.stack([axis.ravel() for axis in np.meshgrid(*self._nodes, indexing="ij")])
        position = nodes[:, None] - np.stack(moved)[:, :, None]
        for step in range(1, self.frames):
            start = position[:, step:].reshape(2, -1)
            middle = start - eddy(start) / 2
            position[:, step:] = (start - eddy(middle)).reshape(2, -1, nodes.shape[1])
        # Subtract whole domains while the precision of float64 is available.
        sides = np.reshape(self._domain, (2, 1, 1))
        position -= sides * np.floor(position[:, :, :1] / sides)
        grid = position.reshape(2, self.frames, *map(len, self._nodes)).astype(np.float32)
        rows, columns = self._to_pixels[0] @ grid @ self._to_pixels[1].T
        return rows, columns


def _read(field: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """Reads the periodic field at fractional rows and columns into `out`, by a quadratic B-spline.

    The spline smooths waves longer than about three pixels as much between pixels as on them, which can be compensated
    for beforehand. Linear interpolation smooths only between pixels, so the texture would flicker as it moves.
    """
    height, width = field.shape
    padded = np.empty((height + 3, width + 3), np.float32)
    padded[1:-2, 1:-2] = field
    padded[0, 1:-2], padded[-2:, 1:-2] = field[-1], field[:2]
    padded[:, 0], padded[:, -2:] = padded[:, -3], padded[:, 1:3]
    corners, weights = [], []
    for position, side in ((rows, height), (columns, width)):
        position = position - side * np.floor(position / side)
        nearest = np.rint(position)
        offset = position - nearest
        corners.append(nearest.astype(np.intp))
        weights.append((0.5 * (0.5 - offset) ** 2, 0.75 - offset**2, 0.5 * (0.5 + offset) ** 2))
    index = corners[0] * (width + 3) + corners[1]
    flat = padded.ravel()
    out[...] = 0
    for row, by_row in enumerate(weights[0]):
        line = np.zeros_like(out)
        for column, by_column in enumerate(weights[1]):
            line += by_column * flat[row * (width + 3) + column :].take(index, mode="clip")
        out += by_row * line


def _rates(field: np.ndarray, wet: float, median: float, heavy: float) -> np.ndarray:
    """Returns the field as mm/h, with the wet share `wet` and 50 and 99 % of the wet pixels at `median` and `heavy`."""
    subset = field.ravel()[:: 1 + field.size // 20000]
    start, middle, end = np.quantile(subset, [1 - wet, 1 - wet / 2, 1 - wet / 100])
    middle, end = max(middle - start, 1e-6), max(end - start, 2e-6)
    low, high = 0.01 / end, 15 / end
    wanted = (heavy - _SENSITIVITY) / (median - _SENSITIVITY)
    for _ in range(30):
        growth = math.sqrt(low * high)
        if math.expm1(growth * end) < wanted * math.expm1(growth * middle):
            low = growth
        else:
            high = growth
    field -= np.float32(start)
    wet_pixels = field > 0
    field *= np.float32(growth)
    rain = np.exp(np.clip(field, 0, 25, out=field), out=field)
    rain -= 1
    rain *= np.float32((median - _SENSITIVITY) / math.expm1(growth * middle))
    rain += _SENSITIVITY
    rain /= np.sqrt(1 + (rain / _CEILING) ** 2)
    rain *= wet_pixels
    return rain


def _upsampling(side: int, nodes: int) -> np.ndarray:
    """Returns a matrix (side, nodes) of cubic (Catmull-Rom) interpolation; nodes start one spacing before the frame."""
    whole, t = np.divmod(np.arange(side) / _SPACING, 1)
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]) / 2
    matrix = np.zeros((side, nodes), np.float32)
    for tap, weight in enumerate(weights):
        matrix[np.arange(side), whole.astype(int) + tap] = weight
    return matrix


def _fast_length(least: int) -> int:
    """Returns the smallest even length of at least `least` that has no prime factor above 5."""
    length = least + least % 2
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2
