"""Descriptions of projections, as PROJ strings, WKT or JSON, that a stranger may have written."""

from __future__ import annotations

import re

LONGEST = 10_000
# A path, as in `+nadgrids=@/a`, `+init=~/a:1`, `["PROJ4_GRIDS","./a"]` and `"value": "C:\a"`. Slashes in addresses and
# in names, such as "ETRS89 / UTM zone 32N", stand elsewhere.
_PATH = re.compile(r"""(?:^|[=@,"'\[({])\s*(?:[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\])|\.\.[/\\]""")


def check_projection(projection: str) -> None:
    """Raises ValueError if a description is too long, or names a file of this machine, which PROJ would open.

    PROJ reads tables from such files, and waits for ever if one of them is a named pipe. Tables named without a folder
    are PROJ's own, and are allowed.
    """
    if len(projection) > LONGEST:
        raise ValueError(f"it has {len(projection):,} letters, of at most {LONGEST:,}")
    if found := _PATH.search(projection):
        raise ValueError(f"it names a file, {projection[found.start() : found.start() + 80]!r}, which is not opened")
