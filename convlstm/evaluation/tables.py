"""How forecasters did: the files and the tables that say so."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convlstm import metrics as verification
from convlstm.evaluation.ranking import middle as place_of_middle
from convlstm.evaluation.scoring import Evaluation
from convlstm.metrics import EnsembleMetrics
from convlstm.metrics.pixels import HIGHER_IS_BETTER, UNITS

import mlx.core as mx
import numpy as np


def unit(metric: str) -> str:
    """The unit of a score, of frames or of rain."""
    return UNITS[metric] if metric in UNITS else verification.unit(metric)


def skill(result: Evaluation, name: str, reference: str) -> float | None:
    """How much of a reference's squared error a forecaster removes, 1 - MSE / MSE of the reference.

    Returns:
        1 for a perfect forecast, 0 for one that is no better than the reference, negative for a worse one; None where
        the reference was not evaluated or made no error.
    """
    if reference not in result.scores:
        return None
    error = result.scores[reference]["mse_per_pixel"]["overall"]
    return 1 - result.scores[name]["mse_per_pixel"]["overall"] / error if error else None


def write_scores(folder: str | Path, result: Evaluation, record: Mapping[str, Any] | None = None) -> None:
    """Writes `metrics.json` and `metrics.csv`, each beside its place and then moved there.

    The JSON file holds every score of every forecaster, overall and per lead time, the units, the number of sequences
    and the record. A value that is not finite is null. The CSV file has the columns forecaster, metric, unit, lead and
    value: a row per lead time, counted from 1, and one whose lead is "mean" for the overall score, or two for scores of
    rain and of ensembles, "pooled over leads" and "mean over leads"; a NaN is left blank.

    Args:
        folder: Where the files go; made if it does not exist.
        result: What `evaluate` returned.
        record: What else to keep in the JSON file under "record": the checkpoint, its step, the data. Default: nothing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for scores in result.scores.values() for name in scores))
    document = {
        "record": record or {},
        "sequences": result.sequences,
        "horizon": result.horizon,
        "units": {name: unit(name) for name in names},
        "forecasters": {
            name: {
                "scores": scores,
                "skill_against": {other: skill(result, name, other) for other in result.scores if other != name},
                "coverage": result.coverage[name],
                "sequences_per_second": result.speed[name],
                **({"ensemble": ensemble_tables(result.ensembles[name])} if name in result.ensembles else {}),
            }
            for name, scores in result.scores.items()
        },
    }
    _write(folder / "metrics.json", json.dumps(_plain(document), indent=2, allow_nan=False) + "\n")

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["forecaster", "metric", "unit", "lead", "value"])
    for forecaster, scores in result.scores.items():
        for metric, score in scores.items():
            means = [("mean", score["overall"])]
            if "mean_over_leads" in score:
                means = [("pooled over leads", score["overall"]), ("mean over leads", score["mean_over_leads"])]
            for lead, value in [*means, *enumerate(score["per_lead"], 1)]:
                rows.writerow([forecaster, metric, unit(metric), lead, "" if math.isnan(value) else repr(value)])
    _write(folder / "metrics.csv", text.getvalue())


def ensemble_tables(metrics: EnsembleMetrics) -> dict[str, Any]:
    """What is behind the scores of an ensemble, all lead times together: reliability and rank histogram."""
    return {
        "members": metrics.settings.members,
        "reliability": metrics.reliability(),
        "rank_histogram": metrics.rank_histogram(),
        "ranked_from": metrics.settings.rank_from,
    }


