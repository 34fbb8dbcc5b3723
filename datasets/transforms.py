"""Transforms from physical values to the model's [0, 1], each with its inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from convlstm.arguments import check_numbers
from convlstm.datasets.arguments import is_number

import numpy as np

# Half the width of `Standard`, in standard deviations.
_REACH = 5.0


class Transform:
    """A rising map of physical values to [0, 1], and its inverse. NaN stays NaN.

    Values beyond the ends of the range become the ends. A subclass sets `units`, the units of the physical values, such
    as `"mm/h"` or `"degC"`; `"raw"` stands for values without units.
    """

    units: str

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Returns float32 in [0, 1] for physical values, in the same shape."""
        raise NotImplementedError

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Returns float32 physical values for values on the model's scale, clipped to [0, 1], in the same shape."""
        raise NotImplementedError

    def ends(self) -> tuple[float, float]:
        """Returns the physical values of 0 and 1, beyond which values are clipped."""
        low, high = self.inverse(np.array([0, 1], np.float32)).tolist()
        return low, high

    def clipped(self, x: np.ndarray) -> float:
        """Returns the share of the known values that lie beyond the ends; 0 if no value is known."""
        low, high = (np.float32(end) for end in self.ends())
        known = np.isfinite(x)
        beyond = (x < low) | (x > high)
        return float(np.count_nonzero(beyond & known)) / max(int(np.count_nonzero(known)), 1)

    def describe(self) -> dict:
        """Returns the transform and its arguments as a record for JSON; arguments that are None are left out."""
        arguments = asdict(self)  # type: ignore[call-overload]
        return {"name": type(self).__name__, **{name: value for name, value in arguments.items() if value is not None}}


@dataclass(frozen=True)
class Reflectivity(Transform):
    """Rain rate as scaled reflectivity: the mapping of HKO-7 (Shi et al., 2017).

        dBZ = 10 log10(a) + 10 b log10(x);   y = (dBZ - minimum) / (maximum - minimum)

    With the defaults, `y` is 0 up to 0.017 mm/h and 1 from 516 mm/h on. `inverse(0)` is 0 mm/h: no rain.

    Args:
        a: Factor of the Z-R relation Z = a R^b, R in mm/h. Default: 58.53.
        b: Exponent of the relation. Default: 1.56.
        minimum: dBZ of `y = 0`. Default: -10.0.
        maximum: dBZ of `y = 1`. Default: 60.0.

    Raises:
        ValueError: If `a` or `b` is not positive, or `minimum` is not below `maximum`.
    """

    a: float = 58.53
    b: float = 1.56
    minimum: float = -10.0
    maximum: float = 60.0

    units = "mm/h"

    def __post_init__(self):
        for name in ("a", "b", "minimum", "maximum"):
            _check("Reflectivity", name, getattr(self, name), positive=name in "ab")
        _check_order("Reflectivity", self.minimum, self.maximum)
        try:
            with np.errstate(over="ignore"):
                low, high = np.array(self._ends(), np.float32).tolist()
        except (OverflowError, ZeroDivisionError):
            low = high = math.inf
        if not 0 < low < high < math.inf:
            raise ValueError(
                f"[Reflectivity] 'a', 'b', 'minimum' and 'maximum' must lead to two rain rates above 0 but got "
                f"{self.a!r}, {self.b!r}, {self.minimum!r} and {self.maximum!r}."
            )

    def forward(self, x: np.ndarray) -> np.ndarray:
        return _log_forward(x, *self._ends())

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return _log_inverse(y, *self._ends())

    def _ends(self) -> tuple[float, float]:
        low, high = rain_rate(np.array([self.minimum, self.maximum]), self.a, self.b).tolist()
        return low, high


@dataclass(frozen=True)
class LogRain(Transform):
    """The scaled logarithm of the rain rate.

        y = log10(x / minimum) / log10(maximum / minimum)

    Less rain than `minimum` becomes 0, and `inverse(0)` is 0 mm/h: no rain.

    Args:
        minimum: Rain rate of `y = 0` in mm/h. Default: 0.1.
        maximum: Rain rate of `y = 1` in mm/h. Default: 100.0.

    Raises:
        ValueError: If an argument is not positive, or `minimum` is not below `maximum`.
    """

    minimum: float = 0.1
    maximum: float = 100.0

    units = "mm/h"

    def __post_init__(self):
        for name in ("minimum", "maximum"):
            _check("LogRain", name, getattr(self, name), positive=True)
        _check_order("LogRain", self.minimum, self.maximum)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return _log_forward(x, self.minimum, self.maximum)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return _log_inverse(y, self.minimum, self.maximum)


