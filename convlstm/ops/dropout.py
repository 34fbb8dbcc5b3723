"""Dropout with one mask for all time steps of a sequence."""

from __future__ import annotations

import mlx.core as mx


def check_shares(owner: str, **shares: float) -> None:
    """Raises ValueError if one of the arguments is not a number of at least 0 and below 1."""
    for name, share in shares.items():
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ValueError(f"[{owner}] '{name}' must be at least 0 and below 1 but got {share!r}.")


def dropout_mask(shape: tuple[int, ...], share: float, key: mx.array | None, dtype: mx.Dtype) -> mx.array:
    """Returns zeros for a share of the values and 1 / (1 - share) for the others.

    Args:
        shape: Shape of the mask; its axis of time steps has length 1 or is missing.
        share: Probability of a zero.
        key: Key of the draw; None draws from MLX's global state.
        dtype: Type of the mask.
    """
    return (mx.random.bernoulli(1 - share, shape, key=key) / (1 - share)).astype(dtype)
