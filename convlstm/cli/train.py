"""Trains a forecaster: `python train.py experiment=quickstart`, or `--help`."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend.blas import hold_to_one_thread, slow_blas_warning
from convlstm.cli.configuration import given_arguments, plain
from convlstm.cli.invocation import command
from convlstm.cli.keys import FLAG, PATH, check, optional, whole
from convlstm.cli.program import fail, make_folder, run
from convlstm.cli.sections import check_types, fitting, instantiate
from convlstm.cli.wording import shown
from convlstm.distributed.ranks import ALONE, Ranks, RanksError
from convlstm.distributed.watchdog import WatchError
from convlstm.summary import parameters

import mlx.core as mx
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# The values of each key; the sections describe objects.
KEYS = {
    "seed": whole(0),
    "deterministic": FLAG,
    "output": PATH,
    "name": PATH,
    "resume": optional(PATH),
}
# Changing these between a run and its continuation would silently make it another run.
FIXED = ("model", "data", "loss", "seed", "trainer.batch_size")
# resume=auto without a name looks for a run that has these in common as well; else they are a person's to change.
SAME = (*FIXED, "optimizer", "schedule", "sampling", "trainer.max_grad_norm")
# What a person may change when a run goes on; it is told.
CHANGEABLE = ("optimizer", "schedule", "sampling", "trainer")
# Parts of them that change nothing about what is learned, or follow from the length of the run.
FREE = {
    "data": (
        *("root", "index", "dtype", "cache_bytes", "prefetch", "threads", "progress"),
        *("validation_sequences", "test_sequences"),
    ),
    "optimizer.learning_rate": ("steps",),
    "optimizer.beta1": ("steps",),
    "schedule": ("steps",),
    "record": ("sequences", "test"),
}


def execute(config: DictConfig, ranks: Ranks = ALONE) -> None:
    """Trains what a configuration describes."""
    settings = plain(config)
    check("train", KEYS, settings)
    check_sections(settings)
    folder, resume = agreed_folder(ranks, settings)
    if resume is not None and settings["data"].get("digits") == "auto":
        # What was found when the run began is part of it.
        config.data.digits = ranks.share(digits_of(resume) if ranks.main else None)
    if settings["deterministic"]:
        hold_to_one_thread()
    mx.random.seed(settings["seed"])
    trainer, model, data = instantiate(config, "trainer"), instantiate(config, "model"), instantiate(config, "data")
    instantiate(config, "schedule")  # which is told of under its own name, not under the optimizer's
    optimizer, loss = instantiate(config, "optimizer"), instantiate(config, "loss")
    sampling = instantiate(config, "sampling") if settings.get("sampling") else None
    if sampling is not None and not getattr(model, "feeds_back", False):
        choice = HydraConfig.get().runtime.choices["model"]
        fail(
            f"'sampling' is for models that feed on their forecasts, and model={choice} (model._target_: "
            f"{type(model).__name__}) does not. Leave it out."
        )
    loggers = [instantiate(config.logger, name) for name in settings.get("logger") or {}]
    if parameters(model) == 0:
        choice = HydraConfig.get().runtime.choices["model"]
        fail(f"model={choice} has nothing to learn. Evaluate it: {command('evaluate', f'model={choice}')} data=...")
    trainer.ranks = ranks
    with fitting(settings, "model", "data", "trainer.batch_size", "trainer.accumulate"):
        trainer.check(model, loss, data)
    record = data.describe()
    check_ranks(ranks, settings, record)
    settings["data"] |= {"digits": record["digits"]} if "digits" in settings["data"] else {}
    settings |= {"output": str(folder.parent), "name": folder.name, "resume": None}
    arguments = given_arguments("resume", "name")
    if ranks.main:
        if resume is not None:
            check_same_data(resume, record)
        make_folder(folder)
        print(f"run         {folder}" + (f", from step {checkpoints.read_state(resume)['step']} on" if resume else ""))
        print(f"device      {mx.default_device()}, MLX {mx.__version__}")  # type: ignore[attr-defined]
        if ranks.size > 1:
            share = trainer.batch_size // ranks.size
            print(f"ranks       {ranks.size}, each with {share} of the {trainer.batch_size} sequences of a batch")
        print(f"model       {type(model).__name__}, {parameters(model):,} parameters")
        print(f"data        {summary(record)}")
        for key, was, now in differences(checkpoints.read_config(resume), settings, CHANGEABLE) if resume else []:
            print(f"changed     {key}: {was!r} in the run so far, {now!r} from here on")
        if warning := slow_blas_warning():
            print(f"warning     {warning}", file=sys.stderr)
    again = command("train", *arguments, name=folder.name, resume="auto")
    ranks.advise(f"This rank ends, too. To go on from the last checkpoint, with any number of ranks:  {again}")

    more = {"seed": settings["seed"], "resume": resume, "loggers": loggers, "sampling": sampling}
    progress = trainer.fit(model, optimizer, loss, data, folder, settings, **more)

    best = "" if progress.best is None else f"; best {trainer.monitor} {progress.best:.4g} at step {progress.best_step}"
    print(f"{progress.status} at step {progress.step} of {trainer.max_steps}{best}")
    if progress.status.startswith("interrupted"):
        status = 128 + signal.Signals[progress.status.split()[-1]]
        if not holds_checkpoints(folder):
            print("Nothing has been trained yet.")
            sys.exit(status)
        print(f"Everything is saved. To go on:  {command('train', *arguments, resume=folder)}")
        sys.exit(status)
    print(f"Next:  {command('evaluate', ckpt=folder)}")


def check_sections(settings: dict[str, Any]) -> None:
    """Ends the program if a section cannot describe an object of its kind, before anything is built."""
    for key in ("model", "data", "optimizer", "schedule", "loss", "trainer"):
        section = settings.get(key)
        if not isinstance(section, dict) or "_target_" not in section:
            missing = f"it lacks '{key}._target_'" if isinstance(section, dict) else f"is {shown(section)}"
            fail(f"'{key}' must describe an object but {missing}. Choose one of configs/{key}.")
    sampling = settings.get("sampling")
    if sampling is not None and not (isinstance(sampling, dict) and "_target_" in sampling):
        fail(f"'sampling' must describe an object but is {sampling!r}. Choose one of configs/sampling, or none.")
    loggers = settings.get("logger") or {}
    for name, section in loggers.items() if isinstance(loggers, dict) else [("", loggers)]:
        if not isinstance(section, dict) or "_target_" not in section:
            key = f"logger.{name}".rstrip(".")
            fail(f"'{key}' must describe an object but is {section!r}. Choose of configs/logger: logger=tensorboard.")
    sections = {key: section for key, section in settings.items() if key != "logger"}
    check_types(sections | {f"logger.{name}": section for name, section in loggers.items()})


def summary(record: Mapping[str, Any]) -> str:
    """What a person wants to read of the data's record; in full it is in the checkpoints."""
    shown = {}
    for name, value in record.items():
        if name in ("archives", "synthetic"):
            shown[name] = ", ".join(value) if name == "archives" else "rain"
        elif not name.endswith(("sha256", "_rule")) and name not in ("places", "splits", "transform", "zr"):
            shown[name] = value
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def agreed_folder(ranks: Ranks, settings: dict[str, Any]) -> tuple[Path, Path | None]:
    """What `run_folder` finds on rank 0, on every rank: another machine may lack the run, or read another clock."""
    found = [None if path is None else str(path) for path in run_folder(settings)] if ranks.main else []
    folder, resume = (None if path is None else Path(path) for path in ranks.share(found))
    assert folder is not None
    return folder, resume


