"""Checks of the readers' options, which may come from a configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.datasets.arguments import is_number, minutes

_UNITS = ("mm/h", "dBZ", "raw")


def check_text(format: str, name: str, value: Any) -> None:
    """Raises ValueError if an option is neither None nor a text: YAML reads `pattern: 12` as a number."""
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError(f"[{format}] '{name}' must be a text but got {value!r}. Put it in quotes.")


def check_number(format: str, name: str, value: Any) -> None:
    """Raises ValueError if an option is neither None nor a finite number."""
    if value is not None and not (is_number(value) and math.isfinite(value)):
        raise ValueError(f"[{format}] '{name}' must be a number but got {value!r}.")


def check_units(format: str, units: Any) -> None:
    """Raises ValueError if `units` are not units of a frame."""
    if units not in _UNITS:
        raise ValueError(
            f"[{format}] 'units' must be one of {', '.join(_UNITS)} but got {units!r}. Accumulations become rates "
            "through 'scale': 12 for mm in 5 minutes."
        )


def check_step(format: str, step_minutes: Any) -> None:
    """Raises ValueError if `step_minutes` is neither None nor a number of minutes above 0."""
    if step_minutes is not None:
        minutes(format, "step_minutes", step_minutes)


def frozen_names(format: str, names: Any) -> str | tuple[str, ...] | None:
    """Returns the option 'variable' as a text or a tuple of texts; raises ValueError for anything else."""
    if not isinstance(names, Sequence) or isinstance(names, str | bytes):
        check_text(format, "variable", names)
        return names  # type: ignore[return-value]
    if not names or len({*map(str, names)}) != len(names):
        raise ValueError(f"[{format}] 'variable' must be one or more different names but got {list(names)!r}.")
    for name in names:
        check_text(format, "variable", "" if name is None else name)
    return names[0] if len(names) == 1 else tuple(names)


def frozen_units(format: str, units: Any) -> str | tuple[tuple[str, str], ...] | None:
    """Returns the option 'units' as a text, or as pairs of names and texts; raises ValueError for anything else."""
    if not isinstance(units, Mapping | tuple) or not units:
        check_text(format, "units", units)
        return units  # type: ignore[return-value]
    pairs = tuple(units.items()) if isinstance(units, Mapping) else units
    if not all(isinstance(text, str) and text for _, text in pairs):
        raise ValueError(f"[{format}] 'units' must be a text, or one by name, but got {units!r}. Put it in quotes.")
    return tuple((str(name), text) for name, text in pairs)


def frozen_select(format: str, select: Any) -> tuple[tuple[str, Any], ...]:
    """Returns the option 'select' as pairs of dimensions and values; raises ValueError for anything else."""
    pairs = () if select is None else tuple(select.items()) if isinstance(select, Mapping) else select
    if not (isinstance(pairs, tuple) and all(is_number(value) for _, value in pairs)):
        raise ValueError(
            f"[{format}] 'select' must name dimensions with a value of each, such as {{level: 500}}, but got "
            f"{select!r}."
        )
    return tuple((str(name), value) for name, value in pairs)


def frozen_arguments(format: str, name: str, arguments: Any) -> tuple[tuple[str, Any], ...] | None:
    """Returns an option of arguments by name as pairs, or raises ValueError if it is not one of texts and numbers."""
    pairs = tuple(arguments.items()) if isinstance(arguments, Mapping) else arguments
    if pairs is not None and not (
        isinstance(pairs, tuple)
        and all(isinstance(key, str) and isinstance(value, str | int | float) for key, value in pairs)
    ):
        raise ValueError(
            f"[{format}] '{name}' must be texts and numbers by name, such as {{accutime: 5}}, but got {arguments!r}."
        )
    return pairs


def frozen_numbers(format: str, name: str, value: Any) -> tuple[float, ...] | None:
    """Returns an option of one or more finite numbers as a tuple; raises ValueError for anything else."""
    numbers = (
        (value,) if value is None or not isinstance(value, Sequence) or isinstance(value, str | bytes) else tuple(value)
    )
    if value is not None and not (numbers and all(is_number(n) and math.isfinite(n) for n in numbers)):
        raise ValueError(f"[{format}] '{name}' must be a number or a list of numbers but got {value!r}.")
    return None if value is None else numbers
