"""Checks of what an evaluation is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convlstm.architectures.members import returns_members
from convlstm.arguments import check_mapping, check_parts, check_whole
from convlstm.products import SINGLE

import mlx.core as mx
import numpy as np

RAIN = ("units", "thresholds", "pixel_km", "physical")
FIELDS = ("target_fields", "target_channels", "physical")
"""The parts of `RainField` and of `FieldData`."""

PRODUCTS = tuple(name for name in SINGLE if name != "mean")
"""Products of an ensemble that can be scored beside its mean."""


def check_forecasters(forecasters: Any) -> None:
    """Raises ValueError if the forecasters are no dict of functions, or if there are none."""
    check_mapping("evaluate", "forecasters", forecasters)
    if not forecasters:
        raise ValueError("[evaluate] 'forecasters' must name at least one forecaster but is empty.")
    for name, forecaster in forecasters.items():
        if not callable(forecaster):
            raise ValueError(f"[evaluate] 'forecasters' must be functions but got {forecaster!r} for '{name}'.")


def check_data(owner: str, rain: Any, fields: Any, more: tuple[str, ...] = ()) -> None:
    """Raises ValueError if rain or other fields lack a part of `RainField` or `FieldData`, or one of these."""
    check_parts(owner, "rain", rain, (*RAIN, *more))
    check_parts(owner, "fields", fields, (*FIELDS, *more))


def check_products(products: Any, forecasters: Mapping[str, Any], rain: Any, fields: Any) -> None:
    """Raises ValueError if products of ensembles cannot be made, or are no list of `PRODUCTS`."""
    if isinstance(products, str) or not isinstance(products, Sequence) or not {*products} <= {*PRODUCTS}:
        raise ValueError(f"[evaluate] 'products' must be a list of {', '.join(PRODUCTS)} but got {products!r}.")
    if not products:
        return
    if not any(returns_members(one) for one in forecasters.values()):
        raise ValueError("[evaluate] 'products' are those of ensembles, but none of the forecasters is one.")
    check_parts("evaluate", "rain", rain, ["transform"])
    check_parts("evaluate", "fields", fields, ["channels"])
    several = fields is not None and len(fields.target_fields) > 1
    if "csi" in products and (several or not thresholds_of(rain, fields)):
        raise ValueError(
            "[evaluate] the product 'csi' needs thresholds and a single field. Give the data thresholds, or leave it "
            "out."
        )


def thresholds_of(rain: Any, fields: Any) -> Sequence[float]:
    """Returns the thresholds of the data; 0.5 for frames without units."""
    if fields is not None:
        return getattr(fields, "thresholds", ())
    return [0.5] if rain is None else rain.thresholds


def indices(keep: Any) -> set[int]:
    """Returns the indices of the sequences to keep: the first ones, or those that are listed."""
    if isinstance(keep, Iterable) and not isinstance(keep, str | bytes):
        return {check_whole("evaluate", "keep", index, 0, None) for index in keep}
    return set(range(check_whole("evaluate", "keep", keep, 0, None)))


def checked(batches: Any) -> Iterable[Mapping[str, Any]]:
    """Returns the batches, each of which is checked as it comes, or raises ValueError if they are none."""
    if not isinstance(batches, Iterable) or isinstance(batches, str | bytes | Mapping):
        raise ValueError(f"[evaluate] 'batches' must be a list of dicts but got {_shown(batches)}.")
    return map(_checked, batches)


def check_forecast(name: str, forecast: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError if a forecast is no array of the shape of the targets."""
    if not isinstance(forecast, mx.array | np.ndarray) or tuple(forecast.shape) != shape:
        raise ValueError(
            f"[evaluate] the forecast of '{name}' must have the shape of the targets, {shape}, "
            f"but got {_shown(forecast)}."
        )


def _checked(batch: Any) -> Mapping[str, Any]:
    if not isinstance(batch, Mapping):
        raise ValueError(f"[evaluate] 'batches' must hold dicts but got {_shown(batch)}.")
    for name in ("inputs", "targets"):
        frames = batch.get(name)
        if not isinstance(frames, mx.array | np.ndarray) or frames.ndim != 5 or 0 in frames.shape:
            raise ValueError(
                f"[evaluate] '{name}' of a batch must be an array (N, T, H, W, C) but got {_shown(frames)}."
            )
    inputs, targets = batch["inputs"], batch["targets"]
    if len(inputs) != len(targets):
        raise ValueError(
            f"[evaluate] 'inputs' and 'targets' of a batch must be as many but got {len(inputs)} and {len(targets)}."
        )
    for name, frames in (("input_mask", inputs), ("mask", targets)):
        if batch.get(name) is not None and not _fits(batch[name], tuple(frames.shape)):
            raise ValueError(
                f"[evaluate] '{name}' of a batch must be numbers that fit {tuple(frames.shape)} "
                f"but got {_shown(batch[name])}."
            )
    reference = batch.get("reference")
    if reference is not None and (not isinstance(reference, mx.array | np.ndarray) or reference.ndim != 5):
        raise ValueError(
            f"[evaluate] 'reference' of a batch must be an array (N, 1, H, W, C) but got {_shown(reference)}."
        )
    return batch


def _fits(mask: Any, shape: tuple[int, ...]) -> bool:
    """Returns True if a mask is made of numbers and can be broadcast to a shape."""
    try:
        array = np.asarray(mask)
        return array.dtype.kind in "biuf" and np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        return False


def _shown(value: Any) -> str:
    """Returns a value for a message, an array by its shape."""
    return str(tuple(value.shape)) if isinstance(value, mx.array | np.ndarray) else f"{value!r:.200}"
