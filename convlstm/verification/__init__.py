"""Scores of forecasts in physical units and of ensembles, streamed over batches and kept apart by lead time."""

from convlstm.verification.ensemble import EnsembleMetrics
from convlstm.verification.names import higher_is_better, unit
from convlstm.verification.probability import exceedance, spread
from convlstm.verification.rain import RainMetrics

__all__ = ["EnsembleMetrics", "RainMetrics", "exceedance", "higher_is_better", "spread", "unit"]
