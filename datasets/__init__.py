"""Loaders: each split of a data set as one stream of batches. Nothing here knows about models."""

from .moving_mnist import MovingMNIST
from .radar_echo import RadarEcho

__all__ = ["MovingMNIST", "RadarEcho"]
