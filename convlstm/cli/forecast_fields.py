"""The fields of a forecast: those of the input in the units of training, their names, and their place."""

from __future__ import annotations

from convlstm.cli.forecast_model import is_without_weights
from convlstm.cli.program import fail
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.channels import Channels, Degrees
from convlstm.datasets.field_units import conversion
from convlstm.datasets.readers.grid import Field
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import FieldScale
from convlstm.writers import Place, Quantity
from convlstm.xarrays import places

import numpy as np

# Minutes that a page shows before the forecast, and the most steps that they may be.
_HOUR, _MOST_OBSERVED = 60, 60


def conversions(forecaster: Forecaster, latest: ForecastInput, *, named: bool = False) -> list[tuple[float, float]]:
    """Returns factor and offset of each field of the input, to the units of training.

    Ends the program if the input has other fields, or units that cannot be converted.

    Args:
        forecaster: The model.
        latest: The input.
        named: True if the user has named the variables, which may then have other names than in training. Default:
            False.
    """
    given = [field.physical for field in latest.grid.fields]
    same = [(1.0, 0.0)] * len(given)
    if is_without_weights(forecaster):
        return same
    if not isinstance(forecaster.scale, Channels):
        if forecaster.units and forecaster.units != latest.units:
            fail(
                f"the model forecasts {forecaster.units} but the input is in {latest.units}. Name the units of the "
                f'input: "reader={{units: {forecaster.units}}}".'
            )
        return same
    trained = [channel.field for channel in forecaster.scale.fields]
    pairs = [conversion(a.units, b.units) for a, b in zip(given, trained, strict=False)]
    names = [field.name for field in trained]
    others = [a.name for a, b in zip(given, trained, strict=False) if a.name != b.name]
    if None in pairs or len(given) != len(trained) or (others and (not named or set(others) & set(names))):
        fail(
            f"the model was trained on {'; '.join(map(str, trained))}, but the input has {'; '.join(map(str, given))}. "
            f"Name the variables of the input in the order of training, whatever their names: "
            f'"reader={{variable: [{", ".join(names)}]}}"; and give units that are missing, or convert those of '
            f'another quantity: "reader={{units: {{{names[0]}: {trained[0].units}}}}}".'
        )
    return [pair for pair in pairs if pair is not None]


def in_units_of_training(frames: np.ndarray, factors: list[tuple[float, float]]) -> np.ndarray:
    """Returns frames (T, H, W, C) whose channels are converted by `conversions`."""
    if all(pair == (1.0, 0.0) for pair in factors):
        return frames
    factor, offset = np.array(factors, np.float64).T
    return (frames * factor + offset).astype(np.float32)


def described(forecaster: Forecaster, latest: ForecastInput) -> list[str]:
    """Returns a description of each field of the input, with the name and the units of training if they differ."""
    lines = [str(field.physical) for field in latest.grid.fields]
    if is_without_weights(forecaster) or not isinstance(forecaster.scale, Channels):
        return lines
    trained = [channel.field for channel in forecaster.scale.fields]
    given = [field.physical for field in latest.grid.fields]
    return [
        line
        + ("" if conversion(a.units, b.units) == (1.0, 0.0) else f", converted to {b.units} as in training")
        + ("" if a.name == b.name else f", taken as the {b.name} of training")
        for line, a, b in zip(lines, given, trained, strict=True)
    ]


def forecast_fields(forecaster: Forecaster, latest: ForecastInput) -> tuple[Quantity, ...]:
    """Returns name, units and description of the forecast's fields, or () for those that the units mean."""
    if is_without_weights(forecaster):
        fields = [field.physical for field in latest.grid.fields]
        if len(fields) == 1 and (fields[0].kind != "raw" or fields[0] == Field("field", "raw")):
            return ()
    elif isinstance(forecaster.scale, Channels):
        fields = [channel.field for channel in forecaster.scale.targets]
    else:
        return ()
    return tuple(Quantity(one.name, one.units, one.standard_name, one.long_name) for one in fields)


def put_in_place(forecaster: Forecaster, latest: ForecastInput) -> None:
    """Cuts fixed fields and the climatology of a model to the pixels of a window.

    Raises:
        ValueError: The input has another grid than that of training.
    """
    members = forecaster.forecasters if isinstance(forecaster, EnsembleForecaster) else []
    for one in (forecaster, *members):
        if isinstance(one.scale, Channels):
            one.scale.check_place(latest.grid, latest.coarsen)
            one.scale = one.scale.part(*latest.place)


def last_hour(
    forecaster: Forecaster, latest: ForecastInput, until: np.datetime64, factors: list[tuple[float, float]]
) -> np.ndarray:
    """Returns the frames of the hour up to a time, or the input's if they span more, in the units of the forecast.

    Frames that are absent are NaN; those before the first one of the archive are left out. Values (T, H, W, C).
    """
    count = max(latest.frames, min(int(_HOUR / latest.step), _MOST_OBSERVED) + 1)
    window, _ = latest.window(until, count)
    first = next((n for n in range(count) if n not in window.absent), count - 1)
    frames = window.frames if window.frames.ndim == 4 else window.frames[..., None]
    frames = in_units_of_training(frames[first:], factors)
    return forecaster.scale.of_targets(frames) if isinstance(forecaster.scale, FieldScale) else frames


def degrees_of(latest: ForecastInput) -> Degrees | None:
    """Returns latitude and longitude of the pixels, or None if the input does not give them."""
    return Degrees.of(latest.coordinates(), latest.grid.dimensions, latest.frame_size)


def place_of(latest: ForecastInput) -> Place | None:
    """Returns the place of the forecast's pixels, or None if the input does not say it."""
    coordinates = latest.coordinates()
    return places.place_of(latest.grid, coordinates, latest.frame_size, None if coordinates else latest.extent())
