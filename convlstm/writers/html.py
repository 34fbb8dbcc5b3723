"""Forecasts as pages of HTML."""

from __future__ import annotations

from pathlib import Path

from convlstm.backend.plain_files import open_plain
from convlstm.writers.forecast import Forecast

GENERATOR = "convlstm forecast"
"""The program that wrote a page, as its head names it."""
# Bytes of the head that names it.
_HEAD = 1 << 12


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast as one page, which needs no network: an animated map, and series at places that are chosen.

    Raises:
        ValueError: The frames are in colour, or too many for a page.
        OSError: The file cannot be written.
    """
    from convlstm.writers.forecast_page import page  # brings matplotlib

    path.write_text(page(forecast), encoding="utf-8")


def is_forecast(path: Path) -> bool:
    """Returns True if a file is a page that this project has written of a forecast."""
    with open_plain(path) as file:
        return f'content="{GENERATOR}"'.encode() in file.read(_HEAD)
