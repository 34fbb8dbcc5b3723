"""The pictures of an evaluation: forecasts, scores and the training run, each a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.arguments import check_path
from convlstm.backend.own_files import check_own_file
from convlstm.evaluation.scoring import Evaluation
from convlstm.report.ensemble_charts import rank_histogram, ranked_from, reliability_diagram, spread_skill
from convlstm.report.field_pictures import field_gif, field_panel
from convlstm.report.frame_animation import forecast_gif
from convlstm.report.frame_panel import forecast_panel
from convlstm.report.fss_and_spectra import fss_by_scale, spectra
from convlstm.report.rain_pictures import rain_gif, rain_panel
from convlstm.report.score_charts import lead_curves, score_curves, training_curve
from convlstm.report.shown_sequences import check_shown, field_scales, selected, shown, times_of
from convlstm.runs.metrics_log import MetricsLog

ENSEMBLE_CHARTS = ("reliability", "rank_histogram", "spread_skill")
CHARTS = ("lead_times", "training", "csi", "fss", "spectra", *ENSEMBLE_CHARTS)
"""Pictures that every evaluation, or one of rain or of an ensemble, draws."""
PNG, GIF = ("Software\0Matplotlib", "Software\0convlstm"), ("NETSCAPE2.0",)
"""Texts by which pictures are recognised: the program that has drawn them, or the endless loop of an animation."""
MARKS: dict[str, tuple[str, ...]] = {f"{name}.png": PNG for name in CHARTS}


def write_pictures(
    folder: str | Path,
    result: Evaluation,
    *,
    animated: Sequence[str] | None = None,
    rain: Any = None,
    fields: Any = None,
    split: str = "test",
    log: str | Path | None = None,
) -> list[Path]:
    """Draws the kept sequences, an animation of the first one, and the scores by lead time.

    Rain adds CSI, FSS by scale and power spectra. Each of several fields has pictures of its own. Ensembles add
    reliability, rank histogram and spread. A log adds the curves of the training run.

    Args:
        folder: Folder of the files; it must exist.
        result: The evaluation.
        animated: The forecasters in the animation of frames, beside the truth; an animation of rain or other
            fields shows all of them. Default: all but the empty forecast.
        rain: The data if its frames stand for rain: a `RainField` with `frame_interval`, in minutes, and
            `times(split, index)`. Default: none.
        fields: The data if its frames stand for other fields: a `FieldData`, likewise. Default: none.
        split: Split of the sequences. Default: "test".
        log: The `metrics.csv` of the run behind the forecasts. Default: none.

    Returns:
        The files in the order in which they were written.

    Raises:
        FileExistsError: A picture of such a name is not from an evaluation.
        ValueError: An argument has another type, or `animated` names a forecaster that no sequence was kept of.
    """
    folder = check_path("write_pictures", "folder", folder)
    log = None if log is None else check_path("write_pictures", "log", log)
    check_shown("write_pictures", result, rain, fields)
    if animated is not None and not (isinstance(animated, Sequence) and set(result.scores).issuperset(animated)):
        names = ", ".join(result.scores)
        raise ValueError(f"[write_pictures] 'animated' must be a list of some of {names} but got {animated!r}.")
    _check_own_pictures(folder, result)
    title = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    if rain is not None:
        pictures = _rain(folder, result, title, rain, split)
    elif fields is not None:
        pictures = _fields(folder, result, fields, split)
    else:
        pictures = _frames(folder, result, animated)
    pictures.append(folder / "lead_times.png")
    lead_curves(pictures[-1], result.scores, title=title, frame_interval=result.frame_interval)
    for field in result.ensembles:
        pictures += _ensembles(folder, result, field, title)
    if log is not None:
        try:
            training_curve(folder / "training.png", MetricsLog.read(log))
            pictures.append(folder / "training.png")
        except (OSError, ValueError) as error:
            warnings.warn(f"'{log}' is left out, so there is no training.png: {error}", stacklevel=2)
    return pictures


def _check_own_pictures(folder: Path, result: Evaluation) -> None:
    """Raises FileExistsError if another program's picture has the name of a chart or of a kept sequence."""
    for name, marks in MARKS.items():
        check_own_file(folder / name, marks)
    for example in result.examples:
        for ending, marks in (("png", PNG), ("gif", GIF)):
            for pattern in (f"forecast_{example.index}.{ending}", f"forecast_{example.index}_*.{ending}"):
                for path in folder.glob(pattern):
                    check_own_file(path, marks)
    for field in result.ensembles:
        for name in ENSEMBLE_CHARTS:
            check_own_file(folder / f"{name}_{file_name(field)}.png", PNG)


