"""Checks of the readers' options, which may come from a configuration."""

from __future__ import annotations

import math
from typing import Any

from convlstm.datasets.arguments import is_number

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
    """Raises ValueError if `step_minutes` is neither None nor a finite number above 0."""
    if step_minutes is not None and not (is_number(step_minutes) and 0 < step_minutes < math.inf):
        raise ValueError(f"[{format}] 'step_minutes' must be a number of minutes above 0 but got {step_minutes!r}.")
