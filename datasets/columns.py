"""The columns of a data set's frames: how many of the files' they are, and whether those go round the earth."""

from __future__ import annotations

from dataclasses import dataclass

from convlstm.datasets.readers.grid import Grid

import numpy as np

_ROUND = 360.0


@dataclass(frozen=True)
class Columns:
    """The columns of frames, compared with those of the files that they come from.

    Attributes:
        width: Columns of the files' frames.
        cut: Number of these that the frames lack, by crops or since squares of pixels are averaged.
        degrees: Degrees of longitude that the files' columns cover, None if they do not say it, or are no meridians.
    """

    width: int
    cut: int
    degrees: float | None

    @property
    def round_in_files(self) -> bool:
        """True if the first column of the files follows the last one: they cover 360 degrees of longitude."""
        return self.degrees is not None and abs(self.degrees - _ROUND) < 0.25 * _ROUND / self.width

    @property
    def go_round(self) -> bool:
        """True if the first column of the frames follows the last one."""
        return self.round_in_files and not self.cut


def columns_of(grid: Grid, width: int, coarsen: int = 1) -> Columns:
    """Returns the columns of frames.

    Args:
        grid: The grid of the files.
        width: Columns of the frames.
        coarsen: Columns of the files in a column of the frames. Default: 1.
    """
    return Columns(grid.shape[1], grid.shape[1] - width * coarsen, _degrees(grid))


def _degrees(grid: Grid) -> float | None:
    """Returns the degrees of longitude that the columns cover with their own widths."""
    width = grid.shape[1]
    for coordinate in grid.coordinates:
        if coordinate.is_longitude and grid.dimensions[1] in coordinate.dimensions and coordinate.values.ndim <= 2:
            values = np.asarray(coordinate.values, np.float64)
            # Where longitudes are of each pixel, those of the middle row.
            row = values if values.ndim == 1 else values[len(values) // 2]
            steps = (np.diff(row) + 180) % 360 - 180
            if len(row) != width or not steps.size or not np.isfinite(steps).all():
                return None
            step = float(np.median(steps))
            even = step > 0 and np.abs(steps - step).max() < 0.1 * step
            return step * width if even else None
    if grid.extent is not None and grid.pixel_units == "deg":
        return float(grid.extent[2] - grid.extent[0])
    return None
