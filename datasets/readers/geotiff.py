"""GeoTIFF files, one frame each or a band for each time, by rasterio."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.arguments import is_number
from convlstm.datasets.readers.base import NO_ECHO_DBZ, Contents, Reader, frame_number, library
from convlstm.datasets.readers.cf.quantity import quantity_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import check_pattern, time_in_name
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.readers.limits import check_bytes, check_frame
from convlstm.datasets.readers.options import check_number, check_step, check_text
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Numbers that stand for missing in so many files that they are taken for values only if the user says so.
_LIKELY = (-9999.0, -9998.0, -32768.0, -32767.0, -99999.0)
_ITEM = re.compile(r'<Item name="([^"]{1,80})"([^>]{0,200})>([^<]{0,200})</Item>')
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_LONGEST = 20_000
_TIMES = ("observation time", "acquisitiondatetime", "time", "valid_time", "tifftag_datetime", "datetime")
_STAMP = re.compile(r"(\d{4})\D?(\d{2})\D?(\d{2})\D?(\d{2})\D?(\d{2})(?:\D?(\d{2}))?")


class _Band(NamedTuple):
    """The values of a band: value = gain p + offset, where p is neither missing nor `undetect`."""

    name: str
    units: str
    gain: float
    offset: float
    missing: tuple[float, ...]
    undetect: float | None
    time: np.datetime64 | None


@dataclass(frozen=True)
class GeoTIFF(Reader):
    """GeoTIFF: value = gain p + offset of a pixel p, by the file's own tags or the options.

    The time is that of a tag (`Observation time`, `TIFFTAG_DATETIME` and the like), else that in the name. Values are
    missing if they equal the file's `nodata`, the option `missing` or a tag `Nodata`, or if a mask or an alpha band of
    the file says so; those that equal a tag `Undetect` are no echo. A file of several bands is refused, unless `band`
    chooses one, some as channels, or all as times.

    Args:
        band: Number of a band from 1 on, or several, which become channels (H, W, C), or `"time"` for a frame from each
            band, whose times are in tags of the bands. Default: the only one.
        units: Units of the values, such as `"dBZ"`, `"mm/h"` or `"K"`. Default: those in the file.
        name: Name of the quantity. Default: that in the file, else `"band"`.
        scale: Units per step of a number. Default: the file's gain, else 1.
        offset: Value of the number 0. Default: the file's offset, else 0.
        missing: A number, or several, that stand for missing, besides those in the file. Default: none.
        undetect: A number, or several, that stand for no echo: 0 mm/h or -32 dBZ. Default: that in the file.
        pattern: strptime pattern of the time in the name. Default: 12 or 14 digits.
        step_minutes: Period of accumulations in minutes. Default: unknown.
    """

    format = "geotiff"

    band: int | str | Sequence[int] | None = None
    units: str | None = None
    name: str | None = None
    scale: float | None = None
    offset: float | None = None
    missing: float | Sequence[float] | None = None
    undetect: float | Sequence[float] | None = None
    pattern: str | None = None
    step_minutes: float | None = None

    def __post_init__(self):
        check_pattern(self.format, self.pattern)
        check_step(self.format, self.step_minutes)
        for label in ("units", "name"):
            check_text(self.format, label, getattr(self, label))
        for label in ("scale", "offset"):
            check_number(self.format, label, getattr(self, label))
        for label in ("missing", "undetect"):
            object.__setattr__(self, label, _frozen(self.format, label, getattr(self, label)))
        if self.band != "time":
            object.__setattr__(self, "band", _frozen(self.format, "band", self.band, "number, several, or 'time',"))

    def _recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(_SIGNATURES) and path.suffix.lower() in (".tif", ".tiff", ".gtiff")

    def _contents(self, path: Path) -> Contents:
        with _opened(path) as source:
            numbers = self._bands(source)
            bands = [_band(source, number) for number in numbers]
            fields = tuple(self._field(band)[0] for band in bands)
            named = time_in_name(path.name, self.pattern)
            if self.band == "time":
                fields, times = fields[:1], [band.time for band in bands]
                if None in times:
                    raise UnreadableError(f"has {len(bands)} bands, but not a time in the tags of each")
            else:
                tagged = None if self.pattern is not None and named is not None else bands[0].time
                times = [named if tagged is None else tagged]
            if times[0] is None:
                raise UnreadableError("has no time in its tags or its name; set the option 'pattern'")
            return Contents(np.array(times, "datetime64[s]"), _grid(source, fields))

    def _read(self, path: Path, position: int) -> np.ndarray:
        with _opened(path) as source:
            numbers = self._bands(source)
            if self.band == "time":
                numbers = [numbers[frame_number(position, len(numbers))]]
            else:
                frame_number(position, 1)
            channels = [self._values(source, number) for number in numbers]
            flips = _flips(source)
        values = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        return np.flip(values, flips)

    def _bands(self, source: Any) -> list[int]:
        if self.band == "time":
            return list(range(1, source.count + 1))
        if self.band is not None:
            numbers = [int(number) for number in _numbers(self.band)]
            if min(numbers) < 1 or max(numbers) > source.count:
                raise UnreadableError(f"has the bands 1 to {source.count}, but 'band' is {self.band!r}")
            return numbers
        numbers = [n for n, kind in enumerate(source.colorinterp, 1) if kind.name != "alpha"]
        if len(numbers) != 1:
            raise UnreadableError(
                f"has {len(numbers)} bands. Choose one by the option 'band' (reader.band=1), several as channels "
                "(reader.band=[1,2]), or all as times (reader.band=time)"
            )
        return numbers

    def _field(self, band: _Band) -> tuple[Field, float]:
        """Returns the field of a band, and the factor from its units."""
        attributes = {"units": band.units, "long_name": band.name}
        variable = Variable(self.name or _identifier(band.name), (), (), np.dtype(np.float32), attributes, lambda _: _)
        quantity = quantity_of(variable, self.units)
        if not quantity.is_amount:
            return quantity.field, quantity.factor
        if self.step_minutes is None:
            raise UnreadableError("has accumulations of an unknown period. Give the minutes by 'step_minutes'")
        return quantity.field, quantity.factor * 60 / self.step_minutes

    def _values(self, source: Any, number: int) -> np.ndarray:
        band = _band(source, number)
        field, factor = self._field(band)
        stored = source.read(number)
        known = source.read_masks(number) != 0
        gain = band.gain if self.scale is None else self.scale
        offset = band.offset if self.offset is None else self.offset
        values = stored * np.float32(gain * factor) + np.float32(offset * factor)
        nothing = _numbers(band.undetect if self.undetect is None else self.undetect)
        values[np.isin(stored, nothing)] = NO_ECHO_DBZ if field.kind == "dBZ" else 0
        missing = (*band.missing, *_numbers(self.missing))
        known &= ~np.isin(stored, missing)
        values[~known] = np.nan
        lowest = float(stored.min(initial=0, where=known))
        if lowest in _LIKELY and lowest not in nothing:
            raise UnreadableError(
                f"has pixels of {lowest:g}, but does not say that they are missing. Set the option 'missing' to this "
                f"number, or 'undetect' if there was no echo, in a list with others: reader.missing=[{lowest:g}]"
            )
        return values


def _frozen(format: str, name: str, value: Any, what: str = "number, or several,") -> Any:
    """Returns an option as a number, a tuple of numbers or None; raises ValueError for anything else."""
    several = isinstance(value, list | tuple)
    if value is not None and not (all(map(_is_finite, value)) and value if several else _is_finite(value)):
        raise ValueError(f"[{format}] '{name}' must be a {what} but got {value!r}.")
    return tuple(value) if several else value


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return () if value is None else value if isinstance(value, tuple) else (float(value),)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens a file by GDAL's driver of GeoTIFF alone, without files beside it."""
    rasterio = library("rasterio", path)
    with open_plain(path) as file:
        if not file.read(4).startswith(_SIGNATURES):
            raise UnreadableError("is not a TIFF file")
    # No masks, overviews or metadata in other files, no network, and no PROJ grids that are fetched.
    settings = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        "CPL_CURL_ENABLED": "NO",
        "GTIFF_VIRTUAL_MEM_IO": "NO",
        "GDAL_GEOREF_SOURCES": "INTERNAL",
        "PROJ_NETWORK": "OFF",
    }
    with rasterio.Env(**settings), rasterio.open(str(path.absolute()), driver="GTiff", sharing=False) as source:
        check_frame(source.shape)
        sizes = [np.dtype(name).itemsize for name in source.dtypes]
        for height, width in set(source.block_shapes):
            check_bytes(f"blocks of {height} x {width}", height * width * sum(sizes))
        if not all(np.dtype(name).kind in "iuf" for name in source.dtypes):
            raise UnreadableError(f"has pixels of {', '.join(set(source.dtypes))}, where real numbers are expected")
        yield source


