"""Resuming: the choice of a run and its checkpoint, and checks that configuration and data are the same."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.checkpoints.hub import PREFIX, hub_name
from convlstm.runs.comparison import Difference, differences
from convlstm.runs.folder import holds_checkpoints

FIXED = ("model", "data", "loss", "seed", "trainer.batch_size", "freeze")
"""Keys that must be the same when a run is resumed: with another value it would be another run."""

MATCHING = (*FIXED, "optimizer", "schedule", "sampling", "trainer.max_grad_norm", "init")
"""Keys that `resume=auto` without a name compares to find the run to resume."""

CHANGEABLE = ("optimizer", "schedule", "sampling", "trainer")
"""Keys that may change on resume; changes are printed."""


# The key of the fields of an archive in the description of the data.
_FIELDS = re.compile(r"record\.archives\..+\.fields").fullmatch
# Keys of a field that only describe it; earlier versions did not.
_SAID = ("remark", "minutes")


class ResumeError(ValueError):
    """A run cannot be started or resumed in this folder, with this configuration or with this data."""


def checkpoint_for(folder: Path, resume: str | Path | bool | None, *, overwrite: bool = False) -> Path | None:
    """Returns the checkpoint that `Trainer.fit` resumes from, or None if it starts a new run.

    Args:
        folder: The run's folder.
        resume: A checkpoint or a run; True or 'auto' for the run in `folder`, if it holds one; None for a new run.
        overwrite: True if a run in `folder` may be moved aside. Default: False.

    Raises:
        ResumeError: The folder holds a run that would be overwritten, or `resume` and `overwrite` are both given.
        CheckpointError: There is no checkpoint at `resume`.
    """
    if resume and overwrite:
        raise ResumeError(f"[Trainer] 'overwrite' starts a new run, so 'resume' must be None but got {resume!r}.")
    occupied = holds_checkpoints(folder)
    if resume is True or resume == "auto":
        return newest(folder) if occupied else None
    checkpoint = newest(resume) if resume else None
    continues = checkpoint is not None and checkpoint.resolve().is_relative_to(folder.resolve())
    if occupied and not (continues or overwrite):
        raise ResumeError(
            f"'{folder}' holds a run already. Resume it (resume=True), move it aside to '{folder}.old-1' and start a "
            "new one (overwrite=True), or choose another folder."
        )
    return checkpoint


def choose_run(settings: Mapping[str, Any], *, named: bool) -> tuple[Path, Path | None]:
    """Returns the folder of the run that a configuration asks for, and the checkpoint to resume from or None.

    Args:
        settings: The configuration: `output`, `name`, `resume` and the sections to compare with a checkpoint's.
        named: True if the user has given a name.

    Raises:
        ResumeError: The folder holds a run already, or the configuration differs from that of the run to resume.
        CheckpointError: There is no checkpoint at `resume`.
    """
    output, resume = Path(str(settings["output"])).expanduser(), settings["resume"]
    folder = output / str(settings["name"])
    if resume == "auto":
        if not named:
            return matching_run(output, settings) or (folder, None)
        checkpoint = newest(folder) if holds_checkpoints(folder) else None
    else:
        checkpoint = None if resume is None else newest(resume)
        if checkpoint is not None and belongs_to_run(checkpoint):
            folder = checkpoint.parent.parent
        elif holds_checkpoints(folder):
            raise ResumeError(f"'{folder}' holds a run already. Resume it (resume=auto), or choose another name=...")
    if checkpoint is not None:
        check_same_run(checkpoint, settings)
    return folder, checkpoint


def matching_run(output: Path, settings: Mapping[str, Any]) -> tuple[Path, Path] | None:
    """Returns the latest run of the same configuration, and its newest checkpoint; None if there is none."""
    for folder in sorted(output.glob(f"*/{checkpoints.FOLDER}"), key=os.path.getmtime, reverse=True):
        try:
            checkpoint = newest(folder.parent)
            if not differences(checkpoints.read_config(checkpoint), settings, MATCHING):
                return folder.parent, checkpoint
        except checkpoints.CheckpointError:
            continue
    print(f"resume=auto found no run of this configuration in '{output}': so a new one starts.")
    return None


def newest(path: str | Path) -> Path:
    """Returns the newest checkpoint of a run, or the checkpoint that a path names."""
    try:
        if (name := hub_name(path)) is not None:
            raise checkpoints.CheckpointError(
                f"'{path}' does not exist here, and a checkpoint of the hub is no run. Start one from it: "
                f"init={PREFIX}{name}."
            )
        folder = checkpoints.find(path if isinstance(path, Path) else str(path), prefer=("last", "best"))
    except checkpoints.CheckpointError as error:
        raise checkpoints.CheckpointError(f"resume: {error}") from error
    if folder == checkpoints.packaged():
        raise checkpoints.CheckpointError(
            f"resume: the model '{checkpoints.NOWCAST}' of the package is no run. Start one from it: "
            f"init={checkpoints.NOWCAST}."
        )
    return folder


def belongs_to_run(checkpoint: Path) -> bool:
    """Returns True if the checkpoint lies in a run's folder; resuming then continues in that run."""
    return checkpoint.parent.name == checkpoints.FOLDER and (checkpoint.parent.parent / checkpoints.CONFIG).is_file()


