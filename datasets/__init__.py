"""Data sets and readers of radar files. Each split of a data set is one stream of batches."""

from convlstm.datasets.gridded_fields import GriddedFields
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.video_clips import VideoClips

__all__ = ["GriddedFields", "MovingMNIST", "RadarEcho", "VideoClips"]
