"""Messages between two processes: plain values and arrays of numbers. Reading one never runs code of the sender."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

from convlstm.backend.memory import memory

import numpy as np

_LENGTH = struct.Struct("<Q")
_LONGEST_TEXT = 1 << 26
_KEY = "__array__"


class MessageError(ValueError):
    """What came is no message."""


def pack(value: Any) -> list[Any]:
    """Returns the parts of a message: bytes, then the memory of each array.

    Args:
        value: None, numbers, text, arrays of numbers or times, and lists, tuples (which become lists) and dicts (whose
            keys are text) of these.
    """
    arrays: list[np.ndarray] = []

    def replace(array: Any) -> Any:
        if isinstance(array, np.generic):
            return array.item()
        array = np.ascontiguousarray(array)
        if array.dtype.kind not in "biufM":
            raise TypeError(f"an array of {array.dtype} cannot be sent")
        arrays.append(array)
        return {_KEY: [array.dtype.str, *array.shape]}

    text = json.dumps(value, default=replace).encode()
    return [_LENGTH.pack(len(text)) + text, *(array.view(np.uint8).reshape(-1).data for array in arrays if array.size)]


def unpack(fill: Callable[[memoryview], None]) -> Any:
    """Returns the value of a message.

    Args:
        fill: Function that fills a buffer with the next bytes of the message.

    Raises:
        MessageError: If it is no message, or would take more than half of this machine's memory.
    """
    prefix = bytearray(_LENGTH.size)
    fill(memoryview(prefix))
    (length,) = _LENGTH.unpack(prefix)
    if length > _LONGEST_TEXT:
        raise MessageError(f"a text of {length:,} bytes")
    text = bytearray(length)
    fill(memoryview(text))

    def restore(record: dict[str, Any]) -> Any:
        if record.keys() != {_KEY}:
            return record
        type_name, *shape = record[_KEY]
        dtype = np.dtype(str(type_name))
        size = dtype.itemsize * math.prod(shape)
        if dtype.kind not in "biufM" or not 0 <= size <= memory() // 2 or min(shape, default=0) < 0:
            raise MessageError(f"an array of {dtype} of {shape}")
        data = np.empty(size, np.uint8)
        if size:
            fill(data.data)
        return data.view(dtype).reshape(shape)

    try:
        return json.loads(text, object_hook=restore)
    except (ValueError, TypeError, RecursionError) as error:
        raise MessageError(f"no message ({error})") from error