def check_ranks(ranks: Ranks, settings: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Ends the program where ranks differ in what they run, in their configuration or in their data."""
    ranks.check_same("the version of MLX", mx.__version__)  # type: ignore[attr-defined]
    own = json.loads(json.dumps({"settings": settings, "record": record}))
    theirs = ranks.share(own)
    keys = tuple(key for key in settings if key not in ("output", "name", "resume", "logger"))
    wrong = differences(theirs["settings"], own["settings"], keys)
    there, here = theirs["record"], own["record"]
    wrong += [(f"data: {n}", there.get(n), here.get(n)) for n in {**there, **here} if there.get(n) != here.get(n)]
    told = "\n  ".join(f"{key}: {was!r} on rank 0, {now!r} on rank {ranks.rank}" for key, was, now in wrong)
    if lines := next(filter(None, ranks.gather(told)), ""):
        fail(f"the ranks do not do the same:\n  {lines}\nGive all machines the same project and the same data.")


def run_folder(settings: dict[str, Any]) -> tuple[Path, Path | None]:
    """The run's folder and the checkpoint to go on from, or None for a new run."""
    job, output, resume = HydraConfig.get(), Path(str(settings["output"])).expanduser(), settings["resume"]
    folder = output / str(settings["name"])
    named = any(override.lstrip("+").startswith("name=") for override in job.overrides.task)

    if resume is None or (resume != "auto" and not belongs_to_run(found := last(resume))):
        if holds_checkpoints(folder):
            fail(f"'{folder}' holds a run already. Go on with it (resume=auto), or choose another name=...")
        if resume is None:
            return folder, None
        check_same_run(found, settings)
        return folder, found
    if resume != "auto":
        check_same_run(found, settings)
        return found.parent.parent, found
    if named:
        if not holds_checkpoints(folder):
            return folder, None
        found = last(folder)
        check_same_run(found, settings)
        return folder, found
    for candidate in sorted(output.glob(f"*/{checkpoints.FOLDER}"), key=os.path.getmtime, reverse=True):
        try:
            found = last(candidate.parent)
            if not differences(checkpoints.read_config(found), settings, SAME):
                return candidate.parent, found
        except checkpoints.CheckpointError:
            continue
    print(f"resume=auto found no run of this configuration in '{output}': this is a new one.")
    return folder, None


def holds_checkpoints(folder: Path) -> bool:
    """Whether a run has left checkpoints in a folder; one that ended while it wrote its first has not."""
    return any(path.suffix != ".tmp" for path in (folder / checkpoints.FOLDER).glob("*"))


def last(path: Any) -> Path:
    """The newest checkpoint of a run, or the very checkpoint that is named."""
    try:
        return checkpoints.find(str(path), prefer=("last", "best"))
    except checkpoints.CheckpointError as error:
        raise checkpoints.CheckpointError(f"resume: {error}") from error


def digits_of(found: Path) -> str:
    """The digits that a run was trained on; the program ends where its checkpoint says anything else."""
    data = checkpoints.read_config(found).get("data")
    digits = data.get("digits") if isinstance(data, dict) else None
    # It becomes part of a configuration that is built without further checks.
    if digits not in ("mnist", "builtin"):
        fail(f"'{found / checkpoints.CONFIG}' names no digits but {digits!r}. Name them: data.digits=mnist or builtin.")
    return digits


def belongs_to_run(found: Path) -> bool:
    """Whether a checkpoint lies in a run's folder, which then is the one to go on in."""
    return found.parent.name == checkpoints.FOLDER and (found.parent.parent / checkpoints.CONFIG).is_file()


def check_same_run(found: Path, settings: dict[str, Any]) -> None:
    """Ends the program where a run would go on with another model, data, loss, seed or size of batch."""
    wrong = differences(checkpoints.read_config(found), settings, FIXED)
    if wrong:
        lines = "\n  ".join(f"{key}: {was!r} in the run, {now!r} now" for key, was, now in wrong)
        fail(
            f"'{found}' cannot go on with another configuration:\n  {lines}\nUse the run's values, or start a new run."
        )


def check_same_data(found: Path, record: dict[str, Any]) -> None:
    """Ends the program where the same configuration leads to other data than it did when the run began."""
    wrong = differences({"record": checkpoints.read_state(found).get("data")}, {"record": record}, ("record",))
    if wrong:
        lines = "\n  ".join(f"{key.removeprefix('record.')}: {was!r} then, {now!r} now" for key, was, now in wrong)
        fail(
            f"'{found}' was trained on other data than is here:\n  {lines}\nGive the run its data back (data.root=..., "
            "data.archive=..., the same version of what draws it), or start a new run."
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any], keys: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    """(key, was, now) for every value under the keys that is not the same; digits=auto is whatever it was."""
    return [d for key in keys for d in _differences(_at(was, key), _at(now, key), key)]


def _differences(was: Any, now: Any, key: str) -> list[tuple[str, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        names = [name for name in {**was, **now} if name not in FREE.get(key, ())]
        return [d for name in names for d in _differences(was.get(name), now.get(name), f"{key}.{name}")]
    if key.endswith("archive"):
        # Whether they hold the same is known from the data's record: they may have moved.
        same = [Path(path).name for path in _paths(was)] == [Path(path).name for path in _paths(now)]
    else:
        same = was == now or (key, now) == ("data.digits", "auto")
    return [] if same else [(key, was, now)]


def _paths(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [str(value)]


def _at(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def joined() -> Ranks:
    """The processes that `mlx.launch` has started, of which only rank 0 speaks; this one alone where there are none."""
    try:
        ranks = Ranks.join()
    except (RanksError, WatchError) as error:
        fail(str(error))
    if not ranks.main:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
        warnings.simplefilter("ignore")
    return ranks


def main() -> None:
    """Runs the command: `convlstm train`, or `python train.py` in a checkout."""
    with joined() as ranks:
        if ranks.size > 1 and {"-m", "--multirun"} & set(sys.argv):
            fail("a sweep starts programs of its own. Start it without mlx.launch, or its runs one by one with it.")
        run("train", functools.partial(execute, ranks=ranks), sweeps=True)
