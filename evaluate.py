"""Scores trained models and draws their forecasts: `python evaluate.py ckpt=runs/quickstart`, or `--help`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from doors import fail, instantiate, run  # first: it loads a fast BLAS, which must come before mlx

import mlx.core as mx
import mlx.nn as nn
from omegaconf import DictConfig, OmegaConf

from convlstm import report
from convlstm.build import TRUSTED, build
from convlstm.evaluation import Example, evaluate, persistence, table, write_scores, zeros
from convlstm.training import checkpoint
from convlstm.training.log import MetricsLog


def main(config: DictConfig) -> None:
    names = [config.ckpt] if isinstance(config.ckpt, str) else list(config.ckpt)
    folders = [checkpoint.find(name) for name in names]
    trusted = (*TRUSTED, *config.trusted)
    models = dict(zip(labels(folders), (checkpoint.load(folder, trusted=trusted) for folder in folders), strict=True))
    data = build_data(config, checkpoint.read_config(folders[0]), trusted)
    folder = Path(config.out) if config.out else default_folder(folders)
    folder.mkdir(parents=True, exist_ok=True)

    size = data.size(config.split)
    size = size if config.sequences is None else min(size, config.sequences)
    keep = sorted({i for i in config.examples if 0 <= i < size})
    horizon = config.horizon or data.target_frames
    if horizon > data.target_frames:
        fail(
            f"'horizon' ({horizon}) is longer than the data's targets ({data.target_frames} frames), so there is no truth "
            f"to score with. Give the data more: data.target_frames={horizon}."
        )
    result = evaluate(
        {**{name: compiled(model) for name, model in models.items()}, "persistence": persistence, "zeros": zeros},
        batches(data, config.split, config.batch_size, size, horizon),
        progress="evaluating",
        total=size,
        keep=keep,
    )
    record = {
        "checkpoints": {name: str(f) for name, f in zip(models, folders, strict=True)},
        "steps": {name: checkpoint.read_state(f).get("step") for name, f in zip(models, folders, strict=True)},
        "split": config.split,
        "data": data.describe(),
    }
    write_scores(folder, result, record)
    print(table(result))
    pictures = draw(folder, result, keep, list(models), folders)
    print(f"\nScores:    {folder / 'metrics.json'}, {folder / 'metrics.csv'}")
    print("Pictures:  " + ", ".join(str(path) for path in pictures))


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


def build_data(config: DictConfig, saved: dict[str, Any], trusted: tuple[str, ...]) -> Any:
    """The data of the command line, or the checkpoint's with the keys that the command line changes."""
    changes = OmegaConf.to_container(config.data, resolve=True) if "data" in config else {}
    if "_target_" in changes:
        return instantiate(config, "data")
    if "data" not in saved:
        fail("the checkpoint's config.yaml has no section 'data'. Name the data: data=moving_mnist.")
    return build(saved["data"] | changes, trusted)


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


def draw(folder: Path, result: Any, keep: list[int], names: list[str], folders: list[Path]) -> list[Path]:
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
    # The data's keys are the checkpoint's, which Hydra does not know: `+` lets it take them.
    sys.argv = [f"+{a}" if a.startswith("data.") else a for a in sys.argv]
    run("evaluate", main)
