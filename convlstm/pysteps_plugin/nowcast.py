"""Forecasts with the signature of pysteps' nowcasting methods."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.backend.memory import check_memory
from convlstm.checkpoints import NOWCAST
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.pysteps_plugin.models import fewest, forecaster_of
from convlstm.pysteps_plugin.rain_units import DECIBELS, RainUnits

import numpy as np


def forecast(
    precip: np.ndarray,
    velocity: np.ndarray | None,
    timesteps: int | Sequence[int],
    n_ens_members: int = 24,
    *,
    ckpt: str | Path | Forecaster = NOWCAST,
    timestep: float | None = None,
    kmperpixel: float | None = None,
    unit: str = "mm/h",
    transform: str | None = DECIBELS,
    precip_thr: float | None = None,
    zerovalue: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> np.ndarray:
    """Returns a nowcast as pysteps' methods do: an ensemble if the model draws members, else a single forecast.

    Args:
        precip: Fields of rain (T, m, n), oldest first, at regular steps, in the units that `unit` and `transform` say;
            NaN is missing. 'nowcast' needs five, 'steps' and 'sprog' three, 'extrapolation' two, a run as many as in
            training.
        velocity: pysteps' motion (2, m, n), or None. It is not used, since the models find the motion in the fields
            themselves; a warning says so.
        timesteps: Number of steps to forecast, or a rising list of whole steps, such as [1, 3, 6]. Forecasts between
            two steps are not made.
        n_ens_members: Number of members, at least 2; the size of an `EnsembleForecaster`, which has its own members.
            Single forecasts do without. Default: 24.
        ckpt: 'nowcast', the model in the package; a run's or a checkpoint's folder; a `Forecaster`, which spares
            loading at each call and is not changed; or a model without weights: 'steps', 'sprog' or 'extrapolation'.
            Default: 'nowcast'.
        timestep: Minutes from field to field. Needed by 'nowcast' and 'steps'; a run that was trained with another
            step refuses it. Default: unknown.
        kmperpixel: Side of a pixel in km, likewise. Default: unknown.
        unit: 'mm/h', in which rain rates are. Others must be converted first. Default: 'mm/h'.
        transform: 'dB' for 10 log10 of the rates, or None for the rates themselves. Default: 'dB'.
        precip_thr: Lowest value that is rain, in the units of `precip`. Default: that of `metadata`, else 0.1 mm/h,
            -10 dB.
        zerovalue: Value of no rain, likewise. Default: that of `metadata`, else 0 mm/h; in decibels the lowest value of
            `precip` if it is below `precip_thr`, else 5 dB less than that.
        metadata: pysteps' metadata of `precip`: its 'unit' and 'transform' count instead of these arguments, and its
            'threshold' and 'zerovalue' where the arguments are left out. Default: None.
        seed: Seed of the members' draws. Default: None, that of the model: the same fields have the same members.

    Returns:
        float64 in the units of `precip`, (timesteps, m, n), or (n_ens_members, timesteps, m, n) of an ensemble. Less
        than `precip_thr` is `zerovalue`. Pixels that are missing in all fields are NaN.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        ValueError: An argument does not fit the model, or the values do not fit `transform`.
    """
    fields = _checked_fields(precip)
    steps = _checked_steps(timesteps)
    units = RainUnits.of(
        fields, unit=unit, transform=transform, precip_thr=precip_thr, zerovalue=zerovalue, metadata=metadata
    )
    forecaster = forecaster_of(
        ckpt,
        members=n_ens_members,
        threshold=units.lowest_rate,
        minutes=timestep,
        pixel_km=kmperpixel,
        seed=seed,
    )
    if len(fields) < (needed := fewest(forecaster)):
        raise ValueError(f"[forecast] 'precip' must be {needed} fields or more for this model but got {len(fields)}.")
    _note_on_velocity(velocity, fields)
    rates, horizon, chosen = units.rates(fields), steps[-1], [step - 1 for step in steps]
    if not isinstance(forecaster, EnsembleForecaster):
        return units.fields(forecaster(rates, horizon)[chosen])
    shape = (forecaster.size, len(steps), *fields.shape[1:])
    check_memory(
        "forecast",
        f"{shape[0]} members ('n_ens_members') of {horizon} steps ('timesteps')",
        (8 * len(steps) + 4 * horizon) * shape[0] * shape[2] * shape[3],
    )
    members = np.empty(shape)
    for number, member in enumerate(forecaster.members(rates, horizon)):
        members[number] = units.fields(member[chosen])
    return members


def _checked_fields(precip: Any) -> np.ndarray:
    """Returns the fields (T, m, n), or raises ValueError; masked pixels become NaN."""
    array = np.ma.filled(precip.astype(float), np.nan) if isinstance(precip, np.ma.MaskedArray) else np.asarray(precip)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "iuf":
        raise ValueError(
            f"[forecast] 'precip' must be numbers of shape (T, m, n) but got {array.dtype} of {array.shape}. A single "
            "field does not show how the rain moves."
        )
    return array


def _checked_steps(timesteps: Any) -> list[int]:
    """Returns the steps to forecast as numbers of fields, rising; raises ValueError if these are others."""
    if np.ndim(timesteps) == 0:
        return list(range(1, check_whole("forecast", "timesteps", timesteps) + 1))
    steps = np.ravel(timesteps).tolist()
    numbers = all(isinstance(step, int | float) for step in steps)
    whole = numbers and bool(steps) and all(step >= 1 and float(step).is_integer() for step in steps)
    if not whole or sorted(set(steps)) != steps:
        raise ValueError(
            f"[forecast] 'timesteps' must be a number of steps or a rising list of whole steps from 1 on but got "
            f"{timesteps!r}. Forecasts between two steps are not made."
        )
    return [int(step) for step in steps]


def _note_on_velocity(velocity: Any, fields: np.ndarray) -> None:
    """Warns that the motion is not used; raises ValueError if it is not one of these fields."""
    if velocity is None:
        return
    if np.shape(velocity) != (2, *fields.shape[1:]):
        raise ValueError(
            f"[forecast] 'velocity' must be None or of shape {(2, *fields.shape[1:])}, as pysteps has it, but got "
            f"shape {np.shape(velocity)}."
        )
    warnings.warn(
        "[forecast] 'velocity' is not used: the model finds the motion in 'precip' itself. None avoids this note.",
        stacklevel=3,
    )
