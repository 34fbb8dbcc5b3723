"""Errors of the readers of radar files."""

from __future__ import annotations

POLAR = "Put it on a grid first, as the libraries xradar and wradlib do"
"""Advice for data of a single radar."""


class ReadError(ValueError):
    """A radar file is damaged, or its reader does not understand it. The message names the file."""


class UnreadableError(ValueError):
    """The reason why a file cannot be read, such as "has no frames". The reader puts the file's name before it."""


class MissingLibraryError(ReadError):
    """The library of a format is not installed. The message has the command that installs it."""


def printable(text: str) -> str:
    """Returns a text with escapes in place of characters that a terminal would obey, or that are no characters.

    Names of files and texts in them may have any bytes. Line breaks are escaped as well.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
