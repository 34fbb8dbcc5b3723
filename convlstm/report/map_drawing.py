"""Maps of fields in pictures: colours, missing pixels, times and the scale bar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.evaluation.lead_times import lead_time
from convlstm.report.chart_descriptions import check_positive
from convlstm.report.frame_panel import sequences_of
from convlstm.report.style import RULE, SOFT

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

# Colours of missing pixels and of their hatching.
MISSING, HATCH = "#dcd6cc", "#c6bcab"
# Mean width in pixels of the letters beside a colour bar.
_LETTER = 7


@dataclass(frozen=True)
class Scale(ABC):
    """The colours of values.

    Attributes:
        colours: The colours; missing pixels are transparent.
        norm: Mapping from values to colours.
        label: Title of the colour bar, with the unit.
        short: Title of a bar that has no room for the label.
    """

    colours: Colormap
    norm: Normalize
    label: str
    short: str

    @abstractmethod
    def bar(self, room: float) -> dict[str, Any]:
        """Returns the options of a colour bar that has room for so many numbers."""


@dataclass(frozen=True)
class Maps:
    """A sequence to draw.

    Attributes:
        inputs: (T_in, H, W), NaN where they are not finite.
        panels: The truth and each forecast, (horizon, H, W), by name; likewise.
        times: Times (UTC) of the inputs and the targets, such as 2010-08-26T13:05; None if they are unknown.
        frame_interval: Minutes between two frames, or None.
    """

    inputs: np.ndarray
    panels: dict[str, np.ndarray]
    times: list[str] | None
    frame_interval: float | None

    @classmethod
    def of(
        cls,
        owner: str,
        inputs: np.ndarray,
        targets: np.ndarray,
        forecasts: Mapping[str, np.ndarray],
        times: np.ndarray | None,
        frame_interval: float | None,
    ) -> Maps:
        """Returns the maps of a sequence of (T, H, W) or (T, H, W, 1).

        Raises:
            ValueError: The shapes or the times do not fit each other, or `frame_interval` is not positive.
        """
        first, *others = _fields(owner, inputs, targets, forecasts)
        check_positive(owner, "frame_interval", frame_interval)
        moments = clock(owner, times, len(first) + len(others[0]))
        return cls(first, dict(zip(("truth", *forecasts), others, strict=True)), moments, frame_interval)

    @property
    def observed(self) -> list[np.ndarray]:
        """The inputs and the truth."""
        return [self.inputs, self.panels["truth"]]

    @property
    def missing(self) -> bool:
        """True if a pixel is missing."""
        return any(bool(np.isnan(field).any()) for field in (self.inputs, *self.panels.values()))

    def stamps(self, at: Sequence[int]) -> list[list[str]]:
        """Returns the lead time and, if known, the time of day of frames; `at` counts frames from the first input."""
        return stamps(self.times, len(self.inputs), at, self.frame_interval)


def draw_field(axes: Axes, frame: np.ndarray, scale: Scale, pixels: float) -> None:
    """Draws a field (H, W) over all of the axes, which are `pixels` wide. Missing pixels are hatched."""
    # The hatching is the background. It is visible through missing pixels, which are transparent.
    axes.patch.set(facecolor=MISSING, hatch="////", edgecolor=HATCH, linewidth=0)
    # If the picture has fewer pixels than the field, their means are drawn.
    shrunk = frame.shape[1] > pixels
    how: dict[str, Any] = {"interpolation": "hanning" if shrunk else "nearest", "interpolation_stage": "data"}
    axes.imshow(np.ma.masked_invalid(frame), cmap=scale.colours, norm=scale.norm, aspect="auto", **how)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=RULE, linewidth=0.6)


def draw_bar(figure: Figure, axes: Axes, scale: Scale) -> None:
    """Fills the axes with the colour bar of a scale."""
    colours = ScalarMappable(scale.norm, scale.colours)
    height = axes.get_window_extent().height
    options = scale.bar(height / 13)
    bar = figure.colorbar(colours, cax=axes, extendfrac="auto", extendrect=True, format="%g", **options)
    bar.outline.set(color=RULE, linewidth=0.6)
    axes.minorticks_off()
    axes.tick_params(labelsize=9, colors=SOFT, length=2)
    bar.set_label(scale.label if _LETTER * len(scale.label) <= height else scale.short, size=9, color=SOFT)


def _fields(
    owner: str, inputs: np.ndarray, targets: np.ndarray, forecasts: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Returns inputs, targets and every forecast as (T, H, W), NaN where they are not finite.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    arrays = [np.asarray(value, np.float32) for value in (inputs, targets, *forecasts.values())]
    arrays = [value[..., None] if value.ndim == 3 else value for value in arrays]
    named = dict(zip(forecasts, arrays[2:], strict=True))
    if any(value.ndim != 4 or value.shape[-1] != 1 or 0 in value.shape for value in arrays[:2]):
        raise ValueError(
            f"[{owner}] 'inputs' and 'targets' must be one sequence of fields, (T, H, W) or (T, H, W, 1), "
            f"no side 0, but got {np.shape(inputs)} and {np.shape(targets)}."
        )
    sequences = sequences_of(owner, arrays[0], arrays[1], named)
    return [np.where(np.isfinite(value[0, ..., 0]), value[0, ..., 0], np.nan) for value in sequences]


def clock(owner: str, times: np.ndarray | None, count: int) -> list[str] | None:
    """Returns each frame's time as 2010-08-26T13:05, or None if the times are unknown.

    Raises:
        ValueError: The times are not datetime64 of (count,).
    """
    if times is None:
        return None
    array = np.asarray(times)
    if array.dtype.kind != "M" or array.shape != (count,):
        raise ValueError(
            f"[{owner}] 'times' must be datetime64 of ({count},), a time (UTC) for each input and each target, "
            f"but got {array.dtype} of {array.shape}."
        )
    return [str(time) for time in array.astype("datetime64[m]")]


def in_words(time: str) -> str:
    """Returns a time of `clock` as 2010-08-26 13:05 UTC."""
    return f"{time.replace('T', ' ')} UTC"


def stamps(times: list[str] | None, t_in: int, at: Sequence[int], frame_interval: float | None) -> list[list[str]]:
    """Returns the lead time and, if known, the time of day of frames; `at` counts frames from the first input."""
    leads = [lead_time(t - t_in + 1, frame_interval) for t in at]
    return [[lead, *([] if times is None else [times[t][11:]])] for lead, t in zip(leads, at, strict=True)]


def scale_bar(width_km: float) -> float:
    """Returns a length in km of about a third of a field that is `width_km` wide: 1, 2 or 5 times a power of ten."""
    power = 10 ** np.floor(np.log10(width_km * 0.4))
    return float(max(step * power for step in (1, 2, 5) if step * power <= width_km * 0.4))