def _plain(value: Any) -> Any:
    """What JSON can hold: containers, strings, ints, finite floats, booleans and None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic, mx.array)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def table(result: Evaluation) -> str:
    """The scores as text for a terminal: the means, the skill against the baselines, and the error by lead time.

    Of rain it says how well it was met at each threshold and scale, how wet and how blurred the forecasts are.
    The best value of a column carries a star where there is more than one forecaster. At most 100 columns wide for
    names of up to 18 letters, a few thresholds and the usual baselines; longer names are cut.
    """
    names = list(result.scores)
    ahead = "1 frame" if result.horizon == 1 else f"{result.horizon} frames"
    sequences = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    low, high = (f"{choose(result.coverage.values()):.1%}" for choose in (min, max))
    pixels = "" if low == "100.0%" else f"; {low if low == high else f'{low} to {high}'} of the pixels scored"
    parts = [f"{sequences}, {ahead} ahead; means over all lead times{pixels}"]
    if any(metric.startswith("csi@") for metric in result.scores[names[0]]):
        parts += [*_rain_tables(result, names), "", "Frames on the model's scale, 0 to 1"]
    parts += _frame_tables(result, names)
    parts += _ensemble_table(result)
    notes = ["* best"] if len(names) > 1 else []
    if len({"persistence", "zeros"} & set(names)) and len(names) > 1:
        notes.append("skill = 1 - MSE / MSE of the baseline")
    if notes:
        parts += ["", "; ".join(notes)]
    return "\n".join(line.rstrip() for line in parts)


def _frame_tables(result: Evaluation, names: list[str]) -> list[str]:
    parts = _aligned(names, frame_columns(result, names))
    if len(_some_leads(result.horizon)) > 1:
        parts += ["", "MSE per frame by lead time (frames ahead)", *_by_lead(result, names, "mse_per_frame", "", min)]
    return parts


def _ensemble_table(result: Evaluation) -> list[str]:
    """What ensembles score as such, beside the mean absolute error, which CRPS is where there is one member."""
    names = list(result.ensembles)
    if not names:
        return []
    columns: list[Column] = []
    for metric in result.ensembles[names[0]].compute():
        kind, _, at = metric.partition("@")
        words = ["Brier", at] if at else [metric.removesuffix(f"_{unit(metric).replace('/', '')}"), unit(metric)]
        columns.append((words, [result.scores[name][metric]["overall"] for name in names], ".4f", None))
    members = ", ".join(f"{metrics.settings.members}" for metrics in result.ensembles.values())
    return ["", f"Ensemble of {members} members, all lead times together", *_aligned(names, columns)]


def frame_columns(result: Evaluation, names: list[str]) -> list[Column]:
    """The columns of the table of frames: the means of the scores, the skill against the baselines, and the speed."""
    columns: list[Column] = []
    for metric, heading, form in _COLUMNS:
        if metric in result.scores[names[0]]:
            values = [result.scores[name][metric]["overall"] for name in names]
            columns.append((heading, values, form, max if metric in HIGHER_IS_BETTER else min))
    for reference in ("persistence", "zeros"):
        values = [None if name == reference else skill(result, name, reference) for name in names]
        if any(value is not None for value in values):
            columns.append((["skill vs", reference], values, "+.1%", None))
    columns.append((["speed", "seq/s"], [result.speed[name] for name in names], ",.1f", None))
    return columns


def _rain_tables(result: Evaluation, names: list[str]) -> list[str]:
    """CSI at all thresholds, what else counts at the threshold in the middle, and CSI there by lead time."""
    middle = middle_threshold(result)
    parts = [*_aligned(names, rain_columns(result, names))]
    parts += [
        f"FSS: at {middle}, in windows of so many pixels; power: share of the truth's at shorter waves (1: as sharp)"
    ]
    if len(_some_leads(result.horizon)) > 1:
        title = f"CSI at {middle} by lead time (frames ahead)"
        parts += ["", title, *_by_lead(result, names, f"csi@{middle}", ".3f", max)]
    return parts


def thresholds_of(result: Evaluation) -> list[str]:
    """The thresholds that rain was verified at, as the scores' names have them; none where there was no rain."""
    kinds = next(iter(result.scores.values()))
    return [metric.partition("@")[2] for metric in kinds if metric.startswith("csi@") and "_pool" not in metric]


def middle_threshold(result: Evaluation) -> str:
    """The threshold that stands for all."""
    thresholds = thresholds_of(result)
    return thresholds[place_of_middle(thresholds)]


