"""Pictures of forecasts, of their scores and of a training run. The only package that knows matplotlib."""

from __future__ import annotations

from convlstm.report.animation import forecast_gif
from convlstm.report.curves import lead_curves, training_curve
from convlstm.report.panel import forecast_panel

__all__ = ["forecast_gif", "forecast_panel", "lead_curves", "training_curve"]
