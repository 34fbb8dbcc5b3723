"""The input of `forecast` if it is an address: a Zarr store on a web server or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convlstm.cli.program import fail
from convlstm.datasets.remote import mirror
from convlstm.datasets.remote_addresses import address_of, is_address


def fetch_input(settings: dict[str, Any]) -> None:
    """Replaces an address in `input` by the folder of the store, with its newest metadata.

    It ends the program if that folder is to be watched.
    """
    if not is_address(settings["input"]):
        return
    if settings["watch"]:
        fail(
            f"'watch' follows files on this machine, but 'input' is the address {settings['input']}. Run the command "
            "again for each forecast, by a timer or cron."
        )
    settings["input"] = str(mirror(settings["input"]))


def named_input(path: Path) -> str:
    """Returns the address of an input, or its path."""
    return address_of(path) or str(path)
