"""The library xarray, which is imported when something of it is asked for."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def xarray() -> ModuleType:
    """Imports and returns xarray.

    Raises:
        ImportError: It is not installed. The message has the command that installs it.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError(
            f"this needs the library xarray ({error}). Install it with pip install 'convlstm[xarray]' (in a checkout: "
            "pip install -e '.[xarray]')"
        ) from error
    return xarray


def is_labelled(value: Any) -> bool:
    """Returns True for a DataArray or a Dataset, without an import of xarray."""
    module = sys.modules.get("xarray")
    return module is not None and isinstance(value, module.DataArray | module.Dataset)
