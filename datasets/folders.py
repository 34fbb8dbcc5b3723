"""Folders on this machine for downloaded and derived data."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder(name: str) -> Path:
    """Returns `$CONVLSTM_DATA/name`, or `convlstm/name` in the user's cache folder if that variable is not set."""
    data = os.environ.get("CONVLSTM_DATA")
    if data:
        return Path(data).expanduser() / name
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "convlstm" / name
