"""Loaders: each split of a data set as one stream of batches. Nothing here knows about models."""

from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho

__all__ = ["MovingMNIST", "RadarEcho"]
