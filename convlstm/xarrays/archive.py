"""An archive as an xarray Dataset whose frames are read when they are looked at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from convlstm.backend.child_pool import Hold, Jobs
from convlstm.backend.child_process import ChildError
from convlstm.datasets import arguments
from convlstm.datasets.archives.files import Problem, RadarFiles
from convlstm.datasets.archives.majority import most_common
from convlstm.datasets.archives.sums import FileOfSums, check_sums
from convlstm.datasets.maps import outline, same_place, spelled
from convlstm.datasets.readers import Contents, MissingLibraryError, ReadError, jobs
from convlstm.datasets.readers.elsewhere import read_error
from convlstm.writers import Quantity, cf
from convlstm.xarrays.as_dataset import as_dataset
from convlstm.xarrays.library import xarray
from convlstm.xarrays.places import place_of

import numpy as np

# Files that are asked for their format.
_ASKED = 5
_MOST_NAMED = 3


def open_archive(path: str | Path, *, format: str = "auto", zr: Sequence[float] = (200.0, 1.6), **options: Any) -> Any:
    """Returns the frames of a folder, a file or a Zarr store as a Dataset over time, rows and columns.

    Each field is a variable, float32 in the units that data sets give it: rain rates in mm h-1, also for reflectivity
    and accumulations, everything else as in the files. The northern row is the first one. Only times and places are
    read here, from names and headers; the values of a frame are read when they are asked for, and are not kept. For
    computations in parallel, `.chunk({"time": 1})` makes arrays of dask.

    Files that cannot be read, or have another grid than most, are left out with a warning, and so are frames of a time
    that another file has. If files have events, `event` numbers those of each frame.

    Args:
        path: The folder, with all its subfolders, or the file.
        format: A key of `convlstm.datasets.readers.FORMATS`. Default: `"auto"`, that of most of some of the files.
        zr: `(a, b)` of Z = a R^b, for reflectivity. Default: (200.0, 1.6).
        **options: Options of the reader, such as `variable`, `units`, `select` or `pattern`.

    Raises:
        FileNotFoundError: Nothing exists at `path`.
        ValueError: An argument is refused, or no file can be read.
        ImportError: xarray is not installed.
        MissingLibraryError: The format's library is not installed.
    """
    xr = xarray()
    from convlstm.xarrays.lazy_frames import ArchiveFrames, LazyField  # it imports xarray

    from xarray.core.indexing import LazilyIndexedArray

    root = arguments.path("open_archive", "path", path).resolve()
    files = RadarFiles("open_archive", root, format, options or None, zr, apart=True)
    with Hold():
        found, problems = _contents_of(files, list(files.find()))
    grid, found = _of_one_grid(found, problems)
    paths = list(found)
    file = np.concatenate([np.full(len(found[path].times), n) for n, path in enumerate(paths)])
    position = np.concatenate([np.arange(len(found[path].times)) for path in paths])
    times = np.concatenate([found[path].times.astype("datetime64[s]") for path in paths])
    event = _events([found[path] for path in paths])
    order = np.lexsort((times, event))
    is_new = np.append(True, (np.diff(times[order]) != np.timedelta64(0, "s")) | (np.diff(event[order]) != 0))
    if twice := np.count_nonzero(~is_new):
        problems.append(Problem(root.name, f"{twice} frames have a time that another file has; left out"))
    order = order[is_new]
    _warn(root.name, problems)
    frames = ArchiveFrames(files, grid, paths, file[order], position[order])
    place = place_of(grid, grid.coordinates, (grid.shape[0], grid.shape[1]), None if grid.unplaced else grid.extent)
    located = as_dataset([] if place is None else cf.coordinates_of(place), {})
    mapping = next((str(name) for name, one in located.coords.items() if not one.dims), None)
    valid = {"standard_name": "time", "long_name": "time (UTC)", "axis": "T"}
    time = ("time", times[order].astype("datetime64[ns]"), valid)
    about = {"title": root.name, "source": f"{len(paths)} files of the format {files.format}"}
    if grid.unplaced:
        about["comment"] = f"without coordinates: {grid.unplaced}"
    dataset = xr.Dataset({}, {"time": time, **located.variables}, about)
    if len(np.unique(event)) > 1:
        dataset = dataset.assign_coords(event=("time", event[order], {"long_name": "number of the event"}))
    for channel, field in enumerate(grid.fields):
        own = field.physical
        described = cf.about_of(Quantity(own.name, own.units, own.standard_name, own.long_name))
        if own.file_units and field.kind == "dBZ":
            described["comment"] = "from {} by Z = {:g} R^{:g}".format(own.file_units, *files.zr)
        encoding = {} if mapping is None else {"grid_mapping": mapping}
        array = LazilyIndexedArray(LazyField(frames, channel))
        dataset[own.name] = xr.Variable(("time", *grid.dimensions), array, described, encoding)
    return dataset


def _contents_of(files: RadarFiles, paths: list[Path]) -> tuple[dict[Path, Contents], list[Problem]]:
    """Returns times and grids of the files of the most common format, and problems; chooses the format."""
    problems: list[Problem] = []
    if files.named:
        format: str | None = files.readers[0].format
    else:
        some = paths[:: max(1, -(-len(paths) // _ASKED))]
        formats = [one for path in some if (one := _format_of(files, path, problems))]
        if not formats:
            others = (_format_of(files, path, problems) for path in paths if path not in some)
            formats = list(islice(filter(None, others), 1))
        format = most_common(formats)
    if format is None:
        reason = f": {problems[0]}" if problems else " is of a known format"
        raise ValueError(f"[open_archive] no file in {files.path}{reason}. Check the path, or name the format.")
    files.choose(format)
    read: dict[Path, Contents] = {}
    failed: dict[Path, str] = {}
    waiting = Jobs()
    for path in paths:
        waiting.add(path, jobs.contents, path.absolute(), files.reader)
    for path, value in waiting:
        if isinstance(value, ChildError):
            error = read_error(value, path, files.reader)
            if isinstance(error, MissingLibraryError):
                raise error
            failed[path] = str(error)
        elif value is not None:
            read[path] = jobs.from_record(value)
    found = {path: read[path] for path in paths if path in read}
    if not found:
        raise ValueError(f"[open_archive] no file in {files.path} can be used: {next(iter(failed.values()), 'none')}")
    endings = {path.suffix for path in found}
    return found, problems + [Problem(path.name, text) for path, text in failed.items() if path.suffix in endings]


def _format_of(files: RadarFiles, path: Path, problems: list[Problem]) -> str:
    try:
        return files.format_of(path)
    except ReadError as error:
        problems.append(Problem(path.name, str(error)))
        return ""


def _of_one_grid(found: dict[Path, Contents], problems: list[Problem]) -> tuple[Any, dict[Path, Contents]]:
    """Returns the grid of most files, and the files that have it."""
    check_sums("open_archive", (FileOfSums(path.name, one.times, one.grid) for path, one in found.items()))
    layout = most_common(one.grid.layout for one in found.values())
    grid = most_common(one.grid for one in found.values() if one.grid.layout == layout)
    assert grid is not None
    place, kept = outline(grid), {}
    for path, one in found.items():
        if one.grid.layout != layout:
            problems.append(Problem(path.name, f"{one.grid.layout} instead of {layout}"))
        elif one.grid is not grid and not same_place(place, given := outline(one.grid)):
            problems.append(Problem(path.name, f"{spelled(given)} instead of {spelled(place)}"))
        else:
            kept[path] = one
    return grid, kept


def _events(contents: Sequence[Contents]) -> np.ndarray:
    """Returns a number for the event of each frame, from 0 on; files without events are all one."""
    numbers: dict[tuple[int, int], int] = {}
    events = []
    for n, one in enumerate(contents):
        own = [(-1, 0)] * len(one.times) if one.event is None else [(n, int(event)) for event in one.event]
        events += [numbers.setdefault(key, len(numbers)) for key in own]
    return np.array(events)


def _warn(name: str, problems: Sequence[Problem]) -> None:
    if problems:
        shown = "; ".join(map(str, problems[:_MOST_NAMED])) + ("; ..." if len(problems) > _MOST_NAMED else "")
        warnings.warn(f"[open_archive] of {name}, {len(problems)} left out or doubtful: {shown}", stacklevel=3)
