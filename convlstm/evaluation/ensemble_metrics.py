"""The metrics of ensembles: one for rain or frames, or one for each field in its own units."""

from __future__ import annotations

from collections.abc import Mapping

from convlstm.evaluation.physical_data import FieldData, RainField
from convlstm.metrics import EnsembleMetrics


def ensemble_metrics(members: int, rain: RainField | None, fields: FieldData | None) -> dict[str, EnsembleMetrics]:
    """Returns the metrics of an ensemble by name of the field, in the order of the channels; "" for rain and frames.

    Args:
        members: Number of members.
        rain: The data if they are rain, else None.
        fields: The data if they are other fields, else None. Their thresholds count, if they have any.
    """
    if fields is not None:
        at = getattr(fields, "thresholds", ())
        named = {one.name: one.units for one in fields.target_fields}
        return {name: EnsembleMetrics(members, at, units=units, field=name) for name, units in named.items()}
    if rain is None:
        return {"": EnsembleMetrics(members, [0.5], units="intensity")}
    # If neither the truth nor any member has rain, a rank says nothing.
    return {"": EnsembleMetrics(members, rain.thresholds, units=rain.units, rank_from=min(rain.thresholds))}


def by_field(metrics_of: Mapping[str, Mapping[str, EnsembleMetrics]]) -> dict[str, dict[str, EnsembleMetrics]]:
    """Returns metrics by field and then by forecaster, from those by forecaster and then by field."""
    fields = dict.fromkeys(field for metrics in metrics_of.values() for field in metrics)
    return {
        field: {name: metrics[field] for name, metrics in metrics_of.items() if field in metrics} for field in fields
    }
