"""Weights that were trained elsewhere, as our checkpoints and back: `python -m convlstm.convert`."""

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