def _frames(folder: Path, result: Evaluation, animated: Sequence[str] | None) -> list[Path]:
    """Draws the forecasts of each example, and an animation of the first."""
    pictures = []
    for example in result.examples:
        pictures.append(folder / f"forecast_{example.index}.png")
        title = f"sequence {example.index}"
        forecast_panel(pictures[-1], example.inputs, example.targets, _shown(example.forecasts), title=title)
    if result.examples:
        first = result.examples[0]
        names = _shown(first.forecasts) if animated is None else animated
        pictures.append(folder / f"forecast_{first.index}.gif")
        forecast_gif(pictures[-1], first.inputs, first.targets, {name: first.forecasts[name] for name in names})
    return pictures


def _rain(folder: Path, result: Evaluation, title: str, rain: Any, split: str) -> list[Path]:
    """Draws maps of each example, an animation of the first, CSI by lead time, FSS by scale, and spectra."""
    pictures = []
    about: dict[str, Any] = {"units": rain.units, "frame_interval": rain.frame_interval}
    for n, example in enumerate(result.examples):
        (one,) = shown(example, rain)
        frames = one.inputs, one.truth, one.forecasts
        when = about | {"times": times_of(rain, split, one.index, len(one.inputs) + len(one.truth))}
        pictures.append(folder / f"forecast_{one.index}.png")
        rain_panel(pictures[-1], *frames, **when, pixel_km=rain.pixel_km, title=f"sequence {one.index}")
        if n == 0:
            pictures.append(folder / f"forecast_{one.index}.gif")
            rain_gif(pictures[-1], *frames, **when)
    pictures.append(folder / "csi.png")
    score_curves(pictures[-1], result.scores, title=title, frame_interval=rain.frame_interval)
    pictures.append(folder / "fss.png")
    fss_by_scale(pictures[-1], result.scores, pixel_km=rain.pixel_km, title=title)
    # Frames of one or two pixels have no waves.
    if any(spectrum["frames"].any() and len(spectrum["wavelength_px"]) for spectrum in result.spectra.values()):
        pictures.append(folder / "spectra.png")
        spectra(pictures[-1], result.spectra, title=title, **about)
    return pictures


def _fields(folder: Path, result: Evaluation, data: Any, split: str) -> list[Path]:
    """Draws maps of each example, and an animation of the first, for each field."""
    pictures = []
    scales = field_scales(one for _, example in selected(result) for one in shown(example, data))
    for n, example in enumerate(result.examples):
        sequences = shown(example, data)
        for one in sequences:
            about: dict[str, Any] = {
                "field": one.field,
                "scale": scales[one.name],
                "times": times_of(data, split, one.index, len(one.inputs) + len(one.truth)),
                "frame_interval": data.frame_interval,
            }
            frames = one.inputs, one.truth, one.forecasts
            name = f"forecast_{one.index}" + (f"_{file_name(one.name)}" if len(sequences) > 1 else "")
            pictures.append(folder / f"{name}.png")
            title = f"sequence {one.index}: {one.field.long_name or one.name}"
            field_panel(pictures[-1], *frames, **about, pixel_km=data.pixel_km, title=title)
            if n == 0:
                pictures.append(folder / f"{name}.gif")
                field_gif(pictures[-1], *frames, **about)
    return pictures


def file_name(field: str) -> str:
    """Returns the name of a field as a part of a file's name."""
    return re.sub(r"[^\w.+-]", "_", field)


def _ensembles(folder: Path, result: Evaluation, field: str, title: str) -> list[Path]:
    """Draws reliability, rank histogram and spread beside error of ensembles of a field, or, named "", of others."""
    ensembles = result.ensembles[field]
    ending = f"_{file_name(field)}.png" if len(result.ensembles) > 1 else ".png"
    title += f", {field}" if field else ""
    ranks_path, skill_path = folder / f"rank_histogram{ending}", folder / f"spread_skill{ending}"
    tables = {name: metrics.reliability() for name, metrics in ensembles.items()}
    pictures = []
    if any(tables.values()):
        pictures.append(folder / f"reliability{ending}")
        reliability_diagram(pictures[-1], tables, title=title)
    ranks = {name: metrics.rank_histogram() for name, metrics in ensembles.items()}
    rank_histogram(ranks_path, ranks, ranked_from=ranked_from(next(iter(ensembles.values()))), title=title)
    scores = {name: result.scores[name] for name in ensembles}
    spread_skill(skill_path, scores, title=title, frame_interval=result.frame_interval, field=field)
    return [*pictures, ranks_path, skill_path]


def _shown(forecasts: dict[str, Any]) -> dict[str, Any]:
    """Returns all but the empty forecast, which shows nothing."""
    return {name: frames for name, frames in forecasts.items() if name != "zeros"}
