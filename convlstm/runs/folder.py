"""What a run leaves in its folder: `config.yaml`, `metrics.csv` and the checkpoints, also where the disk is full."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend import files
from convlstm.runs.log import MetricsLog
from convlstm.runs.progress import Progress

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import yaml

ON_FULL_DISK = ("stop", "warn")
LAST, BEST = f"{checkpoints.FOLDER}/last", f"{checkpoints.FOLDER}/best"


class RunFolder:
    """A run's folder.

    Args:
        path: Where it is; it is made if it does not exist.
        config: The resolved configuration, kept in the folder and in each checkpoint.
        columns: Of `metrics.csv`.
        step: The step that training goes on from; rows of later steps are removed from `metrics.csv`.
        keep: Checkpoints `last` that are kept beside the newest.
        on_full_disk: What happens where something cannot be written: 'stop' raises the error, 'warn' warns.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], columns: list[str], *, step: int, keep: int, on_full_disk: str
    ):
        self.path, self.config, self.keep, self.on_full_disk = path, config, keep, on_full_disk
        path.mkdir(parents=True, exist_ok=True)
        files.replace(path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self.log = MetricsLog(path / "metrics.csv", columns, step)

    def add(self, row: dict[str, float | int]) -> None:
        """Appends a row to `metrics.csv`."""
        self._written(f"the row of step {row['step']}", lambda: self.log.add(row))

    def save(
        self,
        name: str,
        model: nn.Module,
        optimizer: optim.Optimizer,
        progress: Progress,
        ema: Mapping[str, mx.array] | None,
        *,
        insist: bool = False,
    ) -> bool:
        """Writes a checkpoint, and says whether it is there then; never one whose rows of `metrics.csv` can be lost.

        Args:
            name: Its place in the folder, such as `LAST` or `BEST`.
            ema: The averaged weights by name, or None.
            insist: Whether the error is raised in any case, since training does not go on.
        """
        more: dict[str, Any] = {} if ema is None else {"ema": ema}
        more |= {} if name != LAST else {"keep": self.keep}

        def write() -> None:
            self.log.flush()
            checkpoints.save(self.path / name, model, optimizer, vars(progress), self.config, **more)

        return self._written(f"the checkpoint of step {progress.step}", write, insist)

    def _written(self, what: str, write: Callable[[], None], insist: bool = False) -> bool:
        try:
            write()
        except OSError as error:
            if insist or self.on_full_disk == "stop":
                raise
            warnings.warn(f"{what} was not written, training goes on: {error}", stacklevel=3)
            return False
        return True

    def last_good(self) -> str:
        """A sentence that names the checkpoint to go on from."""
        try:
            return f"The last good checkpoint is '{checkpoints.find(self.path, prefer=('last', 'best'))}'."
        except checkpoints.CheckpointError:
            return "There is no checkpoint yet."
