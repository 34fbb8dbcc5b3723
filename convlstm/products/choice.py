"""The choice of products of an ensemble, by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convlstm.arguments import check_number, check_numbers
from convlstm.products.best_csi import best_csi
from convlstm.products.statistics import mean, median, probability_matched_mean

import numpy as np

SINGLE = ("mean", "median", "pmm", "csi")
"""Products that are one forecast: `pmm` is the probability-matched mean, `csi` the field that is best for CSI."""

KINDS = (*SINGLE, "quantiles", "nearby", "members")
"""All products: `nearby` are probabilities within a radius, `members` the members themselves."""

_SIMPLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": mean,
    "median": median,
    "pmm": probability_matched_mean,
}


@dataclass(frozen=True)
class Products:
    """The products that are made of an ensemble's members.

    Args:
        forecast: The one of `SINGLE` that is the forecast itself. Default: "mean".
        further: Those of `KINDS` that are made beside it. Default: none.
        quantiles: Shares of the members, for "quantiles". Default: (0.1, 0.5, 0.9).
        radius: Radii in km, for "nearby". Default: (10,).
        pixel_km: Side of a pixel in km, for "nearby". Default: unknown.

    Raises:
        ValueError: A product does not exist, or a number is out of its range.
    """

    forecast: str = "mean"
    further: Sequence[str] = ()
    quantiles: Sequence[float] = (0.1, 0.5, 0.9)
    radius: Sequence[float] = (10.0,)
    pixel_km: float | None = None

    def __post_init__(self) -> None:
        if self.forecast not in SINGLE:
            raise ValueError(f"[Products] 'forecast' must be one of {', '.join(SINGLE)} but got {self.forecast!r}.")
        further = self.further
        if isinstance(further, str) or not isinstance(further, Sequence) or not all(name in KINDS for name in further):
            raise ValueError(f"[Products] 'further' must be a list of {', '.join(KINDS)} but got {further!r}.")
        shares, radii = (check_numbers("Products", name, getattr(self, name)) for name in ("quantiles", "radius"))
        if not shares or min(shares) < 0 or max(shares) > 1:
            raise ValueError(f"[Products] 'quantiles' must be shares from 0 to 1 but got {self.quantiles}.")
        if not radii or min(radii) < 0:
            raise ValueError(f"[Products] 'radius' must be one or more numbers of at least 0 but got {self.radius}.")
        if self.pixel_km is not None:
            check_number("Products", "pixel_km", self.pixel_km, above=0)

    @property
    def beside(self) -> tuple[str, ...]:
        """The further products without the forecast itself and without repetition."""
        return tuple(name for name in dict.fromkeys(self.further) if name != self.forecast)

    @property
    def need_members(self) -> bool:
        """True if a product needs all members at once; a mean needs only one after the other."""
        return self.forecast != "mean" or bool(self.beside)


def single(name: str, members: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Returns one of the products `SINGLE`, for members of any number of channels and sequences.

    Args:
        name: Its name.
        members: (M, T, H, W), or (M, ..., T, H, W, C) with channels, in physical units; NaN is missing.
        thresholds: Those of "csi".

    Returns:
        The shape of a member, float32.
    """
    of_frames = (lambda x: best_csi(x, thresholds)) if name == "csi" else _SIMPLE[name]
    if members.ndim == 4:
        return of_frames(members)
    x = np.moveaxis(members, -1, 1)
    fields = of_frames(x.reshape(len(x), -1, *x.shape[-2:])).reshape(x.shape[1:])
    return np.moveaxis(fields, 0, -1)
