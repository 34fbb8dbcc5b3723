"""Weights of pixels by the rain in the truth, shared by balanced losses and scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from convlstm.arguments import check_numbers

HKO7_THRESHOLDS = (0.5, 2.0, 5.0, 10.0, 30.0)
"""Lower ends of the bins of HKO-7, in mm/h; values below the first one form a bin too."""

HKO7_WEIGHTS = (1.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""The weight of each bin (Shi et al., 2017)."""


def checked_balance(
    owner: str, bins: Sequence[float], weights: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns bins and weights as tuples of floats.

    Args:
        owner: Class that has the arguments, for the message.
        bins: Lower ends of all bins but the first.
        weights: A weight for each bin, hence one more than `bins`.

    Raises:
        ValueError: The bins do not ascend, or the weights are too few, too many, negative or all zero.
    """
    bins, weights = (
        tuple(check_numbers(owner, name, values)) for name, values in (("bins", bins), ("weights", weights))
    )
    if any(a >= b for a, b in pairwise(bins)):
        raise ValueError(f"[{owner}] 'bins' must be finite and ascend but got {list(bins)}.")
    if len(weights) != len(bins) + 1:
        raise ValueError(
            f"[{owner}] 'weights' must be one more than the {len(bins)} 'bins' but got {len(weights)}: the first is "
            "the weight of values below all bins."
        )
    if min(weights) < 0 or not any(weights):
        raise ValueError(f"[{owner}] 'weights' must be finite, at least 0 and not all 0, but got {list(weights)}.")
    return bins, weights
