"""The folder of a run in training: its lock, `config.yaml`, `metrics.csv`, loggers and checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.backend import files
from convlstm.runs.lock import lock
from convlstm.runs.logging import Logger, Loggers
from convlstm.runs.metrics_log import MetricsLog, Row
from convlstm.runs.progress import Progress
from convlstm.runs.summary import CONFIG, METRICS

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import yaml

ON_FULL_DISK = ("stop", "warn")
LAST, BEST = f"{checkpoints.FOLDER}/last", f"{checkpoints.FOLDER}/best"


class RunFolder:
    """A run's folder, which `open_folder` opens for training.

    Args:
        path: The folder, which must exist.
        config: The resolved configuration, written to the folder and to each checkpoint.
        columns: Columns of `metrics.csv`.
        step: Step that training continues from. Rows of later steps are removed from `metrics.csv`.
        keep: Number of earlier checkpoints `last` to keep.
        on_full_disk: 'stop' raises the error if something cannot be written, 'warn' warns.

    Attributes:
        loggers: Loggers that get every row, while the folder is open.
        maps: Arrays of the data that each checkpoint gets, see `checkpoints.save`; None if there are none.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], columns: list[str], *, step: int, keep: int, on_full_disk: str
    ):
        self.path, self.config, self.keep, self.on_full_disk = path, config, keep, on_full_disk
        files.replace(path / CONFIG, yaml.safe_dump(config, sort_keys=False))
        self.log = MetricsLog(path / METRICS, columns, step)
        self.loggers: Loggers | None = None
        self.maps: Mapping[str, np.ndarray] | None = None

    def add(self, row: Row) -> None:
        """Appends a row to `metrics.csv`, and gives it to the loggers.

        Raises:
            OSError: The row cannot be written, and `on_full_disk` is 'stop'.
        """
        self._write(f"the row of step {row['step']}", lambda: self.log.add(row))
        if self.loggers is not None:
            self.loggers.log(row)

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
        """Writes a checkpoint, after the rows of `metrics.csv` before it.

        Args:
            name: Path within the folder, such as `LAST` or `BEST`.
            model, optimizer, progress: Contents of the checkpoint.
            ema: Averaged weights by name, or None.
            insist: True to raise an error in any case, because training ends here. Default: False.

        Returns:
            True if the checkpoint was written.

        Raises:
            OSError: The checkpoint cannot be written, and `insist` is True or `on_full_disk` is 'stop'.
        """
        options: dict[str, Any] = {} if ema is None else {"ema": ema}
        options |= {"keep": self.keep} if name == LAST else {}
        options |= {"maps": self.maps} if self.maps else {}

        def write() -> None:
            self.log.flush()
            checkpoints.save(self.path / name, model, optimizer, vars(progress), self.config, **options)

        return self._write(f"the checkpoint of step {progress.step}", write, insist)

    def _write(self, item: str, write: Callable[[], None], insist: bool = False) -> bool:
        try:
            write()
        except OSError as error:
            if insist or self.on_full_disk == "stop":
                raise
            warnings.warn(f"{item} was not written, training continues: {error}", stacklevel=3)
            return False
        return True

    def last_good(self) -> str:
        """Returns a sentence that names the checkpoint to resume from."""
        try:
            return f"The last good checkpoint is '{checkpoints.find(self.path, prefer=('last', 'best'))}'."
        except checkpoints.CheckpointError:
            return "There is no checkpoint yet."


class NullFolder:
    """The run's folder on ranks other than 0, which write nothing."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, row: Row) -> None:
        """Does nothing: rank 0 writes the row."""

    def save(self, *arguments: Any, insist: bool = False) -> bool:
        """Does nothing: rank 0 writes the checkpoint."""
        return True

    def last_good(self) -> str:
        """Returns an empty text: rank 0 names the checkpoint."""
        return ""


@contextmanager
def open_folder(
    path: Path,
    config: dict[str, Any],
    columns: list[str],
    progress: Progress,
    *,
    keep: int = 1,
    on_full_disk: str = "stop",
    loggers: Sequence[Logger] = (),
    ranks: int = 1,
    overwrite: bool = False,
) -> Iterator[RunFolder]:
    """Opens a run's folder for training: locks it, creating it if needed, and starts the loggers.

    Args:
        path: The folder.
        config, columns, keep, on_full_disk: As in `RunFolder`.
        progress: The run's progress: its step at the start, and its status at the end.
        loggers: Loggers beside the record in `run.json`. Default: none.
        ranks: Number of processes that train together, for the record. Default: 1.
        overwrite: True to move aside a run that the folder holds, see `move_aside`. Default: False.

    Raises:
        RunInUseError: Another process trains in the folder.
        OSError: The folder cannot be written to.
        ValueError: A run must be moved aside, but its folder is the current one or holds it.
    """
    if overwrite:
        with lock(path):
            if holds_checkpoints(path):
                print(f"The run in '{path}' was moved to '{move_aside(path)}'.", flush=True)
    with lock(path):
        # A process that was killed may have written the row of a validation that is done again now.
        step = progress.step - bool(progress.unvalidated)
        folder = RunFolder(path, config, columns, step=step, keep=keep, on_full_disk=on_full_disk)
        with Loggers(loggers, folder.log, path, config, progress, ranks=ranks) as folder.loggers:
            yield folder


def holds_checkpoints(folder: Path) -> bool:
    """Returns True if a folder holds a run with checkpoints. A first checkpoint that was cut off does not count."""
    return any(path.suffix != ".tmp" for path in (folder / checkpoints.FOLDER).glob("*"))


def move_aside(folder: Path) -> Path:
    """Renames a run's folder to `FOLDER.old-1`, or to the first free number, and returns the new path.

    Raises:
        ValueError: The folder is the current one or holds it.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ValueError(
            f"'{folder}' holds a run and is the current folder, so it cannot be moved aside. Choose another folder."
        )
    aside = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.old-{n}")).exists())
    folder.rename(aside)
    files.sync_folder(aside.parent)
    return aside
