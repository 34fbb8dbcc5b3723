"""Imports of libraries that only one format needs and that may be missing."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingWriterError(RuntimeError):
    """An error that says that a format's library is not installed, with the command that installs it."""


def library(name: str, extra: str = "radar") -> ModuleType:
    """Imports and returns a format's library.

    Args:
        name: Its name.
        extra: The extra of this project that installs it. Default: "radar".

    Raises:
        MissingWriterError: The library is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingWriterError(
            f"writing this format needs the library {name} ({error}). Install it with pip install 'convlstm[{extra}]' "
            f"(in a checkout: pip install -e '.[{extra}]'), or choose another format: npy, png, gif."
        ) from error
