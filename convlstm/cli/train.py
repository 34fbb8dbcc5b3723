"""Trains a model: `convlstm train experiment=quickstart`, or `python train.py ...` in a checkout."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend.blas import hold_to_one_thread, slow_blas_warning
from convlstm.checkpoints.own_runs import packages_of, remember, trusted_packages
from convlstm.cli.columns import check_columns, check_turns, note_on_columns
from convlstm.cli.command_line import command, program
from convlstm.cli.configuration import given_arguments, plain
from convlstm.cli.data_channels import before_data, follow_channels, follow_facts
from convlstm.cli.data_lines import print_data
from convlstm.cli.fine_tuning import follow_checkpoint, prepare
from convlstm.cli.instantiation import check_described, check_types, fitting, instantiate
from convlstm.cli.key_checks import FLAG, LAYERS, PACKAGES, PATH, check, optional, whole
from convlstm.cli.program import fail, make_folder, run
from convlstm.cli.rain_loss import fit_to_data
from convlstm.cli.replaced_classes import drop_former_keys
from convlstm.distributed.ranks import ALONE, Ranks, RanksError
from convlstm.distributed.watchdog import WatchError
from convlstm.runs.comparison import NAMING, differences
from convlstm.runs.folder import holds_checkpoints
from convlstm.runs.progress import Progress
from convlstm.runs.resume import changes_on_resume, check_same_data, check_same_run, choose_run, trained_digits
from convlstm.summary import parameters
from convlstm.training.settings import Settings

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
    "init": optional(PATH),
    "freeze": LAYERS,
    "trusted": PACKAGES,
}
# Fewer sequences of validation than this choose a checkpoint by chance.
FEW = 8
SECTIONS = ("model", "data", "optimizer", "schedule", "loss", "trainer")


@dataclass
class Objects:
    """The objects that the sections of a configuration describe, in the order in which they are built."""

    trainer: Any
    model: Any
    data: Any
    schedule: Any
    optimizer: Any
    loss: Any
    sampling: Any
    loggers: list[Any]


def execute(config: DictConfig, ranks: Ranks = ALONE) -> None:
    """Trains the model that a configuration describes."""
    check("train", KEYS, plain(config))
    follow_checkpoint(config, ranks)
    drop_former_keys(config, (*SECTIONS, "sampling"))
    settings = plain(config)
    init, freeze = settings.pop("init"), settings.pop("freeze")
    del settings["trusted"]
    # Runs without them keep the configuration that they have always had.
    settings |= {"freeze": freeze} if freeze else {}
    check_sections(settings)
    folder, checkpoint = agreed_start(ranks, before_data(settings))
    if checkpoint is not None and settings["data"].get("digits") == "auto":
        # A run keeps the digits that it found at its start.
        config.data.digits = ranks.share(trained_digits(checkpoint) if ranks.main else None)

    if settings["deterministic"]:
        hold_to_one_thread()
    mx.random.seed(settings["seed"])
    objects = build(config)
    settings["model"] = plain(config)["model"]
    trainer, model, data = objects.trainer, objects.model, objects.data
    check_model(objects)
    lines = prepare(model, init, freeze, ranks, data)
    with fitting(settings, "model", "data", "trainer.batch_size", "trainer.accumulate"):
        check_columns(model, getattr(data, "columns", None))
        check_turns(model, data)
        trainer.check(model, objects.loss, data, ranks=ranks)
    record = data.describe()
    check_ranks(ranks, settings, record)

    settings["data"] |= {"digits": record["digits"]} if "digits" in settings["data"] else {}
    settings |= {"output": str(folder.parent), "name": folder.name, "resume": None}
    if checkpoint is not None:
        init = ranks.share(checkpoints.read_config(checkpoint).get("init") if ranks.main else None)
    settings |= {"init": init} if init else {}
    if ranks.main:
        if checkpoint is not None:
            check_same_run(checkpoint, settings)  # again, since the model's channels are known now
            check_same_data(checkpoint, record)
        make_folder(folder)
        announce(folder, checkpoint, settings, objects, record, ranks)
        print("\n".join(lines), end="\n" if lines else "")
        keep_trusted(folder, settings)
    again = command("train", *given_arguments("resume", "name", "init"), name=folder.name, resume="auto")
    ranks.advise(f"This rank ends, too. To resume from the last checkpoint, with any number of ranks:  {again}")
    progress = trainer.fit(
        model,
        objects.optimizer,
        objects.loss,
        data,
        folder,
        settings,
        seed=settings["seed"],
        resume=checkpoint,
        validate_first=bool(init),
        sampling=objects.sampling,
        loggers=objects.loggers,
        ranks=ranks,
    )
    report(folder, progress, trainer.settings, settings)


def check_sections(settings: dict[str, Any]) -> None:
    """Ends the program if a section cannot describe an object of its kind, before anything is built."""
    for key in SECTIONS:
        check_described(key, settings.get(key))
    if settings.get("sampling") is not None:
        check_described("sampling", settings["sampling"])
    loggers = settings.get("logger") or {}
    for name, section in loggers.items() if isinstance(loggers, dict) else [("", loggers)]:
        check_described(f"logger.{name}".rstrip("."), section)
    sections = {key: section for key, section in settings.items() if key != "logger"}
    check_types(sections | {f"logger.{name}": section for name, section in loggers.items()})


def agreed_start(ranks: Ranks, settings: dict[str, Any]) -> tuple[Path, Path | None]:
    """Returns the run's folder and the checkpoint to resume from, as rank 0 finds them.

    Another machine may lack the run, or have another time for its name.
    """
    paths: list[str | None] = []
    if ranks.main:
        named = any(change.lstrip("+").startswith("name=") for change in HydraConfig.get().overrides.task)
        paths = [None if path is None else str(path) for path in choose_run(settings, named=named)]
    folder, checkpoint = ranks.share(paths)
    return Path(folder), None if checkpoint is None else Path(checkpoint)


def build(config: DictConfig) -> Objects:
    """Returns the objects that a configuration describes."""
    trainer, data = instantiate(config, "trainer"), instantiate(config, "data")
    follow_channels(config, data)
    fit_to_data(config, data)
    # The schedule is also built on its own, so that its errors do not look like the optimizer's, which contains it.
    model, schedule = instantiate(config, "model"), instantiate(config, "schedule")
    follow_facts(config, model, data)
    optimizer, loss = instantiate(config, "optimizer"), instantiate(config, "loss")
    sampling = instantiate(config, "sampling") if config.get("sampling") else None
    loggers = [instantiate(config.logger, name) for name in config.get("logger") or {}]
    return Objects(trainer, model, data, schedule, optimizer, loss, sampling, loggers)


def check_model(objects: Objects) -> None:
    """Ends the program if the model has nothing to learn, or does not take scheduled sampling."""
    model, choice = objects.model, HydraConfig.get().runtime.choices["model"]
    if objects.sampling is not None and not getattr(model, "feeds_back", False):
        fail(
            f"'sampling' is for models that feed on their forecasts, and model={choice} (model._target_: "
            f"{type(model).__name__}) does not. Leave it out."
        )
    if parameters(model) == 0:
        fail(f"model={choice} has nothing to learn. Evaluate it: {command('evaluate', f'model={choice}')} data=...")


def check_ranks(ranks: Ranks, settings: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Ends the program if ranks differ in their version of MLX, their configuration or their data.

    Args:
        ranks: The processes that train together.
        settings: The configuration of this rank.
        record: The description of its data.
    """
    ranks.check_same("the version of MLX", mx.__version__)  # type: ignore[attr-defined]
    mine = json.loads(json.dumps({"settings": settings, "record": record}))
    first = ranks.share(mine)
    keys = [key for key in settings if key not in NAMING]
    changes = differences(first["settings"], mine["settings"], keys)
    theirs, ours = first["record"], mine["record"]
    changes += [
        (f"data: {name}", theirs.get(name), ours.get(name))
        for name in {**theirs, **ours}
        if theirs.get(name) != ours.get(name)
    ]
    text = "\n  ".join(f"{key}: {a!r} on rank 0, {b!r} on rank {ranks.rank}" for key, a, b in changes)
    if lines := next(filter(None, ranks.gather(text)), ""):
        fail(f"the ranks differ:\n  {lines}\nGive all machines the same project and the same data.")


