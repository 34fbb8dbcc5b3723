"""The cache of the Hugging Face hub on this machine, in which the files of a checkpoint are links to others.

`models--OWNER--NAME/snapshots/COMMIT/config.yaml` is a link to `../../blobs/HASH`. Such links alone may be followed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_MODELS = "models--"


def repository_of(folder: Path) -> str | None:
    """Returns "owner/name@commit" for a snapshot's folder in the hub's cache, and None for any other folder."""
    folder = folder.absolute()
    owner, dashes, name = folder.parent.parent.name.removeprefix(_MODELS).partition("--")
    if folder.parent.name != "snapshots" or not folder.parent.parent.name.startswith(_MODELS) or not dashes:
        return None
    return f"{owner}/{name}@{folder.name}"


def blob_of(path: Path) -> Path | None:
    """Returns the file that a link in a snapshot stands for; None for anything but a link from there to a blob."""
    blobs = path.absolute().parent.parent.parent / "blobs"
    with suppress(OSError):
        link = Path(os.readlink(path))  # noqa: PTH115  the text of the link, as it is
        blob = blobs / link.name
        if (
            repository_of(path.parent) is not None
            and str(link) == f"../../blobs/{link.name}"
            and stat.S_ISDIR(blobs.lstat().st_mode)
            and stat.S_ISREG(blob.lstat().st_mode)
        ):
            return blob
    return None
