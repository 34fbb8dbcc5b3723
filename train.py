"""Trains a forecaster: `python train.py experiment=quickstart`, or `--help`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from doors import fail, instantiate, plain, run  # first: it loads a fast BLAS, which must come before mlx

import mlx.core as mx
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from mlx.utils import tree_flatten
from omegaconf import DictConfig

from convlstm.blas import slow_blas_warning
from convlstm.training import checkpoint

# Changing these between a run and its continuation would silently make it another run.
FIXED = ("model", "data", "loss", "seed")
# Parts of them that change nothing about what is learned.
FREE = {"data": ("root", "dtype", "prefetch", "threads", "validation_sequences", "test_sequences")}


def main(config: DictConfig) -> None:
    settings = plain(config)
    mx.random.seed(config.seed)
    model = instantiate(config, "model")
    data = instantiate(config, "data")
    optimizer, loss = instantiate(config, "optimizer"), instantiate(config, "loss")
    trainer = instantiate(config, "trainer")
    settings["data"] |= {"digits": data.describe()["digits"]} if "digits" in settings["data"] else {}

    folder, resume = run_folder(config, settings)
    make_folder(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    parameters = sum(array.size for _, array in tree_flatten(model.trainable_parameters()))
    print(f"run         {folder}" + (f" (goes on from {resume})" if resume else ""))
    print(f"device      {mx.default_device()}, MLX {mx.__version__}")
    print(f"model       {type(model).__name__}, {parameters:,} parameters")
    print("data        " + ", ".join(f"{name} {value}" for name, value in data.describe().items()))
    if warning := slow_blas_warning():
        print(f"warning     {warning}", file=sys.stderr)

    progress = trainer.fit(model, optimizer, loss, data, folder, settings, seed=config.seed, resume=resume)

    best = "" if progress.best is None else f"; best {trainer.monitor} {progress.best:.4g} at step {progress.best_step}"
    print(f"{progress.status} at step {progress.step} of {trainer.max_steps}{best}")
    if progress.status.startswith("interrupted"):
        arguments = [a for a in sys.argv[1:] if not a.startswith(("resume=", "name="))]
        command = shlex.join(["python", "train.py", *arguments, f"resume={folder}"])
        print(f"Everything is saved. To go on:  {command}")
        sys.exit(130 if progress.status.endswith("SIGINT") else 143)
    print(f"Next:  python evaluate.py ckpt={folder}")


def run_folder(config: DictConfig, settings: dict[str, Any]) -> tuple[Path, Path | None]:
    """The run's folder and the checkpoint to go on from, or None for a new run."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        folder = Path(job.sweep.dir) / job.sweep.subdir
    else:
        folder = Path(config.output) / config.name
    named = any(override.startswith("name=") for override in job.overrides.task)

    if config.resume is None:
        if (folder / checkpoint.FOLDER).exists():
            fail(f"'{folder}' holds a run already. Go on with it (resume=auto), or choose another name=...")
        return folder, None
    if config.resume != "auto":
        found = checkpoint.find(config.resume, prefer=("last", "best"))
        check_same_run(found, settings)
        return next((p.parent for p in found.parents if p.name == checkpoint.FOLDER), found), found
    if named or job.mode == RunMode.MULTIRUN:
        if not (folder / checkpoint.FOLDER).exists():
            return folder, None
        found = checkpoint.find(folder, prefer=("last", "best"))
        check_same_run(found, settings)
        return folder, found
    for candidate in sorted(Path(config.output).glob(f"*/{checkpoint.FOLDER}"), key=os.path.getmtime, reverse=True):
        try:
            found = checkpoint.find(candidate.parent, prefer=("last",))
        except checkpoint.CheckpointError:
            continue
        if not differences(checkpoint.read_config(found), settings):
            return candidate.parent, found
    print("resume=auto found no run of this configuration: this is a new one.")
    return folder, None


def check_same_run(found: Path, settings: dict[str, Any]) -> None:
    """Ends the program where a run would go on with another model, data, loss or seed."""
    wrong = differences(checkpoint.read_config(found), settings)
    if wrong:
        lines = "\n  ".join(f"{key}: {was!r} in the run, {now!r} now" for key, was, now in wrong)
        fail(f"'{found}' cannot go on with another configuration:\n  {lines}\nUse the run's values, or start a new run.")


def differences(was: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """(key, was, now) for every value that must be the same for a run to go on."""
    if not key:
        return [d for name in FIXED for d in differences(was.get(name), now.get(name), name)]
    if isinstance(was, dict) and isinstance(now, dict):
        names = [name for name in {**was, **now} if name not in FREE.get(key, ())]
        return [d for name in names for d in differences(was.get(name), now.get(name), f"{key}.{name}")]
    return [] if was == now else [(key, was, now)]


def make_folder(folder: Path) -> None:
    """Makes the run's folder, before anything is computed, so that a place that cannot be written to fails at once."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))


if __name__ == "__main__":
    run("train", main)