def trained_digits(checkpoint: Path) -> str:
    """Returns the digits that a run was trained on, 'mnist' or 'builtin'.

    Raises:
        ResumeError: The checkpoint's configuration names neither.
    """
    data = checkpoints.read_config(checkpoint).get("data")
    digits = data.get("digits") if isinstance(data, dict) else None
    # The value becomes part of a configuration that is not checked again.
    if digits not in ("mnist", "builtin"):
        raise ResumeError(
            f"'{checkpoint / checkpoints.CONFIG}' must have data.digits mnist or builtin but has {digits!r}. Name the "
            "digits on the command line: data.digits=mnist or data.digits=builtin."
        )
    return digits


def check_same_run(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Raises ResumeError if the `FIXED` keys of a configuration differ from those of a checkpoint."""
    if changes := differences(checkpoints.read_config(checkpoint), settings, FIXED):
        lines = "\n  ".join(f"{key}: {former!r} in the run, {current!r} now" for key, former, current in changes)
        raise ResumeError(
            f"'{checkpoint}' cannot be resumed with another configuration:\n  {lines}\nUse the run's values, or start "
            "a new run."
        )


def check_same_data(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Raises ResumeError if the data differ from those that a checkpoint was trained on.

    Args:
        checkpoint: The checkpoint.
        record: The data's description as they are now. The same configuration may lead to other data than before.
    """
    former = checkpoints.read_state(checkpoint).get("data")
    changes = differences({"record": _compared(former)}, {"record": _compared(record)}, ("record",))
    # Runs of earlier versions lack the fields of archives, which are recorded now.
    changes = [(key, former, current) for key, former, current in changes if former is not None or not _FIELDS(key)]
    if changes:
        lines = "\n  ".join(
            f"{key.removeprefix('record.')}: {former!r} then, {current!r} now" for key, former, current in changes
        )
        raise ResumeError(
            f"'{checkpoint}' was trained on other data:\n  {lines}\nGive it the data that it was trained on "
            "(data.root=..., data.archive=..., the same version of the program that draws them), or start a new run."
        )


def _compared(record: Any) -> Any:
    """Returns a record without what is only said about fields, which earlier versions did not say."""
    if isinstance(record, Mapping):
        return {key: _compared(value) for key, value in record.items() if key not in _SAID}
    return [_compared(value) for value in record] if isinstance(record, list) else record


def changes_on_resume(checkpoint: Path, settings: Mapping[str, Any]) -> list[Difference]:
    """Returns the values of the `CHANGEABLE` keys that differ from those of a checkpoint."""
    return differences(checkpoints.read_config(checkpoint), settings, CHANGEABLE)