def announce(
    folder: Path,
    checkpoint: Path | None,
    settings: Mapping[str, Any],
    objects: Objects,
    record: Mapping[str, Any],
    ranks: Ranks,
) -> None:
    """Prints the run, the device, the ranks, the model, the data, and what has changed since the run began."""
    print(f"run         {folder}", end="")
    print("" if checkpoint is None else f", from step {checkpoints.read_state(checkpoint)['step']} on")
    print(f"device      {mx.default_device()}, MLX {mx.__version__}")  # type: ignore[attr-defined]
    if ranks.size > 1:
        size = objects.trainer.settings.batch_size
        print(f"ranks       {ranks.size}, each with {size // ranks.size} of the {size} sequences of a batch")
    print(f"model       {type(objects.model).__name__}, {parameters(objects.model):,} parameters")
    print_data(record)
    if note := note_on_columns(objects.model, getattr(objects.data, "columns", None)):
        print(f"note        {note}")
    if 0 < (few := objects.data.size("validation")) < FEW:
        print(
            f"note        the validation split has {few} sequence{'s' * (few > 1)}, by which the best checkpoint is "
            "chosen: give it more by data.split, a longer archive, or shorter sequences"
        )
    for key, former, current in [] if checkpoint is None else changes_on_resume(checkpoint, settings):
        print(f"changed     {key}: {former!r} in the run so far, {current!r} from here on")
    if warning := slow_blas_warning():
        print(f"warning     {warning}", file=sys.stderr)


