"""Conversion of weights that were trained elsewhere to our checkpoints and back: `convlstm convert`."""

from convlstm.convert.families import FAMILIES, Conversion, convert, to_state_dict
from convlstm.convert.sources import ConversionError, read_state_dict, write_state_dict

__all__ = [
    "FAMILIES",
    "Conversion",
    "ConversionError",
    "convert",
    "read_state_dict",
    "to_state_dict",
    "write_state_dict",
]
