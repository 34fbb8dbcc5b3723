"""Scores trained models and draws their forecasts: `python evaluate.py ckpt=runs/quickstart`, or `--help`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from convlstm import report
from convlstm.baselines import Persistence, Zeros
from convlstm.build import TRUSTED, build, check_targets, resolve
from convlstm.ensemble import Ensemble, weights_of
from convlstm.evaluation import Evaluation, as_unit, evaluate
from convlstm.extrapolation import Extrapolation
from convlstm.results import table, write_scores
from convlstm.training import checkpoint
from convlstm.training.log import MetricsLog
from convlstm.training.memory import check_parameters
from datasets.moving_mnist import MovingMNIST
from datasets.transforms import RadarTransform
from doors import check_keys, check_path, check_types, fail, fitting, instantiate, make_folder, named, plain, run, shown
from members import check_count, check_members, perturbation

import mlx.core as mx
import mlx.nn as nn
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

SPLITS = ("train", "validation", "test")
BASELINES: dict[str, type[nn.Module]] = {"extrapolation": Extrapolation, "persistence": Persistence, "zeros": Zeros}
# Where something is written and what is fetched is for a person to say, not for a checkpoint.
NOT_ITS_OWN = ("index", "mirrors")


@runtime_checkable
class Data(Protocol):
    """What a checkpoint's data must be able to do."""

    def size(self, split: str) -> int: ...
    def stream(self, split: str, batch_size: int) -> Iterable[dict[str, Any]]: ...
    def describe(self) -> dict[str, Any]: ...


def main(config: DictConfig) -> None:
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
        "steps": {name: checkpoint.read_state(f)["step"] for name, f in zip(models, folders, strict=False)},
        "split": settings["split"],
        "data": data.describe(),
        **({"members": settings["members"]} if settings["ensemble"] else {}),
    }
    write_scores(folder, result, record)
    for name, keys in trained_otherwise(models, folders).items():
        print(f"note: '{name}' was trained on other data than '{next(iter(models))}' (data.{', data.'.join(keys)}).")
    print(table(result))
    page = write_report(folder, result, dict(zip(models, folders, strict=False)), record, rain)
    pictures = draw(folder, result, list(models), folders, rain, settings["split"])
    print(f"\nScores:    {folder / 'metrics.json'}, {folder / 'metrics.csv'}")
    print(f"Report:    {page}")
    print("Pictures:  " + ", ".join(str(path) for path in pictures))


def find(path: Any) -> Path:
    """The checkpoint that a value of `ckpt` means."""
    try:
        return checkpoint.find(str(path))
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"ckpt: {error}") from error


def load(folder: Path, trusted: Sequence[str]) -> nn.Module:
    """The model of a checkpoint; the error of one that cannot be built says whose it is."""
    try:
        return checkpoint.load(folder, trusted=trusted)
    except checkpoint.CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(f"{error}\nThe model is that of '{folder / checkpoint.CONFIG}'.") from error


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
    every = [*models.values(), *(checkpoint.load(w.folder, trusted=trusted, ema=w.ema) for w in more)]
    check_count(settings, len(every))
    name = "ensemble" if "ensemble" not in models else "ensemble of all"
    members = [compiled(model) for model in every]
    return {name: Ensemble(members, perturbed=chosen["perturbed"], perturbation=perturbation(settings))}


