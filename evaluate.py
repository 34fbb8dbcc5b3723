"""Scores trained models and draws their forecasts: `python evaluate.py ckpt=runs/quickstart`, or `--help`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from convlstm import report
from convlstm.build import TRUSTED, build, resolve
from convlstm.evaluation import Evaluation, Example, as_unit, evaluate, persistence, table, write_scores, zeros
from convlstm.training import checkpoint
from convlstm.training.log import MetricsLog
from doors import check_types, fail, instantiate, make_folder, plain, run

import mlx.core as mx
import mlx.nn as nn
from omegaconf import DictConfig, OmegaConf


def main(config: DictConfig) -> None:
    if OmegaConf.is_missing(config, "ckpt"):
        config.ckpt = None
    settings = plain(config)
    check(settings)
    names = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    folders = [checkpoint.find(str(name)) for name in names]
    trusted = (*TRUSTED, *settings["trusted"])
    models = dict(zip(labels(folders), (checkpoint.load(folder, trusted=trusted) for folder in folders), strict=True))
    data = build_data(config, settings.get("data"), checkpoint.read_config(folders[0]), trusted)

    size = data.size(settings["split"])
    size = size if settings["sequences"] is None else min(size, settings["sequences"])
    keep = [i for i in settings["examples"] if i < size]
    horizon = data.target_frames if settings["horizon"] is None else settings["horizon"]
    if horizon > data.target_frames:
        fail(
            f"'horizon' ({horizon}) is longer than the data's targets ({data.target_frames} frames), so there is no "
            f"truth to score with. Give the data more: data.target_frames={horizon}."
        )
    for name, model in models.items():
        check_model(name, model, data, settings["split"], horizon)
    folder = Path(str(settings["out"])).expanduser() if settings["out"] is not None else default_folder(folders)
    make_folder(folder)

    result = evaluate(
        {**{name: compiled(model) for name, model in models.items()}, "persistence": persistence, "zeros": zeros},
        batches(data, settings["split"], settings["batch_size"], size, horizon),
        progress="evaluating",
        total=size,
        keep=keep,
    )
    record = {
        "checkpoints": {name: str(f) for name, f in zip(models, folders, strict=True)},
        "steps": {name: checkpoint.read_state(f)["step"] for name, f in zip(models, folders, strict=True)},
        "split": settings["split"],
        "data": data.describe(),
    }
    write_scores(folder, result, record)
    for name, keys in trained_otherwise(models, folders).items():
        print(f"note: '{name}' was trained on other data than '{next(iter(models))}' (data.{', data.'.join(keys)}).")
    print(table(result))
    pictures = draw(folder, result, list(models), folders)
    print(f"\nScores:    {folder / 'metrics.json'}, {folder / 'metrics.csv'}")
    print("Pictures:  " + ", ".join(str(path) for path in pictures))


def check(settings: dict[str, Any]) -> None:
    """Ends the program where a value cannot be what its place needs."""
    if not settings["ckpt"]:
        fail("'ckpt' must name a run's folder, a checkpoint's folder, or a list of them: ckpt=runs/NAME.")
    for key, may_be_null in (("sequences", True), ("batch_size", False), ("horizon", True)):
        value = settings[key]
        if not (value is None and may_be_null) and (type(value) is not int or value < 1):
            fail(f"'{key}' must be a whole number of at least 1 but got {value!r}.")
    examples, trusted = settings["examples"], settings["trusted"]
    if not isinstance(examples, list) or not all(type(i) is int and i >= 0 for i in examples):
        fail(f"'examples' must be a list of whole numbers of at least 0, [] for none, but got {examples!r}.")
    if not isinstance(trusted, list) or not all(isinstance(name, str) for name in trusted):
        fail(f"'trusted' must be a list of packages, such as trusted=[mine], but got {trusted!r}.")


def labels(folders: list[Path]) -> list[str]:
    """A short name for each checkpoint: its run's name, with as much of its path as tells it from the others."""
    if len(folders) == 1:
        return ["model"]
    runs = [f.parent.parent if f.parent.name == checkpoint.FOLDER else f for f in folders]
    for depth in count(1):
        names = ["/".join(run.parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(run.parts) for run in runs):
            return [f"{name}/{folder.name}#{n}" for n, (name, folder) in enumerate(zip(names, folders, strict=True), 1)]
    raise AssertionError("unreachable")


def build_data(
    config: DictConfig, changes: dict[str, Any] | None, saved: dict[str, Any], trusted: tuple[str, ...]
) -> Any:
    """The data of the command line, or the checkpoint's with the keys that the command line changes."""
    if changes is not None and "_target_" in changes:
        return instantiate(config, "data")
    if not isinstance(saved.get("data"), dict):
        fail("the checkpoint's config.yaml has no section 'data'. Name the data: data=moving_mnist.")
    description = saved["data"] | (changes or {})
    resolve(description.get("_target_", ""), trusted)  # before anything else looks at what a stranger names
    check_types({"data": description})
    try:
        return build(description, trusted)
    except TypeError as error:
        fail(f"data: {error}.")


def trained_otherwise(models: Iterable[str], folders: list[Path]) -> dict[str, list[str]]:
    """For each run whose data was not the first one's, which is what all are scored on: the keys that differ."""
    first, *others = (checkpoint.read_config(folder).get("data") or {} for folder in folders)
    same = ("root", "dtype", "prefetch", "threads", "validation_sequences", "test_sequences")
    keys = [[k for k in {**first, **other} if k not in same and first.get(k) != other.get(k)] for other in others]
    return {name: found for name, found in zip(list(models)[1:], keys, strict=True) if found}


def check_model(name: str, model: nn.Module, data: Any, split: str, horizon: int) -> None:
    """Ends the program where a model cannot forecast the data; nothing is computed for it."""
    batch = next(iter(data.stream(split, 1)))
    frames = (1, horizon, *batch["targets"].shape[2:])
    try:
        forecast = model(as_unit(batch["inputs"]), horizon)
    except ValueError as error:
        fail(f"the model '{name}' does not fit the data: {error}")
    if forecast.shape != frames:
        fail(f"the model '{name}' forecasts frames of shape {forecast.shape[2:]}, but the data's are {frames[2:]}.")


def default_folder(folders: list[Path]) -> Path:
    """`evaluation` in the run's folder, or `comparison` beside the first of several runs."""
    run = folders[0].parent.parent if folders[0].parent.name == checkpoint.FOLDER else folders[0]
    return run / "evaluation" if len(folders) == 1 else run.parent / "comparison"


def compiled(model: nn.Module) -> Any:
    """The model's forecast as one compiled function."""
    forward = mx.compile(lambda inputs, horizon: model(inputs, horizon), inputs=model.state)
    return lambda inputs, horizon: forward(inputs, horizon)


def batches(data: Any, split: str, batch_size: int, size: int, horizon: int) -> Iterator[dict[str, Any]]:
    """The first `size` sequences of a split, their targets cut to `horizon` frames."""
    left = size
    for batch in data.stream(split, min(batch_size, size)):
        batch = {name: array[:left] for name, array in batch.items()}
        yield {name: array if name == "inputs" else array[:, :horizon] for name, array in batch.items()}
        left -= len(batch["inputs"])
        if left <= 0:
            return


def draw(folder: Path, result: Evaluation, names: list[str], folders: list[Path]) -> list[Path]:
    """The pictures: forecasts of each example, an animation of the first, the scores by lead time, the training."""
    pictures = []
    for example in result.examples:
        path = folder / f"forecast_{example.index}.png"
        report.forecast_panel(path, example.inputs, example.targets, shown(example), title=f"sequence {example.index}")
        pictures.append(path)
    if result.examples:
        first = result.examples[0]
        pictures.append(folder / f"forecast_{first.index}.gif")
        report.forecast_gif(pictures[-1], first.inputs, first.targets, {n: first.forecasts[n] for n in names})
    pictures.append(folder / "lead_times.png")
    title = f"{result.sequences:,} sequences"
    report.lead_curves(pictures[-1], result.scores, title=title)
    log = folders[0].parent.parent / "metrics.csv"
    if len(folders) == 1 and log.is_file():
        pictures.append(folder / "training.png")
        report.training_curve(pictures[-1], MetricsLog.read(log))
    return pictures


def shown(example: Example) -> dict[str, Any]:
    """The forecasts that are worth looking at: all but the empty one."""
    return {name: forecast for name, forecast in example.forecasts.items() if name != "zeros"}


if __name__ == "__main__":
    # The keys of the data are the checkpoint's, which Hydra does not know.
    run("evaluate", main, open_sections=("data",))
