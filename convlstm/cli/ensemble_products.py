"""The keys of an ensemble's products: `product`, `products`, `quantiles` and `radius`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from convlstm.cli.error_wording import shown
from convlstm.cli.ignored_keys import changed
from convlstm.cli.key_checks import NOT_NEGATIVE, Values, list_of, one_of
from convlstm.cli.program import fail
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.products import KINDS, SINGLE, Products

_SHARE = Values("a share from 0 to 1", lambda value: NOT_NEGATIVE.accepts(value) and value <= 1)

PRODUCTS: dict[str, Values] = {
    "product": one_of(*SINGLE),
    "products": list_of(one_of(*KINDS), f"a list of {', '.join(KINDS)}, [] for none,"),
    "quantiles": list_of(_SHARE, "a list of shares from 0 to 1, such as quantiles=[0.1,0.9],", least=1),
    "radius": list_of(NOT_NEGATIVE, "a list of kilometres, such as radius=[10],", least=1),
}

# Formats that hold what stands beside the forecast.
_WITH_LAYERS = ("netcdf", "zarr", "zarr3", "geotiff", "geotiff_frames", "html")


def check_products(settings: Mapping[str, Any], forecaster: Forecaster, formats: Collection[str]) -> None:
    """Ends the program if there is no ensemble to make products of, and prints the keys that have no effect."""
    given = [key for key in changed("forecast", settings) if key in PRODUCTS]
    if given and not isinstance(forecaster, EnsembleForecaster):
        key = given[0]
        fail(
            f"'{key}' is for ensembles, but the model makes a single forecast. Add ensemble=true with members "
            f"(members.perturbed=10), take an ensemble such as model=steps, or leave {key}=... out."
        )
    reasons = {
        "quantiles": None if "quantiles" in settings["products"] else "add quantiles to products",
        "radius": None if "nearby" in settings["products"] else "add nearby to products",
    }
    members = ["npy"] if "members" in settings["products"] else []
    chances = ["png", "pdf", "svg"] if "nearby" in settings["products"] else []
    held = {*_WITH_LAYERS, *members, *chances} & {*formats}
    if not held:
        written = ", ".join(formats)
        holders = "only NetCDF, Zarr, GeoTIFF and HTML hold products beside the forecast"
        reasons["products"] = f"{holders}, but {written} is written"
    for key, reason in reasons.items():
        if key in given and reason:
            print(f"ignored     {key}={shown(settings[key])}: {reason}")


def products_of(settings: Mapping[str, Any], forecaster: Forecaster, formats: Collection[str]) -> list[str]:
    """Returns the products to make beside the forecast: a page shows the range of an ensemble by its quantiles."""
    products = settings["products"]
    if "html" in formats and isinstance(forecaster, EnsembleForecaster) and "quantiles" not in products:
        return [*products, "quantiles"]
    return products


def ask_for_products(forecaster: Forecaster, settings: Mapping[str, Any], pixel_km: float | None) -> None:
    """Tells an ensemble which products to make, of frames whose pixels have a side of `pixel_km`."""
    if isinstance(forecaster, EnsembleForecaster):
        forecaster.products = Products(
            settings["product"], settings["products"], settings["quantiles"], settings["radius"], pixel_km
        )
