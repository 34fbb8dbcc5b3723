"""Models whose columns go round, and frames whose columns do or do not."""

from __future__ import annotations

from typing import Any

from convlstm.datasets.columns import Columns

_ROUND = "joins the first and the last column"


def key_of(model: Any) -> str:
    """Returns the setting by which the columns of a model go round."""
    return "model.border=circular" if hasattr(model, "border") else "model.padding=circular"


def check_columns(model: Any, columns: Columns | None) -> None:
    """Raises ValueError if the columns of a model go round, but its frames lack some of those of the files."""
    if getattr(model, "circular", False) and columns is not None and columns.cut:
        raise ValueError(
            f"[{type(model).__name__}] {key_of(model)} {_ROUND}, but the frames lack {columns.cut} of the "
            f"{columns.width} columns of the files. Keep them all: data.frame_size=null, or [height, width] with the "
            "whole width, data.multiple and data.coarsen as numbers that divide it."
        )


def check_turns(model: Any, data: Any) -> None:
    """Raises ValueError if the columns of a model go round, but training turns its frames by quarters."""
    height, width = getattr(data, "frame_shape", (0, 1))[:2]
    if getattr(model, "circular", False) and getattr(data, "turns_quarters", False) and height == width:
        raise ValueError(
            f"[{type(model).__name__}] {key_of(model)} {_ROUND}, but data.augment turns square frames by quarters, so "
            "that columns become rows. Leave it out: data.augment=false."
        )


def note_on_columns(model: Any, columns: Columns | None) -> str | None:
    """Returns what a user should know of a model and the columns of its frames, or None."""
    if columns is None or not hasattr(model, "circular"):
        return None
    if not model.circular:
        return f"the columns go round the earth: {key_of(model)} {_ROUND}" if columns.go_round else None
    if columns.cut:
        return (
            f"the model {_ROUND}, but the frames lack {columns.cut} of the {columns.width} columns of the input: "
            "forecasts are wrong near the left and the right edge"
        )
    if columns.degrees is not None and not columns.round_in_files:
        return f"the model {_ROUND}, but the columns cover {columns.degrees:g} degrees of longitude, not 360"
    return None
