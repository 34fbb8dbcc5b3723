"""Checks of HDF5 files, which may name other files, and code, to be read in place of their own data."""

from __future__ import annotations

from typing import Any

# Filters that the HDF5 library and h5py have built in, by number. Any other one would be searched for on this machine.
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
MOST_OBJECTS = 20_000
_DEPTH = 50


def check_self_contained(file: Any) -> None:
    """Raises ValueError if an open HDF5 file is not complete in itself.

    Refused are links to other files, data sets whose data lie in other files (external storage, virtual data sets),
    filters that are not in `FILTERS`, and more than `MOST_OBJECTS` objects or 50 levels of groups. Links within the
    file are allowed. No data are read.

    Args:
        file: An `h5py.File`. The error's text says what is wrong with it, such as "has a link to another file, '/x'".
    """
    from h5py import h5d, h5g, h5l, h5o

    groups = [(file.id, "/", 0)]
    seen = {_address(file.id)}
    count = 0
    for group, path, depth in groups:  # the list grows
        count += len(group)
        if count > MOST_OBJECTS or depth > _DEPTH:
            raise ValueError(f"has more than {MOST_OBJECTS:,} objects or {_DEPTH} levels of groups")
        kinds: dict[bytes, int] = {}
        # The callback returns None, by which the iteration goes on.
        group.links.iterate(lambda name, info, kinds=kinds: kinds.update({name: info.type}), info=True)
        for name, kind in kinds.items():
            full = path + name.decode("utf-8", "replace")
            if kind == h5l.TYPE_SOFT:
                continue
            if kind != h5l.TYPE_HARD:
                raise ValueError(f"has a link to another file, {full!r}, which is not followed")
            item = h5o.open(group, name)
            if isinstance(item, h5d.DatasetID):
                _check_storage(item.get_create_plist(), full)
            elif isinstance(item, h5g.GroupID) and (address := _address(item)) not in seen:
                seen.add(address)
                groups.append((item, f"{full}/", depth + 1))


def _address(group: Any) -> int:
    from h5py import h5o

    return h5o.get_info(group).addr


def _check_storage(properties: Any, name: str) -> None:
    from h5py import h5d

    if properties.get_layout() == h5d.VIRTUAL or properties.get_external_count() > 0:
        raise ValueError(f"has data in other files, those of {name!r}, which are not read")
    for position in range(properties.get_nfilters()):
        number = properties.get_filter(position)[0]
        if number not in FILTERS:
            raise ValueError(
                f"has {name!r} stored by the filter {number}, but only {', '.join(FILTERS.values())} are used. Store "
                "it with gzip (h5repack -f GZIP=4)"
            )
