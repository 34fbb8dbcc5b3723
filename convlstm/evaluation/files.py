"""The files of an evaluation: `metrics.json` and `metrics.csv`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.arguments import check_mapping, check_path
from convlstm.backend import files
from convlstm.backend.own_files import check_own_file
from convlstm.evaluation.scoring import Evaluation
from convlstm.metrics import EnsembleMetrics, score

import mlx.core as mx
import numpy as np

MARKS: dict[str, tuple[str, ...]] = {
    "metrics.csv": ("forecaster,metric,unit,lead,value",),
    "metrics.json": ('{\n  "record": {',),
}
"""A text in each file by which it is recognised."""


def write_scores(folder: str | Path, result: Evaluation, record: Mapping[str, Any] | None = None) -> None:
    """Writes `metrics.json` and `metrics.csv`. An existing file is replaced only when the new one is complete.

    The JSON file holds every score of every forecaster, overall and by lead time, the units, the number of sequences
    and the record. A value that is not finite is null. The CSV file has the columns forecaster, metric, unit, lead and
    value: a row for each lead time, counted from 1, and a row with the lead "mean" for the overall score. Scores of
    rain and of ensembles have two such rows, "pooled over leads" and "mean over leads". NaN is left blank.

    Args:
        folder: Folder of the files; created if it does not exist.
        result: The evaluation.
        record: Content of "record" in the JSON file: the checkpoint, its step, the data. Default: nothing.

    Raises:
        FileExistsError: A file of that name is not from an evaluation.
        ValueError: An argument has another type.
    """
    folder = check_path("write_scores", "folder", folder)
    check_evaluation("write_scores", result)
    check_mapping("write_scores", "record", {} if record is None else record)
    folder.mkdir(parents=True, exist_ok=True)
    for name, marks in MARKS.items():
        check_own_file(folder / name, marks)
    files.replace(folder / "metrics.json", _json(result, record or {}))
    files.replace(folder / "metrics.csv", _csv(result))


def check_evaluation(owner: str, result: Any) -> None:
    """Raises ValueError if an argument `result` is no evaluation."""
    if not isinstance(result, Evaluation):
        raise ValueError(f"[{owner}] 'result' must be an Evaluation but got {result!r}.")


def _json(result: Evaluation, record: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(name for scores in result.scores.values() for name in scores))
    document = {
        "record": record,
        "sequences": result.sequences,
        "horizon": result.horizon,
        "units": {name: score(name).unit for name in names},
        "forecasters": {
            name: {
                "scores": scores,
                "skill_against": {other: result.skill(name, other) for other in result.scores if other != name},
                "coverage": result.coverage[name],
                "sequences_per_second": result.speed[name],
                **_ensemble(name, result),
            }
            for name, scores in result.scores.items()
        },
    }
    return json.dumps(_plain(document), indent=2, allow_nan=False) + "\n"


def _csv(result: Evaluation) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["forecaster", "metric", "unit", "lead", "value"])
    for forecaster, scores in result.scores.items():
        for name, values in scores.items():
            means = [("mean", values["overall"])]
            if "mean_over_leads" in values:
                means = [("pooled over leads", values["overall"]), ("mean over leads", values["mean_over_leads"])]
            for lead, value in [*means, *enumerate(values["per_lead"], 1)]:
                rows.writerow([forecaster, name, score(name).unit, lead, "" if math.isnan(value) else repr(value)])
    return text.getvalue()


def _ensemble(name: str, result: Evaluation) -> dict[str, Any]:
    """Returns the tables behind the scores of an ensemble, of each field if there are any; {} for other forecasters."""
    tables = {field: _tables(metrics_of[name]) for field, metrics_of in result.ensembles.items() if name in metrics_of}
    return {"ensemble": tables.get("", tables)} if tables else {}


def _tables(metrics: EnsembleMetrics) -> dict[str, Any]:
    """Returns the reliability and the ranks of an ensemble, for all lead times together."""
    return {
        "members": metrics.settings.members,
        "reliability": metrics.reliability(),
        "rank_histogram": metrics.rank_histogram(),
        "ranked_from": metrics.settings.rank_from,
    }


def _plain(value: Any) -> Any:
    """Returns a value that JSON can hold: containers, strings, ints, finite floats, booleans and None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic, mx.array)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
