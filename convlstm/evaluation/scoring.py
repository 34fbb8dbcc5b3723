"""Forecasters scored side by side on the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.frames import as_unit
from convlstm.evaluation.ranking import LEAST, Case, Ranking, critical_success, middle, squared_error
from convlstm.metrics import EnsembleMetrics, FrameMetrics, RainMetrics, Scores, score

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from tqdm import tqdm

Forecaster = Callable[[mx.array, int], mx.array]


class RainField(Protocol):
    """Data whose frames stand for physical values; `convlstm.datasets.radar_echo.RadarEcho` is one.

    Attributes:
        units: Of the physical values: 'mm/h', 'dBZ' or 'raw'.
        thresholds: At which forecasts are verified, in these units.
        pixel_km: Side of a pixel in km, or None.
    """

    units: str
    thresholds: Sequence[float]
    pixel_km: float | None

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Values in [0, 1], of any shape, in the physical units."""


@dataclass
class Example:
    """A sequence kept for pictures.

    Attributes:
        index: Its place in the order in which `evaluate` saw the sequences.
        inputs: (T_in, H, W, C), NaN where the batch's `input_mask` says that a pixel is missing.
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
        scores: By forecaster, what `FrameMetrics.compute` returns and, of a rain field, `RainMetrics.compute`, and of
            an ensemble `EnsembleMetrics.compute`.
        coverage: By forecaster, the share of the pixels that scored.
        speed: By forecaster, forecasts in sequences per second; the first batch, which compiles, is left out where
            there are more.
        sequences: The number of sequences.
        horizon: The number of lead times.
        examples: The kept sequences.
        best, worst: The sequences that the first forecaster met best and worst, with their scores: of a rain field the
            CSI at the threshold that `cases.middle` chooses, over all leads; else the MSE per pixel.
        spectra: By forecaster, what `RainMetrics.spectrum` returns; empty where there is no rain field.
        ensembles: The metrics of those forecasters that are ensembles, for their tables.
    """

    scores: dict[str, Scores]
    coverage: dict[str, float]
    speed: dict[str, float]
    sequences: int
    horizon: int
    examples: list[Example]
    best: list[Case[Example]] = field(default_factory=list)
    worst: list[Case[Example]] = field(default_factory=list)
    spectra: dict[str, dict[str, Any]] = field(default_factory=dict)
    ensembles: dict[str, EnsembleMetrics] = field(default_factory=dict)

    def skill(self, name: str, reference: str) -> float | None:
        """Returns 1 - MSE / MSE of a reference: the share of its squared error that a forecaster removes.

        Returns:
            1 for a perfect forecast, 0 for one as good as the reference, negative for a worse one; None if the
            reference was not evaluated or made no error.
        """
        if reference not in self.scores:
            return None
        error = self.scores[reference]["mse_per_pixel"]["overall"]
        return 1 - self.scores[name]["mse_per_pixel"]["overall"] / error if error else None

    @property
    def thresholds(self) -> list[str]:
        """The thresholds of the scores of rain, as the names of scores have them ("@2mmh"); empty without rain."""
        entries = map(score, next(iter(self.scores.values())))
        return [entry.at for entry in entries if entry.kind == "csi" and entry.pool is None]

    @property
    def middle_threshold(self) -> str:
        """The threshold that stands for all where only one is shown."""
        return self.thresholds[middle(self.thresholds)]


