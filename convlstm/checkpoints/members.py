"""The weights that make up an ensemble: of several checkpoints, and of those that a run has kept."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convlstm.checkpoints.search import ages, find
from convlstm.checkpoints.verification import EMA, CheckpointError, checksums, read_state, verify


@dataclass(frozen=True)
class Weights:
    """Weights of a checkpoint: `ema` is as in `convlstm.load`."""

    folder: Path
    ema: bool | None = None


def weights_of(paths: Sequence[str | Path], *, previous: bool = False, plain: bool = False) -> list[Weights]:
    """The weights that checkpoints give an ensemble.

    Args:
        paths: Of runs or of checkpoints.
        previous: Whether to take those that were kept before each, too; of a run the last one and those before it
            beside the best. Of several from one step the first is taken, damaged ones are left out with a warning.
            Default: False.
        plain: Whether to take the plain weights beside the averaged ones. Default: False.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
        ValueError: `plain` is True and no checkpoint has averaged weights, or a checkpoint is named twice.
    """
    folders: list[Path] = []
    named: dict[Path, str | Path] = {}
    for path in paths:
        found = find(path)
        if (place := found.resolve()) in named:
            raise ValueError(
                f"[ensemble] 'paths' must be of different checkpoints but '{named[place]}' and '{path}' are one: its "
                "forecast would count twice. Leave one out."
            )
        named[place] = path
        folders += _kept(found, found == Path(path).expanduser()) if previous else [found]
    weights = [Weights(folder) for folder in folders]
    if plain:
        averaged = [folder for folder in folders if EMA in (checksums(folder) or {})]
        if not averaged:
            raise ValueError(
                "[ensemble] 'plain' must be False where no checkpoint has averaged weights (trainer.ema) but got True."
            )
        weights += [Weights(folder, ema=False) for folder in averaged]
    return weights


def _kept(folder: Path, named: bool) -> list[Path]:
    """A checkpoint and those kept from before it and, unless it was named itself, the run's others."""
    bases = [folder] if named else [folder, folder.with_name("best"), folder.with_name("last")]
    steps: dict[int, Path] = {}
    for candidate in (kept for base in bases for kept in ages(base)):
        if not candidate.is_dir():
            continue
        try:
            verify(candidate)
            steps.setdefault(read_state(candidate)["step"], candidate)
        except CheckpointError as error:
            warnings.warn(f"{error} So '{candidate}' is no member.", stacklevel=3)
    return list(steps.values())
