"""NIMROD fields for tests, written by the specification of the format."""

import struct

import numpy as np


def nimrod_field(numbers, units="mm/hr*32", code=63, *, moment=(2024, 2, 29, 23, 55, 0), seconds=0, **keys):
    """Returns a record: its header and its numbers, (H, W), from the north-western corner on 2 km of the National Grid.

    `keys` are elements of the header by number: `e24=2` is element 24.
    """
    numbers = np.asarray(numbers)
    kind, size = (0, 4) if numbers.dtype.kind == "f" else (1, numbers.dtype.itemsize)
    elements = [0] * 31
    elements[:6] = moment
    elements[11:20] = [kind, size, 0, 0, *numbers.shape, 2, code, 0]
    elements[24], elements[27] = -1, 0
    reals = [-32767.0] * 28
    reals[2:7] = [98000.0, 2000.0, 102000.0, 2000.0, -1.0]
    for name, value in keys.items():
        number = int(name[1:])
        (elements if number < 32 else reals)[number - 1 if number < 32 else number - 32] = value
    specific = [0] * 50 + [seconds]
    header = struct.pack(">31h", *elements) + struct.pack(">28f", *reals) + struct.pack(">45f", *[-32767.0] * 45)
    header += units.encode().ljust(8) + b"test".ljust(24) + b"A field".ljust(24) + struct.pack(">51h", *specific)
    data = numbers.astype(numbers.dtype.newbyteorder(">")).tobytes()
    return b"".join(struct.pack(">L", len(part)) + part + struct.pack(">L", len(part)) for part in (header, data))