def _band(source: Any, number: int) -> _Band:
    tags = {str(key).lower(): str(value)[:_LONGEST] for key, value in {**source.tags(), **source.tags(number)}.items()}
    about: dict[str, str] = {}
    for label, attributes, text in _ITEM.findall(tags.get("gdal_metadata", "")):
        tags[label.lower()] = text
        if label.lower() == "quantity":
            about = dict(_ATTRIBUTE.findall(attributes)) | {"name": text}
    scale, offset = source.scales[number - 1], source.offsets[number - 1]
    if (scale, offset) == (1.0, 0.0):
        scale, offset = (_number(tags, key, default) for key, default in (("gain", 1.0), ("offset", 0.0)))
    missing = [value for value in (source.nodatavals[number - 1], _number(tags, "nodata")) if value is not None]
    stamps = (_STAMP.search(tags[key]) for key in _TIMES if key in tags)
    return _Band(
        name=(source.descriptions[number - 1] or about.get("name") or tags.get("long_name", ""))[:200],
        units=(source.units[number - 1] or about.get("unit") or tags.get("units", ""))[:60],
        gain=scale,
        offset=offset,
        missing=tuple(missing),
        undetect=_number(tags, "undetect"),
        time=next((_time(match) for match in stamps if match is not None), None),
    )


