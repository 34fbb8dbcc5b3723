"""Pictures of forecasts, of their scores and of a training run. The only package that knows matplotlib."""

from __future__ import annotations

from convlstm.report.animation import forecast_gif
from convlstm.report.curves import lead_curves, training_curve
from convlstm.report.ensemble import rank_histogram, reliability_diagram, spread_skill
from convlstm.report.page import write_page
from convlstm.report.panel import forecast_panel
from convlstm.report.pictures import write_pictures
from convlstm.report.rain_film import rain_gif
from convlstm.report.rain_maps import rain_panel
from convlstm.report.rain_scores import fss_by_scale, score_curves
from convlstm.report.rain_spectra import spectra

__all__ = [
    "forecast_gif",
    "forecast_panel",
    "fss_by_scale",
    "lead_curves",
    "rain_gif",
    "rain_panel",
    "rank_histogram",
    "reliability_diagram",
    "score_curves",
    "spectra",
    "spread_skill",
    "training_curve",
    "write_page",
    "write_pictures",
]
