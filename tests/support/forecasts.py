"""An example of a forecast, for the tests of the writers."""

from __future__ import annotations

from convlstm.writers import Forecast, Place

import numpy as np

OPERA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84"
EXTENT = (100_000.0, 200_000.0, 124_000.0, 216_000.0)
ISSUED = np.datetime64("2024-01-31T23:50")


def example(rng: np.random.Generator) -> Forecast:
    """Returns three frames of 8x12 pixels of 2 km, 5 minutes apart, over midnight, with a missing pixel."""
    values = rng.uniform(0, 20, (3, 8, 12)).astype(np.float32)
    values[:, 0, 0] = np.nan
    return Forecast(
        values,
        "mm/h",
        issued=ISSUED,
        step=5.0,
        place=Place.of((8, 12), EXTENT, projection=OPERA),
        inputs=values[:2],
        provenance={"checkpoint": "runs/mine/checkpoints/best", "commit": "abc", "config": {"model": {"a": 1}}},
    )
