"""Kept sequences as pictures show them: in physical units, and one field at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from convlstm.evaluation.files import check_evaluation
from convlstm.evaluation.guards import check_data
from convlstm.evaluation.scoring import Evaluation, Example
from convlstm.report.field_scale import scale_of_field
from convlstm.report.map_drawing import Scale

import numpy as np


@dataclass(frozen=True)
class Shown:
    """A sequence of one field, of rain or of frames in [0, 1].

    Attributes:
        index: Index of the sequence.
        field: Name and units of the field; None for rain and frames.
        inputs: (T_in, H, W, C), in physical units if there are any.
        truth: (horizon, H, W, C).
        forecasts: Arrays of the shape of the truth by name, without the forecast of zeros, which shows nothing.
    """

    index: int
    field: Any
    inputs: np.ndarray
    truth: np.ndarray
    forecasts: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """Name of the field; "" for rain and frames."""
        return "" if self.field is None else self.field.name


def check_shown(owner: str, result: Any, rain: Any, fields: Any) -> None:
    """Raises ValueError if there is no evaluation to show, or the data are not those that it was made with."""
    check_evaluation(owner, result)
    check_data(owner, rain, fields, ("frame_interval", "times"))
    if rain is not None and not result.thresholds:
        raise ValueError(f"[{owner}] 'rain' must be None, as 'result' has no scores of rain, but got {rain!r}.")


def selected(result: Evaluation) -> list[tuple[str, Example]]:
    """Returns the kept sequences, each once, with their kind: the best, the worst, the chosen ones."""
    ranked = [("best", case.example) for case in result.best] + [("worst", case.example) for case in result.worst]
    indices = {example.index for _, example in ranked}
    return ranked + [("chosen", example) for example in result.examples if example.index not in indices]


def shown(example: Example, data: Any = None) -> list[Shown]:
    """Returns a sequence as it is shown, once for each field.

    Pixels of fields that are known in no frame, such as land in a field of the sea, are missing from forecasts too.

    Args:
        example: The sequence.
        data: The `RainField` or `FieldData` that the frames stand for. Default: none.
    """
    forecasts = {name: frames for name, frames in example.forecasts.items() if name != "zeros"}
    if data is None:
        return [Shown(example.index, None, example.inputs, example.truth, forecasts)]
    if not hasattr(data, "target_fields"):
        values = {name: data.physical(frames) for name, frames in forecasts.items()}
        return [Shown(example.index, None, data.physical(example.inputs), example.truth, values)]
    base = example.reference if example.input_reference is None else example.input_reference
    inputs = data.physical(example.inputs, base)
    never = np.isnan(inputs).all(axis=0) & np.isnan(example.truth).all(axis=0)
    values = {
        name: np.where(never, np.nan, data.physical(frames, example.reference)) for name, frames in forecasts.items()
    }
    return [
        Shown(
            example.index,
            field,
            inputs[..., n : n + 1],
            example.truth[..., n : n + 1],
            {name: frames[..., n : n + 1] for name, frames in values.items()},
        )
        for n, field in enumerate(data.target_fields)
    ]


def field_scales(sequences: Iterable[Shown]) -> dict[str, Scale]:
    """Returns the colours of each field by its name, common to all sequences."""
    of_field: dict[str, list[Shown]] = {}
    for one in sequences:
        of_field.setdefault(one.name, []).append(one)
    return {
        name: scale_of_field(
            group[0].field,
            [frames for one in group for frames in (one.inputs, one.truth)],
            [frames for one in group for frames in one.forecasts.values()],
        )
        for name, group in of_field.items()
    }


def times_of(data: Any, split: str, index: int, count: int) -> np.ndarray | None:
    """Returns the times of the first frames of a sequence; None if the data do not know them."""
    times = None if data is None else data.times(split, index)
    return None if times is None else times[:count]
