"""Rain as users of pysteps have it, in decibels of mm/h or in mm/h, to rates and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convlstm.arguments import check_mapping, check_number

import numpy as np

DECIBELS = "dB"

# Threshold of 0.1 mm/h, and 5 dB less for no rain, as in pysteps.
_THRESHOLD = 0.1
_BELOW = 5.0
# A pixel at the threshold reaches it, although values have been rounded.
_ROUNDING = 1e-4
# Decibels beyond which values are no rain rates: 0.001 mm/h, unless the value of no rain is given, and 10,000 mm/h.
_LOWEST, _HIGHEST = -30.0, 40.0
_TO_RATES = "precip, metadata = pysteps.utils.conversion.to_rainrate(precip, metadata), and pass this metadata"


@dataclass(frozen=True)
class RainUnits:
    """Units of fields of rain in pysteps' terms.

    Args:
        transform: 'dB' for 10 log10 of rates in mm/h, or None for rates in mm/h.
        threshold: Lowest value that is rain, in these units.
        zerovalue: Value of no rain.
    """

    transform: str | None
    threshold: float
    zerovalue: float

    @classmethod
    def of(
        cls,
        precip: np.ndarray,
        *,
        unit: str = "mm/h",
        transform: str | None = DECIBELS,
        precip_thr: float | None = None,
        zerovalue: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RainUnits:
        """Returns the units of fields.

        Args:
            precip: Fields of any shape; NaN is missing.
            unit, transform, precip_thr, zerovalue, metadata: As in `convlstm.pysteps_plugin.forecast`.

        Raises:
            ValueError: Units or transform are others, metadata and arguments differ, or the values do not fit.
        """
        if metadata is not None:
            check_mapping("forecast", "metadata", metadata)
            if lacking := [key for key in ("unit", "transform") if key not in metadata]:
                raise ValueError(
                    f"[forecast] 'metadata' must have 'unit' and 'transform', as pysteps' importers return them, but "
                    f"lacks {' and '.join(map(repr, lacking))}."
                )
            unit = _agreed("unit", unit, "mm/h", metadata["unit"])
            transform = _agreed("transform", transform, DECIBELS, metadata["transform"])
            precip_thr = metadata.get("threshold") if precip_thr is None else precip_thr
            zerovalue = metadata.get("zerovalue") if zerovalue is None else zerovalue
        if unit != "mm/h":
            raise ValueError(f"[forecast] 'unit' must be 'mm/h' but got {unit!r}. Convert it first: {_TO_RATES}.")
        if transform not in (DECIBELS, None):
            raise ValueError(
                f"[forecast] 'transform' must be 'dB', or None for mm/h, but got {transform!r}. Undo it first: "
                f"{_TO_RATES}."
            )
        known = precip[~np.isnan(precip)]
        lowest, highest = (float(known.min()), float(known.max())) if known.size else (math.nan, math.nan)
        if math.isinf(lowest) or math.isinf(highest):
            raise ValueError("[forecast] 'precip' must be finite, or NaN where missing, but has infinite values.")
        decibels = transform == DECIBELS
        if precip_thr is None:
            threshold = 10 * math.log10(_THRESHOLD) if decibels else _THRESHOLD
        else:
            threshold = check_number("forecast", "precip_thr", precip_thr, -math.inf if decibels else 0)
        if decibels:
            _check_decibels(lowest, highest, zerovalue)
        elif lowest < min(0, 0 if zerovalue is None else check_number("forecast", "zerovalue", zerovalue)):
            raise ValueError(
                f"[forecast] 'precip' must be rates of at least 0 mm/h for transform=None but the lowest value is "
                f"{lowest:g}. Are these decibels? Then give transform='dB', the default."
            )
        if zerovalue is None:
            zerovalue = (lowest if lowest < threshold - _ROUNDING else threshold - _BELOW) if decibels else 0.0
        zerovalue = check_number("forecast", "zerovalue", zerovalue)
        if zerovalue > threshold or (zerovalue == threshold and (decibels or threshold > 0)):
            raise ValueError(
                f"[forecast] 'zerovalue' must be below 'precip_thr', {threshold:g}, but got {zerovalue:g}. Give both "
                "in the units of 'precip'."
            )
        return cls(transform, threshold, zerovalue)

    @property
    def lowest_rate(self) -> float:
        """The threshold in mm/h."""
        return 10 ** (self.threshold / 10) if self.transform == DECIBELS else self.threshold

    def rates(self, precip: np.ndarray) -> np.ndarray:
        """Returns float32 rates in mm/h, 0 below the threshold; NaN stays NaN."""
        x = precip.astype(np.float64)
        rates = np.where(self._wet(x), 10 ** (x / 10) if self.transform == DECIBELS else x, 0)
        return np.where(np.isnan(x), np.nan, rates).astype(np.float32)

    def fields(self, rates: np.ndarray) -> np.ndarray:
        """Returns fields of rates in mm/h, float64: `zerovalue` below the threshold; NaN stays NaN."""
        x = rates.astype(np.float64)
        if self.transform == DECIBELS:
            with np.errstate(divide="ignore", invalid="ignore"):
                x = 10 * np.log10(x)
        fields = np.where(self._wet(x), np.maximum(x, self.threshold), self.zerovalue)
        return np.where(np.isnan(rates), np.nan, fields)

    def _wet(self, x: np.ndarray) -> np.ndarray:
        """Returns where there is rain. Some radar files have a threshold of 0 mm/h; no rain is none all the same."""
        if self.transform == DECIBELS:
            return x >= self.threshold - _ROUNDING
        return (x >= self.threshold * (1 - _ROUNDING)) & (x > 0)


def _agreed(name: str, given: Any, default: Any, told: Any) -> Any:
    """Returns what the metadata tell; raises ValueError if an argument that is not the default differs."""
    if given != default and given != told:
        raise ValueError(
            f"[forecast] '{name}' must be that of 'metadata', {told!r}, or be left out, but got {given!r}."
        )
    return told


def _check_decibels(lowest: float, highest: float, zerovalue: float | None) -> None:
    """Raises ValueError if the values are probably no decibels of rates in mm/h."""
    if lowest == 0:
        raise ValueError(
            "[forecast] 'precip' must be decibels of mm/h but the lowest value is 0 dB: no pixel would be dry. "
            "Are these rates? Then give transform=None."
        )
    if highest > _HIGHEST:
        raise ValueError(
            f"[forecast] 'precip' must be decibels of mm/h, at most {_HIGHEST:g} dB, but the highest value is "
            f"{highest:g}. Are these rates? Then give transform=None. Reflectivities need: {_TO_RATES}."
        )
    least = _LOWEST if zerovalue is None else check_number("forecast", "zerovalue", zerovalue) - _ROUNDING
    if lowest < least:
        remedy = "Are these reflectivities? If not, give 'zerovalue'" if zerovalue is None else "Check 'zerovalue'"
        raise ValueError(
            f"[forecast] 'precip' must have no values below {least:.4g} dB but the lowest value is {lowest:g}. "
            f"{remedy}."
        )
