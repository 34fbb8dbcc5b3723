"""Values on the grid of training that a model needs beside the frames: fixed fields and the fields' climatology."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convlstm.datasets.climatology import Climatology
from convlstm.datasets.readers.grid import Grid

import numpy as np

# Difference of two outlines that rounding makes, as a share of a pixel.
_SHIFT = 0.1


@dataclass(frozen=True)
class Maps:
    """Fixed fields and the climatology on the grid of a frame, in the units of the fields.

    Args:
        grid: Record of `outline`.
        static: Fixed fields (H, W, S), or None.
        climatology: Climatology of the fields, or None.
    """

    grid: Mapping[str, Any]
    static: np.ndarray | None = None
    climatology: Climatology | None = None

    @classmethod
    def of(cls, grid: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kind: str | None) -> Maps:
        """Returns the maps of `arrays`; `kind` is that of the climatology."""
        missing = {"climatology"} - {*arrays} if kind is not None else set()
        if missing:
            raise ValueError(f"[Maps] 'arrays' must have {', '.join(missing)} but have {', '.join(arrays) or 'none'}.")
        climatology = None if kind is None else Climatology(kind, np.asarray(arrays["climatology"]))
        static = arrays.get("static")
        return cls(grid, None if static is None else np.asarray(static), climatology)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, float32."""
        arrays = {} if self.static is None else {"static": self.static}
        return arrays | ({} if self.climatology is None else {"climatology": self.climatology.means})

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = (self.static if self.static is not None else next(iter(self.arrays.values()))[0]).shape[:2]
        return height, width

    @property
    def digest(self) -> str:
        """Digest of the arrays."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array, np.float32).tobytes())
        return digest.hexdigest()

    def part(self, top: int, left: int, height: int, width: int) -> Maps:
        """Returns the maps of a part of the frame."""
        static = None if self.static is None else self.static[top : top + height, left : left + width]
        climatology = None if self.climatology is None else self.climatology.part(top, left, height, width)
        return Maps(self.grid, static, climatology)


def outline(grid: Grid, coarsen: int = 1) -> dict[str, Any]:
    """Returns a record of the place of a grid: the shape of a frame, and the outer edges, if they are known.

    Args:
        grid: The grid of the files.
        coarsen: Side in pixels of the squares that become one pixel. Default: 1.
    """
    corners = [
        float(value)
        for c in grid.coordinates
        if c.dimensions and c.values.dtype.kind in "iuf"
        for value in (c.values.flat[0], c.values.flat[-1])
    ]
    return {
        "shape": [side // coarsen for side in grid.shape],
        "files": list(grid.shape),
        "units": grid.pixel_units,
        "edges": None if grid.extent is None else [float(edge) for edge in grid.extent],
        "corners": corners or None,
    }


def same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns True if two records of `outline` are of one grid, as far as they say it; longitudes may differ by 360."""
    if list(one["shape"]) != list(other["shape"]):
        return False
    a, b = one["edges"], other["edges"]
    if a is None or b is None:
        a, b = one["corners"], other["corners"]
        return a is None or b is None or (len(a) == len(b) and np.allclose(a, b, rtol=1e-5, atol=1e-4))
    if one["units"] != other["units"]:
        return False
    differences = np.subtract(a, b)
    if one["units"] == "deg":
        differences[::2] = (differences[::2] + 180) % 360 - 180
    pixels = np.array([abs(a[n + 2] - a[n]) / one["files"][1 - n] for n in (0, 1)])
    return bool((np.abs(differences.reshape(2, 2)) <= _SHIFT * pixels).all())


def spelled(place: Mapping[str, Any]) -> str:
    """Returns a record of `outline` in words."""
    text = " x ".join(map(str, place["shape"]))
    edges = place["edges"]
    if edges is None:
        return f"{text} pixels"
    return f"{text} pixels from {edges[0]:g}, {edges[1]:g} to {edges[2]:g}, {edges[3]:g} {place['units']}"
