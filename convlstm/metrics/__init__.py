"""Scores of forecasts in physical units and of ensembles, streamed over batches and kept apart by lead time."""

from convlstm.metrics.ensemble import EnsembleMetrics
from convlstm.metrics.names import higher_is_better, unit
from convlstm.metrics.probability import exceedance, spread
from convlstm.metrics.rain import RainMetrics

__all__ = ["EnsembleMetrics", "RainMetrics", "exceedance", "higher_is_better", "spread", "unit"]
