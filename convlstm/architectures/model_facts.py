"""What a model says about its calls: facts about the data that it wants to be told, and whether it can be compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FACTS = ("minutes", "pixel_km")
"""Facts that batches of several archives have: minutes from frame to frame, and side of a pixel in km, (N,) each."""


def told(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of a batch that a model wants to be told, by its attribute `told`."""
    return {name: batch[name] for name in getattr(model, "told", ()) if batch.get(name) is not None}


def compiles(model: Any) -> bool:
    """Returns False for a model that is not to be compiled, by its attribute `compiles`."""
    return bool(getattr(model, "compiles", True))
