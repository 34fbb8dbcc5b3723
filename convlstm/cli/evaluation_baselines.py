"""The baselines beside the models of an evaluation, and what those without weights know of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convlstm.architectures.baselines import BASELINES, SomeChannels
from convlstm.architectures.coarse_pixels import CoarsePixels, OnCoarsePixels, sides_of
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.rain_decibels import rates_of
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.cli.program import fail
from convlstm.datasets.columns import Columns
from convlstm.evaluation.in_units import InUnits

import mlx.nn as nn


def baselines(names: Any, models: Iterable[str], rain: Any, fields: Any) -> dict[str, Any]:
    """Returns the baselines to compare with, by name, except those that are evaluated themselves.

    Args:
        names: Their names, or "auto" for those that suit the data.
        models: Names of the models that are evaluated.
        rain: The data if they are rain, else None. Baselines that need rain rates get those of its scale.
        fields: The data if they are other fields, else None. Baselines see the channels of the targets only.
    """
    if names == "auto":
        names = ["extrapolation", "persistence"]
        if rain is None:
            names = ["persistence", "climatology"] if has_climatology(fields) else ["persistence"]
            names = names if fields else ["persistence", "zeros"]
    if "climatology" in names and not has_climatology(fields):
        fail(
            "the baseline 'climatology' needs data with one, which is fitted to their training split: "
            "data.climatology=month."
        )
    chosen = {}
    for name in names:
        if name not in models:
            chosen[name] = baseline(BASELINES[name], rain, around=getattr(rain or fields, "columns", None))
    if fields is None:
        return chosen
    if has_climatology(fields):
        return {
            name: SomeChannels(one, fields.target_channels) if name == "climatology" else InUnits(one, fields)
            for name, one in chosen.items()
        }
    return {name: SomeChannels(baseline, fields.target_channels) for name, baseline in chosen.items()}


def has_climatology(fields: Any) -> bool:
    """Returns True if the frames of the data are departures from a climatology."""
    return getattr(getattr(fields, "channels", None), "climatology", None) is not None


def adopt_facts(models: dict[str, nn.Module], rain: Any) -> None:
    """Gives S-PROG and STEPS the scale, pixel size and step of the data; raises ValueError if they have others.

    A learned STEPS of larger pixels than those of the data is replaced by one that runs on their means, as in
    forecasts.
    """
    for name, model in models.items():
        if isinstance(model, SPROG):
            model.adopt(**of_rain(type(model), rain))
        elif isinstance(model, LearnedSTEPS):
            check_rain(type(model), rain)
            model.adopt(minutes=rain.frame_interval)
            sides = sides_of(rain)
            if sides is not None:
                pixels = CoarsePixels.towards(model.pixel_km, *sides)
                model.adopt(pixel_km=pixels.side(*sides))
                models[name] = model if pixels.single else OnCoarsePixels(model, rain.transform, pixels)


def check_rain(kind: type[nn.Module], rain: Any) -> None:
    """Raises ValueError if the data are not rain."""
    if not hasattr(rain, "transform") or rain.units != "mm/h":
        raise ValueError(f"[{kind.__name__}] the data must be rain in mm/h, such as data=radar_echo.")


def of_rain(kind: type[nn.Module], rain: Any) -> dict[str, Any]:
    """Returns the arguments by which S-PROG or STEPS knows the data; those that the data do not say are None."""
    facts: dict[str, Any] = {"rates": scale_of(kind, rain)}
    return facts | ({"pixel_km": rain.pixel_km, "minutes": rain.frame_interval} if issubclass(kind, STEPS) else {})


def baseline(kind: type[nn.Module], rain: Any, around: Columns | None = None) -> nn.Module:
    """Returns a baseline; raises ValueError if the data do not say what it needs.

    Args:
        kind: Its class.
        rain: The data if they are rain, else None.
        around: The columns of the data's frames: what moves goes round the earth if they do. Default: they do not.
    """
    facts = of_rain(kind, rain) if issubclass(kind, SPROG) else {}
    for name, value in facts.items():
        if value is None:
            raise ValueError(
                f"[{kind.__name__}] needs '{name}', which the data do not say: give it by model=steps "
                f"model.{name}=NUMBER."
            )
    if around is not None and around.go_round and issubclass(kind, Extrapolation | SPROG):
        facts |= {"border": "circular"}
    return kind(**facts)


def scale_of(kind: type[nn.Module], rain: Any) -> tuple[float, float]:
    """Returns the rain rates of 0 and 1 on the scale of rain; raises ValueError if the data are not rain."""
    if not hasattr(rain, "transform"):
        raise ValueError(f"[{kind.__name__}] the data must be rain in mm/h, such as data=radar_echo.")
    return rates_of(kind.__name__, rain.transform)