def rain_columns(result: Evaluation, names: list[str]) -> list[Column]:
    """The columns of the table of rain, means over the lead times."""
    kinds = list(result.scores[names[0]])
    middle = middle_threshold(result)
    columns: list[Column] = []
    for threshold in thresholds_of(result):
        values = [result.scores[name][f"csi@{threshold}"]["mean_over_leads"] for name in names]
        columns.append((["CSI", threshold], values, ".3f", max))
    windows = [metric for metric in kinds if metric.startswith(f"fss@{middle}_") and metric != f"fss@{middle}_1px"]
    single: list[tuple[str, list[str], Callable[..., float]]] = [
        (metric, ["FSS", metric.rpartition("_")[2]], max) for metric in windows
    ]
    single += [(f"bias@{middle}", ["bias", middle], nearest_one)]
    single += [
        (metric, ["power", f"<{metric.partition('@')[2]}"], nearest_one) for metric in kinds if "spectral" in metric
    ]
    single += [
        (metric, ["MAE", unit(metric)], min) for metric in kinds if metric.startswith("mae_") and "_per_" not in metric
    ]
    for metric, heading, choose in single:
        columns.append((heading, [result.scores[name][metric]["mean_over_leads"] for name in names], ".3f", choose))
    return columns


def _by_lead(result: Evaluation, names: list[str], metric: str, form: str, choose: Callable) -> list[str]:
    values = [result.scores[name][metric]["per_lead"] for name in names]
    columns: list[Column] = [
        (["", f"+{n}"], [v[n - 1] for v in values], form, choose) for n in _some_leads(result.horizon)
    ]
    head, *lines = _aligned(names, columns)[1:]
    return [head, *lines]


def nearest_one(values: list[float]) -> float:
    """The best value of a score that is best at 1."""
    return min(values, key=lambda value: abs(value - 1))


# Heading, values (None where there is none), format ("" for four digits), and which value is the best.
Column = tuple[list[str], list[float | None], str, Callable[[list[float]], float] | None]

_COLUMNS = [
    ("mse_per_frame", ["MSE", "per frame"], ""),
    ("mae_per_frame", ["MAE", "per frame"], ""),
    ("psnr", ["PSNR", "dB"], ".2f"),
    ("ssim", ["SSIM", "L=1"], ".4f"),
    ("ssim_openstl", ["SSIM", "L=2"], ".4f"),
]


def _some_leads(horizon: int) -> list[int]:
    """All lead times up to ten; beyond, ten that are evenly spread, the first and the last among them."""
    return sorted({round(lead) for lead in np.linspace(1, horizon, min(horizon, 10)).tolist()})


def written(column: Column, count: int) -> list[tuple[str, bool]]:
    """The texts of a column of so many forecasters, each with whether it is the best one."""
    _, values, form, choose = column
    scored = [value for value in values if value is not None and math.isfinite(value)]
    # One value, or all the same: none is the best.
    best = choose(scored) if choose is not None and count > 1 and len({*scored}) > 1 else None
    if not form:
        # The smallest value of the column keeps four digits, and the points of all stand below each other.
        smallest = min((abs(value) for value in scored if value), default=1.0)
        form = f".{min(max(3 - math.floor(math.log10(smallest)), 0), 4)}f"
    texts = ["-" if value is None or math.isnan(value) else format(value, form) for value in values]
    return [(text, best is not None and value == best) for text, value in zip(texts, values, strict=True)]


def _aligned(names: list[str], columns: list[Column]) -> list[str]:
    labels = ["", "forecaster", *(name if len(name) <= 18 else name[:17] + "~" for name in names)]
    lines = [label.ljust(max(map(len, labels))) for label in labels]
    for column in columns:
        cells = [f"{text} " for text in column[0]]
        cells += [text + ("*" if best else " ") for text, best in written(column, len(names))]
        width = max(map(len, cells))
        lines = [f"{line} {cell.rjust(width)}" for line, cell in zip(lines, cells, strict=True)]
    return lines
