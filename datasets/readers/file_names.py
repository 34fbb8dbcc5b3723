"""Times in the names of files."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

from convlstm.datasets.readers.options import check_text

import numpy as np

# The digits of each directive of strptime. Names of months are left out: strptime knows them in one language only.
_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "%": "%",
}
# 201009261530, 20100926153000, and the same with a mark between day and hour: 20100926_1530, 20100926T153000,
# 20100926Z1530; and with marks between all numbers: 2010-09-26_15:30:00, 2010-09-26T15-30.
_STAMP = re.compile(r"(?<!\d)((?:19|20)\d{6})[-_TZ]?(\d{4}(?:\d{2})?)(?!\d)")
_MARKED = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.])(\d\d)\2(\d\d)[-_T ](\d\d)([-_.:])(\d\d)(?:\6(\d\d))?(?!\d)")
_DAY = re.compile(r"(?<!\d)((?:19|20)\d{6})(?!\d)")


def check_pattern(format: str, pattern: str | None) -> None:
    """Raises ValueError if `pattern` is neither None nor a strptime pattern that is understood here."""
    check_text(format, "pattern", pattern)
    if pattern is not None:
        try:
            _expression(pattern)
        except ValueError as error:
            raise ValueError(f"[{format}] {error}") from error


# The reader that recognises a file asks again for its contents.
@lru_cache(maxsize=64)
def time_in_name(name: str, pattern: str | None = None) -> np.datetime64 | None:
    """Returns the time (UTC) in a file's name, or None.

    With a strptime `pattern`, it is the first match of the pattern. Without one, it is a run of 12 or 14 digits from
    the year to the minute or the second, with an optional `_`, `-`, `T` or `Z` between day and hour, or the same with
    marks between all numbers, as in 2018-05-01_23:00:04.
    """
    if pattern is not None:
        matches = _expression(pattern).finditer(name)
        return next(filter(None, (_parsed(match.group(), pattern) for match in matches)), None)
    for match in _STAMP.finditer(name):
        day, clock = match.groups()
        time = _parsed(day + clock, "%Y%m%d%H%M" if len(clock) == 4 else "%Y%m%d%H%M%S")
        if time is not None:
            return time
    for match in _MARKED.finditer(name):
        year, _, month, day, hour, _, minute, second = match.groups(default="00")
        time = _parsed(f"{year}{month}{day}{hour}{minute}{second}", "%Y%m%d%H%M%S")
        if time is not None:
            return time
    return None


def day_in_name(name: str) -> np.datetime64 | None:
    """Returns midnight (UTC) of the day in a file's name, a run of 8 digits, or None."""
    return next(filter(None, (_parsed(match.group(), "%Y%m%d") for match in _DAY.finditer(name))), None)


def _expression(pattern: str) -> re.Pattern[str]:
    """Returns a regular expression for a strptime pattern, to search for it anywhere in a name.

    Raises:
        ValueError: If the pattern has no directive, or one that is not known here.
    """
    pieces, directives = [], 0
    for piece in re.findall(r"%.?|[^%]+", pattern):
        if not piece.startswith("%"):
            pieces.append(re.escape(piece))
        elif piece[1:] in _DIRECTIVES:
            pieces.append(_DIRECTIVES[piece[1:]])
            directives += piece != "%%"
        else:
            raise ValueError(f"'pattern' knows {', '.join('%' + key for key in _DIRECTIVES)} but got {piece!r}.")
    if not directives:
        raise ValueError(f"'pattern' must be a pattern of strptime such as '%Y%m%d%H%M' but got {pattern!r}.")
    return re.compile("".join(pieces))


def _parsed(text: str, pattern: str) -> np.datetime64 | None:
    try:
        return np.datetime64(datetime.strptime(text, pattern), "s")
    except ValueError:
        return None
