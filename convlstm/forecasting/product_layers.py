"""The products of an ensemble as layers of a forecast: their names, units and descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convlstm.products import Products, probability_nearby, quantiles, single
from convlstm.writers.forecast import Layer

import numpy as np

# Name of the variable, and description, of products that are one forecast.
_SINGLE = {
    "mean": ("mean", "mean"),
    "median": ("median", "median"),
    "pmm": ("probability_matched_mean", "probability-matched mean"),
    "csi": ("best_for_csi", "field that is best for CSI"),
}
# Methods that the conventions for climate and forecast metadata know.
_METHODS = {"mean": "mean", "median": "median"}


@dataclass(frozen=True)
class FieldNames:
    """Names of a field's layers.

    Args:
        name: Name of the field if there are several, else "".
        own_units: Units of its values, such as "mm/h".
        members: Number of members.
    """

    name: str
    own_units: str
    members: int

    @property
    def units(self) -> str:
        """Its units in CF's notation."""
        return {"mm/h": "mm h-1", "raw": "1", "": "1"}.get(self.own_units, self.own_units)

    def layer_name(self, kind: str) -> str:
        """Returns the name of a layer, such as `median` or `median_sst`."""
        return f"{kind}_{self.name}" if self.name else kind

    def description(self, kind: str) -> str:
        """Returns the description of a layer, such as "median of sst of 24 members"."""
        return f"{kind}{f' of {self.name}' if self.name else ''} of {self.members} members"

    def event(self, threshold: float) -> str:
        """Returns the beginning of the name of a probability, such as `probability_at_least_2p5_mmh`."""
        short = {"mm/h": "_mmh", "dBZ": "_dBZ"}.get(self.own_units, "")
        return f"probability_at_least_{_plain(threshold)}{short}"

    def chance(self, threshold: float, where: str = "") -> str:
        """Returns the description of a probability."""
        event = f"{threshold:g} {self.own_units or 'of 1'} or more"
        return f"probability of {event}{where}, the share of {self.members} members"


def spread_layers(
    names: FieldNames, spread: np.ndarray, shares: np.ndarray, thresholds: Sequence[float]
) -> Iterator[tuple[str, Layer]]:
    """Yields the standard deviation of members (T, H, W), and the share of them at or above each threshold."""
    method = {"cell_methods": "realization: standard_deviation"}
    described = names.description("standard deviation")
    yield names.layer_name("spread"), Layer(spread, names.units, described, method)
    for threshold, share in zip(thresholds, shares, strict=True):
        about = {"threshold": threshold, "threshold_units": names.units}
        yield names.event(threshold), Layer(share, "1", names.chance(threshold), about)


def product_layers(
    names: FieldNames, members: np.ndarray, products: Products, thresholds: Sequence[float]
) -> Iterator[tuple[str, Layer]]:
    """Yields the further products of members (M, T, H, W) by the names of their layers; not the members themselves."""
    for kind in products.beside:
        if kind in _SINGLE:
            name, text = _SINGLE[kind]
            layer = Layer(single(kind, members, thresholds), names.units, names.description(text), about(kind))
            yield names.layer_name(name), layer
        elif kind == "quantiles":
            for share, field in zip(products.quantiles, quantiles(members, products.quantiles), strict=True):
                text = names.description(f"quantile at {share:g}")
                yield (
                    names.layer_name(f"quantile_{_plain(share)}"),
                    Layer(field, names.units, text, {"quantile": share}),
                )
        elif kind == "nearby":
            for threshold in thresholds:
                for km in products.radius:
                    near = probability_nearby(members, threshold, km, pixel_km=products.pixel_km or 0)
                    about_event = {"threshold": threshold, "threshold_units": names.units, "radius_km": km}
                    text = names.chance(threshold, f" within {km:g} km")
                    yield f"{names.event(threshold)}_within_{_plain(km)}_km", Layer(near, "1", text, about_event)


def about(kind: str) -> dict[str, str]:
    """Returns the attributes of a product that is one forecast."""
    return {"cell_methods": f"realization: {_METHODS[kind]}"} if kind in _METHODS else {}


def comment(kind: str, members: int) -> str:
    """Returns the description of a product that is the forecast itself."""
    return f"{_SINGLE[kind][1]} of {members} members"


def _plain(number: float) -> str:
    """Returns a number as names of variables have it: 2p5 for 2.5."""
    return f"{number:g}".replace("-", "minus_").replace(".", "p").replace("+", "")
