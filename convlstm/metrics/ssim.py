"""Structural similarity of frames (SSIM)."""

from __future__ import annotations

import numpy as np

WINDOW = 7


def _window_sums(x: np.ndarray, axis: int, step: int = 1) -> np.ndarray:
    """Returns sums over 7 neighbours, `step` apart, along an axis, as 2 + 2 + 2 + 1 of them, so no digits cancel."""
    x = np.moveaxis(x, axis, 0)
    n = len(x) - 6 * step
    two = x[:-step] + x[step:]
    seven = two[:n] + two[2 * step : 2 * step + n]
    seven += two[4 * step : 4 * step + n]
    seven += x[6 * step :]
    return np.moveaxis(seven, 0, axis)


def structural_similarity(
    forecast: np.ndarray,
    target: np.ndarray,
    data_ranges: tuple[float, ...] = (1.0,),
    *,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    r"""Returns the structural similarity of every frame.

        ssim = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))
        C1 = (0.01 L)^2,  C2 = (0.03 L)^2

    with the means m and the sample (co)variances s of a uniform 7 x 7 window, averaged over the windows that lie inside
    the frame and over the channels. This equals scikit-image's `structural_similarity` with the data range L.

    Args:
        forecast: Frames (..., H, W, C).
        target: Frames of the same shape.
        data_ranges: Values of L; all share one pass over the windows. Default: (1.0,).
        valid: Booleans of the same shape, False where a pixel is missing. Only windows without a missing pixel count.

    Returns:
        (len(data_ranges), ...), float64. NaN for a frame without a valid window, such as one smaller than 7 x 7.

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    *lead, height, width, channels = forecast.shape
    result = np.full((len(data_ranges), int(np.prod(lead))), np.nan)
    if min(height, width) >= WINDOW:
        flat = (-1, height, width * channels)
        x, y = forecast.reshape(flat), target.reshape(flat)
        v = None if valid is None else valid.reshape(flat)
        # A few frames at a time stay in the cache, which is twice as fast as all at once.
        block = max(1, 2**15 // (height * width * channels))
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            result[:, part] = _block_similarity(x[part], y[part], None if v is None else v[part], data_ranges, channels)
    return result.reshape(len(data_ranges), *lead)


def _block_similarity(
    x: np.ndarray, y: np.ndarray, valid: np.ndarray | None, data_ranges: tuple[float, ...], channels: int
) -> np.ndarray:
    n = WINDOW**2
    weight = None
    if valid is not None and not valid.all():
        x, y = np.where(valid, x, 0), np.where(valid, y, 0)
        missing = _window_sums(_window_sums((~valid).astype(np.uint8), 1), 2, channels)
        weight = missing == 0

    # Both variances appear only as their sum, so four window sums are enough.
    moments = np.empty((4, *x.shape))
    moments[0], moments[1] = x, y
    np.multiply(moments[0], moments[1], out=moments[2])
    np.add(moments[0] ** 2, moments[1] ** 2, out=moments[3])
    moments = _window_sums(_window_sums(moments, 2), 3, channels)
    moments /= n
    mean_x, mean_y, mean_xy, mean_squares = moments

    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = (mean_xy - product) * (n / (n - 1))
    variances = (mean_squares - squares) * (n / (n - 1))
    product *= 2
    covariance *= 2

    result = np.full((len(data_ranges), len(x)), np.nan)
    for row, data_range in zip(result, data_ranges, strict=True):
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        similarity = (product + c1) * (covariance + c2)
        similarity /= (squares + c1) * (variances + c2)
        if weight is None:
            row[:] = similarity.mean(axis=(1, 2))
        else:
            count = weight.sum(axis=(1, 2))
            total = np.where(weight, similarity, 0).sum(axis=(1, 2))
            np.divide(total, count, out=row, where=count > 0)
    return result
