"""Forecasters scored side by side on the same batches, and the files and the table that say how they did."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.metrics import HIGHER_IS_BETTER, UNITS, FrameMetrics, Scores

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from tqdm import tqdm

Forecaster = Callable[[mx.array, int], mx.array]


def as_unit(x: mx.array | np.ndarray) -> mx.array:
    """Frames as float32 in [0, 1]: 8-bit ones are divided by 255, floats only change their type.

    Args:
        x: An array of any shape.

    Returns:
        A float32 array of the same shape.

    Raises:
        TypeError: The array holds integers other than 8-bit unsigned ones, whose full scale cannot be known.
    """
    x = mx.array(x) if isinstance(x, np.ndarray) else x
    if x.dtype == mx.uint8:
        return x.astype(mx.float32) / 255
    if not mx.issubdtype(x.dtype, mx.floating):
        raise TypeError(f"[as_unit] 'x' must hold uint8 or floats but got {x.dtype}: scale it to [0, 1] first.")
    return x.astype(mx.float32)


def persistence(inputs: mx.array, horizon: int) -> mx.array:
    """The forecast that nothing changes: the last frame of (N, T, H, W, C), `horizon` times."""
    n, _, *frame = inputs.shape
    return mx.broadcast_to(inputs[:, -1:], (n, horizon, *frame))


def zeros(inputs: mx.array, horizon: int) -> mx.array:
    """The empty forecast: (N, horizon, H, W, C) zeros."""
    n, _, *frame = inputs.shape
    return mx.zeros((n, horizon, *frame))


@dataclass
class Example:
    """A sequence kept for pictures.

    Attributes:
        index: Its place in the order in which `evaluate` saw the sequences.
        inputs: (T_in, H, W, C).
        targets: (horizon, H, W, C), NaN where the mask says that the truth is missing.
        forecasts: (horizon, H, W, C) of every forecaster, by name, not clipped.
    """

    index: int
    inputs: np.ndarray
    targets: np.ndarray
    forecasts: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Evaluation:
    """What `evaluate` returns.

    Attributes:
        scores: By forecaster, what `FrameMetrics.compute` returns.
        coverage: By forecaster, the share of the pixels that scored.
        speed: By forecaster, forecasts in sequences per second; the first batch, which compiles, is left out where
            there are more.
        sequences: The number of sequences.
        horizon: The number of lead times.
        examples: The kept sequences.
    """

    scores: dict[str, Scores]
    coverage: dict[str, float]
    speed: dict[str, float]
    sequences: int
    horizon: int
    examples: list[Example]


def evaluate(
    forecasters: Mapping[str, Forecaster],
    batches: Iterable[Mapping[str, Any]],
    *,
    ssim: bool = True,
    progress: str | None = None,
    total: int | None = None,
    keep: int | Iterable[int] = 0,
) -> Evaluation:
    """Runs every forecaster over the same batches, once, and scores them.

    A forecaster is called as `forecaster(inputs, horizon)` with inputs (N, T_in, H, W, C), float32 in [0, 1], and
    returns (N, horizon, H, W, C). An `nn.Module` is in evaluation mode meanwhile and in its former mode afterwards.

    Args:
        forecasters: The forecasters by name, such as `{"model": model, "persistence": persistence, "zeros": zeros}`.
        batches: Dicts of `inputs` (N, T_in, H, W, C), `targets` (N, horizon, H, W, C) and, where the truth can be
            missing, `mask`, non-zero where it is valid. Frames are floats in [0, 1] or uint8.
        ssim: Whether to compute SSIM, the slow part of the scores. Default: True.
        progress: Label of a progress bar, drawn where the standard error is a terminal. Default: no bar.
        total: The number of sequences, from which the bar knows the time left. Default: unknown.
        keep: How many of the first sequences to keep for pictures, or the indices of those to keep. Default: 0.

    Raises:
        ValueError: There is no forecaster or no batch, or a forecast has the wrong shape.
    """
    if not forecasters:
        raise ValueError("[evaluate] 'forecasters' must name at least one forecaster but is empty.")
    wanted = set(range(keep) if isinstance(keep, int) else keep)
    metrics = {name: FrameMetrics(ssim=ssim) for name in forecasters}
    times: dict[str, list[tuple[int, float]]] = {name: [] for name in forecasters}
    examples: list[Example] = []
    seen = horizon = 0

    bar = tqdm(desc=progress, total=total, unit="seq", disable=True if progress is None else None)
    with bar, _evaluation_mode(forecasters.values()):
        for batch in batches:
            inputs, targets = as_unit(batch["inputs"]), np.array(as_unit(batch["targets"]))
            mask = None if batch.get("mask") is None else np.asarray(batch["mask"])
            mx.eval(inputs)
            n, horizon = targets.shape[:2]
            places = [i for i in range(seen, seen + n) if i in wanted]
            kept = [Example(i, *_sequence(inputs, targets, mask, i - seen)) for i in places]
            for name, forecaster in forecasters.items():
                start = time.perf_counter()
                forecast = forecaster(inputs, horizon)
                mx.eval(forecast)
                times[name].append((n, time.perf_counter() - start))
                if forecast.shape != targets.shape:
                    raise ValueError(
                        f"[evaluate] the forecast of '{name}' must have the shape of the targets, {targets.shape}, "
                        f"but got {forecast.shape}."
                    )
                frames = np.array(mx.array(forecast).astype(mx.float32))
                metrics[name].update(frames, targets, mask)
                for example in kept:
                    example.forecasts[name] = frames[example.index - seen].copy()
            examples += kept
            seen += n
            bar.update(n)
    if not seen:
        raise ValueError("[evaluate] 'batches' held no sequence: there is nothing to score.")

    return Evaluation(
        scores={name: metric.compute() for name, metric in metrics.items()},
        coverage={name: metric.coverage for name, metric in metrics.items()},
        speed={name: _speed(taken) for name, taken in times.items()},
        sequences=seen,
        horizon=horizon,
        examples=examples,
    )


@contextmanager
def _evaluation_mode(forecasters: Iterable[Forecaster]) -> Iterator[None]:
    training = [f for f in forecasters if isinstance(f, nn.Module) and f.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()


def _sequence(inputs: mx.array, targets: np.ndarray, mask: np.ndarray | None, i: int) -> tuple[np.ndarray, np.ndarray]:
    truth = targets[i].copy()
    if mask is not None:
        truth[~np.broadcast_to(mask != 0, targets.shape)[i]] = np.nan
    return np.array(inputs[i]), truth


def _speed(times: list[tuple[int, float]]) -> float:
    steady = times[1:] or times
    return sum(n for n, _ in steady) / sum(seconds for _, seconds in steady)


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
    value: a row per lead time, counted from 1, and one whose lead is "mean" for the overall score; a NaN is left blank.

    Args:
        folder: Where the files go; made if it does not exist.
        result: What `evaluate` returned.
        record: What else to keep in the JSON file under "record": the checkpoint, its step, the data. Default: nothing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = list(next(iter(result.scores.values())))
    document = {
        "record": record or {},
        "sequences": result.sequences,
        "horizon": result.horizon,
        "units": {name: UNITS[name] for name in names},
        "forecasters": {
            name: {
                "scores": scores,
                "skill_against": {other: skill(result, name, other) for other in result.scores if other != name},
                "coverage": result.coverage[name],
                "sequences_per_second": result.speed[name],
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
            for lead, value in [("mean", score["overall"]), *enumerate(score["per_lead"], 1)]:
                rows.writerow([forecaster, metric, UNITS[metric], lead, "" if math.isnan(value) else repr(value)])
    _write(folder / "metrics.csv", text.getvalue())


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

    The best value of a column carries a star where there is more than one forecaster. At most 100 columns wide for
    names of up to 18 letters; longer ones are cut.
    """
    names = list(result.scores)
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

    errors = [result.scores[name]["mse_per_frame"]["per_lead"] for name in names]
    leads = _some_leads(result.horizon)
    by_lead: list[Column] = [(["", f"+{lead}"], [error[lead - 1] for error in errors], "", min) for lead in leads]

    ahead = "1 frame" if result.horizon == 1 else f"{result.horizon} frames"
    sequences = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    low, high = (f"{choose(result.coverage.values()):.1%}" for choose in (min, max))
    pixels = "" if low == "100.0%" else f"; {low if low == high else f'{low} to {high}'} of the pixels scored"
    parts = [f"{sequences}, {ahead} ahead; means over all lead times{pixels}", *_aligned(names, columns)]
    if len(leads) > 1:
        head, *lines = _aligned(names, by_lead)[1:]
        parts += ["", "MSE per frame by lead time (frames ahead)", head, *lines]
    notes = ["* best"] if len(names) > 1 else []
    if any(heading[0] == "skill vs" for heading, *_ in columns):
        notes.append("skill = 1 - MSE / MSE of the baseline")
    if notes:
        parts += ["", "; ".join(notes)]
    return "\n".join(line.rstrip() for line in parts)


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


def _aligned(names: list[str], columns: list[Column]) -> list[str]:
    labels = ["", "forecaster", *(name if len(name) <= 18 else name[:17] + "~" for name in names)]
    lines = [label.ljust(max(map(len, labels))) for label in labels]
    for heading, values, form, choose in columns:
        scored = [value for value in values if value is not None and math.isfinite(value)]
        best = choose(scored) if choose is not None and len(names) > 1 and scored else None
        if not form:
            # The smallest value of the column keeps four digits, and the points of all stand below each other.
            smallest = min((abs(value) for value in scored if value), default=1.0)
            form = f".{min(max(3 - math.floor(math.log10(smallest)), 0), 4)}f"
        cells = [f"{text} " for text in heading]
        for value in values:
            text = "-" if value is None or math.isnan(value) else format(value, form)
            cells.append(text + ("*" if best is not None and value == best else " "))
        width = max(map(len, cells))
        lines = [f"{line} {cell.rjust(width)}" for line, cell in zip(lines, cells, strict=True)]
    return lines
