"""Forecasters scored side by side on the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from convlstm.architectures.input_frames import as_unit
from convlstm.architectures.model_facts import told
from convlstm.arguments import check_flags, check_whole
from convlstm.evaluation import guards
from convlstm.evaluation.ensemble_metrics import by_field
from convlstm.evaluation.forecaster_metrics import ForecasterMetrics
from convlstm.evaluation.in_units import InUnits
from convlstm.evaluation.physical_data import FieldData, RainField
from convlstm.evaluation.ranking import LEAST_EVENTS, Case, Ranking, critical_success, middle, squared_error
from convlstm.metrics import EnsembleMetrics, Scores, score
from convlstm.metrics.table import FIELDS

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from tqdm import tqdm

Forecaster = Callable[[mx.array, int], mx.array]


@dataclass
class Example:
    """A sequence kept for pictures.

    Attributes:
        index: Its index in the order in which `evaluate` saw the sequences.
        inputs: (T_in, H, W, C), NaN where the batch's `input_mask` marks a pixel as missing. Of fields it has those of
            the targets.
        targets: (horizon, H, W, C), NaN where the batch's `mask` marks the truth as missing.
        truth: The same in physical units, as the data were read; `targets` if the frames have no units.
        reference: (1, H, W, C), the physical values to which forecast changes add, or (horizon, H, W, C) of a
            climatology; None if changes are not forecast.
        input_reference: (T_in, H, W, C) of a climatology, to which those of the inputs add; else None.
        forecasts: (horizon, H, W, C) of every forecaster, by name, not clipped.
    """

    index: int
    inputs: np.ndarray
    targets: np.ndarray
    truth: np.ndarray
    reference: np.ndarray | None = None
    forecasts: dict[str, np.ndarray] = field(default_factory=dict)
    input_reference: np.ndarray | None = None


@dataclass
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        scores: By forecaster, the scores of `FrameMetrics`, for a rain field also those of `RainMetrics`, for other
            fields those of `FieldMetrics`, for an ensemble also those of `EnsembleMetrics`.
        coverage: By forecaster, the share of the pixels that scored.
        speed: By forecaster, sequences per second; if there are several batches, the first one, which compiles, is left
            out.
        sequences: The number of sequences.
        horizon: The number of lead times.
        examples: The kept sequences.
        best, worst: The sequences that the first forecaster forecast best and worst, with their scores: for a rain
            field the CSI at `middle_threshold` over all lead times, for other fields the RMSE of the first one in its
            units, else the MSE per pixel.
        spectra: By forecaster, the power spectra of `RainMetrics`; empty without a rain field.
        ensembles: By field of its own units, and then by forecaster, the metrics of those that are ensembles, for their
            tables; the name of rain and of frames is "".
        frame_interval: Minutes from frame to frame, or None if they are unknown.
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
    ensembles: dict[str, dict[str, EnsembleMetrics]] = field(default_factory=dict)
    frame_interval: float | None = None

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
    def field_scores(self) -> dict[str, list[str]]:
        """The names of the scores of each field in its own units, by name of the field; empty without such fields."""
        names: dict[str, list[str]] = {}
        for name in next(iter(self.scores.values())):
            if score(name).kind in FIELDS:
                names.setdefault(score(name).field, []).append(name)
        return names

    @property
    def middle_threshold(self) -> str:
        """The threshold of the tables and charts that show only one."""
        return self.thresholds[middle(self.thresholds)]


def evaluate(
    forecasters: Mapping[str, Forecaster],
    batches: Iterable[Mapping[str, Any]],
    *,
    ssim: bool = True,
    rain: RainField | None = None,
    fields: FieldData | None = None,
    progress: str | None = None,
    total: int | None = None,
    keep: int | Iterable[int] = 0,
    cases: int = 0,
    products: Sequence[str] = (),
) -> Evaluation:
    """Runs every forecaster over the same batches, once, and scores them.

    A forecaster is called as `forecaster(inputs, horizon)` with inputs (N, T_in, H, W, C), float32 in [0, 1], and
    returns (N, horizon, H, W, C). An `nn.Module` is in evaluation mode during the evaluation and gets its former mode
    back. An `Ensemble`, or a model that draws members, is scored by them, and its mean like any other forecast: the
    mean of the values in [0, 1] for the scores of frames, that of the physical values for the scores of rain and of
    fields. Without either its events are values of 0.5 or more. Facts in batches are told to models that ask for them.

    Args:
        forecasters: The forecasters by name, such as `{"model": model, "persistence": Persistence()}`.
        batches: Dicts of `inputs` (N, T_in, H, W, C), `targets` (N, horizon, H, W, C) and, if pixels can be missing,
            `mask`, non-zero where the truth is valid, and `input_mask`. Frames are floats in [0, 1] or uint8. For a
            rain field also `truth`, the targets in physical units as they were read, NaN where unknown; without it,
            scores are of `rain.physical(targets)`, which has lost what the model's scale clips.
        ssim: True to compute SSIM, the slow part of the scores. Default: True.
        rain: The rain field that the frames stand for; forecasts are then also scored in physical units. Default: none.
        fields: The fields that the frames stand for, if they are not rain; likewise. Default: none.
        progress: Label of a progress bar, drawn if the standard error is a terminal. Default: no bar.
        total: The number of sequences, for the time left in the bar. Default: unknown.
        keep: The number of first sequences to keep for pictures, or the indices of those to keep. Default: 0.
        cases: The number of best and of worst sequences to keep in addition. Sequences with hardly any rain at the
            threshold are not ranked. Default: 0.
        products: Products of ensembles to score beside their means, of "median", "pmm" and "csi" (see
            `convlstm.products`), made of the physical values at the thresholds of the data. That of the ensemble
            "steps" is named "steps median". Default: none.

    Raises:
        ValueError: There is no forecaster or no batch, an argument has another type, a batch lacks something, a
            forecast or the truth has the wrong shape, `keep` or `cases` is negative, or there are products without
            an ensemble or without what they need.
    """
    guards.check_forecasters(forecasters)
    guards.check_data("evaluate", rain, fields)
    check_flags("evaluate", ssim=ssim)
    check_whole("evaluate", "cases", cases, 0, None)
    guards.check_products(products, forecasters, rain, fields)
    wanted = guards.indices(keep)
    metrics = {
        name: ForecasterMetrics(name, forecaster, ssim, rain, fields, products)
        for name, forecaster in forecasters.items()
    }
    examples: list[Example] = []
    ranking: Ranking[Example] = Ranking(cases, higher=rain is not None)
    count = horizon = 0

    bar = tqdm(desc=progress, total=total, unit="seq", disable=True if progress is None else None)
    with bar, _evaluation_mode(forecasters.values()):
        for batch in guards.checked(batches):
            inputs, targets = as_unit(batch["inputs"]), np.array(as_unit(batch["targets"]))
            mask = None if batch.get("mask") is None else np.asarray(batch["mask"])
            mx.eval(inputs)
            n, horizon = targets.shape[:2]
            truth, reference = _truth(rain or fields, batch, targets), batch.get("reference")
            channels = None if fields is None else list(fields.target_channels)
            example_of = partial(_example, count, inputs, batch, targets, truth, mask, channels)
            kept = [example_of(i) for i in range(n) if count + i in wanted]
            ranked: list[Example] = []
            for order, (name, forecaster) in enumerate(forecasters.items()):
                start = time.perf_counter()
                if isinstance(forecaster, InUnits):
                    forecast = forecaster(inputs, horizon, batch)
                else:
                    forecast = forecaster(inputs, horizon, **told(forecaster, batch))
                mx.eval(forecast)
                metrics[name].times.append((n, time.perf_counter() - start))
                metrics[name].update(forecast, targets, truth, mask, reference)
                if order == 0 and cases:
                    for i in range(n):
                        base = None if reference is None else reference[i]
                        value = _value(metrics[name].latest[i], _masked(truth, mask, i), rain, fields, base)
                        example = ranking.offer(count + i, value, partial(example_of, i))
                        ranked += [] if example is None else [example]
                for example in (*kept, *ranked):
                    for row, one in metrics[name].rows.items():
                        example.forecasts[row] = one.latest[example.index - count].copy()
            examples += kept
            count += n
            bar.update(n)
    if not count:
        raise ValueError("[evaluate] 'batches' held no sequence: there is nothing to score.")

    rows = {name: one for each in metrics.values() for name, one in each.rows.items()}
    return Evaluation(
        scores={name: one.scores() for name, one in rows.items()},
        coverage={name: one.frames.coverage for name, one in rows.items()},
        speed={name: one.speed() for name, one in rows.items()},
        sequences=count,
        horizon=horizon,
        examples=examples,
        best=ranking.best,
        worst=ranking.worst,
        spectra={name: one.rain.spectrum() for name, one in rows.items() if one.rain is not None},
        ensembles=by_field({name: one.ensembles for name, one in metrics.items()}),
        frame_interval=getattr(rain or fields, "frame_interval", None),
    )


@contextmanager
def _evaluation_mode(forecasters: Iterable[Forecaster]) -> Iterator[None]:
    """Puts modules into evaluation mode for a while, and those that were in training mode back into it."""
    training = [f for f in forecasters if isinstance(f, nn.Module) and f.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()


def _truth(data: RainField | FieldData | None, batch: Mapping[str, Any], targets: np.ndarray) -> np.ndarray:
    """Returns the true physical values of a batch, or those of its targets if the batch has none."""
    if data is None:
        return targets
    if batch.get("truth") is None:
        return data.physical(targets) if batch.get("reference") is None else data.physical(targets, batch["reference"])  # type: ignore[call-arg]
    truth = np.asarray(batch["truth"])
    if truth.shape != targets.shape:
        raise ValueError(
            f"[evaluate] 'truth' must have the shape of 'targets', {targets.shape}, but got {truth.shape}."
        )
    return truth


def _example(
    first: int,
    inputs: mx.array,
    batch: Mapping[str, Any],
    targets: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray | None,
    channels: list[int] | None,
    i: int,
) -> Example:
    """Returns sequence i of a batch whose sequences are counted from `first`, with these channels of its inputs."""
    shown = _masked(inputs, batch.get("input_mask"), i)
    reference, of_inputs = (
        None if batch.get(name) is None else np.array(batch[name][i]) for name in ("reference", "input_reference")
    )
    return Example(
        first + i,
        shown if channels is None else shown[..., channels],
        _masked(targets, mask, i),
        _masked(truth, mask, i),
        reference,
        input_reference=of_inputs,
    )


def _masked(frames: mx.array | np.ndarray, mask: Any, i: int) -> np.ndarray:
    """Returns the frames of sequence i, NaN where they are missing."""
    values = np.array(frames[i])
    if mask is not None:
        values[~np.broadcast_to(np.asarray(mask) != 0, frames.shape)[i]] = np.nan
    return values


def _value(
    forecast: np.ndarray,
    truth: np.ndarray,
    rain: RainField | None,
    fields: FieldData | None,
    reference: np.ndarray | None,
) -> float:
    """Returns the score that ranks a sequence; the truth is in physical units if the frames have any."""
    if fields is not None:
        values = fields.physical(forecast) if reference is None else fields.physical(forecast, reference)
        return squared_error(values[..., 0], truth[..., 0]) ** 0.5
    if rain is None:
        return squared_error(forecast, truth)
    threshold = rain.thresholds[middle(rain.thresholds)]
    return critical_success(rain.physical(forecast), truth, threshold, least=LEAST_EVENTS)
