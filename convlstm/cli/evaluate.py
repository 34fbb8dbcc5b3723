"""Scores trained models and draws their forecasts: `python evaluate.py ckpt=runs/quickstart`, or `--help`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.baselines import Persistence, Zeros
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.frames import as_unit
from convlstm.backend.memory import check_parameters
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.members import weights_of
from convlstm.cli.members import check_count, check_members, perturbation
from convlstm.cli.program import (
    check_keys,
    check_path,
    check_types,
    fail,
    fitting,
    instantiate,
    make_folder,
    plain,
    run,
    shown,
)
from convlstm.cli.scored_data import build_data, trained_otherwise
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table, write_scores
from convlstm.report import write_page, write_pictures

import mlx.core as mx
import mlx.nn as nn
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

SPLITS = ("train", "validation", "test")
BASELINES: dict[str, type[nn.Module]] = {"extrapolation": Extrapolation, "persistence": Persistence, "zeros": Zeros}


def execute(config: DictConfig) -> None:
    """Scores and draws what a configuration describes."""
    settings = plain(config)
    check(settings)
    names = [] if settings["ckpt"] is None else settings["ckpt"]
    folders = [find(name) for name in (names if isinstance(names, list) else [names])]
    trusted = (*TRUSTED, *settings["trusted"])
    models = dict(zip(labels(folders), (load(folder, trusted) for folder in folders), strict=True))
    data = build_data(config, settings.get("data"), folders[0] if folders else None, settings["trusted"])
    if settings.get("model") is not None:
        models[HydraConfig.get().runtime.choices["model"]] = instantiate(config, "model")
    rain = data if hasattr(data, "physical") else None
    others = baselines(settings["baselines"], models, rain is not None)
    ensemble = ensemble_of(models, folders, settings, trusted) if settings["ensemble"] else {}

    size = data.size(settings["split"])
    if size == 0:
        fail(f"the data has no sequences of split={settings['split']}. Choose another, or give it some: data.split=...")
    size = size if settings["sequences"] is None else min(size, settings["sequences"])
    keep = [i for i in settings["examples"] if i < size]
    horizon = data.target_frames if settings["horizon"] is None else settings["horizon"]
    if horizon > data.target_frames:
        fail(
            f"'horizon' ({horizon}) is longer than the data's targets ({data.target_frames} frames), so there is no "
            f"truth to score with. Give the data more: data.target_frames={horizon}."
        )
    with fitting(settings, "model", "data"):
        for name, model in models.items():
            check_model(name, model, data, settings["split"], horizon)
    folder = Path(str(settings["out"])).expanduser() if settings["out"] else default_folder(folders, list(models))
    make_folder(folder)
    if not settings["out"]:
        check_own(folder)

    result = evaluate(
        {name: compiled(m) for name, m in models.items()}
        | ensemble
        | {name: compiled(m) for name, m in others.items()},
        batches(data, settings["split"], settings["batch_size"], size, horizon),
        rain=rain,
        progress="evaluating",
        total=size,
        keep=keep,
        cases=settings["cases"],
    )
    record = {
        "checkpoints": {name: str(f) for name, f in zip(models, folders, strict=False)},
        "steps": {name: checkpoints.read_state(f)["step"] for name, f in zip(models, folders, strict=False)},
        "split": settings["split"],
        "data": data.describe(),
        **({"members": settings["members"]} if settings["ensemble"] else {}),
    }
    write_scores(folder, result, record)
    page, of_rain = folder / "report.html", {"rain": rain, "split": settings["split"]}
    write_page(page, result, checkpoints=dict(zip(models, folders, strict=False)), record=record, **of_rain)
    pictures = write_pictures(folder, result, animated=list(models), log=log_of(folders), **of_rain)
    # All is written: what reads this may stop reading.
    for name, keys in trained_otherwise(models, folders).items():
        print(f"note: '{name}' was trained on other data than '{next(iter(models))}' (data.{', data.'.join(keys)}).")
    print(table(result))
    print(f"\nScores:    {folder / 'metrics.json'}, {folder / 'metrics.csv'}")
    print(f"Report:    {page}")
    print("Pictures:  " + ", ".join(str(path) for path in pictures))


def find(path: Any) -> Path:
    """The checkpoint that a value of `ckpt` means."""
    try:
        return checkpoints.find(str(path))
    except checkpoints.CheckpointError as error:
        raise checkpoints.CheckpointError(f"ckpt: {error}") from error


def load(folder: Path, trusted: Sequence[str]) -> nn.Module:
    """The model of a checkpoint; the error of one that cannot be built says whose it is."""
    try:
        return checkpoints.load(folder, trusted=trusted)
    except checkpoints.CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(f"{error}\nThe model is that of '{folder / checkpoints.CONFIG}'.") from error


def check(settings: dict[str, Any]) -> None:
    """Ends the program where a value cannot be what its place needs."""
    check_keys("evaluate", settings)
    paths = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    for key, value in [*(("ckpt", path) for path in paths if path not in (None, "")), ("out", settings["out"])]:
        if key != "out" or value is not None:
            check_path(key, value)
    if settings["split"] not in SPLITS:
        fail(f"'split' must be one of {', '.join(SPLITS)} but got {shown(settings['split'])}.")
    for key in ("model", "data"):
        if settings.get(key) is not None and not isinstance(settings[key], dict):
            fail(f"'{key}' must describe an object but is {shown(settings[key])}. Choose one of configs/{key}.")
    if settings.get("model") and "_target_" not in settings["model"]:
        fail("'model' must describe an object but lacks 'model._target_'. Choose one of configs/model.")
    if not settings["ckpt"] and settings.get("data") and "_target_" not in settings["data"]:
        fail("'data' must describe an object but lacks 'data._target_'. Choose one of configs/data.")
    if not settings["ckpt"] and settings.get("model") is None:
        fail(
            "there is nothing to evaluate: name a run's folder, a checkpoint's folder, or a list of them "
            "(ckpt=runs/NAME), or a model that needs no training (model=persistence data=...)."
        )
    if not settings["ckpt"] and not settings.get("data"):
        fail(f"model={HydraConfig.get().runtime.choices['model']} brings no data of its own: choose some, data=NAME.")
    check_types({"model": settings["model"]} if settings.get("model") else {})
    for key, may_be_null in (("sequences", True), ("batch_size", False), ("horizon", True)):
        value = settings[key]
        if not (value is None and may_be_null) and (type(value) is not int or value < 1):
            fail(f"'{key}' must be a whole number of at least 1 but got {shown(value)}.")
    if type(settings["cases"]) is not int or settings["cases"] < 0:
        fail(f"'cases' must be a whole number of at least 0 but got {shown(settings['cases'])}.")
    check_members(settings)
    chosen = settings["baselines"]
    if chosen != "auto" and not (isinstance(chosen, list) and all(name in list(BASELINES) for name in chosen)):
        fail(f"'baselines' must be auto or a list of {', '.join(BASELINES)}, [] for none, but got {shown(chosen)}.")
    examples, trusted = settings["examples"], settings["trusted"]
    if not isinstance(examples, list) or not all(type(i) is int and i >= 0 for i in examples):
        fail(f"'examples' must be a list of whole numbers of at least 0, [] for none, but got {shown(examples)}.")
    if not isinstance(trusted, list) or not all(isinstance(name, str) for name in trusted):
        fail(f"'trusted' must be a list of packages, such as trusted=[mine], but got {shown(trusted)}.")


def baselines(chosen: Any, models: Iterable[str], rain: bool) -> dict[str, nn.Module]:
    """The models that need no training and stand beside every score, those left out that are evaluated themselves."""
    if chosen == "auto":
        chosen = ["extrapolation", "persistence"] if rain else ["persistence", "zeros"]
    return {name: BASELINES[name]() for name in chosen if name not in models}


def ensemble_of(
    models: dict[str, nn.Module], folders: list[Path], settings: dict[str, Any], trusted: Sequence[str]
) -> dict[str, Ensemble]:
    """All models and the members that are asked for beside them as one, by its name."""
    chosen = settings["members"]
    weights = weights_of(folders, previous=chosen["previous"], plain=chosen["plain"])
    more = [w for w in weights if w.ema is not None or w.folder not in folders]
    every = [*models.values(), *(checkpoints.load(w.folder, trusted=trusted, ema=w.ema) for w in more)]
    check_count(settings, len(every))
    name = "ensemble" if "ensemble" not in models else "ensemble of all"
    members = [compiled(model) for model in every]
    return {name: Ensemble(members, perturbed=chosen["perturbed"], perturbation=perturbation(settings))}


def labels(folders: list[Path]) -> list[str]:
    """A short name for each checkpoint: its run's name, with as much of its path as tells it from the others."""
    if len(folders) < 2:
        return ["model"] * len(folders)
    runs = [checkpoints.run_of(folder) for folder in folders]
    for depth in count(1):
        names = ["/".join(run.parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(run.parts) for run in runs):
            return [f"{name}/{folder.name}#{n}" for n, (name, folder) in enumerate(zip(names, folders, strict=True), 1)]
    raise AssertionError("unreachable")


def check_model(name: str, model: nn.Module, data: Any, split: str, horizon: int) -> None:
    """ValueError where a model cannot forecast the data; nothing is computed for it."""
    check_parameters(model, bytes_each=4)
    batch = next(iter(data.stream(split, 1)))
    frames = (1, horizon, *batch["targets"].shape[2:])
    try:
        forecast = model(as_unit(batch["inputs"]), horizon)
    except ValueError as error:
        raise ValueError(f"the model '{name}' does not fit the data: {error}") from error
    if forecast.shape != frames:
        raise ValueError(
            f"the model '{name}' forecasts frames of shape {forecast.shape[2:]}, but the data's are {frames[2:]}."
        )


def default_folder(folders: list[Path], models: list[str]) -> Path:
    """`evaluation` in the run's folder, or `comparison` beside the first of several runs, or `runs/MODEL`."""
    if not folders:
        return Path("runs") / models[0]
    run = checkpoints.run_of(folders[0])
    return run / "evaluation" if len(folders) == 1 else run.parent / "comparison"


def log_of(folders: list[Path]) -> Path | None:
    """The log of the training, where one run alone is evaluated."""
    log = checkpoints.run_of(folders[0]) / "metrics.csv" if len(folders) == 1 else None
    return log if log is not None and log.is_file() and not log.is_symlink() else None


def check_own(folder: Path) -> None:
    """Ends the program where what would be written to a run's folder would land elsewhere."""
    for path in (folder, *folder.iterdir()):
        if path.is_symlink():
            fail(f"'{path}' is a link to somewhere else. Name the folder of the scores and pictures: out=PATH.")


def compiled(model: nn.Module) -> Any:
    """The model's forecast as one compiled function."""
    forward = mx.compile(lambda inputs, horizon: model(inputs, horizon), inputs=model.state)
    return lambda inputs, horizon: forward(inputs, horizon)


def batches(data: Any, split: str, batch_size: int, size: int, horizon: int) -> Iterator[dict[str, Any]]:
    """The first `size` sequences of a split, their targets cut to `horizon` frames."""
    left = size
    for batch in data.stream(split, min(batch_size, size)):
        batch = {name: array[:left] for name, array in batch.items()}
        yield {name: a if name.startswith("input") else a[:, :horizon] for name, a in batch.items()}
        left -= len(batch["inputs"])
        if left <= 0:
            return


def main() -> None:
    """Runs the command: `convlstm evaluate`, or `python evaluate.py` in a checkout."""
    # The keys of the data are the checkpoint's, which Hydra does not know.
    run("evaluate", execute, open_sections=("data",))
