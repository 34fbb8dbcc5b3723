"""GRIB files for tests, written by ecCodes."""

from convlstm.datasets.readers.grib_messages import eccodes

import numpy as np


def grib_message(values, *, edition=2, **keys):
    """Returns a message of values (Nj, Ni) on a grid of 1 degree, NaN where missing, with keys of ecCodes."""
    codes = eccodes("a test")
    handle = codes.codes_grib_new_from_samples(f"GRIB{edition}")
    try:
        rows, columns = np.shape(values)
        grid = {
            "Ni": columns,
            "Nj": rows,
            "latitudeOfFirstGridPointInDegrees": 50.0,
            "longitudeOfFirstGridPointInDegrees": 5.0,
            "latitudeOfLastGridPointInDegrees": 50.0 - (rows - 1),
            "longitudeOfLastGridPointInDegrees": (5.0 + columns - 1) % 360,
            "iDirectionIncrementInDegrees": 1.0,
            "jDirectionIncrementInDegrees": 1.0,
        }
        time = {"dataDate": 20240229, "dataTime": 2330} | ({} if "parameterNumber" in keys else {"shortName": "2t"})
        first = {name: keys.pop(name) for name in ("gridType", "productDefinitionTemplateNumber") if name in keys}
        for name, value in (first | (grid if "gridType" not in first else {}) | time | keys).items():
            codes.codes_set(handle, name, value)
        numbers = np.where(np.isnan(values), 9999.0, values).ravel().astype(np.float64)
        codes.codes_set(handle, "missingValue", 9999.0)
        codes.codes_set(handle, "bitmapPresent", int(np.isnan(values).any()))
        codes.codes_set(handle, "bitsPerValue", 16)
        codes.codes_set_values(handle, numbers)
        return codes.codes_get_message(handle)
    finally:
        codes.codes_release(handle)


def joined(messages):
    """Returns one message of edition 2 with the fields of several, which share their first three sections."""
    body = messages[0][16:-4]
    for message in messages[1:]:
        place = 16
        while message[place + 4] != 4:
            place += int.from_bytes(message[place : place + 4], "big")
        body += message[place:-4]
    length = 16 + len(body) + 4
    return messages[0][:8] + length.to_bytes(8, "big") + body + b"7777"
