"""What the scores of rain are called, in what unit they are, and which way is better."""

from __future__ import annotations

SUFFIXES = {"mm/h": "mmh", "dBZ": "dBZ", "raw": "raw"}
"""How a name writes the units of the data."""

ENSEMBLE_SUFFIXES = SUFFIXES | {"intensity": "intensity"}
"""The same of the scores of ensembles, which also know frames in [0, 1]."""

# Of every kind of score: whether more is better, None where the best value lies between others.
_PURE = {
    "csi": True,
    "pod": True,
    "far": False,
    "hss": True,
    "bias": None,
    "fss": True,
    "csi_mean": True,
    "spectral_ratio": None,
    "brier": False,
    "spread_skill": None,
}
_ERRORS = {"mae": False, "rmse": False, "mean_error": None}
_BALANCED = {"b_mse": False, "b_mae": False}
_ENSEMBLE = {"crps": False, "crps_fair": False, "spread": None, "rmse_of_mean": False}


def at(threshold: float, units: str) -> str:
    """The part of a name that says at which threshold: "@0.5mmh", or "@74" of raw values."""
    return f"@{threshold:g}{'' if units in ('raw', 'intensity') else SUFFIXES[units]}"


def error(kind: str, units: str) -> str:
    """Name of an error in units of the data: "mae_mmh"."""
    return f"{kind}_{SUFFIXES[units]}"


def balanced(kind: str, units: str) -> str:
    """Name of a balanced error: "b_mse" where the data are in mm/h, as the papers have them, else "b_mse_raw"."""
    return kind if units == "mm/h" else error(kind, units)


def ensemble(kind: str, units: str) -> str:
    """Name of a score of an ensemble in units of the data: "crps_mmh", "spread_intensity"."""
    return f"{kind}_{ENSEMBLE_SUFFIXES[units]}"


def _parse(name: str) -> tuple[str, str]:
    """The kind of a score and the units in its name, "" for a pure number."""
    kind = name.partition("@")[0].partition("_pool")[0]
    if kind in _PURE:
        return kind, ""
    for units in SUFFIXES:
        for kind in _ERRORS:
            if name == error(kind, units):
                return kind, units
        for kind in _BALANCED:
            if name == balanced(kind, units):
                return kind, units
    for units in ENSEMBLE_SUFFIXES:
        for kind in _ENSEMBLE:
            if name == ensemble(kind, units):
                return kind, units
    known = ", ".join([*_PURE, *(error(kind, "mm/h") for kind in (*_ERRORS, *_ENSEMBLE)), *_BALANCED])
    raise ValueError(f"[verification] there is no score {name!r}. The kinds are: {known}.")


def unit(name: str) -> str:
    """Unit of a score of `RainMetrics` or `EnsembleMetrics`; "1" is a pure number.

    Raises:
        ValueError: No score has this name.
    """
    kind, units = _parse(name)
    if kind in _PURE:
        return "1"
    if kind in _ERRORS or kind in _ENSEMBLE:
        return units
    return f"weighted ({units})^2 per frame" if kind == "b_mse" else f"weighted {units} per frame"


def higher_is_better(name: str) -> bool | None:
    """Whether more of a score of `RainMetrics` or `EnsembleMetrics` is better.

    Returns:
        True or False; None for those whose best value is between others: `bias`, `spectral_ratio` and `spread_skill`
        are best at 1, `mean_error` is best at 0, `spread` is best at the error of the mean.

    Raises:
        ValueError: No score has this name.
    """
    return (_PURE | _ERRORS | _BALANCED | _ENSEMBLE)[_parse(name)[0]]
