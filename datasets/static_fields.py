"""Fixed fields of a file of their own, and the climatology, on the grid of the sequences of archives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets import arguments
from convlstm.datasets.archive_sequences import ArchiveSequences
from convlstm.datasets.archives.files import RadarFiles
from convlstm.datasets.channels import Channel
from convlstm.datasets.climatology import Climatology, fitted
from convlstm.datasets.fitted_scales import scale_of
from convlstm.datasets.maps import Maps, outline, same_place, spelled
from convlstm.datasets.readers import FORMATS, ReadError
from convlstm.datasets.readers.grid import Field, Grid

import numpy as np
from tqdm import tqdm

_OWNER = "GriddedFields"
_KEYS = ("file", "variable", "format", "reader")


class FoundMaps(NamedTuple):
    """Fixed fields and a climatology, as arguments of `convlstm.datasets.channels.Channels`."""

    arguments: dict[str, Any]
    climatology: Climatology | None


def maps_of(
    sequences: ArchiveSequences, coarsen: int, kind: str | None, static: Any, names: Sequence[str], progress: bool
) -> FoundMaps:
    """Returns the fixed fields of a file, and the climatology of the training split.

    Args:
        sequences: The sequences, whose archives must have one grid.
        coarsen: Side in pixels of the squares that become one pixel.
        kind: Kind of the climatology, or None.
        static: A file, or a mapping with `file` and further keys, or None.
        names: Names of the fields of the sequences.
        progress: If True, show a bar while the climatology is computed.

    Raises:
        ValueError: If an argument is refused, the file has another grid or cannot be read, or the archives have
            several grids.
    """
    if kind is None and static is None:
        return FoundMaps({}, None)
    first = sequences.archives[0]
    place = outline(first.grid, coarsen)
    for archive in sequences.archives[1:]:
        if not same_place(place, given := outline(archive.grid, coarsen)):
            raise ValueError(
                f"[{_OWNER}] 'climatology' and 'static' need archives of one grid, but {first.name} is of "
                f"{spelled(place)} and {archive.name} of {spelled(given)}."
            )
    channels, values = ([], None) if static is None else read_static(static, first.grid, coarsen)
    for channel in channels:
        if channel.field.name in names:
            raise ValueError(
                f"[{_OWNER}] 'static' must be other fields than those of the archive but got {channel.field.name!r}, "
                "which both have."
            )
    climatology = None if kind is None else _climatology(sequences, coarsen, kind, len(names), progress)
    found = {"grid": place, "static": channels, "climatology": kind}
    return FoundMaps(found | {"arrays": Maps(place, values, climatology).arrays}, climatology)


def _climatology(sequences: ArchiveSequences, coarsen: int, kind: str, count: int, progress: bool) -> Climatology:
    """Returns the climatology of all frames of the training split."""
    used = [(n, frame) for n, frames in sequences.used("train") for frame in frames.tolist()]
    if not used:
        raise ValueError(f"[{_OWNER}] 'climatology' needs a training split, but its share in 'split' is 0.")
    height, width = (side // coarsen for side in sequences.archives[0].grid.shape)

    def frame(number: int) -> np.ndarray:
        archive, position = used[number]
        return sequences.archives[archive].frame(position, coarsen).reshape(height, width, count)

    times = np.array([sequences.archives[n].times[position] for n, position in used])

    def shown(numbers: Iterable[int]) -> Iterable[int]:
        bar: Iterable[int] = tqdm(numbers, desc="climatology", unit="frames", disable=None if progress else True)
        return bar

    return fitted(kind, times, frame, (height, width, count), shown)


def read_static(static: Any, grid: Grid, coarsen: int) -> tuple[list[Channel], np.ndarray]:
    """Returns the fixed fields of a file with their scales, and their values (H, W, S), NaN where missing.

    Args:
        static: The file, or a mapping with `file` and further keys.
        grid: Grid of the files of the archive.
        coarsen: Side in pixels of the squares that become one pixel.

    Raises:
        ValueError: If the argument is refused, or the file has another grid or several times, or cannot be read.
        FileNotFoundError: If there is no file.
    """
    given = static if isinstance(static, Mapping) else {"file": static}
    if not {"file"} <= {*given} <= {*_KEYS}:
        raise ValueError(
            f"[{_OWNER}] 'static' must be a file, or {{file: PATH, variable: NAME}} with keys of {', '.join(_KEYS)}, "
            f"but got {static!r}."
        )
    path = arguments.path(_OWNER, "static", given["file"])
    options = arguments.options(_OWNER, "static.reader", given.get("reader"))
    if given.get("variable") is not None:
        options["variable"] = arguments.texts(_OWNER, "static.variable", given["variable"])
    found, values = _read(path, given.get("format") or "auto", options, grid, coarsen)
    channels = [Channel(field, scale_of("range", field, values[..., n])) for n, field in enumerate(found)]
    return channels, values


def _read(
    path: Path, format: str, options: dict[str, Any], grid: Grid, coarsen: int
) -> tuple[tuple[Field, ...], np.ndarray]:
    # Options of one format leave out files of others, so that the format must be known before.
    format = format if format != "auto" else RadarFiles(_OWNER, path, format, None, (200.0, 1.6)).format_of(path)
    if not format:
        raise ValueError(f"[{_OWNER}] 'static': {path} is of no known format ({', '.join(FORMATS)}).")
    if "timeless" in [field.name for field in fields(FORMATS[format])]:
        options = options | {"timeless": True}
    files = RadarFiles(_OWNER, path, format, options, (200.0, 1.6), apart=True)
    files.choose(format)
    try:
        contents = files.contents(path)
        if len(contents.times) != 1:
            raise ValueError(
                f"[{_OWNER}] 'static': {path} has {len(contents.times)} frames, and a fixed field has one. Name a "
                "field without times (static.variable), or read this one as a 'variable' of the archive."
            )
        place, given = outline(grid, coarsen), outline(contents.grid, coarsen)
        if not same_place(place, given):
            raise ValueError(
                f"[{_OWNER}] 'static': {path} is of another grid, {spelled(given)}, than the archive, "
                f"{spelled(place)}. Interpolate it first, as xarray's .interp_like does."
            )
        frame = files.frame(path, 0, contents.grid, coarsen)
    except ReadError as error:
        text = str(error).replace("by the option 'variable'", "").replace("reader.variable=", "static.variable=")
        raise ValueError(f"[{_OWNER}] 'static': {text}") from error
    return tuple(field.physical for field in contents.fields), frame if frame.ndim == 3 else frame[..., None]
