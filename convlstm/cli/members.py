"""The section `members` of `evaluate.py` and `forecast.py`: what the members of an ensemble are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from convlstm.architectures.perturbation import Perturbation
from convlstm.cli.checks import no_such_key
from convlstm.cli.program import fail, shown

KEYS = ("previous", "plain", "perturbed", "motion", "field", "length", "seed")


def check_members(settings: Mapping[str, Any]) -> None:
    """Ends the program where `ensemble` or a key of `members` cannot be what its place needs."""
    if type(settings["ensemble"]) is not bool:
        fail(f"'ensemble' must be true or false but got {shown(settings['ensemble'])}.")
    members = settings["members"]
    if not isinstance(members, dict):
        fail(f"'members' must have keys such as members.perturbed=10 but got {shown(members)}.")
    for key in members:
        if key not in KEYS:
            fail(no_such_key(f"members.{key}", KEYS))
    for key in KEYS:
        if key not in members:
            fail(f"'members.{key}' has no value. Give it one: members.{key}=VALUE.")
    for key in ("previous", "plain"):
        if type(members[key]) is not bool:
            fail(f"'members.{key}' must be true or false but got {shown(members[key])}.")
    for key, least in (("perturbed", 1), ("seed", 0)):
        if type(members[key]) is not int or members[key] < least:
            fail(f"'members.{key}' must be a whole number of at least {least} but got {shown(members[key])}.")
    for key in ("motion", "field", "length"):
        value = members[key]
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            fail(f"'members.{key}' must be a number of at least 0 but got {shown(value)}.")


def perturbation(settings: Mapping[str, Any]) -> Perturbation:
    """What the section says of perturbed inputs."""
    return Perturbation(**{key: settings["members"][key] for key in ("motion", "field", "length", "seed")})


def check_count(settings: Mapping[str, Any], models: int) -> None:
    """Ends the program where an ensemble would have one member alone."""
    if models * settings["members"]["perturbed"] < 2:
        fail(
            "ensemble=true needs at least two members: several checkpoints (ckpt=[runs/a,runs/b]), those kept before "
            "(members.previous=true), plain weights beside averaged ones (members.plain=true), or perturbed inputs "
            "(members.perturbed=10)."
        )
