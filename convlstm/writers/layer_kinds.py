"""What the fields beside a forecast are: probabilities, spread, quantiles, or other forecasts."""

from __future__ import annotations

from convlstm.writers.forecast import Layer

FORECAST, CHANCE, SPREAD, QUANTILE = "Forecast", "Probability", "Spread", "Quantiles"


def kind_of(layer: Layer) -> str:
    """Returns the kind of a field that stands beside the forecast."""
    if "threshold" in layer.attributes:
        return CHANCE
    if "quantile" in layer.attributes:
        return QUANTILE
    return SPREAD if "standard_deviation" in layer.attributes.get("cell_methods", "") else FORECAST
