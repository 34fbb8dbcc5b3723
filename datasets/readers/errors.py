"""Errors of the readers of radar files."""

from __future__ import annotations


class ReadError(ValueError):
    """A radar file is damaged, or its reader does not understand it. The message names the file."""


class UnreadableError(ValueError):
    """The reason why a file cannot be read, such as "has no frames". The reader puts the file's name before it."""


class MissingLibraryError(ReadError):
    """The library of a format is not installed. The message has the command that installs it."""
