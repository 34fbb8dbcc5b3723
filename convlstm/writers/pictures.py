"""Pictures of forecasts: a folder with a PNG for each frame, or an animated GIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convlstm.writers.forecast import SOURCE, Forecast

from PIL import Image


def write_frames(path: Path, forecast: Forecast) -> None:
    """Writes a PNG of each frame to a folder."""
    from convlstm.report.forecast_only import forecast_only_frames  # brings matplotlib

    forecast_only_frames(path, **arguments(forecast))


def write_gif(path: Path, forecast: Forecast) -> None:
    """Writes the inputs and the forecast as a GIF."""
    from convlstm.report.forecast_only import forecast_only_gif

    forecast_only_gif(path, **arguments(forecast))


def are_frames(path: Path) -> bool:
    """Returns True if a folder has nothing but pictures of a forecast."""
    return all(file.name.startswith("frame_") and is_picture(file) for file in path.iterdir())


def is_picture(path: Path) -> bool:
    """Returns True if a picture's comment says that this project has drawn it."""
    with Image.open(path) as image:
        comment: Any = image.info.get("comment") or image.info.get("Software") or ""
    return (comment.decode(errors="replace") if isinstance(comment, bytes) else str(comment)).startswith(SOURCE)


def arguments(forecast: Forecast) -> dict[str, Any]:
    """Returns the arguments of a function that draws a forecast."""
    return {
        "forecast": forecast.values,
        "inputs": forecast.inputs,
        "units": forecast.units,
        "issued": forecast.issued,
        "step": forecast.step,
        "fields": forecast.fields,
        "valid": forecast.valid,
    }
