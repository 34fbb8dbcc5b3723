"""NASA's IMERG in HDF5: global rain of half hours or months, in the group `Grid`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.hdf5 import holds, open_hdf5, text

import numpy as np

# The final estimate: its name in version 7, and up to version 6.
_RAIN = ("precipitation", "precipitationCal")


@dataclass(frozen=True)
class IMERG(CFReader):
    """IMERG HDF5 of versions 6 and 7: `precipitation` or `precipitationCal` in mm/h, (time, lon, lat) in the file.

    `CFReader` describes the options; `variable` names another field of the group `Grid`. The time is that in the file,
    the begin of the half hour.
    """

    format = "imerg"

    def _recognises(self, path: Path, head: bytes) -> bool:
        if not holds(path, head, ("Grid",), b"GridHeader"):
            return False
        with open_hdf5(path) as file:
            return "GridHeader" in file["Grid"].attrs

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        with open_hdf5(path) as file:
            group = file.get("Grid")
            if group is None:
                raise UnreadableError("has no group 'Grid' as IMERG's files have")
            everything = {name: item for name, item in group.items() if hasattr(item, "shape")}
            rain = next((name for name in _RAIN if name in everything), None)
            variables = {name: _variable(name, item) for name, item in everything.items()}
            if self.variable is None and rain is not None:
                places = ("time", "lat", "lon", "time_bnds", "lat_bnds", "lon_bnds")
                variables = {name: variables[name] for name in (rain, *places) if name in variables}
            yield variables

    def _identity(self, path: Path) -> Any:
        return identity(path)


def _variable(name: str, item: Any) -> Variable:
    attributes: dict[str, Any] = {}
    for key, value in item.attrs.items():
        if key in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "calendar"):
            # The calendar is called Julian, but the numbers count from dates of today's calendar.
            continue
        kind = np.asarray(value).dtype.kind
        attributes["long_name" if key == "LongName" else key] = text(value) if kind in "SUO" else value
    if "long_name" in attributes:
        attributes["long_name"] = " ".join(attributes["long_name"].split())
    dimensions = [part.strip() for part in attributes.get("DimensionNames", name).split(",")]
    return Variable(
        name=name,
        dimensions=tuple(dimensions),
        shape=tuple(int(side) for side in item.shape),
        dtype=np.dtype(item.dtype),
        attributes=attributes,
        load=lambda index: item[index],
        chunks=item.chunks,
    )
