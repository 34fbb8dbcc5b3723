"""The keys of ensembles, which `evaluate` and `forecast` share: `ensemble` and the section `members`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.architectures.perturbation import Perturbation
from convlstm.cli.key_checks import FLAG, NOT_NEGATIVE, Values, optional, whole
from convlstm.cli.program import fail

MEMBERS: dict[str, Values] = {
    "ensemble": FLAG,
    "members": Values("a section with keys such as members.perturbed=10", lambda value: isinstance(value, dict)),
    "members.previous": FLAG,
    "members.plain": FLAG,
    "members.perturbed": whole(1),
    "members.seed": whole(0),
    "members.motion": NOT_NEGATIVE,
    "members.field": NOT_NEGATIVE,
    "members.length": NOT_NEGATIVE,
    "members.drawn": optional(whole(2)),
}


def perturbation(settings: Mapping[str, Any]) -> Perturbation:
    """Returns the perturbation of inputs that the section describes."""
    return Perturbation(**{key: settings["members"][key] for key in ("motion", "field", "length", "seed")})


def set_drawn(drawing: Sequence[Any], settings: Mapping[str, Any]) -> None:
    """Gives models that draw members themselves, or their forecasters, the number that is asked for, if one is.

    Ends the program if there are none, but a number.
    """
    number = settings["members"]["drawn"]
    if number is not None and not drawing:
        fail(
            f"'members.drawn' is for models that are ensembles by themselves, such as ckpt=nowcast. For others: "
            f"ensemble=true members.perturbed={number}."
        )
    for one in drawing if number is not None else ():
        one.size = number


def check_count(settings: Mapping[str, Any], models: int) -> None:
    """Ends the program if an ensemble would have a single member."""
    if models * settings["members"]["perturbed"] < 2:
        fail(
            "ensemble=true needs at least two members: several checkpoints (ckpt=[runs/a,runs/b]), earlier ones of a "
            "run (members.previous=true), plain weights beside averaged ones (members.plain=true), or perturbed inputs "
            "(members.perturbed=10)."
        )
