"""Names of version 0.1 for classes that have moved since. Its checkpoints and configurations still hold them."""

from __future__ import annotations

from typing import Any

MOVED = {
    "convlstm.advection": "convlstm.architectures.advection_residual",
    "convlstm.baselines": "convlstm.architectures.baselines",
    "convlstm.ensemble": "convlstm.architectures.ensemble",
    "convlstm.extrapolation": "convlstm.architectures.extrapolation",
    "convlstm.feedback": "convlstm.architectures.feedback",
    "convlstm.gru": "convlstm.architectures.convgru",
    "convlstm.perturbation": "convlstm.architectures.perturbation",
    "convlstm.predrnn": "convlstm.architectures.predrnn",
    "convlstm.resample": "convlstm.architectures.resample",
    "convlstm.sequence": "convlstm.architectures.convlstm_sequence",
    "convlstm.simvp": "convlstm.architectures.simvp",
    "convlstm.st_lstm": "convlstm.architectures.st_lstm",
    "convlstm.stack": "convlstm.architectures.convlstm_stack",
    "convlstm.trajgru": "convlstm.architectures.trajgru",
    "convlstm.translators": "convlstm.architectures.simvp_translators",
    "convlstm.training.loggers": "convlstm.runs.loggers",
    "datasets": "convlstm.datasets",
}
"""Old names of modules and packages, with their present names."""


def current(target: str) -> str:
    """Returns the present name of a class, a function or a module."""
    for old, new in MOVED.items():
        if target == old or target.startswith(f"{old}."):
            return new + target.removeprefix(old)
    return target


def updated(description: Any) -> Any:
    """Returns a configuration in which every `_target_` has its present name."""
    if isinstance(description, list):
        return [updated(item) for item in description]
    if not isinstance(description, dict):
        return description
    return {
        key: current(value) if key == "_target_" and isinstance(value, str) else updated(value)
        for key, value in description.items()
    }
