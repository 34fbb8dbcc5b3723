"""The command `evaluate`: scores trained models and draws their forecasts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.baselines import BASELINES
from convlstm.architectures.coarse_pixels import OnCoarsePixels
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.input_frames import as_unit
from convlstm.architectures.members import draws_members
from convlstm.architectures.model_facts import FACTS
from convlstm.backend.memory import check_parameters
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.ensemble_members import weights_of
from convlstm.checkpoints.finite import check_finite
from convlstm.checkpoints.hub_cache import repository_of
from convlstm.cli.columns import check_columns, note_on_columns
from convlstm.cli.configuration import plain
from convlstm.cli.data_lines import print_data
from convlstm.cli.ensemble_members import MEMBERS, check_count, perturbation, set_drawn
from convlstm.cli.error_wording import shown
from convlstm.cli.evaluation_baselines import adopt_facts, baselines
from convlstm.cli.evaluation_data import build_data, differences_in_training
from convlstm.cli.ignored_keys import check_members
from convlstm.cli.instantiation import check_described, check_types, fitting, instantiate
from convlstm.cli.key_checks import PACKAGES, PATH, Values, check, either, list_of, one_of, optional, whole
from convlstm.cli.program import fail, make_folder, run
from convlstm.cli.run_results import check_no_links, check_own_results
from convlstm.evaluation.files import MARKS as SCORE_MARKS
from convlstm.evaluation.files import write_scores
from convlstm.evaluation.guards import PRODUCTS
from convlstm.evaluation.in_units import InUnits
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.ops import compilation
from convlstm.report import write_page, write_pictures
from convlstm.report.page import MARKS as PAGE_MARKS
from convlstm.report.pictures import MARKS as CHART_MARKS

import mlx.core as mx
import mlx.nn as nn
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# Keys and their values. The sections `model` and `data` describe objects.
KEYS: dict[str, Values] = {
    "ckpt": optional(either(PATH, list_of(PATH), words="a path or a list of paths")),
    "split": one_of("train", "validation", "test"),
    "sequences": optional(whole(1)),
    "batch_size": whole(1),
    "horizon": optional(whole(1)),
    "cases": whole(0),
    **MEMBERS,
    "baselines": either(
        one_of("auto"),
        list_of(one_of(*BASELINES)),
        words=f"auto or a list of {', '.join(BASELINES)}, [] for none,",
    ),
    "products": list_of(one_of(*PRODUCTS), f"a list of {', '.join(PRODUCTS)}, [] for none,"),
    "examples": list_of(whole(0), "a list of whole numbers of at least 0, [] for none,"),
    "out": optional(PATH),
    "trusted": PACKAGES,
}

# Texts in the files of an evaluation. Older reports are recognised by their policy, charts by what has drawn them.
MARKS: dict[str, tuple[str, ...]] = {
    "report.html": PAGE_MARKS,
    **SCORE_MARKS,
    **CHART_MARKS,
}


def main() -> None:
    """Runs the command: `convlstm evaluate`, or `python evaluate.py` in a checkout."""
    # Hydra does not know the keys of the data: they are those of the checkpoint.
    run("evaluate", execute, open_sections=("data",))


def execute(config: DictConfig) -> None:
    """Scores the models of a configuration and draws their forecasts."""
    settings = plain(config)
    check("evaluate", KEYS, settings)
    check_members("evaluate", settings)
    check_sections(settings)
    names = [] if settings["ckpt"] is None else settings["ckpt"]
    folders = [find(name) for name in (names if isinstance(names, list) else [names])]
    trusted = (*TRUSTED, *settings["trusted"])
    loaded = dict(zip(labels(folders), (load(folder, trusted) for folder in folders), strict=True))
    models = {name: each.model for name, each in loaded.items()}
    data = build_data(config, settings.get("data"), folders[0] if folders else None, settings["trusted"])
    if settings.get("model") is not None:
        models[HydraConfig.get().runtime.choices["model"]] = instantiate(config, "model")
    fields = data if hasattr(data, "target_fields") else None
    rain = data if hasattr(data, "physical") and fields is None else None
    with fitting(settings, "model", "data"):
        adopt_facts(models, rain)
        columns = getattr(data, "columns", None)
        for model in models.values():
            check_columns(model, columns)
        compared = baselines(settings["baselines"], models, rain, fields)
    set_drawn(list(filter(draws_members, [*models.values(), *compared.values()])), settings)
    ensemble = ensemble_of(models, folders, settings, trusted) if settings["ensemble"] else {}
    if settings["products"] and not ensemble and not any(map(draws_members, [*models.values(), *compared.values()])):
        fail(
            "'products' is for ensembles, but none is evaluated. Add ensemble=true with members, baselines=[steps], or "
            "leave it out."
        )

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
        check_no_links(folder)
    check_own_results(folder, MARKS)

    about = data.describe()
    print_data(about)
    result = evaluate(
        {name: compiled(m) for name, m in models.items()}
        | ensemble
        | {name: compiled(m) for name, m in compared.items()},
        batches(data, settings["split"], settings["batch_size"], size, horizon),
        rain=rain,
        fields=fields,
        progress="evaluating",
        total=size,
        keep=keep,
        cases=settings["cases"],
        products=settings["products"],
    )
    record = {
        "checkpoints": {name: checkpoints.name_of(each.folder) for name, each in loaded.items()},
        "steps": {name: each.state["step"] for name, each in loaded.items()},
        "split": settings["split"],
        "data": about,
        **({"members": settings["members"]} if settings["ensemble"] else {}),
    }
    write_scores(folder, result, record)
    page, about_data = folder / "report.html", {"rain": rain, "fields": fields, "split": settings["split"]}
    write_page(page, result, checkpoints=dict(zip(models, folders, strict=False)), record=record, **about_data)
    pictures = write_pictures(folder, result, animated=list(models), log=log_of(folders), **about_data)
    # Printed last: a reader of this output may end the program.
    for note in dict.fromkeys(filter(None, (note_on_columns(model, columns) for model in models.values()))):
        print(f"note: {note}.")
    for name, model in models.items():
        if isinstance(model, OnCoarsePixels):
            rows, columns = model.pixels.factors
            print(f"note: '{name}' ran on means of {rows}x{columns} pixels, and its forecasts were brought back.")
    for name, keys in differences_in_training(models, folders).items():
        print(f"note: '{name}' was trained on other data than '{next(iter(models))}' ({', '.join(keys)}).")
    print(table(result))
    print(f"\nScores:    {folder / 'metrics.json'}, {folder / 'metrics.csv'}")
    print(f"Report:    {page}")
    print("Pictures:  " + ", ".join(str(path) for path in pictures))


def check_sections(settings: dict[str, Any]) -> None:
    """Ends the program if there is no model or no data to evaluate, or if a section does not describe an object."""
    model, data = settings.get("model"), settings.get("data")
    if not settings["ckpt"] and model is None:
        fail(
            "there is nothing to evaluate: name a run's folder, a checkpoint's folder, or a list of them "
            "(ckpt=runs/NAME), or a model that needs no training (model=persistence data=...)."
        )
    if not settings["ckpt"] and not data:
        fail(f"model={HydraConfig.get().runtime.choices['model']} needs data to be scored on: data=NAME.")
    if model is not None:
        check_described("model", model)
        check_types({"model": model})
    if not settings["ckpt"]:
        check_described("data", data)
    elif data is not None and not isinstance(data, dict):
        fail(f"'data' must be a section with keys such as data.root=PATH but got {shown(data)}.")


def find(path: Any) -> Path:
    """Returns the folder of a checkpoint; errors name the key `ckpt`."""
    try:
        return checkpoints.find(str(path))
    except checkpoints.CheckpointError as error:
        raise checkpoints.CheckpointError(f"ckpt: {error}") from error


def load(folder: Path, trusted: Sequence[str], ema: bool | None = None) -> checkpoints.Loaded:
    """Returns a checkpoint's content; errors name the checkpoint's configuration."""
    try:
        loaded = checkpoints.load_all(folder, trusted=trusted, ema=ema)
    except checkpoints.CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(f"{error}\nThe model comes from '{folder / checkpoints.CONFIG}'.") from error
    check_finite(loaded.model, folder)
    return loaded


def ensemble_of(
    models: dict[str, nn.Module], folders: list[Path], settings: dict[str, Any], trusted: Sequence[str]
) -> dict[str, Ensemble]:
    """Returns the ensemble of all models and of the further members that the settings ask for, by its name."""
    members = settings["members"]
    weights = weights_of(folders, previous=members["previous"], plain=members["plain"])
    further = [w for w in weights if w.ema is not None or w.folder not in folders]
    if drawing := [name for name, model in models.items() if draws_members(model)]:
        fail(f"'{drawing[0]}' is an ensemble by itself: leave out ensemble=true, or take it as a baseline.")
    all_models = [*models.values(), *(load(w.folder, trusted, w.ema).model for w in further)]
    check_count(settings, len(all_models))
    name = "ensemble" if "ensemble" not in models else "ensemble of all"
    forecasts = [compiled(model) for model in all_models]
    return {name: Ensemble(forecasts, perturbed=members["perturbed"], perturbation=perturbation(settings))}


def labels(folders: list[Path]) -> list[str]:
    """Returns a short name for each checkpoint: its run's name, with as much of the path as makes the names differ."""
    if len(folders) < 2:
        return ["model"] * len(folders)
    # The folders of the hub's cache have the names of commits.
    runs = [checkpoints.results_of(f) if repository_of(f) else checkpoints.run_of(f) for f in folders]
    for depth in count(1):
        names = ["/".join(run.parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(run.parts) for run in runs):
            pairs = zip(runs, folders, strict=True)
            return [f"{run.name}/{folder.name}#{n}" for n, (run, folder) in enumerate(pairs, 1)]
    raise AssertionError("unreachable")


def check_model(name: str, model: nn.Module, data: Any, split: str, horizon: int) -> None:
    """Raises ValueError if a model cannot forecast the data. Nothing is computed for it."""
    check_parameters(model, bytes_each=4)
    batch = next(iter(data.stream(split, 1)))
    frames = (1, horizon, *batch["targets"].shape[2:])
    try:
        forecast = model(as_unit(batch["inputs"]), horizon)
    except ValueError as error:
        raise ValueError(f"the model '{name}' does not fit the data: {error}") from error
    if draws_members(model):
        forecast = forecast[0]
    if forecast.shape != frames:
        raise ValueError(
            f"the model '{name}' forecasts frames of shape {forecast.shape[2:]}, but the data's are {frames[2:]}."
        )


def default_folder(folders: list[Path], models: list[str]) -> Path:
    """Returns `evaluation` in the run's folder, `comparison` beside the first of several runs, or `runs/MODEL`."""
    if not folders:
        return Path("runs") / models[0]
    run = checkpoints.results_of(folders[0])
    return run / "evaluation" if len(folders) == 1 else run.parent / "comparison"


def log_of(folders: list[Path]) -> Path | None:
    """Returns the training's log if a single run is evaluated, else None."""
    log = checkpoints.run_of(folders[0]) / "metrics.csv" if len(folders) == 1 else None
    return log if log is not None and log.is_file() and not log.is_symlink() else None


def compiled(model: Any) -> Any:
    """Returns the model's forecast as one compiled function, which raises ValueError if no value of it is finite."""
    # Models that draw members are scored by them, and evaluate them one after the other.
    if draws_members(model) or isinstance(model, InUnits):
        return model
    forward = compilation.whole(lambda inputs, horizon: model(inputs, horizon), model.state)

    def forecast(inputs: mx.array, horizon: int) -> mx.array:
        frames = forward(inputs, horizon)
        if not mx.isfinite(frames).any().item():
            raise ValueError(f"the forecast of the {type(model).__name__} has no finite value, so it cannot be scored.")
        return frames

    # For an ensemble, which moves its inputs.
    forecast.circular = getattr(model, "circular", False)  # type: ignore[attr-defined]
    return forecast


def batches(data: Any, split: str, batch_size: int, size: int, horizon: int) -> Iterator[dict[str, Any]]:
    """Yields the first `size` sequences of a split, with their targets cut to `horizon` frames.

    If the frames stand for physical values, batches also have `truth`: scores are of the values as they were read.
    """
    left, options = size, {}
    if hasattr(data, "physical") and "truth" in inspect.signature(data.stream).parameters:
        options["truth"] = True
    for batch in data.stream(split, min(batch_size, size), **options):
        batch = {name: array[:left] for name, array in batch.items()}
        whole = (*FACTS, "inputs", "input_mask", "input_reference")
        yield {name: a if name in whole else a[:, :horizon] for name, a in batch.items()}
        left -= len(batch["inputs"])
        if left <= 0:
            return
