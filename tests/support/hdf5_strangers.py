"""Changes of HDF5 files by which a stranger reads other files, or makes a reader search for code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SECRET = 113  # the value of every pixel of the other file


def write_secret(folder: Path, shape: tuple[int, ...], dtype: Any) -> Path:
    """Writes a file of one data set `secret`, and a file of its bare bytes beside it."""
    import h5py

    values = np.full(shape, SECRET, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = values
        file["group/data"] = values
    (folder / "secret.bin").write_bytes(values.tobytes())
    return folder


def replace(file: Any, name: str, how: str, secret: Path) -> None:
    """Replaces the data set `name` of an open file by something that is not in the file."""
    import h5py

    old = file[name]
    shape, dtype, attributes = old.shape, old.dtype, dict(old.attrs)
    del file[name]
    if how == "external link":
        file[name] = h5py.ExternalLink(str(secret / "secret.h5"), "/secret")
        return
    if how == "soft link to an external link":
        file["elsewhere"] = h5py.ExternalLink(str(secret / "secret.h5"), "/")
        file[name] = h5py.SoftLink("/elsewhere/secret")
        return
    if how == "external storage":
        new = file.create_dataset(name, shape, dtype, external=[(str(secret / "secret.bin"), 0, h5py.h5f.UNLIMITED)])
    elif how == "virtual data set":
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(secret / "secret.h5"), "secret", shape)
        new = file.create_virtual_dataset(name, layout)
    else:
        new = unknown_filter(file, name, shape, dtype)
    new.attrs.update({key: value for key, value in attributes.items() if not isinstance(value, h5py.Reference)})


def unknown_filter(file: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """Creates a data set that is stored by the filter 305, for which HDF5 would search for a library."""
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(shape)
    properties.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
    parent, _, last = name.rpartition("/")
    group = file.require_group(parent) if parent else file
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(np.dtype(dtype))
    return h5py.Dataset(h5py.h5d.create(group.id, last.encode(), kind, space, properties))


WAYS = (
    "external link",
    "soft link to an external link",
    "external storage",
    "virtual data set",
    "unknown filter",
)