def labels(folders: list[Path]) -> list[str]:
    """A short name for each checkpoint: its run's name, with as much of its path as tells it from the others."""
    if len(folders) < 2:
        return ["model"] * len(folders)
    runs = [f.parent.parent if f.parent.name == checkpoint.FOLDER else f for f in folders]
    for depth in count(1):
        names = ["/".join(run.parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(run.parts) for run in runs):
            return [f"{name}/{folder.name}#{n}" for n, (name, folder) in enumerate(zip(names, folders, strict=True), 1)]
    raise AssertionError("unreachable")


def build_data(config: DictConfig, changes: dict[str, Any] | None, folder: Path | None, trusted: list[str]) -> Any:
    """The data of the command line, or the checkpoint's with the keys that the command line changes."""
    if folder is None or (changes is not None and "_target_" in changes):
        check_types({"data": changes} if changes else {})
        return instantiate(config, "data")
    saved = checkpoint.read_config(folder)
    if not isinstance(saved.get("data"), dict):
        fail("the checkpoint's config.yaml has no section 'data'. Name the data: data=moving_mnist.")
    changes = changes or {}
    description = {key: value for key, value in saved["data"].items() if key not in NOT_ITS_OWN} | changes
    packages = ("datasets", *trusted)
    try:
        # Before anything else looks at what it names.
        check_targets(description := {"_target_": ""} | description, packages, Data, inside=RadarTransform)
        named_by_it = saved["data"].get("root") is not None and "root" not in changes
        if named_by_it and issubclass(resolve(description["_target_"], packages), MovingMNIST):
            description = {"mirrors": []} | description  # nothing is downloaded into a folder that no person has named
        check_types({"data": description})
        return build(description, packages, Data, inside=RadarTransform)
    except (OSError, TypeError, ValueError) as error:
        text = named(str(error), {"data": description}, "data")
        raise ValueError(f"{text}\nThe data are those of '{folder / checkpoint.CONFIG}' and the changes.") from error


def trained_otherwise(models: Iterable[str], folders: list[Path]) -> dict[str, list[str]]:
    """For each run whose data was not the first one's, which is what all are scored on: the keys that differ."""
    if not folders:
        return {}
    first, *others = (checkpoint.read_config(folder).get("data") or {} for folder in folders)
    same = {"root", "index", "dtype", "cache_bytes", "prefetch", "threads", "progress"}
    same |= {"validation_sequences", "test_sequences"}
    keys = [[k for k in {**first, **other} if k not in same and first.get(k) != other.get(k)] for other in others]
    return {name: found for name, found in zip(list(models)[1:], keys, strict=False) if found}


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
    run = folders[0].parent.parent if folders[0].parent.name == checkpoint.FOLDER else folders[0]
    return run / "evaluation" if len(folders) == 1 else run.parent / "comparison"


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


def write_report(
    folder: Path, result: Evaluation, checkpoints: dict[str, Path], record: dict[str, Any], rain: Any
) -> Path:
    """One page with all of it, for a browser."""
    path = folder / "report.html"
    report.write_page(path, result, checkpoints=checkpoints, record=record, rain=rain, split=record["split"])
    return path


def draw(folder: Path, result: Evaluation, names: list[str], folders: list[Path], rain: Any, split: str) -> list[Path]:
    """The pictures: forecasts of each example, an animation of the first, the scores, the training."""
    title = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    pictures = draw_frames(folder, result, names) if rain is None else draw_rain(folder, result, title, rain, split)
    pictures.append(folder / "lead_times.png")
    report.lead_curves(pictures[-1], result.scores, title=title)
    pictures += draw_ensembles(folder, result, title, rain)
    log = folders[0].parent.parent / "metrics.csv" if folders else None
    if log is not None and len(folders) == 1 and log.is_file() and not log.is_symlink():
        pictures.append(folder / "training.png")
        report.training_curve(pictures[-1], MetricsLog.read(log))
    return pictures


def draw_ensembles(folder: Path, result: Evaluation, title: str, rain: Any) -> list[Path]:
    """Reliability, rank histogram and spread beside error, where there is an ensemble."""
    every = result.ensembles
    if not every:
        return []
    pictures = [folder / f"{name}.png" for name in ("reliability", "rank_histogram", "spread_skill")]
    least = None if rain is None else f"{min(rain.thresholds):g} {rain.units}"
    report.reliability_diagram(pictures[0], {name: m.reliability() for name, m in every.items()}, title=title)
    ranks = {name: m.rank_histogram() for name, m in every.items()}
    report.rank_histogram(pictures[1], ranks, ranked_from=least, title=title)
    scores = {name: result.scores[name] for name in every}
    interval = None if rain is None else rain.frame_interval
    report.spread_skill(pictures[2], scores, title=title, frame_interval=interval)
    return pictures


def draw_frames(folder: Path, result: Evaluation, names: list[str]) -> list[Path]:
    """Forecasts of each example, and an animation of the first."""
    pictures = []
    for example in result.examples:
        path = folder / f"forecast_{example.index}.png"
        # The empty forecast is not worth looking at.
        forecasts = {name: forecast for name, forecast in example.forecasts.items() if name != "zeros"}
        report.forecast_panel(path, example.inputs, example.targets, forecasts, title=f"sequence {example.index}")
        pictures.append(path)
    if result.examples:
        first = result.examples[0]
        pictures.append(folder / f"forecast_{first.index}.gif")
        report.forecast_gif(pictures[-1], first.inputs, first.targets, {n: first.forecasts[n] for n in names})
    return pictures


def draw_rain(folder: Path, result: Evaluation, title: str, rain: Any, split: str) -> list[Path]:
    """Maps of each example, an animation of the first, CSI by lead time, FSS by scale, and spectra."""
    pictures = []
    about: dict[str, Any] = {"units": rain.units, "frame_interval": rain.frame_interval}
    for n, example in enumerate(result.examples):
        inputs, targets = rain.physical(example.inputs), rain.physical(example.targets)
        forecasts = {name: rain.physical(f) for name, f in example.forecasts.items() if name != "zeros"}
        times = rain.times(split, example.index)
        when = about | {"times": None if times is None else times[: rain.input_frames + result.horizon]}
        pictures.append(folder / f"forecast_{example.index}.png")
        heading = f"sequence {example.index}"
        report.rain_panel(pictures[-1], inputs, targets, forecasts, **when, pixel_km=rain.pixel_km, title=heading)
        if n == 0:
            pictures.append(folder / f"forecast_{example.index}.gif")
            report.rain_gif(pictures[-1], inputs, targets, forecasts, **when)
    pictures.append(folder / "csi.png")
    report.score_curves(pictures[-1], result.scores, title=title, frame_interval=rain.frame_interval)
    pictures.append(folder / "fss.png")
    report.fss_by_scale(pictures[-1], result.scores, pixel_km=rain.pixel_km, title=title)
    if any(frames.any() for frames in (spectrum["frames"] for spectrum in result.spectra.values())):
        pictures.append(folder / "spectra.png")
        report.spectra(pictures[-1], result.spectra, title=title, **about)
    return pictures


if __name__ == "__main__":
    # The keys of the data are the checkpoint's, which Hydra does not know.
    run("evaluate", main, open_sections=("data",))
