"""Models that draw the members of an ensemble themselves."""

from __future__ import annotations

from typing import Any, TypeGuard

from convlstm.architectures.coarse_pixels import OnCoarsePixels
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.steps import STEPS


def draws_members(model: Any) -> TypeGuard[STEPS | LearnedSTEPS | OnCoarsePixels]:
    """Returns True for a model whose call returns members, (M, N, horizon, H, W, C), with M in its attribute `size`."""
    return isinstance(model, STEPS | LearnedSTEPS | OnCoarsePixels)


def returns_members(model: Any) -> TypeGuard[Ensemble | STEPS | LearnedSTEPS | OnCoarsePixels]:
    """Returns True for what `draws_members` names, and for an ensemble of several models."""
    return isinstance(model, Ensemble) or draws_members(model)
