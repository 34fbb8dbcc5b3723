"""Probabilities that a threshold is reached, at a pixel or near it."""

from __future__ import annotations

import math

from convlstm.arguments import check_number
from convlstm.metrics.events import lowest_event
from convlstm.products.members import checked, missing

import numpy as np

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def probability(members: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the share of members that reach a threshold, up to rounding (`lowest_event`).

    Args:
        members: (M, T, H, W), in physical units; NaN is missing.
        threshold: Lowest value of an event, in the same units.

    Returns:
        (T, H, W), float32.

    Raises:
        ValueError: The members have another shape, or the threshold is no number.
    """
    x = checked("probability", members)
    lowest = lowest_event(check_number("probability", "threshold", threshold))
    share = np.empty(x.shape[1:], np.float32)
    for t in range(x.shape[1]):
        share[t] = np.add.reduce(x[:, t] >= lowest, axis=0, dtype=np.uint32) / np.float32(len(x))
        share[t, missing(x[:, t])] = np.nan
    return share


def probability_nearby(members: np.ndarray, threshold: float, radius: float, *, pixel_km: float) -> np.ndarray:
    """Returns the share of members that reach a threshold anywhere within a radius of a pixel.

    It is the neighbourhood maximum ensemble probability: the maximum of each member over a disc, then the share of
    members. A pixel is in the disc if its centre is at most `radius` away. Pixels beyond the frame, and missing ones,
    have no event, so the probability is too low near them.

    Args:
        members: (M, T, H, W), in physical units; NaN is missing.
        threshold: Lowest value of an event, in the same units.
        radius: In km. Less than a pixel gives `probability`.
        pixel_km: Side of a pixel in km.

    Returns:
        (T, H, W), float32.

    Raises:
        ValueError: The members have another shape, or a number is out of its range.

    Source: Schwartz and Sobash, Generating Probabilistic Forecasts from Convection-Allowing Ensembles Using
    Neighborhood Approaches: A Review and Recommendations, 2017.
    """
    x = checked("probability_nearby", members)
    lowest = lowest_event(check_number("probability_nearby", "threshold", threshold))
    check_number("probability_nearby", "radius", radius, 0)
    check_number("probability_nearby", "pixel_km", pixel_km, above=0)
    share = np.empty(x.shape[1:], np.float32)
    for t in range(x.shape[1]):
        # Eight members are the bits of a byte, so one operation serves all of them.
        events = np.zeros((-(-len(x) // 8), *x.shape[2:]), np.uint8)
        for number, member in enumerate(x[:, t]):
            events[number // 8] |= (member >= lowest).view(np.uint8) << np.uint8(number % 8)
        share[t] = _ONES[_over_disc(events, radius / pixel_km)].sum(axis=0, dtype=np.uint32) / np.float32(len(x))
        share[t, missing(x[:, t])] = np.nan
    return share


def _over_disc(bits: np.ndarray, radius: float) -> np.ndarray:
    """Returns, for bits (..., H, W), which of them are set anywhere in the disc of a radius in pixels."""
    height, width = bits.shape[-2:]
    radius = min(radius, height + width) * (1 + 1e-9)  # 0.3 km are three pixels of 0.1 km, whatever the rounding
    reach = min(math.floor(radius), height - 1)
    result, rows, half = np.zeros_like(bits), bits.copy(), 0
    for down in range(reach, -1, -1):
        # From the outer rows inwards, the disc gets wider: `rows` are the maxima over 2 half + 1 columns.
        wanted = min(math.floor(math.sqrt(max(radius**2 - down**2, 0))), width - 1)
        while half < wanted:
            half += 1
            rows[..., half:] |= bits[..., :-half]
            rows[..., :-half] |= bits[..., half:]
        result[..., down:, :] |= rows[..., : height - down, :]
        result[..., : height - down, :] |= rows[..., down:, :]
    return result
