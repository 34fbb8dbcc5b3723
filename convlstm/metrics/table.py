"""The table of scores: the title, the unit, the best value and the use of each.

The log of training, the files and tables of an evaluation, and the report all read it. A new score needs its formula
and an entry here.

A name such as "csi@2mmh_pool4" is a kind of score ("csi") and its parameters: the unit of an error ("mae_mmh"), the
threshold of an event ("csi@2mmh"), the longest wave ("spectral_ratio@16px"), the side of a window ("fss@2mmh_16px") or
of pooled squares ("csi_mean_pool4"), or the name and units of a field ("field_rmse[sst degC]").
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from string import Formatter
from typing import Any

Scores = dict[str, dict[str, Any]]
"""Values of scores by name, as the `compute` method of a metric returns them."""

SUFFIXES = {"mm/h": "mmh", "dBZ": "dBZ", "raw": "raw", "intensity": "intensity"}
"""Units of data as names write them; an intensity is a value of a frame in [0, 1]."""

RAIN_UNITS = ("mm/h", "dBZ", "raw")

HIGHER, LOWER = math.inf, -math.inf
"""Best values of scores of which higher values, or lower values, are better."""


@dataclass(frozen=True)
class Score:
    """An entry of the table. The function `score` fills in `{at}`, `{short}`, `{size}`, `{unit}` and `{units}`.

    Attributes:
        title: Heading of its charts and rows. `{at}` is the threshold, `{size}` the longest wave in pixels.
        axis: Title of its axis. `{unit}` is the unit of the data.
        best: Best value, `HIGHER` or `LOWER`; None if no value of the score alone is best.
        unit: Unit in files; "1" is a pure number. `{units}` is the unit of the data.
        heading: The two lines above its column in tables of means; `{short}` is the threshold. Default: no column.
        form: Format of its values in these tables; "" keeps four digits of the smallest one. Default: ".3f".
        from_zero: True if its axis starts at 0. Default: True.
        chart: True if the report draws it against lead time. Default: False.
        logged: True if training computes it on the validation split. Default: False.
        kind: Key of the entry.
        threshold: Lowest value of the event, if there is one.
        at: The threshold as in the name, such as "@2mmh"; "" if there is none.
        scale: Side of the window in pixels, if there is one.
        pool: Side of the pooled squares in pixels, if there are any.
        field: Name of the field; "" if the data are no fields in their own units.
    """

    title: str
    axis: str
    best: float | None
    unit: str = "1"
    heading: tuple[str, ...] = ()
    form: str = ".3f"
    from_zero: bool = True
    chart: bool = False
    logged: bool = False
    kind: str = ""
    threshold: float | None = None
    at: str = ""
    scale: int | None = None
    pool: int | None = None
    field: str = ""

    @property
    def higher_is_better(self) -> bool | None:
        """True or False; None if the best value lies between others."""
        return {HIGHER: True, LOWER: False}.get(self.best)  # type: ignore[arg-type]

    @property
    def best_value(self) -> float | None:
        """The best value if it lies between others, else None."""
        return None if self.best in (HIGHER, LOWER) else self.best

    @property
    def note(self) -> str:
        """The better direction in words."""
        if self.best is None:
            return "best if equal to the error of the mean"
        return {HIGHER: "higher is better", LOWER: "lower is better"}.get(self.best, f"{self.best:g} is best")

    @property
    def choose(self) -> Callable[[Iterable[float]], float] | None:
        """A function that returns the best of several values; None if no value of the score alone is best."""
        if self.best is None or math.isinf(self.best):
            return {HIGHER: max, LOWER: min}.get(self.best)  # type: ignore[arg-type]
        return lambda values: min(values, key=lambda value: abs(value - self.best))  # type: ignore[operator]

    @property
    def full_title(self) -> str:
        """The title with the size of windows or squares, so that no two scores have the same one."""
        if self.scale is not None:
            return f"{self.title}, windows of {self.scale} x {self.scale} px"
        return self.title if self.pool is None else f"{self.title}, maxima of {self.pool} x {self.pool} px"


FRAMES = {
    "mse_per_frame": Score(
        "MSE per frame", "squared intensity, summed over the frame", LOWER, "intensity^2 per frame",
        heading=("MSE", "per frame"), form="", chart=True, logged=True,
    ),
    "mae_per_frame": Score(
        "MAE per frame", "absolute intensity, summed over the frame", LOWER, "intensity per frame",
        heading=("MAE", "per frame"), form="", logged=True,
    ),
    "mse_per_pixel": Score("MSE per pixel", "squared intensity", LOWER, "intensity^2 per pixel"),
    "mae_per_pixel": Score("MAE per pixel", "absolute intensity", LOWER, "intensity per pixel"),
    "ssim": Score(
        "SSIM", "SSIM (data range L = 1)", HIGHER, heading=("SSIM", "L=1"), form=".4f", from_zero=False, chart=True,
    ),
    "ssim_openstl": Score(
        "SSIM as in OpenSTL", "SSIM (data range L = 2)", HIGHER, heading=("SSIM", "L=2"), form=".4f", from_zero=False,
    ),
    "psnr": Score(
        "PSNR", "dB", HIGHER, "dB", heading=("PSNR", "dB"), form=".2f", from_zero=False, chart=True, logged=True,
    ),
}  # fmt: skip
"""Scores of frames in [0, 1], in the order of their charts."""

RAIN = {
    "csi": Score("CSI at {at}", "critical success index", HIGHER, heading=("CSI", "{short}"), chart=True),
    "fss": Score("FSS at {at}", "fractions skill score", HIGHER, heading=("FSS", "{size}px"), chart=True),
    "bias": Score("Bias at {at}", "pixels forecast / pixels observed", 1.0, heading=("bias", "{short}"), chart=True),
    "spectral_ratio": Score(
        "Sharpness below {size} px", "power of short waves, forecast / truth", 1.0,
        heading=("power", "<{size}px"), chart=True,
    ),
    "mae": Score("MAE", "mean absolute error ({unit})", LOWER, "{units}", heading=("MAE", "{units}"), chart=True),
    "rmse": Score("RMSE", "root mean square error ({unit})", LOWER, "{units}"),
    "mean_error": Score("Mean error", "forecast - truth ({unit})", 0.0, "{units}", from_zero=False),
    "b_mse": Score("B-MSE", "weighted squares per frame, ({unit})\u00b2", LOWER, "weighted ({units})^2 per frame"),
    "b_mae": Score("B-MAE", "weighted errors per frame ({unit})", LOWER, "weighted {units} per frame"),
    "pod": Score("POD at {at}", "probability of detection", HIGHER),
    "far": Score("FAR at {at}", "false alarm ratio", LOWER),
    "hss": Score("HSS at {at}", "Heidke skill score", HIGHER, from_zero=False),
    "csi_mean": Score("CSI-M", "CSI, mean over the thresholds", HIGHER),
}  # fmt: skip
"""Scores of rain in physical units, in the order of their columns."""

FIELDS = {
    "field_rmse": Score(
        "RMSE of {field}", "root mean square error ({units})", LOWER, "{units}", ("RMSE", "{units}"), "", chart=True,
    ),
    "field_mae": Score(
        "MAE of {field}", "mean absolute error ({units})", LOWER, "{units}", ("MAE", "{units}"), "", chart=True,
    ),
    "field_bias": Score(
        "Mean error of {field}", "forecast - truth ({units})", 0.0, "{units}", ("bias", "{units}"), "+.3g",
        from_zero=False, chart=True,
    ),
    "correlation": Score(
        "Correlation of {field}", "correlation of forecast and truth", HIGHER, heading=("correlation", ""),
        from_zero=False, chart=True,
    ),
    "field_csi": Score(
        "CSI of {field} {units}", "critical success index", HIGHER, heading=("CSI", "{field}"), chart=True,
    ),
}  # fmt: skip
"""Scores of fields in their own units, in the order of their columns."""

ENSEMBLE = {
    "crps": Score(
        "CRPS", "continuous ranked probability score ({unit})", LOWER, "{units}", ("crps", "{units}"), ".4f",
    ),
    "crps_fair": Score(
        "Fair CRPS", "CRPS of infinitely many members ({unit})", LOWER, "{units}", ("crps_fair", "{units}"), ".4f",
    ),
    "spread": Score(
        "Spread", "standard deviation of the members ({unit})", None, "{units}", ("spread", "{units}"), ".4f",
    ),
    "rmse_of_mean": Score(
        "RMSE of the mean", "root mean square error of the mean ({unit})", LOWER, "{units}",
        ("rmse_of_mean", "{units}"), ".4f",
    ),
    "spread_skill": Score(
        "Spread-skill ratio", "spread / error of the mean", 1.0, heading=("spread_skill", "1"), form=".4f",
    ),
    "brier": Score(
        "Brier score at {at}", "squared error of the probability", LOWER, heading=("Brier", "{short}"), form=".4f",
    ),
}  # fmt: skip
"""Scores of ensembles."""

FIELD_ENSEMBLE = {
    f"field_{kind}": replace(
        entry,
        title="Brier score of {field} {units}" if kind == "brier" else f"{entry.title} of {{field}}",
        axis=entry.axis.replace("{unit}", "{units}"),
        heading=("Brier", "{field}") if kind == "brier" else entry.heading,
    )
    for kind, entry in ENSEMBLE.items()
}
"""Scores of ensembles of fields in their own units."""

TABLE = {"loss": Score("Loss", "loss", LOWER), **FRAMES, **RAIN, **FIELDS, **ENSEMBLE, **FIELD_ENSEMBLE}
"""All scores by kind."""

PLAIN_IN_MMH = ("b_mse", "b_mae")
"""Errors whose names have no unit if the unit is mm/h, as in the papers."""

_NAME = re.compile(
    r"(?P<kind>[a-z_]+?)(_(?P<suffix>mmh|dBZ|raw|intensity))?"
    r"(@(?P<wave>\d+)px|@(?P<threshold>[-+.e\d]+?)(?P<at>mmh|dBZ|)(_(?P<scale>\d+)px)?)?(_pool(?P<pool>\d+))?"
    r"(\[(?P<field>[^\] ]+) (?P<field_units>[^\]]+)\])?"
)


@functools.lru_cache(maxsize=4096)
def score(name: str) -> Score:
    """Returns the entry of the table for a name.

    Raises:
        ValueError: No score has this name.
    """
    parts = _NAME.fullmatch(name)
    entry = TABLE.get(parts["kind"]) if parts else None
    if parts is None or entry is None or not _fits(entry, parts):
        raise ValueError(
            f"[metrics] there is no score {name!r}. The kinds are: {', '.join(TABLE)}. Names add the unit or the "
            "threshold: mae_mmh, csi@2mmh."
        )
    units = parts["field_units"] or _units(parts["suffix"] or "mmh")
    threshold = None if parts["threshold"] is None else float(parts["threshold"])
    short = "" if threshold is None else f"{parts['threshold']}{parts['at']}"
    scale, pool = (None if parts[size] is None else int(parts[size]) for size in ("scale", "pool"))
    words: dict[str, Any] = {"unit": unit_in_words(units), "units": units, "short": short, "at": spelled(short)}
    words["field"] = parts["field"]
    words["size"] = parts["wave"] or parts["scale"] or parts["pool"]
    return replace(
        entry,
        title=entry.title.format(**words),
        axis=entry.axis.format(**words) + (f", {words['size']} x {words['size']} px" if scale or pool else ""),
        unit=entry.unit.format(**words),
        heading=tuple(line.format(**words) for line in entry.heading),
        kind=parts["kind"],
        threshold=threshold,
        at=short and f"@{short}",
        scale=scale,
        pool=pool,
        field=parts["field"] or "",
    )


def _fits(entry: Score, parts: re.Match[str]) -> bool:
    """Returns True if a name has the parts that its kind needs, and no others."""
    needed = {field for _, field, *_ in Formatter().parse(entry.title + entry.axis) if field}
    plain = parts["kind"] in PLAIN_IN_MMH
    present = {
        "at": parts["threshold"] is not None,
        "size": bool(parts["wave"]),
        "unit": bool(parts["suffix"]) or plain,
        "field": bool(parts["field"]),
    }
    return needed - {"units"} == {field for field, value in present.items() if value}


def logged_score(column: str) -> Score:
    """Returns the entry of the table for a column of a run's log, such as "val_psnr" or "train_loss".

    An unknown score has its column's name as its title, and lower values are better.
    """
    kind = column.removeprefix("val_").removeprefix("train_")
    try:
        return score(kind)
    except ValueError:
        return Score(kind, kind, LOWER)


def at(threshold: float, units: str) -> str:
    """Returns the part of a name that holds a threshold: "@0.5mmh", or "@74" for raw values and intensities."""
    return f"@{threshold:g}{'' if units in ('raw', 'intensity') else SUFFIXES[units]}"


def in_units(kind: str, units: str) -> str:
    """Returns the name of a score in the unit of the data: "mae_mmh", "b_mse_raw"; "b_mse" for mm/h."""
    return kind if units == "mm/h" and kind in PLAIN_IN_MMH else f"{kind}_{SUFFIXES[units]}"


def of_field(kind: str, name: str, units: str) -> str:
    """Returns the name of a score of a field: "field_rmse[sst degC]"."""
    plain_units = units.translate(str.maketrans("", "", "[]")).strip() or "raw"
    return f"{kind}[{plain_field(name)} {plain_units}]"


def plain_field(name: str) -> str:
    """Returns the name of a field as names of scores have it, without spaces and brackets."""
    return "_".join(name.translate(str.maketrans("[]", "  ")).split())


def unit_in_words(units: str) -> str:
    """Returns a unit of the data as the axes of charts have it."""
    return "raw value" if units == "raw" else units


def spelled(short: str) -> str:
    """Returns a threshold or a size in words: "2 mm/h" for "2mmh", "<16 px" for "<16px"; other text unchanged."""
    parts = re.fullmatch(r"([<+]?[-+.e\d]+)(mmh|dBZ|px)", short)
    return short if parts is None else f"{parts[1]} {_units(parts[2])}"


def _units(suffix: str) -> str:
    return next((units for units, text in SUFFIXES.items() if text == suffix), suffix)
