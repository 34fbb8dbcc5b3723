"""Addresses of stores on web servers and in object stores, and the folders on this machine that stand for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from convlstm.datasets.folders import data_folder

NOTE = ".address"
"""The file of a folder that names its address."""
# A Path has one slash left after the colon.
_ADDRESS = re.compile(r"(https?|s3|gs|gcs|abfs|az):/{1,2}(?=[^/])")


def is_address(value: object) -> bool:
    """Returns True for the address of a store, such as https://host/rain.zarr or s3://bucket/rain.zarr."""
    return isinstance(value, str | Path) and _ADDRESS.match(str(value)) is not None


def addresses_in(value: object) -> list[str]:
    """Returns the addresses in a value of a configuration, also within lists and sections."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [address for one in value for address in addresses_in(one)]
    return [str(value)] if is_address(value) else []


def was_asked(address: str) -> bool:
    """Returns True if this user has read from an address before, so that it has a folder here."""
    try:
        return (folder_of(normal(address)) / NOTE).is_file()
    except ValueError:
        return False


def address_of(path: Path) -> str | None:
    """Returns the address of a folder that `convlstm.datasets.remote.mirror` has made, or None for any other path.

    Raises:
        ConnectionError: The folder has an address, but lies elsewhere: nobody else's folder has this program ask a
            server.
    """
    if not (path / NOTE).is_file():
        return None
    if not path.resolve().is_relative_to(root := data_folder("remote").resolve()):
        raise ConnectionError(
            f"[remote] {path} is the copy of a remote store, but not in {root}. Name the store's address instead, or "
            "set CONVLSTM_DATA as it was."
        )
    return (path / NOTE).read_text(encoding="utf-8")


def normal(address: str | Path) -> str:
    """Returns an address with two slashes after the colon, and none at its end."""
    return _ADDRESS.sub(r"\1://", str(address), count=1).rstrip("/")


def folder_of(address: str) -> Path:
    """Returns the folder of an address, in `remote` of `convlstm.datasets.folders.data_folder`.

    Raises:
        ValueError: The address has a user, a password or a query.
    """
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query:
        raise ValueError(
            f"[remote] the address of {parts.hostname} must have no user, password or query, since it is written to "
            "files. Set the credentials where the protocol's library looks for them, such as ~/.netrc or ~/.aws."
        )
    names = [quote(name, safe=".-_ ").replace("..", "%2E%2E") for name in (parts.netloc, *parts.path.split("/"))]
    names = [name for name in names if name not in ("", ".")]
    return data_folder("remote").resolve().joinpath(parts.scheme, *names)