def _time(match: re.Match[str]) -> np.datetime64 | None:
    year, month, day, hour, minute, second = match.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}", "s")
    except ValueError:
        return None


def _number(tags: dict[str, str], key: str, default: Any = None) -> Any:
    try:
        return float(tags[key])
    except (KeyError, ValueError):
        return default


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower())[:60] or "band"


def _flips(source: Any) -> tuple[int, ...]:
    """Returns the axes to flip, so that the first row is in the north and the first column in the west."""
    transform = source.transform
    return tuple(axis for axis, turned in ((0, transform.e > 0), (1, transform.a < 0)) if turned)


def _grid(source: Any, fields: tuple[Field, ...]) -> Grid:
    height, width = source.shape
    transform, crs = source.transform, source.crs
    grid = Grid(shape=(height, width), fields=fields)
    if crs is None or transform.b or transform.d:
        reason = "the file has no coordinate reference system" if crs is None else "its pixels are turned from the axes"
        return Grid(shape=(height, width), fields=fields, unplaced=reason)
    metres = 1.0 if crs.is_geographic else float(crs.linear_units_factor[1])
    if metres != 1.0:
        return Grid(shape=(height, width), fields=fields, unplaced=f"its coordinates are in {crs.linear_units}, not m")
    left, top = transform.c, transform.f
    right, bottom = left + width * transform.a, top + height * transform.e
    return Grid(
        shape=grid.shape,
        fields=fields,
        pixel_size=(abs(transform.e), abs(transform.a)),
        pixel_units="deg" if crs.is_geographic else "m",
        projection=crs.to_wkt(),
        extent=(min(left, right), min(bottom, top), max(left, right), max(bottom, top)),
    )
