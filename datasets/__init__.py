"""Data sets and readers of radar files. Each split of a data set is one stream of batches."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlstm.datasets.gridded_fields import GriddedFields
    from convlstm.datasets.moving_mnist import MovingMNIST
    from convlstm.datasets.radar_echo import RadarEcho
    from convlstm.datasets.video_clips import VideoClips

__all__ = ["GriddedFields", "MovingMNIST", "RadarEcho", "VideoClips"]

# The module of each data set. It is imported at the name's first use, since a program needs one data set.
_MODULES = {
    "GriddedFields": "convlstm.datasets.gridded_fields",
    "MovingMNIST": "convlstm.datasets.moving_mnist",
    "RadarEcho": "convlstm.datasets.radar_echo",
    "VideoClips": "convlstm.datasets.video_clips",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'convlstm.datasets' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULES.keys())
