"""The coast, borders and grid lines of a forecast's map."""

from __future__ import annotations

from convlstm.report.coast import MapLines, NoMapError, map_lines
from convlstm.writers.forecast import Forecast


def lines_of(forecast: Forecast) -> MapLines:
    """Returns the lines of the map of a forecast.

    Raises:
        NoMapError: The place of its pixels is unknown, or its projection.
    """
    place = forecast.place
    if place is None:
        raise NoMapError("the place of the input is unknown")
    if place.x is None or place.y is None:
        raise NoMapError("rows and columns have no coordinates of their own")
    return map_lines(place.x, place.y, place.units or "", place.mapping_attributes or place.projection)
