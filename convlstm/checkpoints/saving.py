"""Writing a checkpoint: to a temporary folder, flushed to the disk, and then renamed."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.backend import files
from convlstm.checkpoints import tensors
from convlstm.checkpoints.search import history, previous
from convlstm.checkpoints.verification import (
    CHECKSUMS,
    CONFIG,
    EMA,
    FORMAT,
    MAPS,
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
import numpy as np
import yaml


class _Plain(yaml.SafeDumper):
    """A writer of YAML without references, which a checkpoint may not hold."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class CheckpointWriteError(OSError):
    """A checkpoint could not be written: the disk is full, broken or read-only. Earlier checkpoints are unchanged."""


def save(
    folder: str | Path,
    model: nn.Module,
    optimizer: optim.Optimizer,
    state: dict[str, Any],
    config: dict[str, Any],
    *,
    ema: Mapping[str, mx.array] | None = None,
    maps: Mapping[str, np.ndarray] | None = None,
    keep: int = 1,
) -> None:
    """Writes a checkpoint. The one that was in `folder` becomes `<folder>.previous`.

    A damaged checkpoint in `folder` becomes `<folder>.damaged` instead, so that it does not push out an intact one.

    Args:
        folder: The checkpoint's folder. Parents are created if needed.
        model: The model whose weights are written.
        optimizer: The optimizer whose state is written.
        state: The step and everything else that training needs to resume, as values that JSON can hold.
        config: The resolved configuration, from which `load` builds the model.
        ema: Averaged weights by name, which `load` prefers. Default: none.
        maps: Arrays of the data that forecasts need, by name, see `read_maps`. Default: none.
        keep: Number of earlier checkpoints to keep: `<folder>.previous`, `<folder>.previous.2` and so on, the newest
            first. Default: 1.

    Raises:
        CheckpointWriteError: The disk is full, or writing failed for another reason. Earlier checkpoints are
            unchanged.
    """
    check_whole("save", "keep", keep)
    folder = Path(folder)
    temporary, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    arrays = {MODEL: tensors.named(model.parameters()), OPTIMIZER: tensors.named(optimizer.state)}
    arrays |= {} if ema is None else {EMA: dict(ema)}
    arrays |= {MAPS: {name: mx.array(array) for name, array in maps.items()}} if maps else {}
    texts = {
        STATE: json.dumps({"format": FORMAT} | state, indent=2) + "\n",
        CONFIG: yaml.dump(config, Dumper=_Plain, sort_keys=False),
    }
    try:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        created = [parent for parent in folder.parents if not parent.exists()]
        temporary.mkdir(parents=True)
        for parent in created:
            files.sync_folder(parent.parent)
        _fill(temporary, arrays, texts)
        _move_in(temporary, folder, old, keep)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            sizes = [array.nbytes for group in arrays.values() for array in group.values()]
            raise _write_error(folder, error, sum(sizes) + sum(map(len, texts.values()))) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, arrays: Mapping[str, Mapping[str, mx.array]], texts: Mapping[str, str]) -> None:
    """Writes a checkpoint's files and flushes them to the disk."""
    checksums = {}
    for name, group in arrays.items():
        with files.DurableFile(folder / name) as file:
            tensors.write(file, group)
        checksums[name] = file.record()
    for name, text in texts.items():
        with files.DurableFile(folder / name) as file:
            file.write(text.encode())
        checksums[name] = file.record()
    with files.DurableFile(folder / CHECKSUMS) as file:
        file.write(sealed(checksums).encode())
    files.sync_folder(folder)


def _move_in(temporary: Path, folder: Path, old: Path, keep: int) -> None:
    """Renames a finished checkpoint to its final name and earlier ones out of the way. Does all of it or nothing."""
    moves = [(temporary, folder)]
    if folder.exists() and not _intact(folder):
        aside = folder.with_name(folder.name + ".damaged")
        shutil.rmtree(aside, ignore_errors=True)
        moves.append((folder, aside))
    elif folder.exists():
        chain = [folder, *(previous(folder, age) for age in range(1, keep + 1))]
        taken = next((n for n, path in enumerate(chain) if not path.exists()), len(chain))
        moves += list(zip(chain[:taken], [*chain[1:], old][:taken], strict=True))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in reversed(moves):
            source.rename(target)
            done.append((source, target))
        files.sync_folder(folder.parent)
    except BaseException:
        for source, target in reversed(done):
            with suppress(OSError):
                target.rename(source)
        raise
    for surplus in list(history(folder))[keep + 1 :]:  # `keep` was larger before
        shutil.rmtree(surplus, ignore_errors=True)


def _intact(folder: Path) -> bool:
    try:
        verify(folder)
    except CheckpointError:
        return False
    return True


def _write_error(folder: Path, error: OSError, needed: int) -> CheckpointWriteError:
    free = files.free_bytes(folder)
    room = "" if free is None else f", and {files.amount(free)} are free there"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room on that disk" if full else "Check that disk"
    raised = CheckpointWriteError(
        f"the checkpoint '{folder}' could not be written: {error.strerror or error}. It takes {files.amount(needed)}"
        f"{room}. Earlier checkpoints are unchanged. {advice}, or write to another one."
    )
    raised.errno = error.errno
    return raised
