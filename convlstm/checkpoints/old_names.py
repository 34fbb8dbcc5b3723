"""Names that classes had in version 0.1, which checkpoints and configurations of that version still hold."""

from __future__ import annotations

from typing import Any

_ARCHITECTURES = (
    *("advection", "baselines", "extrapolation", "feedback", "frames", "gru", "motion", "perturbation", "predrnn"),
    *("resample", "sequence", "simvp", "st_lstm", "stack", "trajgru", "translators"),
)
MOVED = {
    **{f"convlstm.{name}": f"convlstm.architectures.{name}" for name in _ARCHITECTURES},
    "convlstm.training.loggers": "convlstm.runs.loggers",
    "datasets": "convlstm.datasets",
}
"""Modules and packages by the name that they had."""


def current(target: str) -> str:
    """Returns the name that a class, a function or a module has now."""
    for old, new in MOVED.items():
        if target == old or target.startswith(f"{old}."):
            return new + target.removeprefix(old)
    return target


def updated(description: Any) -> Any:
    """Returns a configuration whose every `_target_` has its name of now."""
    if isinstance(description, list):
        return [updated(item) for item in description]
    if not isinstance(description, dict):
        return description
    return {
        key: current(value) if key == "_target_" and isinstance(value, str) else updated(value)
        for key, value in description.items()
    }