@dataclass(frozen=True)
class Linear(Transform):
    """A line between two values, `y = (x - minimum) / (maximum - minimum)`, or a division, `y = x / scale`.

    The division is for the counts of 0 to 255 of SEVIR's `vil` and the like.

    Args:
        scale: Value of `y = 1` if `y = 0` is 0. Default: 255.0, unless the ends are given.
        units: Units of the values. Default: `"raw"`.
        minimum: Value of `y = 0`. Default: None, that is 0.
        maximum: Value of `y = 1`. Default: None, that is `scale`.

    Raises:
        ValueError: If `scale` is not positive, only one of the ends is given, or `minimum` is not below `maximum`.
    """

    scale: float = 255.0
    units: str = "raw"
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self):
        _check("Linear", "scale", self.scale, positive=True)
        _check_units("Linear", self.units)
        if (self.minimum is None) != (self.maximum is None):
            given, other = ("minimum", "maximum") if self.maximum is None else ("maximum", "minimum")
            raise ValueError(f"[Linear] '{given}' needs '{other}', but it is missing. Give both, or 'scale' alone.")
        if self.minimum is not None and self.maximum is not None:
            for name in ("minimum", "maximum"):
                _check("Linear", name, getattr(self, name), positive=False)
            _check_order("Linear", self.minimum, self.maximum)

    def forward(self, x: np.ndarray) -> np.ndarray:
        low, width = self._line()
        return np.clip((np.asarray(x, np.float32) - low) / width, 0, 1)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        low, width = self._line()
        return low + np.clip(np.asarray(y, np.float32), 0, 1) * width

    def describe(self) -> dict:
        record = super().describe()
        if self.minimum is not None:
            del record["scale"]
        return record

    def _line(self) -> tuple[np.float32, np.float32]:
        if self.minimum is None or self.maximum is None:
            return np.float32(0), np.float32(self.scale)
        return np.float32(self.minimum), np.float32(self.maximum - self.minimum)


@dataclass(frozen=True)
class Standard(Transform):
    """Standardised values: `y = 1/2 + (x - mean) / (10 std)`, so that [0, 1] reaches five standard deviations each way.

    Args:
        mean: Value of `y = 1/2`.
        std: Standard deviation, above 0.
        units: Units of the values. Default: `"raw"`.

    Raises:
        ValueError: If `mean` is not finite or `std` is not positive.
    """

    mean: float
    std: float
    units: str = "raw"

    def __post_init__(self):
        _check("Standard", "mean", self.mean, positive=False)
        _check("Standard", "std", self.std, positive=True)
        _check_units("Standard", self.units)

    def forward(self, x: np.ndarray) -> np.ndarray:
        deviations = (np.asarray(x, np.float32) - np.float32(self.mean)) / np.float32(2 * _REACH * self.std)
        return np.clip(np.float32(0.5) + deviations, 0, 1)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        deviations = np.clip(np.asarray(y, np.float32), 0, 1) - np.float32(0.5)
        return np.float32(self.mean) + deviations * np.float32(2 * _REACH * self.std)


def default_transform(units: str) -> Transform:
    """Returns `Reflectivity` for `"mm/h"`, `Linear` for `"raw"`."""
    return Reflectivity() if units == "mm/h" else Linear()


def to_unit(transform: Transform | None, values: Sequence[float]) -> list[float]:
    """Returns thresholds on the model's scale, exactly as `Transform.forward` maps the data.

    Args:
        transform: Transform of the data; None stands for `Reflectivity`, the default for rain.
        values: The thresholds in the transform's units.
    """
    transform = default_transform("mm/h") if transform is None else transform
    if not hasattr(transform, "forward"):
        raise ValueError(f"[to_unit] 'transform' must be a transform but got {transform!r}.")
    return [float(y) for y in transform.forward(np.asarray(check_numbers("to_unit", "values", values), np.float32))]


def rain_rate(dbz: np.ndarray, a: float = 200.0, b: float = 1.6) -> np.ndarray:
    """Returns the rain rate in mm/h of a reflectivity in dBZ by the Z-R relation Z = a R^b.

    The defaults are those of Marshall and Palmer. -inf dBZ is 0 mm/h, and NaN stays NaN.
    """
    return 10 ** ((dbz - 10 * math.log10(a)) / (10 * b))


def reflectivity(rain: np.ndarray, a: float = 200.0, b: float = 1.6) -> np.ndarray:
    """Returns the reflectivity in dBZ of a positive rain rate in mm/h, the inverse of `rain_rate`."""
    return 10 * math.log10(a) + 10 * b * np.log10(rain)


def _log_forward(x: np.ndarray, low: float, high: float) -> np.ndarray:
    # The quotient is exactly 1 at and below `low`, so that no rain is exactly 0.
    quotient = np.clip(np.asarray(x, np.float32), np.float32(low), np.float32(high)) / np.float32(low)
    return np.minimum(np.log(quotient) * np.float32(1 / math.log(high / low)), np.float32(1))


def _log_inverse(y: np.ndarray, low: float, high: float) -> np.ndarray:
    y = np.clip(np.asarray(y, np.float32), 0, 1)
    # In place: forecasts of many members are large.
    x = np.asarray(y * np.float32(math.log(high / low)))
    np.exp(x, out=x)
    x *= np.float32(low)
    np.copyto(x, y, where=y == 0)
    return x


def _check(owner: str, name: str, value: float, *, positive: bool) -> None:
    if not is_number(value) or not math.isfinite(value) or (positive and value <= 0):
        raise ValueError(
            f"[{owner}] '{name}' must be a {'positive' if positive else 'finite'} number but got {value!r}."
        )


def _check_units(owner: str, units: str) -> None:
    if not isinstance(units, str) or not units.strip():
        raise ValueError(f"[{owner}] 'units' must be a text such as degC or mm/h but got {units!r}.")


def _check_order(owner: str, minimum: float, maximum: float) -> None:
    if minimum >= maximum:
        raise ValueError(f"[{owner}] 'minimum' must be below 'maximum' ({maximum!r}) but got {minimum!r}.")
