"""GRIB files of editions 1 and 2, by ecCodes: their parameters as fields over time, member, level, rows and columns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import Contents
from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.cf.period import TAKE_DIFFERENCES
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grib_grid import coordinates_of
from convlstm.datasets.readers.grib_messages import Message, messages_of, values_of
from convlstm.datasets.readers.projection import UnplacedError

import numpy as np

_EPOCH = "seconds since 1970-01-01"


@dataclass(frozen=True)
class GRIB(CFReader):
    """GRIB 1 and 2. `CFReader` describes the options; `variable` is a short name of ecCodes, such as `"2t"`.

    A file may have many fields: those of one parameter make frames in the order of their valid times. Levels and
    members of an ensemble are further dimensions under the names of ecCodes: `select: {isobaricInhPa: 500, number: 1}`.
    Sums of rain become rates over their periods. Sums whose periods overlap, such as those since the start of a
    forecast, are refused unless `accumulated` names their start; of several that end at one time, the longest counts.
    """

    format = "grib"

    def _recognises(self, path: Path, head: bytes) -> bool:
        # Some centres put the header of a bulletin before the message.
        place = head[:200].find(b"GRIB")
        return place >= 0 and head[place + 7 : place + 8] in (b"\x01", b"\x02")

    def _contents(self, path: Path) -> Contents:
        contents = super()._contents(path)
        try:
            coordinates_of(dict(messages_of(path, identity(path))[0].grid))
        except UnplacedError as error:
            return replace(contents, grid=replace(contents.grid, unplaced=str(error)))
        return contents

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        groups: dict[tuple, list[Message]] = defaultdict(list)
        for message in messages_of(path, identity(path)):
            groups[message.name, message.level_type, message.grid].append(message)
        if self.variable is not None:  # nothing is said of others
            wanted = (self.variable,) if isinstance(self.variable, str) else self.variable
            chosen = {key: group for key, group in groups.items() if any(w.startswith(key[0]) for w in wanted)}
            groups = chosen if all(any(w.startswith(name) for name, *_ in chosen) for w in wanted) else groups
        names = [name for name, *_ in groups]
        kinds = [(name, kind) for name, kind, _ in groups]
        variables: dict[str, Variable] = {}
        for number, ((name, kind, grid), messages) in enumerate(groups.items()):
            # The same parameter on several kinds of levels, or on several grids, has several names.
            full = name if names.count(name) == 1 else f"{name}_{kind}"
            full = full if kinds.count((name, kind)) == 1 else f"{full}_{number}"
            _add(variables, path, full, messages, dict(grid), self.accumulated is not None)
        yield variables

    def _identity(self, path: Path) -> Any:
        return identity(path)


def _add(
    variables: dict[str, Variable],
    path: Path,
    name: str,
    messages: Sequence[Message],
    grid: dict[str, Any],
    overlapping: bool,
) -> None:
    """Adds the variables of one parameter: the field, and its coordinates, which several fields may share.

    The periods of its sums may overlap if `overlapping`.
    """
    by_place = _by_place(name, messages, overlapping)
    first = messages[0]
    times, members, levels = (sorted({place[axis] for place in by_place}) for axis in range(3))
    if len(by_place) < len(times) * len(members) * len(levels):
        raise UnreadableError(
            f"has {len(by_place)} fields {name!r} for {len(times)} times, {len(members)} members and {len(levels)} "
            "levels: some are missing"
        )
    about = {"units": _EPOCH, "standard_name": "time"}
    shared = ""
    if any(message.begin < message.end for message in by_place.values()):
        shared = _shared_begin(by_place.values())
    if first.is_sum:
        ends = {message.end: message.begin for message in by_place.values()}
        periods = np.array([(ends[time], time) for time in times]).astype(np.int64)
        if not overlapping and (periods[1:, 0] < periods[:-1, 1]).any():
            raise UnreadableError(_overlapping(name))
        about["bounds"] = _shared(variables, "time_bounds", ("time", "bounds"), periods, {})
    dimensions = [_shared(variables, "time", None, np.array(times).astype(np.int64), about)]
    further = []
    if len(members) > 1:
        further.append("member")
        dimensions.append(_shared(variables, "number", None, np.array(members), {}))
    if len(levels) > 1:
        further.append("level")
        vertical = {"units": first.level_units, "positive": "down" if first.level_units else "up"}
        dimensions.append(_shared(variables, first.level_type, None, np.array(levels), vertical))
    attributes = {"units": first.units, "standard_name": first.standard_name, "long_name": first.long_name}
    attributes |= {"cell_methods": "time: sum"} if first.is_sum else {"_remark": shared}
    try:
        rows, columns, mapping = coordinates_of(grid)
        dimensions += [_shared(variables, label, None, values, about) for label, values, about in (rows, columns)]
        if mapping is not None:
            attributes["grid_mapping"] = _shared(variables, "crs", (), np.zeros((), np.int32), mapping)
    except UnplacedError:
        dimensions += ["y", "x"]

    def load(index: tuple[Any, ...]) -> np.ndarray:
        chosen = {"member": 0, "level": 0} | dict(zip(further, index[1:], strict=False))
        return values_of(path, by_place[times[index[0]], members[chosen["member"]], levels[chosen["level"]]])

    sizes = {"time": len(times), "member": len(members), "level": len(levels)}
    variables[name] = Variable(
        name=name,
        dimensions=tuple(dimensions),
        shape=(*(sizes[label] for label in ("time", *further)), grid["Nj"], grid["Ni"]),
        dtype=np.dtype(np.float64),
        attributes={key: value for key, value in attributes.items() if value},
        load=load,
    )


def _shared_begin(messages: Iterable[Message]) -> str:
    """Returns a remark on means, highest values and the like over periods of which several begin at the same time."""
    periods = {(message.begin, message.end) for message in messages}
    begins = Counter(begin for begin, _ in periods)
    begin, count = begins.most_common(1)[0]
    return f"{count} of the {len(periods)} frames are over periods that begin at {begin}" if count > 1 else ""


def _by_place(name: str, messages: Sequence[Message], overlapping: bool) -> dict[tuple[Any, ...], Message]:
    """Returns the fields of a parameter by their time, member and level; the longest sum if they may overlap."""
    found: dict[tuple[Any, ...], Message] = {}
    for message in messages:
        known = found.setdefault((message.end, message.member, message.level), message)
        if known is not message and known.begin == message.begin:
            raise UnreadableError(
                f"has {name!r} of {message.end} more than once, as from two forecasts. Split it first, as by "
                "'grib_copy in.grib [dataDate]_[dataTime].grib'"
            )
        if known is not message and not overlapping:
            raise UnreadableError(_overlapping(name))
        if message.begin < known.begin:
            found[message.end, message.member, message.level] = message
    return found


def _shared(
    variables: dict[str, Variable],
    label: str,
    dimensions: tuple[str, ...] | None,
    values: np.ndarray,
    attributes: dict[str, Any],
) -> str:
    """Adds a coordinate, if there is no equal one yet; returns its name. Without `dimensions` it has its own."""
    number, name = 0, label
    while (known := variables.get(name)) is not None:
        if known.attributes == attributes and np.array_equal(known.load(...), values):
            return name
        number += 1
        name = f"{label}_{number}"
    own = (name,) if dimensions is None else dimensions
    variables[name] = Variable(name, own, values.shape, values.dtype, attributes, lambda index: values[index])
    return name


def _overlapping(name: str) -> str:
    return (
        f"has sums {name!r} whose periods overlap, such as those since the start of a forecast. {TAKE_DIFFERENCES}, or "
        "name another field by reader.variable"
    )
