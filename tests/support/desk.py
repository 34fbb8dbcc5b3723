"""A forecast of an ensemble to write pages of, and a reader of pages."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from convlstm.forecasting.product_layers import FieldNames, product_layers, spread_layers
from convlstm.products import Products
from convlstm.writers import Forecast, Place
from convlstm.writers.forecast_page import page

import numpy as np

THRESHOLDS = (0.5, 2.0)
DUTCH = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +units=m"


def ensemble(*, issued: str = "2024-05-01T12:00", members: int = 5, kept: bool = True) -> Forecast:
    """Returns two hours of rain, 20 minutes apart, around Hoek van Holland, 30 x 40 pixels of 3 km, with a gap."""
    rng = np.random.default_rng(0)
    rain = rng.gamma(0.4, 4, (members, 6, 30, 40)).astype(np.float32)
    observed = rng.gamma(0.4, 4, (4, 30, 40)).astype(np.float32)
    for frames in (rain, observed):
        frames[..., :3, :4] = np.nan
    observed[1] = np.nan
    names = FieldNames("", "mm/h", members)
    mean = rain.mean(0)
    shares = np.stack([np.where(np.isnan(mean), np.nan, (rain >= one).mean(0)) for one in THRESHOLDS])
    products = Products("mean", ["median", "quantiles"], [0.1, 0.5, 0.9])
    layers = dict(spread_layers(names, rain.std(0), shares, THRESHOLDS)) | dict(
        product_layers(names, rain, products, THRESHOLDS)
    )
    return Forecast(
        mean,
        "mm/h",
        issued=np.datetime64(issued),
        step=20.0,
        place=Place.of((30, 40), (220_000, -3_960_000, 340_000, -3_870_000), projection=DUTCH),
        observed=observed,
        inputs=observed[2:],
        layers=layers,
        members=rain if kept else None,
        about={"comment": f"mean of {members} members"},
        provenance={"model": "<b>mine</b>", "config": {"a": 1}},
    )


def contents(forecast: Forecast) -> dict[str, Any]:
    """Returns what the scripts of a forecast's page read."""
    return read(page(forecast))


def read(text: str) -> dict[str, Any]:
    """Returns what the scripts of a page read."""
    return json.loads(text.split('id="content">')[1].split("</script>")[0])


def frame(content: dict[str, Any], layer: dict[str, Any], number: int) -> np.ndarray:
    """Returns a frame of a layer as the page shows it, NaN where missing."""
    changes = np.frombuffer(zlib.decompress(base64.b64decode(layer["frames"][number])), np.uint8)
    height, width = (-(-side // layer["side"]) for side in content["shape"])
    codes = np.cumsum(changes.reshape(height, width), axis=0, dtype=np.uint8)
    values = np.array([*content["palettes"][layer["palette"]]["values"], *[np.nan] * 256])[:256]
    values[255] = np.nan
    return values[codes]
