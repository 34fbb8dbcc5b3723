"""Keys that have no effect beside others: each is refused, or said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convlstm.cli.configuration import CONFIGS
from convlstm.cli.error_wording import shown
from convlstm.cli.program import fail

import yaml

# Keys of `forecast` that read files with times, so clips have no use for them.
_OF_ARCHIVES = ("reader", "input_format", "zr", "coarsen", "max_gap", "max_age")

_WITH_ATTRIBUTES = {"netcdf", "zarr", "zarr3", "mlcast", "geotiff", "geotiff_frames", "npy"}


def check_members(config_name: str, settings: Mapping[str, Any]) -> None:
    """Ends the program if members of an ensemble are described, but no ensemble is asked for."""
    given = [key for key in changed(config_name, settings, "members") if key != "drawn"]
    if given and not settings["ensemble"]:
        key = f"members.{given[0]}"
        fail(f"'{key}' is for ensembles but 'ensemble' is false. Add ensemble=true, or leave {key}=... out.")


def say_ignored(settings: Mapping[str, Any], *, formats: Iterable[str], clip: bool, is_file: bool, units: str) -> None:
    """Prints the keys of `forecast` that were given and have no effect.

    Args:
        settings: The configuration.
        formats: The formats that are written.
        clip: True if the input is a clip.
        is_file: True if the output is a file that each forecast replaces.
        units: Units of the model, or "".
    """
    reasons: dict[str, str] = {}
    if not settings["ensemble"]:
        reasons["thresholds"] = "it is for the probabilities of ensemble=true"
    if not settings["watch"]:
        reasons |= dict.fromkeys(("interval", "forecasts", "heartbeat"), "it is for watch=true")
    if is_file or clip:
        reasons |= dict.fromkeys(("keep", "keep_hours"), "it is for a folder of forecasts of files with times")
    if "mp4" not in formats:
        reasons["fps"] = f"it is for MP4, but {', '.join(formats)} is written"
    if not {*formats} & _WITH_ATTRIBUTES:
        reasons["attributes"] = f"only files of numbers have attributes, but {', '.join(formats)} is written"
    if clip:
        reasons |= dict.fromkeys(_OF_ARCHIVES, "it is for files with times, but the input is a clip")
    elif units:
        reasons["white"] = f"it is for values without units, but the model forecasts {units}"
    if settings.get("model") is not None:
        reasons |= dict.fromkeys(("ema", "trusted"), "it is for checkpoints, but the model has none")
    given = changed("forecast", settings)
    for key in (key for key in reasons if key in given):
        print(f"ignored     {key}={shown(settings[key])}: {reasons[key]}")


def changed(config_name: str, settings: Mapping[str, Any], section: str = "") -> list[str]:
    """Returns the keys of a command, or of one of its sections, whose values are not the defaults."""
    defaults = yaml.safe_load((CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8"))
    if section:
        defaults, settings = defaults[section], settings[section]
    return [key for key, value in defaults.items() if key in settings and settings[key] != value]
