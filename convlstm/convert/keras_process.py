"""Reading of Keras's files in another process: a damaged one can neither end nor block this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convlstm.backend.child_pool import call
from convlstm.backend.child_process import ChildError, RaisedError
from convlstm.convert import keras
from convlstm.convert.sources import ConversionError, StateDict


def read(path: str | Path, **settings: Any) -> tuple[StateDict, list[dict[str, Any]], list[str]]:
    """Returns what `convlstm.convert.keras.read` returns for the same arguments.

    Raises:
        ConversionError: As there; or HDF5's library has crashed, or has not come to an end.
    """
    try:
        arrays, layers, others = call(_read, str(path), settings)
    except ChildError as error:
        if isinstance(error, RaisedError) and error.name == ConversionError.__name__:
            raise ConversionError(str(error)) from error
        reason = f"{error.name}: {error}" if isinstance(error, RaisedError) else str(error)
        raise ConversionError(f"'{path}' cannot be read: {reason}.") from error
    return arrays, layers, others


def _read(path: str, settings: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield list(keras.read(path, **settings))
