"""The entry of this package in pysteps' table of nowcasting methods."""

from __future__ import annotations

import importlib

from convlstm.pysteps_plugin.nowcast import forecast

NAME = "convlstm"
"""Name of the method in pysteps."""

# pysteps 1.21 finds plugins for importers and for postprocessing by entry points, but none for nowcasts.
_INTERFACE, _TABLE = "pysteps.nowcasts.interface", "_nowcast_methods"


def register(name: str = NAME) -> str:
    """Adds `forecast` to the methods of `pysteps.nowcasts.get_method`, for this process; a second call changes nothing.

    Args:
        name: Name of the method, in small letters. Default: 'convlstm'.

    Returns:
        A sentence that says what was done.

    Raises:
        ImportError: pysteps is not installed.
        RuntimeError: This release of pysteps has no table of methods.
        ValueError: The name is not in small letters, or another method has it.
    """
    if not isinstance(name, str) or not name or name != name.lower():
        raise ValueError(f"[register] 'name' must be a text in small letters, as pysteps asks for, but got {name!r}.")
    try:
        interface = importlib.import_module(_INTERFACE)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pysteps":
            raise
        raise ImportError(
            "[register] pysteps is not installed here. Install it: pip install 'convlstm[pysteps]'"
        ) from error
    table = getattr(interface, _TABLE, None)
    if not isinstance(table, dict):
        raise RuntimeError(
            f"[register] this release of pysteps has no table {_INTERFACE}.{_TABLE}. Call "
            "convlstm.pysteps_plugin.forecast instead of get_method(...)."
        )
    call = f"pysteps.nowcasts.get_method({name!r})"
    if table.get(name) is forecast:
        return f"{call} was registered already."
    if name in table:
        raise ValueError(f"[register] 'name' must be new to pysteps but {call} exists. Choose another one.")
    table[name] = forecast
    return f"{call} now gives convlstm.pysteps_plugin.forecast."
