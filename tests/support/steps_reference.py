"""STEPS and S-PROG in NumPy, in float64 and in the domain of pixels, as their papers and pysteps describe them.

It is written apart from the package: bands are split in space, masks grow pixel by pixel, and values are sorted.
"""

from __future__ import annotations

import numpy as np


def weights(shape: tuple[int, int], levels: int) -> np.ndarray:
    """Returns the Gaussian filters of the bands, (levels, H, W // 2 + 1)."""
    H, W = shape
    y, x = np.meshgrid(np.fft.fftfreq(H, 1 / H), np.arange(W // 2 + 1), indexing="ij")
    r = np.maximum(np.hypot(y, x), 1)
    q = (max(shape) / 2) ** (1 / levels)
    filters = [np.exp(-2 * np.log(r / (q**k * (1 + q) / 2)) ** 2 / np.log(q) ** 2) for k in range(levels)]
    filters = np.array(filters) / np.sum(filters, axis=0)
    filters[:, 0, 0] = [1] + [0] * (levels - 1)
    return filters


def split(field: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the normalised bands of a field, their means and their deviations."""
    bands = np.fft.irfft2(np.fft.rfft2(field) * weights(field.shape, levels), s=field.shape)
    means, deviations = bands.mean(axis=(1, 2)), bands.std(axis=(1, 2))
    return (bands - means[:, None, None]) / deviations[:, None, None], means, deviations


def read(field: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the values of a field at places, those of the border beyond it."""
    H, W = field.shape
    y, x = np.clip(y, 0, H - 1), np.clip(x, 0, W - 1)
    top, left = np.minimum(y.astype(int), H - 2), np.minimum(x.astype(int), W - 2)
    a, b = y - top, x - left
    upper = (1 - b) * field[top, left] + b * field[top, left + 1]
    return (1 - a) * upper + a * ((1 - b) * field[top + 1, left] + b * field[top + 1, left + 1])


def step(places: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Returns the places (2, H, W) a step further back along a motion (2, H, W)."""
    d = np.stack([read(part, *places) for part in motion])
    return places - np.stack([read(part, *(places - d / 2)) for part in motion])


def aligned(frames: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Returns three frames (3, H, W) where the last one is; nothing comes from beyond the pixels."""
    places, moved = np.stack(np.indices(frames.shape[1:])).astype(float), [frames[2]]
    ends = np.array(frames.shape[1:])[:, None, None] - 1
    for frame in frames[1::-1]:
        places = step(places, motion)
        inside = ((places >= 0) & (places <= ends)).all(axis=0)
        moved.insert(0, np.where(inside, read(frame, *places), 0))
    return np.array(moved)


def processes(bands: np.ndarray) -> np.ndarray:
    """Returns phi1, phi2 and phi0 of each band of three frames (3, levels, H, W), as (levels, 3)."""
    coefficients = []
    for oldest, before, now in bands.swapaxes(0, 1).reshape(bands.shape[1], 3, -1):
        g1, g2 = np.corrcoef(now, before)[0, 1], np.corrcoef(now, oldest)[0, 1]
        g2 = max(g2, 2 * g1 * g2 - 1, (3 * g1**2 - 2 + 2 * (1 - g1**2) ** 1.5) / g1**2)
        phi1, phi2 = np.linalg.solve([[1, g1], [g1, 1]], [g1, g2])
        coefficients.append([phi1, phi2, np.sqrt(1 - phi1 * g1 - phi2 * g2)])
    return np.array(coefficients)


def amplitudes(frames: np.ndarray) -> np.ndarray:
    """Returns the spectrum of the noise."""
    _, H, W = frames.shape
    wet = frames > 0
    field = np.where(wet, frames - frames[wet].min(), 0).mean(axis=0)
    r = np.hypot((np.arange(H) / H - 0.5)[:, None], np.arange(W) / W - 0.5)
    fading = np.where(r > 0.4, (1 + np.cos(np.pi * (r - 0.4) / 0.1)) / 2, 1) * (r < 0.5)
    return abs(np.fft.rfft2(field * fading))


def grown(mask: np.ndarray, times: int) -> np.ndarray:
    """Returns a mask after it has grown up, down, left and right by a pixel, so many times."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = mask | padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
    return mask


def near(wet: np.ndarray, reach: int, rim: int = 10) -> np.ndarray:
    """Returns the mask around rain with its grey rim."""
    inner = grown(wet, reach)
    return np.mean([grown(inner, times) for times in range(rim + 1)], axis=0)


def in_order(field: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the values of a reference in the order of a field, 0 where that is lowest."""
    ranks = field.ravel().argsort().argsort()
    values = np.sort(reference.ravel())[ranks].reshape(field.shape)
    return np.where(field > field.min(), values, 0)


def member(
    frames: np.ndarray,
    motion: np.ndarray,
    noises: np.ndarray,
    errors: np.ndarray,
    *,
    levels: int,
    threshold: float,
    reach: int,
) -> np.ndarray:
    """Returns a member of STEPS in decibels above no rain, (T, H, W).

    Args:
        frames: The last three frames in decibels above no rain, (3, H, W).
        motion: Rows and columns in pixels per frame, (2, H, W).
        noises: White noise, (T, H, W).
        errors: The errors of the motion along and across it, (T, 2), in pixels per frame.
        levels, threshold: Bands; lowest value of rain.
        reach: Pixels by which the mask is wider than the rain.
    """
    frames = aligned(frames, motion)
    bands, means, deviations = (np.array(part) for part in zip(*(split(f, levels) for f in frames), strict=True))
    phi1, phi2, phi0 = processes(bands).T[:, :, None, None]
    y, x = bands[1], bands[2]
    along = motion / np.hypot(*motion)
    across = np.stack([-along[1], along[0]])
    mask, spectrum = near(frames[2] >= threshold, reach), amplitudes(frames)
    places, forecast = np.stack(np.indices(frames.shape[1:])).astype(float), []
    for noise, (a, b) in zip(noises, errors, strict=True):
        e, _, _ = split(np.fft.irfft2(np.fft.rfft2(noise) * spectrum, s=noise.shape), levels)
        x, y = phi1 * x + phi2 * y + phi0 * e, x
        z = (deviations[2][:, None, None] * x + means[2][:, None, None]).sum(axis=0)
        z = in_order(z.min() + (z - z.min()) * mask, frames[2])
        mask = near(z >= threshold, reach)
        places = step(places, motion + a * along + b * across)
        arrived = read(z, *places)
        forecast.append(np.where(arrived >= threshold, arrived, 0))
    return np.array(forecast)


def sprog(frames: np.ndarray, motion: np.ndarray, leads: int, *, levels: int, threshold: float) -> np.ndarray:
    """Returns the forecast of S-PROG in decibels above no rain, (T, H, W)."""
    frames = aligned(frames, motion)
    bands, means, deviations = (np.array(part) for part in zip(*(split(f, levels) for f in frames), strict=True))
    phi1, phi2, _ = processes(bands).T[:, :, None, None]
    y, x = bands[1], bands[2]
    share = (frames[2] >= threshold).mean()
    places, forecast = np.stack(np.indices(frames.shape[1:])).astype(float), []
    for _ in range(leads):
        x, y = phi1 * x + phi2 * y, x
        z = (deviations[2][:, None, None] * x + means[2][:, None, None]).sum(axis=0)
        rain = z >= np.quantile(z, 1 - share)
        z = in_order(np.where(rain, z, z.min()), frames[2])
        places = step(places, motion)
        arrived = read(z, *places)
        forecast.append(np.where(arrived >= threshold, arrived, 0))
    return np.array(forecast)
