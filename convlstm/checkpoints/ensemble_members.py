"""The members of an ensemble of checkpoints: several runs, earlier checkpoints of a run, plain and averaged weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convlstm.checkpoints.search import find, history
from convlstm.checkpoints.verification import EMA, CheckpointError, read_checksums, read_state, verify


@dataclass(frozen=True)
class Weights:
    """Weights of a checkpoint; `ema` is that of `convlstm.load`."""

    folder: Path
    ema: bool | None = None


def weights_of(paths: Sequence[str | Path], *, previous: bool = False, plain: bool = False) -> list[Weights]:
    """Returns the weights of an ensemble's members.

    Args:
        paths: Folders of runs or of checkpoints.
        previous: True to also take the earlier checkpoints that were kept. For a run these are its last checkpoint, and
            those before the last and before the best one. Of several with the same step only the first is taken.
            Damaged ones are left out with a warning. Default: False.
        plain: True to also take the plain weights of checkpoints that have averaged ones. Default: False.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ValueError: A checkpoint is named twice, or `plain` is True and no checkpoint has averaged weights.
    """
    folders: list[Path] = []
    path_of: dict[Path, str | Path] = {}
    for path in paths:
        folder = find(path)
        if (resolved := folder.resolve()) in path_of:
            raise ValueError(
                f"[ensemble] 'paths' must name different checkpoints but '{path_of[resolved]}' and '{path}' are the "
                "same: its forecast would count twice. Leave one out."
            )
        path_of[resolved] = path
        folders += _all_steps(folder, folder == Path(path).expanduser()) if previous else [folder]
    weights = [Weights(folder) for folder in folders]
    if plain:
        averaged = [folder for folder in folders if EMA in (read_checksums(folder) or {})]
        if not averaged:
            raise ValueError(
                "[ensemble] 'plain' must be False if no checkpoint has averaged weights (trainer.ema) but got True."
            )
        weights += [Weights(folder, ema=False) for folder in averaged]
    return weights


def _all_steps(folder: Path, named: bool) -> list[Path]:
    """Returns a checkpoint and its earlier ones; also the run's others, unless the checkpoint itself was `named`.

    If several are of the same step, only the first one is returned.
    """
    bases = [folder] if named else [folder, folder.with_name("best"), folder.with_name("last")]
    steps: dict[int, Path] = {}
    for candidate in (checkpoint for base in bases for checkpoint in history(base)):
        if not candidate.is_dir():
            continue
        try:
            verify(candidate)
            steps.setdefault(read_state(candidate)["step"], candidate)
        except CheckpointError as error:
            warnings.warn(f"{error} So '{candidate}' is not a member.", stacklevel=3)
    return list(steps.values())
