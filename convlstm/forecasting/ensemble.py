"""The ensemble forecaster: several forecasts of the same frames, by several checkpoints or from perturbed inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from convlstm.architectures.ensemble import check_members
from convlstm.architectures.perturbation import Perturbation
from convlstm.arguments import check_numbers
from convlstm.backend.memory import check_memory
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.product_layers import FieldNames, about, comment, product_layers, spread_layers
from convlstm.metrics.events import lowest_event
from convlstm.products import Products, single
from convlstm.writers.forecast import Layer
from convlstm.xarrays.library import is_labelled

import numpy as np

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

# Units in which 0.5 is a threshold that makes sense.
_WITH_THRESHOLD = ("mm/h", "dBZ", "raw", "")


class EnsembleForecaster(Forecaster):
    """A forecaster of an ensemble's mean, in physical units; `layers` has its spread and its probabilities.

    With `products`, the forecast can be another field, such as the median, and further ones are among the layers.
    Products other than the mean need all members at once, in float32: M T H W times 4 bytes.

    Args:
        forecasters: The forecasters of the members. Their units and numbers of input frames must be the same, and the
            frame intervals and pixel sizes of their training must not differ by more than 5 percent.
        perturbed, perturbation: As in `Ensemble`.
        thresholds: Thresholds of the probabilities, in physical units; for a single field only. Default: those of the
            checkpoint's data, else 0.5 for rain and for values in [0, 1], and none for other fields.
        products: The forecast, and what is made beside it. Default: the mean, and nothing.

    Attributes:
        products: May be set to others between two calls.
        layers: Fields of the last call by name: `spread`, the standard deviation around the mean, and for each
            threshold `probability_at_least_...`, the share of members at or above it; then the further products:
            `mean`, `median`, `probability_matched_mean`, `best_for_csi`, `quantile_0p9`,
            `probability_at_least_..._within_10_km`. Of several fields each has its own, such as `spread_sst`. Empty for
            batches, and for frames of several channels that are no fields.
        all_members: Those of the last call, (M, ...), if "members" is among the products; else None.
        about: Attributes of the last call's forecast: `cell_methods` and `comment` in CF's notation, `ensemble_size`.

    Raises:
        ValueError: There are fewer than two members, the forecasters do not fit each other, or there are thresholds
            and several fields.
    """

    def __init__(
        self,
        forecasters: Sequence[Forecaster],
        *,
        perturbed: int = 1,
        perturbation: Perturbation | None = None,
        thresholds: Sequence[float] | None = None,
        products: Products | None = None,
    ):
        if not isinstance(forecasters, Sequence) or not all(isinstance(each, Forecaster) for each in forecasters):
            raise ValueError(
                f"[EnsembleForecaster] 'forecasters' must be a list of forecasters but got {forecasters!r}."
            )
        check_members("EnsembleForecaster", len(forecasters), perturbed)
        first = forecasters[0]
        for other in forecasters[1:]:
            for name in ("units", "input_frames", "frame_interval", "pixel_km"):
                a, b = getattr(first, name), getattr(other, name)
                # Pixels of one kilometre are 999.7 m wide on some maps.
                close = isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=0.05)
                if a != b and not close:
                    raise ValueError(
                        f"[EnsembleForecaster] 'forecasters' must have the same '{name}' but got {a!r} and {b!r}."
                    )
        super().__init__(
            first.model, first.scale, input_frames=first.input_frames, horizon=first.horizon, record=first.record
        )
        self.forecasters, self.perturbed = list(forecasters), perturbed
        self.perturbation = Perturbation() if perturbation is None else perturbation
        if thresholds is None:
            of_data = (first.record.get("data") or {}).get("thresholds")
            thresholds = of_data or ([0.5] if self.units in _WITH_THRESHOLD else [])
        self.thresholds = tuple(check_numbers("EnsembleForecaster", "thresholds", thresholds))
        if self.thresholds and len(names := [name for name, _ in self._fields()]) > 1:
            raise ValueError(
                f"[EnsembleForecaster] 'thresholds' need a single field but the forecast has {', '.join(names)}. Leave "
                "them out."
            )
        self.products = Products() if products is None else products
        self.layers: dict[str, Layer] = {}
        self.all_members: np.ndarray | None = None
        self.about: dict[str, Any] = {}

    def _fields(self) -> list[tuple[str, str]]:
        """Returns names and units of the fields; a single one, or frames that are no fields, have no name."""
        targets = getattr(self.scale, "targets", ())
        if len(targets) > 1:
            return [(target.field.name, target.field.units) for target in targets]
        return [("", self.units)]

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.forecasters) * self.perturbed

    def members(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the members' forecasts. Arguments, results and errors are those of `Forecaster`."""
        steps = self.horizon if horizon is None else horizon
        for number in range(self.size):
            forecaster = self.forecasters[number // self.perturbed]

            def perturbed(y: np.ndarray, number: int = number) -> np.ndarray:
                y = y if perturb is None else perturb(y)
                circular = getattr(self.forecasters[number // self.perturbed].model, "circular", False)
                return y if self.perturbed == 1 else self.perturbation(y, number, circular=circular)

            forecast = forecaster(frames, steps, times=times, degrees=degrees, perturb=perturbed)
            self.missing, self.clipped = forecaster.missing, forecaster.clipped
            yield forecast

    def __call__(
        self,
        frames: np.ndarray | DataArray | Dataset,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Any:
        """Returns the mean of the members' forecasts, or what `products` has as the forecast.

        Arguments, result and errors are those of `Forecaster`. ValueError is also raised if the members would take more
        memory than there is, or if a product lacks thresholds or the side of a pixel.
        """
        if is_labelled(frames):
            return super().__call__(frames, horizon, times=times, degrees=degrees, perturb=perturb)
        products = self._checked_products()
        mean = squares = counts = kept = np.zeros(0)
        members = self.members(cast(np.ndarray, frames), horizon, times=times, degrees=degrees, perturb=perturb)
        for number, forecast in enumerate(members, 1):
            if number == 1:
                mean, squares = np.zeros(forecast.shape), np.zeros(forecast.shape)
                counts = np.zeros((len(self.thresholds), *forecast.shape), np.float32)
                if products.need_members:
                    kept = self._room(forecast)
            # Welford's recurrence, which needs each member only once.
            change = forecast - mean
            mean += change / number
            squares += change * (forecast - mean)
            for k, threshold in enumerate(self.thresholds):
                counts[k] += forecast >= lowest_event(threshold)
            if products.need_members:
                kept[number - 1] = forecast
        shares = np.where(np.isnan(mean), np.nan, counts / self.size)
        self._set_layers(np.sqrt(squares / (self.size - 1)), shares, kept, products)
        self.all_members = kept if "members" in products.beside else None
        described = {"comment": comment(products.forecast, self.size), "ensemble_size": self.size}
        self.about = about(products.forecast) | described
        if products.forecast == "mean":
            return mean.astype(np.float32)
        return single(products.forecast, kept, self.thresholds)

    def _checked_products(self) -> Products:
        """Returns the products with the side of a pixel; raises ValueError if one of them lacks something."""
        if not isinstance(self.products, Products):
            raise ValueError(f"[EnsembleForecaster] 'products' must be a Products but got {self.products!r}.")
        products = self.products
        for name in ("csi", "nearby"):
            if name in (products.forecast, *products.beside) and not self.thresholds:
                raise ValueError(
                    f"[EnsembleForecaster] the product '{name}' needs thresholds, but there are none. Give some: "
                    "thresholds=[...], for a single field."
                )
        if products.pixel_km is None:
            products = replace(products, pixel_km=self.pixel_km)
        if "nearby" in products.beside and products.pixel_km is None:
            raise ValueError(
                "[EnsembleForecaster] the product 'nearby' needs the side of a pixel in km, which is unknown. Leave it "
                "out, or give 'pixel_km' of the Products."
            )
        return products

    def _room(self, forecast: np.ndarray) -> np.ndarray:
        """Returns an empty array for all members; raises ValueError if it would be larger than the memory."""
        # Products need some fields beside the members, and the file of members a copy of them.
        check_memory(
            "EnsembleForecaster",
            f"{self.size} members of {forecast.shape}, which the 'products' need at once,",
            2 * 4 * self.size * forecast.size,
            "Ask for fewer frames (horizon), a part of them (crop), larger pixels (coarsen), or for the mean alone: it "
            "needs no members.",
        )
        return np.empty((self.size, *forecast.shape), np.float32)

    def _set_layers(self, spread: np.ndarray, shares: np.ndarray, members: np.ndarray, products: Products) -> None:
        """Sets `layers` from the spread, the share of members at or above each threshold, and all members."""
        self.layers, fields = {}, self._fields()
        if spread.ndim == 3:
            spread, shares, members = spread[..., None], shares[..., None], members[..., None]
        if spread.ndim == 5 or spread.shape[-1] != len(fields):
            return
        for channel, (name, units) in enumerate(fields):
            names = FieldNames(name, units, self.size)
            self.layers |= spread_layers(names, spread[..., channel], shares[..., channel], self.thresholds)
            if products.beside:
                self.layers |= product_layers(names, members[..., channel], products, self.thresholds)

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance of the first forecaster, with all checkpoints and the perturbation of the inputs."""
        ensemble: dict[str, Any] = {
            "members": self.size,
            "checkpoints": [f.record.get("checkpoint") for f in self.forecasters],
        }
        if self.perturbed > 1:
            ensemble["perturbation"] = self.perturbation.describe()
        return super().provenance() | {"ensemble": ensemble}
