"""What the pictures call a score: its title, its axis and which way is better."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convlstm.metrics import higher_is_better
from convlstm.metrics.names import SUFFIXES
from convlstm.metrics.pixels import HIGHER_IS_BETTER


@dataclass(frozen=True)
class Label:
    """The words for a score.

    Attributes:
        title: What it is called.
        axis: What its axis says, with the unit.
        higher: Whether more is better; None where the best value is between others.
        best: The value that is best, where `higher` is None.
        from_zero: Whether its axis starts at 0.
    """

    title: str
    axis: str
    higher: bool | None
    best: float | None = None
    from_zero: bool = False

    @property
    def note(self) -> str:
        if self.best is not None:
            return f"{self.best:g} is best"
        if self.higher is None:
            return "the mean's error is best"  # of spread alone
        return "higher is better" if self.higher else "lower is better"


# Of frames: title, axis.
_FRAMES = {
    "mse_per_frame": ("MSE per frame", "squared intensity, summed over the frame"),
    "mae_per_frame": ("MAE per frame", "absolute intensity, summed over the frame"),
    "mse_per_pixel": ("MSE per pixel", "squared intensity"),
    "mae_per_pixel": ("MAE per pixel", "absolute intensity"),
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM", "SSIM (data range L = 1)"),
    "ssim_openstl": ("SSIM as in OpenSTL", "SSIM (data range L = 2)"),
}

# Of rain, pure numbers: title, axis, whether the axis starts at 0.
_RAIN = {
    "csi": ("CSI", "critical success index", True),
    "pod": ("POD", "probability of detection", True),
    "far": ("FAR", "false alarm ratio", True),
    "hss": ("HSS", "Heidke skill score", False),
    "bias": ("bias", "pixels forecast / pixels observed", True),
    "fss": ("FSS", "fractions skill score", True),
    "csi_mean": ("CSI-M", "CSI, mean over the thresholds", True),
    "spectral_ratio": ("sharpness", "power of short waves, forecast / truth", True),
    "brier": ("Brier score", "squared error of the probability", True),
    "spread_skill": ("spread-skill ratio", "spread / error of the mean", True),
}

# Of rain, in its units: title, axis, the best value where that is between others.
_ERRORS = {
    "mae": ("MAE", "mean absolute error ({})", None),
    "rmse": ("RMSE", "root mean square error ({})", None),
    "mean_error": ("mean error", "forecast - truth ({})", 0.0),
    "b_mse": ("B-MSE", "weighted squares per frame, ({})\u00b2", None),
    "b_mae": ("B-MAE", "weighted errors per frame ({})", None),
    "crps": ("CRPS", "continuous ranked probability score ({})", None),
    "crps_fair": ("fair CRPS", "CRPS of endlessly many members ({})", None),
    "spread": ("spread", "standard deviation of the members ({})", None),
    "rmse_of_mean": ("RMSE of the mean", "root mean square error of the mean ({})", None),
}

_UNITS = "|".join(SUFFIXES.values())
_AT = re.compile(
    rf"(?P<kind>[a-z]+)@(?P<threshold>[-+.e\d]+?)(?P<unit>{_UNITS}|)(_(?P<scale>\d+)px|_pool(?P<pool>\d+))?"
)
_POOLED = re.compile(r"csi_mean(_pool(?P<pool>\d+))?")
_SHORT = re.compile(r"spectral_ratio@(?P<below>\d+)px")
_ERROR = re.compile(rf"(?P<kind>{'|'.join(_ERRORS)})(_(?P<unit>{_UNITS}|intensity))?")


@dataclass(frozen=True)
class Event:
    """The parts of a score's name that has a threshold, such as "fss@2mmh_16px" or "csi@2mmh_pool4".

    Attributes:
        kind: Of score: "csi", "fss".
        threshold: From which value on there is an event.
        at: The threshold with its unit, as text.
        suffix: The threshold with its unit, as in the name.
        scale: Side of the window in pixels, if the name has one.
        pool: Side of the pooled squares in pixels, if the name has one.
    """

    kind: str
    threshold: float
    at: str
    suffix: str
    scale: int | None
    pool: int | None


def event(metric: str) -> Event | None:
    """The parts of a score's name; None if it has no threshold."""
    found = _AT.fullmatch(metric)
    if found is None or found["kind"] not in _RAIN:
        return None
    threshold, unit = float(found["threshold"]), unit_of(found["unit"])
    at = f"{threshold:g} {unit}".rstrip()
    scale, pool = (None if found[part] is None else int(found[part]) for part in ("scale", "pool"))
    return Event(found["kind"], threshold, at, f"@{found['threshold']}{found['unit']}", scale, pool)


def unit_of(suffix: str) -> str:
    """The unit that a name has as "mmh"; nothing for raw values."""
    return next((unit for unit, short in SUFFIXES.items() if short == suffix and unit != "raw"), "")


def spelled(short: str) -> str:
    """A threshold or a size as names have it, in words: "2mmh" is "2 mm/h", "<16px" is "<16 px"; others as they are."""
    found = re.fullmatch(rf"([<+]?[-+.e\d]+)({_UNITS}|px)", short)
    return short if found is None else f"{found[1]} {unit_of(found[2]) or found[2]}"


def full_title(metric: str) -> str:
    """What a score is called, with the size of its windows or squares, so that no two scores are called the same."""
    parts, pooled = event(metric), _POOLED.fullmatch(metric)
    scale = None if parts is None else parts.scale
    pool = pooled["pool"] if pooled else None if parts is None else parts.pool
    title = label(metric).title
    if scale is not None:
        return f"{title}, windows of {scale} x {scale} px"
    return title if pool is None else f"{title}, maxima of {pool} x {pool} px"


def unit_of_error(metric: str) -> str:
    """The unit of a score that has that of the data, such as "crps_mmh", in words."""
    found = _ERROR.fullmatch(metric)
    suffix = (found["unit"] if found else None) or SUFFIXES["mm/h"]
    return unit_of(suffix) or {"intensity": "intensity"}.get(suffix, "raw value")


def label(metric: str) -> Label:
    """The words for a score of `FrameMetrics` or `RainMetrics`; any other one is called by its name."""
    if metric in _FRAMES:
        higher = metric in HIGHER_IS_BETTER
        return Label(*_FRAMES[metric], higher, from_zero=not higher)
    parts = event(metric)
    if parts is not None:
        return _rain(metric, parts.kind, f"{_RAIN[parts.kind][0]} at {parts.at}", parts.scale or parts.pool)
    if found := _POOLED.fullmatch(metric):
        return _rain(metric, "csi_mean", "CSI-M", found["pool"])
    if found := _SHORT.fullmatch(metric):
        return _rain(metric, "spectral_ratio", f"sharpness below {found['below']} px", None)
    if metric == "spread_skill":
        return _rain(metric, metric, _RAIN[metric][0], None)
    if found := _ERROR.fullmatch(metric):
        title, axis, best = _ERRORS[found["kind"]]
        return Label(title, axis.format(unit_of_error(metric)), higher_is_better(metric), best, best is None)
    return Label(metric, metric, False, from_zero=True)


def _rain(metric: str, kind: str, title: str, size: int | str | None) -> Label:
    _, axis, from_zero = _RAIN[kind]
    if size is not None:
        axis += f", {size} x {size} px"
    higher = higher_is_better(metric)
    return Label(title, axis, higher, 1.0 if higher is None else None, from_zero)
