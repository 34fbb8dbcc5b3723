"""Scores of rain forecasts in physical units, streamed over batches and kept apart by lead time."""

from convlstm.verification.names import higher_is_better, unit
from convlstm.verification.rain import RainMetrics

__all__ = ["RainMetrics", "higher_is_better", "unit"]
