"""The layers of a page: the forecast, what stands beside it, its members, and the observed frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from convlstm.products import quantiles
from convlstm.report.forecast_only import scales_of
from convlstm.report.palettes import GREYS, Palette, chance_palette, palette, spread_palette
from convlstm.writers.forecast import Forecast, Layer
from convlstm.writers.layer_kinds import CHANCE, FORECAST, QUANTILE, SPREAD, kind_of

import numpy as np

# Quantiles that are made of the members if the forecast has none.
_QUANTILES = (0.1, 0.5, 0.9)
OBSERVED, MEMBER = "Observed", "Members"


@dataclass(frozen=True)
class PageLayer:
    """Frames with a name and a table of values.

    Attributes:
        title: Its name.
        kind: `OBSERVED`, `FORECAST`, `CHANCE`, `SPREAD`, `QUANTILE` or `MEMBER`.
        field: Number of the field that it belongs to.
        values: (T, H, W), NaN where missing.
        palette: The table.
        share: Of a quantile, its share of the members. Default: none.
    """

    title: str
    kind: str
    field: int
    values: np.ndarray
    palette: Palette
    share: float | None = None


def layers_of(forecast: Forecast) -> list[PageLayer]:
    """Returns the layers of a forecast.

    Raises:
        ValueError: The frames are in colour.
    """
    forecast = _with_quantiles(forecast)
    if forecast.observed is None:
        forecast = replace(forecast, observed=forecast.inputs)
    values, observed, members = (_channels(forecast, name) for name in ("values", "observed", "members"))
    assert values is not None
    count = values.shape[-1]
    arrays = [a for a in (forecast.observed, forecast.values) if a is not None]
    scales = scales_of(arrays, forecast.units, forecast.fields) or [GREYS]
    if len(scales) != count:
        raise ValueError(
            f"[write] a page shows fields, but the forecast has {count} channels that are none, such as colours. "
            "Choose another format: gif, mp4."
        )
    names = [field.name for field in forecast.fields] or [""]
    units = [field.units for field in forecast.fields] or [forecast.units]
    layers: list[PageLayer] = []
    for n, (scale, name, unit) in enumerate(zip(scales, names, units, strict=True)):
        unit = "" if unit in ("1", "raw") else unit
        own = [layer for key, layer in forecast.layers.items() if count == 1 or key.endswith(f"_{name}")]
        kinds = {id(layer): kind_of(layer) for layer in own}
        same = [layer.values for layer in own if kinds[id(layer)] in (FORECAST, QUANTILE)]
        fields = [a[..., n] for a in (observed, values, members) if a is not None]
        of_field = palette(scale, unit, [*fields, *same])
        if observed is not None:
            layers.append(PageLayer("Observed", OBSERVED, n, observed[..., n], of_field))
        title = str(forecast.about.get("comment", "forecast"))
        title = _capital(title) if count == 1 else f"{name}: {title}"
        layers.append(PageLayer(title, FORECAST, n, values[..., n], of_field))
        for layer in own:
            layers.append(_beside(layer, kinds[id(layer)], n, of_field, scale))
        if members is not None:
            prefix = "Member" if count == 1 else f"{name}: member"
            for number, member in enumerate(members[..., n], 1):
                layers.append(PageLayer(f"{prefix} {number}", MEMBER, n, member, of_field))
    return layers


def _beside(layer: Layer, kind: str, field: int, of_field: Palette, scale: Any) -> PageLayer:
    """Returns a field that stands beside the forecast."""
    table, share = of_field, None
    if kind == CHANCE:
        table = chance_palette()
    elif kind == SPREAD:
        table = spread_palette(scale, of_field.unit, [layer.values])
    elif kind == QUANTILE:
        share = float(layer.attributes["quantile"])
    # The number of members is in the title of the forecast.
    title = re.sub(r",? (the share )?of \d+ members$", "", layer.long_name)
    return PageLayer(_capital(title), kind, field, layer.values, table, share)


def _with_quantiles(forecast: Forecast) -> Forecast:
    """Returns a forecast with quantiles of its members, if it has members and no quantiles."""
    kinds = {kind_of(layer) for layer in forecast.layers.values()}
    if forecast.members is None or QUANTILE in kinds or (forecast.values.ndim == 4 and not forecast.fields):
        return forecast
    made = dict(_quantile_layers(forecast))
    return replace(forecast, layers={**forecast.layers, **made})


def _quantile_layers(forecast: Forecast) -> Iterator[tuple[str, Layer]]:
    assert forecast.members is not None
    members = forecast.members if forecast.members.ndim == 5 else forecast.members[..., None]
    names = [f"_{field.name}" for field in forecast.fields] if members.shape[-1] > 1 else [""]
    for n, name in enumerate(names):
        for share, field in zip(_QUANTILES, quantiles(members[..., n], _QUANTILES), strict=True):
            text = f"quantile at {share:g}{f' of {name[1:]}' if name else ''} of {len(members)} members"
            yield f"quantile_{share:g}{name}", Layer(field, forecast.units, text, {"quantile": share})


def _channels(forecast: Forecast, name: str) -> np.ndarray | None:
    """Returns an array with an axis of channels at the end."""
    array = getattr(forecast, name)
    if array is None:
        return None
    return array if forecast.values.ndim == 4 else array[..., None]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
