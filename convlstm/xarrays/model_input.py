"""A Dataset as the input of a model: its newest frames in the units of training, and the way back of forecasts."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.datasets.archives.steps import has_step, left_out
from convlstm.datasets.calendar_steps import moved
from convlstm.datasets.channels import Channels, Degrees
from convlstm.datasets.field_units import conversion
from convlstm.datasets.labelled_frames import LabelledFrames
from convlstm.datasets.readers.cf.period import TAKE_DIFFERENCES
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.windows import TOLERANCE, step_of
from convlstm.xarrays.library import xarray

import numpy as np

# What is to be done about a file, and about a Dataset.
_NAMED = "data['NAME'].attrs['units'] = 'mm/h'"
_PERIOD = "data['NAME'].attrs['accumulation_period'] = '5 minutes'"
_REMEDIES = {
    re.escape(TAKE_DIFFERENCES): "Take their differences: data.diff('time')",
    "give the minutes of each with the option 'step_minutes'": f"name the period of each: {_PERIOD}",
    "Give the minutes with the option 'step_minutes'": f"Name it: {_PERIOD}",
    r"Choose one by the option 'variable', or several as channels: reader\.variable=(\w+)": r"Choose one: data[['\1']]",
    r"reader\.select=\{(\w+): VALUE\}": r"data.sel(\1=VALUE)",
    "Name its units: reader.*as they are": f"Name its units: {_NAMED}, 'mm' (of the step between frames), 'dBZ'",
}
# Names of a dimension whose positions are fields.
_CHANNELS = ("channel", "channels", "variable", "band")


@dataclass(frozen=True)
class OwnUnits:
    """A forecast field in the words of the Dataset: `own = factor * forecast + offset`.

    Args:
        name: Name of its variable.
        units: Units of its values as the Dataset has them.
        factor, offset: The way from the units of the forecast.
        attributes: Attributes of the variable in the Dataset; none if its units cannot be those of a forecast.
    """

    name: str
    units: str
    factor: float
    offset: float
    attributes: dict[str, Any]


class ModelInput:
    """The newest frames of a Dataset for a model.

    Args:
        data: DataArray or Dataset.
        scale: Scale of the model.
        units: Units of the forecast, `Forecaster.units`.
        zr: `(a, b)` of Z = a R^b, for reflectivity.

    Attributes:
        dataset: The Dataset.
        labelled: Its frames.

    Raises:
        ValueError: The fields or their units do not fit the model, or times or coordinates are not understood.
    """

    def __init__(self, data: Any, scale: Any, units: str, zr: Sequence[float] = (200.0, 1.6)):
        self.dataset, names = _as_dataset(data)
        self._trained: list[Field] | None = None
        wanted: str | dict[str, str] | None = None
        if isinstance(scale, Channels):
            self._trained = [channel.field for channel in scale.fields]
            trained_names = [field.name for field in self._trained]
            names = trained_names if {*trained_names} <= {*self.dataset.data_vars} else names
        elif units in ("", "raw"):
            wanted = "raw"
        else:  # a variable of any name may have rain, if its units say so
            wanted = {str(n): str(v.attrs["units"]) for n, v in self.dataset.data_vars.items() if v.attrs.get("units")}
        try:
            self.labelled = LabelledFrames(self.dataset, names, units=wanted, zr=zr)
        except UnreadableError as error:
            text = str(error)
            for of_files, here in _REMEDIES.items():
                text = re.sub(of_files, here, text)
            raise ValueError(f"[Forecaster] the Dataset {text}.") from error
        self._conversions = self._to_training(units)
        targets = scale.target_channels if isinstance(scale, Channels) else range(len(self.labelled.fields))
        self.own = [self._own(number) for number in targets]

    @property
    def degrees(self) -> Degrees | None:
        """Latitude and longitude of the pixels, or None."""
        grid = self.labelled.grid
        return Degrees.of(grid.coordinates, grid.dimensions, (grid.shape[0], grid.shape[1]))

    @property
    def late(self) -> np.timedelta64:
        """Time from the end of a frame's period to the time in the Dataset, zero unless it names another moment."""
        labelled = self.labelled
        if labelled.frames not in self.dataset.variables:
            return np.timedelta64(0, "s")
        own = self.dataset.variables[labelled.frames].values
        return own.astype("datetime64[s]")[-1] - labelled.times[-1] if own.dtype.kind == "M" else np.timedelta64(0, "s")

    def step(self, trained: float | None, least: float = 0.0) -> float:
        """Returns the minutes from frame to frame of the input: those of training if the Dataset has such frames.

        Args:
            trained: Minutes in training, or None if any step will do.
            least: Then the least minutes between two frames; those between are left out. Default: none.

        Raises:
            ValueError: There is a single frame, so its step is unknown.
        """
        times = np.sort(self.labelled.times)
        own = step_of(times, np.zeros(len(times), int))
        if math.isnan(own):
            if trained is None:
                raise ValueError(
                    "[Forecaster] the Dataset must have two frames or more, which tell the step, but has one."
                )
            return float(trained)
        if trained is None:
            return own * (1 + left_out(own, least))
        if has_step(own, trained, times):
            return float(trained)
        warnings.warn(
            f"[Forecaster] the frames are {own:g} min apart, but the model was trained on steps of {trained:g} min, so "
            "it expects fields to move and change at another speed.",
            stacklevel=5,
        )
        return own

    def window(self, count: int | None, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the newest `count` frames (T, H, W, C) in the units of training, and their times (T,).

        Frames that are not there are NaN.

        Args:
            count: Number of frames, or None for all.
            step: Minutes from frame to frame.

        Raises:
            ValueError: The first ones are before the Dataset begins.
        """
        known = np.sort(self.labelled.times)
        if count is None:
            count = 1 + round(float((known[-1] - known[0]) / np.timedelta64(60, "s")) / step)
        times = moved(known[-1], -np.arange(count)[::-1], step, known)
        near = round(TOLERANCE * step * 60)
        positions = []
        for n, time in enumerate(times):
            distances = np.abs((self.labelled.times - time).astype(np.int64))
            position = int(distances.argmin())
            positions.append(position if distances[position] <= near else None)
            if positions[-1] is not None:
                times[n] = self.labelled.times[position]
        early = sum(place is None and time < known[0] for place, time in zip(positions, times, strict=True))
        if early:
            raise ValueError(
                f"[Forecaster] the model needs {count} frames, {step:g} min apart, but the Dataset has {count - early} "
                f"up to {known[-1]}: the first one is that of {known[0]}."
            )
        height, width = self.labelled.grid.shape
        frames = np.full((count, height, width, len(self.labelled.fields)), np.nan, np.float32)
        for n, place in enumerate(positions):
            if place is not None:
                frames[n] = self.labelled.frame(place)
        factor, offset = np.array(self._conversions, np.float64).T
        if not ((factor == 1) & (offset == 0)).all():
            frames = (frames * factor + offset).astype(np.float32)
        return frames, times

    def after(self, until: np.datetime64, count: int, step: float) -> np.ndarray:
        """Returns the times of `count` frames after a time, by months if the frames are monthly."""
        return moved(until, np.arange(1, count + 1), step, np.sort(self.labelled.times))

    def _to_training(self, units: str) -> list[tuple[float, float]]:
        """Returns factor and offset of each field, to the units of training; raises ValueError if there are none."""
        given = self.labelled.fields
        if self._trained is None:
            if units in ("", "raw"):
                return [(1.0, 0.0)] * len(given)
            wanted = [units] * len(given)
        else:
            wanted = [field.units for field in self._trained]
        pairs = [conversion(a.units, b) for a, b in zip(given, wanted, strict=False)]
        if len(given) != len(wanted) or None in pairs:
            trained = units if self._trained is None else "; ".join(map(str, self._trained))
            raise ValueError(
                f"[Forecaster] the model was trained on {trained}, but the Dataset has {'; '.join(map(str, given))}. "
                "Give it the variables of training, and each its units, data['NAME'].attrs['units'] = 'degC'; units of "
                "another quantity cannot be converted."
            )
        return [pair for pair in pairs if pair is not None]

    def _own(self, number: int) -> OwnUnits:
        name, field = self.labelled.names[number], self.labelled.fields[number]
        attributes = dict(self.dataset[name].attrs)
        back = self.labelled.to_own_units(number)
        factor, offset = self._conversions[number]
        if back is None:  # reflectivity has become rain rate
            name = field.name if field.name not in self.dataset else f"{name}_as_{field.name}"
            about = {"units": "mm h-1", "standard_name": field.standard_name, "long_name": field.long_name}
            return OwnUnits(name, "mm h-1", 1 / factor, -offset / factor, about)
        return OwnUnits(name, str(attributes.get("units", "")), back / factor, -offset * back / factor, attributes)


def placed(scale: Any, data: ModelInput) -> Any:
    """Returns a scale whose fixed fields and climatology are those of the Dataset's pixels.

    Raises:
        ValueError: The Dataset has another grid than that of training.
    """
    if not isinstance(scale, Channels):
        return scale
    grid = data.labelled.grid
    scale.check_place(grid)
    return scale.part(0, 0, *grid.shape)


def _as_dataset(data: Any) -> tuple[Any, list[str]]:
    """Returns a Dataset, and the names of its fields if they are known."""
    xr = xarray()
    if isinstance(data, xr.Dataset):
        return data, []
    along = next((name for name in _CHANNELS if name in data.dims), None)
    if along is None:
        name = "field" if data.name is None else str(data.name)
        return data.to_dataset(name=name), [name]
    labels = data[along].values if along in data.coords else np.arange(data.sizes[along])
    names = [str(label) if isinstance(label, str) else f"{data.name or 'channel'}_{label}" for label in labels]
    parts = {name: data.isel({along: n}).drop_vars(along, errors="ignore").rename(name) for n, name in enumerate(names)}
    return xr.Dataset(parts), names