def evaluate(
    forecasters: Mapping[str, Forecaster],
    batches: Iterable[Mapping[str, Any]],
    *,
    ssim: bool = True,
    rain: RainField | None = None,
    progress: str | None = None,
    total: int | None = None,
    keep: int | Iterable[int] = 0,
    cases: int = 0,
) -> Evaluation:
    """Runs every forecaster over the same batches, once, and scores them.

    A forecaster is called as `forecaster(inputs, horizon)` with inputs (N, T_in, H, W, C), float32 in [0, 1], and
    returns (N, horizon, H, W, C). An `nn.Module` is in evaluation mode meanwhile and in its former mode afterwards. An
    `Ensemble` is scored by its members, and by their mean as any other forecast: that of the values in [0, 1], and in
    the scores of rain that of the physical ones. Its events without a rain field are values of 0.5 and more.

    Args:
        forecasters: The forecasters by name, such as `{"model": model, "persistence": Persistence()}`.
        batches: Dicts of `inputs` (N, T_in, H, W, C), `targets` (N, horizon, H, W, C) and, where the truth can be
            missing, `mask`, non-zero where it is valid, and `input_mask`. Frames are floats in [0, 1] or uint8.
        ssim: Whether to compute SSIM, the slow part of the scores. Default: True.
        rain: What the frames stand for, if that is rain: forecasts are then verified in physical units, too. Default:
            none.
        progress: Label of a progress bar, drawn where the standard error is a terminal. Default: no bar.
        total: The number of sequences, from which the bar knows the time left. Default: unknown.
        keep: How many of the first sequences to keep for pictures, or the indices of those to keep. Default: 0.
        cases: How many of the best and of the worst sequences to keep besides. A sequence with hardly any rain at the
            threshold is neither. Default: 0.

    Raises:
        ValueError: There is no forecaster or no batch, a forecast has the wrong shape, or `cases` is negative.
    """
    if not forecasters:
        raise ValueError("[evaluate] 'forecasters' must name at least one forecaster but is empty.")
    wanted = set(range(keep) if isinstance(keep, int) else keep)
    metrics = {name: FrameMetrics(ssim=ssim) for name in forecasters}
    rain_metrics: dict[str, RainMetrics] = {}
    if rain is not None:
        options: dict[str, Any] = {"units": rain.units, "pixel_km": rain.pixel_km}
        rain_metrics = {name: RainMetrics(rain.thresholds, **options) for name in forecasters}
    ensembles = {name: _ensemble_metrics(f, rain) for name, f in forecasters.items() if isinstance(f, Ensemble)}
    times: dict[str, list[tuple[int, float]]] = {name: [] for name in forecasters}
    examples: list[Example] = []
    ranking: Ranking[Example] = Ranking(cases, higher=rain is not None)
    seen = horizon = 0

    bar = tqdm(desc=progress, total=total, unit="seq", disable=True if progress is None else None)
    with bar, _evaluation_mode(forecasters.values()):
        for batch in batches:
            inputs, targets = as_unit(batch["inputs"]), np.array(as_unit(batch["targets"]))
            mask = None if batch.get("mask") is None else np.asarray(batch["mask"])
            mx.eval(inputs)
            n, horizon = targets.shape[:2]
            places = [i for i in range(seen, seen + n) if i in wanted]
            known = batch.get("input_mask")
            kept = [Example(i, _seen(inputs, known, i - seen), _seen(targets, mask, i - seen)) for i in places]
            ranked: list[Example] = []
            truth = targets if rain is None else rain.physical(targets)
            for order, (name, forecaster) in enumerate(forecasters.items()):
                start = time.perf_counter()
                forecast = forecaster(inputs, horizon)
                mx.eval(forecast)
                times[name].append((n, time.perf_counter() - start))
                members = None
                if name in ensembles:
                    members, forecast = np.array(forecast.astype(mx.float32)), forecast.mean(axis=0)
                if forecast.shape != targets.shape:
                    raise ValueError(
                        f"[evaluate] the forecast of '{name}' must have the shape of the targets, {targets.shape}, "
                        f"but got {forecast.shape}."
                    )
                frames = np.array(mx.array(forecast).astype(mx.float32))
                metrics[name].update(frames, targets, mask)
                values = frames if rain is None else rain.physical(frames)
                if members is not None:
                    members = members if rain is None else np.stack([rain.physical(member) for member in members])
                    ensembles[name].update(members, truth, mask)
                    values = members.mean(axis=0)
                if rain is not None:
                    rain_metrics[name].update(values, truth, mask)
                if order == 0 and cases:
                    ranked = _rank(ranking, seen, inputs, targets, frames, mask, known, rain)
                for example in (*kept, *ranked):
                    example.forecasts[name] = frames[example.index - seen].copy()
            examples += kept
            seen += n
            bar.update(n)
    if not seen:
        raise ValueError("[evaluate] 'batches' held no sequence: there is nothing to score.")

    return Evaluation(
        scores={
            name: metric.compute()
            | (rain_metrics[name].compute() if name in rain_metrics else {})
            | (ensembles[name].compute() if name in ensembles else {})
            for name, metric in metrics.items()
        },
        coverage={name: metric.coverage for name, metric in metrics.items()},
        speed={name: _speed(taken) for name, taken in times.items()},
        sequences=seen,
        horizon=horizon,
        examples=examples,
        best=ranking.best,
        worst=ranking.worst,
        spectra={name: metric.spectrum() for name, metric in rain_metrics.items()},
        ensembles=ensembles,
    )


def _ensemble_metrics(ensemble: Ensemble, rain: RainField | None) -> EnsembleMetrics:
    if rain is None:
        return EnsembleMetrics(ensemble.size, [0.5], units="intensity")
    # Where neither the truth nor any member has rain, a rank says nothing.
    return EnsembleMetrics(ensemble.size, rain.thresholds, units=rain.units, rank_from=min(rain.thresholds))


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


def _rank(
    ranking: Ranking[Example],
    seen: int,
    inputs: mx.array,
    targets: np.ndarray,
    frames: np.ndarray,
    mask: np.ndarray | None,
    known: Any,
    rain: RainField | None,
) -> list[Example]:
    """Offers every sequence of a batch to the ranking and returns those that it keeps for now."""
    kept = []
    for i in range(len(targets)):
        truth = _seen(targets, mask, i)
        if rain is None:
            value = squared_error(frames[i], truth)
        else:
            threshold = rain.thresholds[middle(rain.thresholds)]
            value = critical_success(rain.physical(frames[i]), rain.physical(truth), threshold, least=LEAST)
        example = ranking.offer(seen + i, value, partial(_example, seen, i, inputs, known, truth))
        kept += [] if example is None else [example]
    return kept


def _example(seen: int, i: int, inputs: mx.array, known: Any, truth: np.ndarray) -> Example:
    return Example(seen + i, _seen(inputs, known, i), truth)


def _seen(frames: mx.array | np.ndarray, mask: Any, i: int) -> np.ndarray:
    """Frames of sequence i, NaN where they are missing."""
    known = np.array(frames[i])
    if mask is not None:
        known[~np.broadcast_to(np.asarray(mask) != 0, frames.shape)[i]] = np.nan
    return known


def _speed(times: list[tuple[int, float]]) -> float:
    steady = times[1:] or times
    return sum(n for n, _ in steady) / sum(seconds for _, seconds in steady)
