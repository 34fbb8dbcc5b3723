"""Scales of fields that are fitted to the data of the training split, and the share of values beyond them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.datasets.arguments import is_number
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear, Reflectivity, Standard, Transform

import numpy as np

FITS = ("range", "standard")
"""The ways to fit a scale."""

# A value that means missing occurs at least as often, and its distance from the others is as many times their range.
_REPEATED, _FAR = 3, 10
# Share of the range that is added on both sides, since other times are warmer and colder.
_MARGIN = 0.1
_NUMBERS: dict[frozenset[str], type[Transform]] = {
    frozenset({"minimum", "maximum"}): Linear,
    frozenset({"mean", "std"}): Standard,
}


def scale_choices(owner: str, choice: str | Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Returns the choice of a scale for each field: one of `FITS`, or the numbers of a scale.

    Raises:
        ValueError: If a choice is neither, or a field is unknown.
    """
    by_name = dict(choice) if isinstance(choice, Mapping) else dict.fromkeys(names, choice)
    for name, one in by_name.items():
        if name not in names:
            raise ValueError(f"[{owner}] 'scale' must be for the fields {', '.join(names)} but got {name!r}.")
        numbers = isinstance(one, Mapping) and frozenset(one) in _NUMBERS and all(map(is_number, one.values()))
        if not numbers and one not in FITS:
            of_field = "" if by_name is not choice and not isinstance(choice, Mapping) else f" for {name!r}"
            raise ValueError(
                f"[{owner}] 'scale' must be {' or '.join(FITS)}, {{minimum: ..., maximum: ...}} or {{mean: ..., std: "
                f"...}}, for all fields or by name, but got {one!r}{of_field}."
            )
    return [by_name.get(name, "range") for name in names]


def scale_of(choice: Any, field: Field, values: np.ndarray) -> Transform:
    """Returns the scale of a field by a choice of `scale_choices`.

    Args:
        choice: The choice. Rain that is to be fitted has the scale of `Reflectivity`.
        field: The field.
        values: Values of the training split, NaN where missing.

    Raises:
        ValueError: If numbers do not make a scale.
    """
    if isinstance(choice, Mapping):
        numbers = {name: float(value) for name, value in choice.items()}
        return _NUMBERS[frozenset(choice)](**numbers, units=field.units)  # type: ignore[call-arg]
    if field.is_rain and field.units == "mm/h":
        return Reflectivity()
    known = values[np.isfinite(values)]
    if choice == "standard":
        mean, std = (known.mean(dtype=np.float64), known.std(dtype=np.float64)) if known.size else (0.0, 1.0)
        return Standard(_rounded(mean), _rounded(std) or 1.0, field.units)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin = _MARGIN * (high - low) or 0.5
    return Linear(minimum=_rounded(low - margin), maximum=_rounded(high + margin), units=field.units)


def scale_of_changes(field: Field, changes: np.ndarray) -> Transform:
    """Returns the scale of a field's changes, the same up and down; 0.5 is no change.

    Args:
        field: The field.
        changes: Differences between targets and the last input frames of the training split, NaN where missing.
    """
    known = np.abs(changes[np.isfinite(changes)])
    largest = (_rounded((1 + 2 * _MARGIN) * float(known.max())) if known.size else 0.0) or 1.0
    return Linear(minimum=-largest, maximum=largest, units=field.units)


def check_clipped(owner: str, name: str, scale: Transform, values: np.ndarray, most: float, key: str) -> None:
    """Warns of values beyond a scale; raises ValueError if their share is larger than `most`.

    Args:
        owner: Class of the data set, for the message.
        name: Name of the field.
        scale: Its scale.
        values: Values of the training split, NaN where missing.
        most: Largest share.
        key: Argument that sets the scale.
    """
    share, (low, high) = scale.clipped(values), scale.ends()
    if share == 0:
        return
    text = (
        f"[{owner}] {share:.2%} of the values of {name} lie beyond its scale, {low:g} to {high:g} {scale.units}, and "
        f"are clipped. Change '{key}'"
    )
    if share > most:
        raise ValueError(f"{text}, or allow it: most_clipped={math.ceil(100 * share) / 100:g}.")
    warnings.warn(f"{text} if they matter.", stacklevel=4)


def check_fill(owner: str, field: Field, values: np.ndarray) -> None:
    """Warns if the lowest or the highest value occurs often and lies far from all others, as one that means missing.

    Args:
        owner: Class of the data set, for the message.
        field: The field.
        values: Values of the training split, NaN where missing.
    """
    known = values[np.isfinite(values)]
    if known.size == 0 or field.is_rain:
        return
    for end in (known.min(), known.max()):
        others = known[known != end]
        if others.size == 0 or known.size - others.size < _REPEATED:
            continue
        low, high = float(others.min()), float(others.max())
        gap = max(low - float(end), float(end) - high)
        if high > low and gap > _FAR * (high - low):
            share = 1 - others.size / known.size
            warnings.warn(
                f"[{owner}] {share:.1%} of the values of {field.name} are {float(end):g}, far from all others ({low:g} "
                f"to {high:g} {field.units}). If that means missing, name it: reader.missing={float(end):g}.",
                stacklevel=4,
            )


def _rounded(value: float) -> float:
    """Returns a number with the four digits that a scale needs, so that it can be read and typed."""
    return float(f"{value:.4g}")
