"""Scores of forecasts and ensembles, accumulated batch by batch and by lead time."""

from convlstm.metrics.ensemble import EnsembleMetrics
from convlstm.metrics.fields import FieldMetrics
from convlstm.metrics.frames import FrameMetrics
from convlstm.metrics.rain import RainMetrics
from convlstm.metrics.table import Score, Scores, logged_score, score

__all__ = ["EnsembleMetrics", "FieldMetrics", "FrameMetrics", "RainMetrics", "Score", "Scores", "logged_score", "score"]
