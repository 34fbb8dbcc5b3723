"""Data sets and readers of radar files. Each split of a data set is one stream of batches."""

from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho

__all__ = ["MovingMNIST", "RadarEcho"]
