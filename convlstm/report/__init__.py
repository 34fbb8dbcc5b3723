"""Pictures and pages of forecasts, their scores and training runs. The only package that imports matplotlib."""

from __future__ import annotations

import convlstm.report.matplotlib_settings  # noqa: F401  # before all that import matplotlib
from convlstm.report.ensemble_charts import rank_histogram, reliability_diagram, spread_skill
from convlstm.report.field_pictures import field_gif, field_panel
from convlstm.report.frame_animation import forecast_gif
from convlstm.report.frame_panel import forecast_panel
from convlstm.report.fss_and_spectra import fss_by_scale, spectra
from convlstm.report.page import write_page
from convlstm.report.pictures import write_pictures
from convlstm.report.rain_pictures import rain_gif, rain_panel
from convlstm.report.score_charts import lead_curves, score_curves, training_curve

__all__ = [
    "field_gif",
    "field_panel",
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
