"""The place of frames of an archive as a forecast's."""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.datasets.readers import Coordinate as FileCoordinate
from convlstm.datasets.readers import Grid
from convlstm.writers import Coordinate, Place

Extent = tuple[float, float, float, float]


def place_of(
    grid: Grid, coordinates: Sequence[FileCoordinate], size: tuple[int, int], extent: Extent | None
) -> Place | None:
    """Returns the place of frames, or None if it is unknown.

    Args:
        grid: The grid of the files.
        coordinates: Coordinates of the frames that the files have as variables; they are taken value for value.
        size: Height and width of the frames in pixels.
        extent: Outer edges (x_min, y_min, x_max, y_max) of the frames, for files without such variables.
    """
    if copied := tuple(Coordinate(c.name, c.dimensions, c.values, c.attributes) for c in coordinates):
        return Place(grid.dimensions, copied, grid.projection)
    if extent is None:
        return None
    return Place.of(size, extent, units=grid.pixel_units, projection=grid.projection)
