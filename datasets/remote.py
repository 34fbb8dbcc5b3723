"""Zarr stores on web servers and in object stores, as folders on this machine that are filled as they are read.

The folder of a store has its metadata and the chunks that have been read so far, so readers treat it as any other
store, and a chunk travels once. It lies in `remote` of `convlstm.datasets.folders.data_folder`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from convlstm.backend.child_pool import renew
from convlstm.datasets.remote_addresses import NOTE, address_of, folder_of, normal

import numpy as np

_EXTRAS = {"s3": "'convlstm[remote]'", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_METADATA = re.compile(r"([^/]+/)?(\.z(array|attrs|group)|zarr\.json)")
_LARGEST = 64 << 20
# Seconds until a server that does not answer is given up.
_PATIENCE = 50
_AT_ONCE = 16
_OF_READERS = ("CONVLSTM_DATA", "XDG_CACHE_HOME", "FSSPEC_", "AWS_", "GOOGLE_", "AZURE_")
_variables: dict[str, str] | None = None


def mirror(address: str | Path) -> Path:
    """Returns the folder of a store, with its newest metadata.

    Chunks of coordinates, and of arrays whose metadata has changed other than by growing, are fetched again.

    Args:
        address: Address of a Zarr store, version 2 or 3, preferably with consolidated metadata.

    Raises:
        FileNotFoundError: There is no Zarr store at the address.
        ConnectionError: The server cannot be reached, or refuses to answer.
        ValueError: The address has a password, or the library for it is missing.
    """
    address = normal(address)
    folder = folder_of(address)
    found = _Server(address).metadata()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        _renew(folder / name, content)
    for old in folder.glob("*/*"):
        if _METADATA.fullmatch(name := f"{old.parent.name}/{old.name}") and name not in found:
            old.unlink(missing_ok=True)
    (folder / NOTE).write_text(address, encoding="utf-8")
    _renew_readers()
    return folder


def _renew_readers() -> None:
    """Ends waiting processes that read files, if they have other credentials and folders than this one has now."""
    global _variables
    now = {name: value for name, value in os.environ.items() if name.startswith(_OF_READERS)}
    if now != _variables:
        renew()
        _variables = now


def fetch(store: Path, name: str, index: Any) -> None:
    """Fetches the chunks of an array that an index needs and the folder of a store lacks.

    Chunks that the server lacks stay away: they count as the array's fill value.

    Raises:
        ConnectionError: The server cannot be reached, or refuses to answer.
    """
    if (address := address_of(store)) is None:
        return
    lacking = [key for key in _keys(store / name, index) if not (store / name / key).exists()]
    if not lacking:
        return
    server = _Server(address)
    for start in range(0, len(lacking), _AT_ONCE):
        keys = lacking[start : start + _AT_ONCE]
        for key, content in server.several([f"{name}/{key}" for key in keys]).items():
            path = store / key
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)


class _Server:
    """A server's files below an address, by fsspec."""

    def __init__(self, address: str):
        self.address, protocol = address, address.split(":")[0]
        try:
            import fsspec

            options = {"client_kwargs": {"timeout": _timeout()}} if protocol.startswith("http") else {}
            self._files, self._root = fsspec.core.url_to_fs(address, **options)
        except ImportError as error:
            raise ValueError(
                f"[remote] {address} needs a library that is not installed ({error}). Install it with pip install "
                f"{_EXTRAS.get(protocol, _EXTRAS['s3'])}."
            ) from error

    def metadata(self) -> dict[str, bytes]:
        """Returns the metadata files of the store by their names."""
        if consolidated := self._one(".zmetadata"):
            entries = _object(self.address, ".zmetadata", consolidated).get("metadata")
        elif root := self._one("zarr.json"):
            group = _object(self.address, "zarr.json", root)
            nested = (group.get("consolidated_metadata") or {}).get("metadata")
            if nested is None:
                return {"zarr.json": root} | self._listed("zarr.json")
            entries = {"zarr.json": group} | {f"{name}/zarr.json": record for name, record in nested.items()}
        elif group_2 := self._one(".zgroup"):
            root_files = {".zgroup": group_2, ".zattrs": self._one(".zattrs") or b"{}"}
            return root_files | self._listed(".zarray", ".zattrs")
        else:
            raise FileNotFoundError(
                f"[remote] there is no Zarr store at {self.address}: it has no .zmetadata, zarr.json or .zgroup. Check "
                "the address. Other files must be on this machine: download them first."
            )
        if not isinstance(entries, dict):
            raise FileNotFoundError(f"[remote] the metadata of {self.address} makes no sense. Check the address.")
        return {name: json.dumps(entry).encode() for name, entry in entries.items() if _METADATA.fullmatch(name)}

    def several(self, names: Sequence[str]) -> dict[str, bytes]:
        """Returns the content of those files that exist."""
        paths = {f"{self._root}/{name}": name for name in names}
        found: Mapping[str, Any] = self._asked(self._files.cat, list(paths), on_error="return")
        contents = {}
        for path, content in found.items():
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, BaseException):
                raise self._error(content) from content
            contents[paths.get(path) or paths[next(p for p in paths if p.endswith(path))]] = content
        return contents

    def _one(self, name: str) -> bytes | None:
        try:
            content: bytes = self._asked(self._files.cat_file, f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        if len(content) > _LARGEST:
            raise FileNotFoundError(f"[remote] {name} of {self.address} has more than {_LARGEST >> 20} MiB.")
        return content

    def _listed(self, *names: str) -> dict[str, bytes]:
        """Returns the metadata of arrays in the folders that the server lists."""
        listed = self._asked(self._files.ls, self._root, detail=False)
        folders = sorted({unquote(str(path).rstrip("/").rsplit("/", 1)[-1]) for path in listed})
        found = self.several([f"{folder}/{name}" for folder in folders if folder[:1] != "." for name in names])
        if not found:
            raise FileNotFoundError(
                f"[remote] {self.address} has no consolidated metadata, and its server lists no arrays. Make the "
                "metadata with zarr.consolidate_metadata where the store lies."
            )
        return found

    def _asked(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # each protocol's library has its own ones
            raise self._error(error) from error

    def _error(self, error: BaseException) -> ConnectionError:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        refused = isinstance(error, PermissionError) or re.search(r"Credentials|\b40[13]\b|Forbidden", text)
        remedy = (
            "Set the credentials of its protocol, or FSSPEC_S3_ANON=true for a public bucket"
            if refused
            else "Check the address and the network, and try again"
        )
        return ConnectionError(f"[remote] {self.address} cannot be read ({text}). {remedy}.")


def _timeout() -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(total=_PATIENCE)


def _object(address: str, name: str, content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise FileNotFoundError(f"[remote] {name} of {address} is no JSON object. Check the address.")
    return record


def _renew(path: Path, content: bytes) -> None:
    """Writes a metadata file if it has changed, and removes the chunks that are no longer valid."""
    path.parent.mkdir(exist_ok=True)
    former = path.read_bytes() if path.is_file() else None
    if path.name in (".zarray", "zarr.json") and not _keeps_chunks(former, content):
        for chunk in [child for child in path.parent.rglob("*") if child.is_file()]:
            if chunk.name not in (".zarray", ".zattrs", "zarr.json"):
                chunk.unlink(missing_ok=True)
    if former != content:
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it, so that no other process reads a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def _keeps_chunks(former: bytes | None, content: bytes) -> bool:
    """Returns True if the chunks of an array stay as they are: only frames were added, each in a chunk of its own."""
    old, new = ({} if former is None else json.loads(former)), json.loads(content)
    if "shape" not in new:
        return True  # a group, whose arrays are other files
    if "shape" not in old or len(new["shape"]) < 2:
        return False
    return {**old, "shape": new["shape"], "attributes": None} == {**new, "attributes": None} and (
        old["shape"] == new["shape"] or (old["shape"][1:] == new["shape"][1:] and _layout(new)[0][0] == 1)
    )


def _layout(record: Mapping[str, Any]) -> tuple[list[int], str, str]:
    """Returns the shape of an array's chunks, what stands before their numbers, and between them."""
    if record.get("zarr_format") == 2:
        return record["chunks"], "", record.get("dimension_separator") or "."
    coding = record["chunk_key_encoding"]
    is_default = coding["name"] == "default"
    between = (coding.get("configuration") or {}).get("separator") or ("/" if is_default else ".")
    return record["chunk_grid"]["configuration"]["chunk_shape"], f"c{between}" if is_default else "", between


def _keys(array: Path, index: Any) -> list[str]:
    """Returns the names of the chunks, below an array's folder, that hold the values at an index."""
    file = next(file for name in ("zarr.json", ".zarray") if (file := array / name).is_file())
    record = json.loads(file.read_bytes())
    chunks, before, between = _layout(record)
    if not chunks:
        return ["c"] if before else ["0"]
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [one for one in given if not isinstance(one, np.ndarray)]:
        place = next(n for n, one in enumerate(given) if one is Ellipsis)
        given[place : place + 1] = [slice(None)] * (len(chunks) - len(given) + 1)
    given += [slice(None)] * (len(chunks) - len(given))
    numbers = [
        np.unique(np.atleast_1d(np.arange(size)[one]) // chunk).tolist()
        for size, chunk, one in zip(record["shape"], chunks, given, strict=True)
    ]
    return [before + between.join(map(str, key)) for key in itertools.product(*numbers)]