def keep_trusted(folder: Path, settings: dict[str, Any]) -> None:
    """Notes that this user trains these classes in a folder, so that its checkpoints need no `trusted` later."""
    # Without the note the command that is printed at the end has `trusted=[...]`.
    with suppress(OSError, RuntimeError):
        remember(folder, settings)


def report(folder: Path, progress: Progress, settings: Settings, config: dict[str, Any]) -> None:
    """Prints how training ended and the command that comes next; ends the program if a signal stopped it."""
    best = ""
    if progress.best is not None:
        best = f"; best {settings.monitor} {progress.best:.4g} at step {progress.best_step}"
    print(f"{progress.status} at step {progress.step} of {settings.max_steps}{best}")
    if not progress.status.startswith("interrupted"):
        known = trusted_packages(folder, config)
        packages = [package for package in packages_of(config) if package not in known]
        trusted = [f"trusted=[{','.join(packages)}]"] if packages else []
        print(f"Next:  {command('evaluate', *trusted, ckpt=folder)}")
        return
    stop = signal.Signals[progress.status.split()[-1]]
    out = sys.stdout
    if stop == signal.SIGPIPE:
        out = sys.stderr
        print(f"{program()}: nobody reads the output any more, so training ended at step {progress.step}.", file=out)
    if holds_checkpoints(folder):
        again = command("train", *given_arguments("resume", "name", "init"), resume=folder)
        print(f"Everything is saved. To resume:  {again}", file=out)
    else:
        print("Nothing has been trained yet.", file=out)
    sys.exit(128 + stop)


def joined() -> Ranks:
    """Returns the processes that `mlx.launch` has started, or this one alone. All but rank 0 stop printing."""
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
            fail("a sweep cannot run under mlx.launch. Start it without mlx.launch, or start each of its runs with it.")
        # Hydra does not know the options of the reader: they depend on the format.
        train = functools.partial(execute, ranks=ranks)
        run("train", train, open_sections=("data.reader", "data.static"), sweeps=True)
