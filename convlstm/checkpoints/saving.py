"""Writing a checkpoint: beside its place, flushed to the disk, and then renamed into it."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.checkpoints import tensors
from convlstm.checkpoints.search import ages, before
from convlstm.checkpoints.verification import (
    CHECKSUMS,
    CONFIG,
    EMA,
    FORMAT,
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointError,
    sealed,
    verify,
)

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import yaml


class _Plain(yaml.SafeDumper):
    """YAML without references, which no checkpoint may hold."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class CheckpointWriteError(OSError):
    """A checkpoint could not be written: the disk is full, broken or read-only. Those before it are as they were."""


def save(
    folder: str | Path,
    model: nn.Module,
    optimizer: optim.Optimizer,
    state: dict[str, Any],
    config: dict[str, Any],
    *,
    ema: Mapping[str, mx.array] | None = None,
    keep: int = 1,
) -> None:
    """Writes a checkpoint to `folder`; the one that was there becomes `<folder>.previous`.

    A checkpoint there that is damaged becomes `<folder>.damaged` instead, so that it takes no sound one's place.

    Args:
        folder: Where it goes; its parent is made if it does not exist.
        model, optimizer: Whose weights and state are kept.
        state: What JSON can hold: the step and all else that training needs to go on.
        config: The resolved configuration, from which `load` builds the model.
        ema: Averaged weights by name, which `load` takes before the others. Default: none.
        keep: Number of checkpoints to keep from before this one, `<folder>.previous`, `<folder>.previous.2` and so on,
            the newest first. Default: 1.

    Raises:
        CheckpointWriteError: The disk is full, or writing failed for another reason; what was there before is whole.
    """
    if type(keep) is not int or keep < 1:
        raise ValueError(f"[save] 'keep' must be a whole number of at least 1 but got {keep!r}.")
    folder = Path(folder)
    beside, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    arrays = {MODEL: tensors.named(model.parameters()), OPTIMIZER: tensors.named(optimizer.state)}
    arrays |= {} if ema is None else {EMA: dict(ema)}
    texts = {
        STATE: json.dumps({"format": FORMAT} | state, indent=2) + "\n",
        CONFIG: yaml.dump(config, Dumper=_Plain, sort_keys=False),
    }
    try:
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        made = [parent for parent in folder.parents if not parent.exists()]
        beside.mkdir(parents=True)
        for parent in made:
            files.sync_folder(parent.parent)
        _fill(beside, arrays, texts)
        _move_in(beside, folder, old, keep)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError):
            sizes = [array.nbytes for group in arrays.values() for array in group.values()]
            raise _write_error(folder, error, sum(sizes) + sum(map(len, texts.values()))) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, arrays: Mapping[str, Mapping[str, mx.array]], texts: Mapping[str, str]) -> None:
    """Writes a checkpoint's files and flushes them to the disk."""
    known = {}
    for name, group in arrays.items():
        with files.DurableFile(folder / name) as file:
            tensors.write(file, group)
        known[name] = file.record()
    for name, text in texts.items():
        with files.DurableFile(folder / name) as file:
            file.write(text.encode())
        known[name] = file.record()
    with files.DurableFile(folder / CHECKSUMS) as file:
        file.write(sealed(known).encode())
    files.sync_folder(folder)


def _move_in(beside: Path, folder: Path, old: Path, keep: int) -> None:
    """Renames a finished checkpoint into its place and those before it out of the way; all or none of it."""
    moves = [(beside, folder)]
    if folder.exists() and not _sound(folder):
        aside = folder.with_name(folder.name + ".damaged")
        shutil.rmtree(aside, ignore_errors=True)
        moves.append((folder, aside))
    elif folder.exists():
        chain = [folder, *(before(folder, age) for age in range(1, keep + 1))]
        taken = next((n for n, place in enumerate(chain) if not place.exists()), len(chain))
        moves += list(zip(chain[:taken], [*chain[1:], old][:taken], strict=True))
    done: list[tuple[Path, Path]] = []
    try:
        for source, place in reversed(moves):
            source.rename(place)
            done.append((source, place))
        files.sync_folder(folder.parent)
    except BaseException:
        for source, place in reversed(done):
            with suppress(OSError):
                place.rename(source)
        raise
    for place in list(ages(folder))[keep + 1 :]:  # from when more were kept
        shutil.rmtree(place, ignore_errors=True)


def _sound(folder: Path) -> bool:
    try:
        verify(folder)
    except CheckpointError:
        return False
    return True


def _write_error(folder: Path, error: OSError, needed: int) -> CheckpointWriteError:
    free = files.free_bytes(folder)
    room = "" if free is None else f", and {files.amount(free)} are free there"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room on that disk" if full else "See to that disk"
    raised = CheckpointWriteError(
        f"the checkpoint '{folder}' could not be written: {error.strerror or error}. It takes {files.amount(needed)}"
        f"{room}. Those before it are as they were. {advice}, or write to another one."
    )
    raised.errno = error.errno
    return raised
