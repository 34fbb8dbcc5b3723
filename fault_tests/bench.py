"""A bench on which short runs are started, disturbed, resumed and compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from fault_tests.child import ROOT, Plan
from fault_tests.equality import differences
from fault_tests.launch import launch_line

BATCH, BATCHES, STEPS = 2, 13, 60
"""Sequences of a step, steps of an epoch, steps of a run."""

VALIDATION = 5
LIMIT = 900  # seconds after which a run counts as hanging
NAME = "mine"

SHORT = (
    "data._target_=fault_tests.data.Data",
    "data.digits=builtin",
    "data.frame_size=16",
    "data.digit_size=8",
    "data.num_digits=1",
    "data.input_frames=2",
    "data.target_frames=2",
    f"data.train_sequences={BATCH * BATCHES + 1}",
    f"data.validation_sequences={VALIDATION}",
    "data.test_sequences=5",
    "model.hidden_channels=[4]",
    "model.kernel_size=3",
    "model.dropout=0.2",
    "model.recurrent_dropout=0.2",
    f"trainer.batch_size={BATCH}",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every=3",
    "trainer.validate_every=11",
    "trainer.checkpoint_every=5",
)
"""A run of a second after a start of a second. Its losses, validations and checkpoints come at different steps."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Threads of the kernels: with so little to compute they only wait for each other, long on a busy machine."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "threads": ("data.threads=3", "data.prefetch=8"),
    "early stop": ("trainer.patience=2", "trainer.monitor=val_psnr", "schedule.learning_rate=0.3"),
    "rmsprop": ("optimizer=rmsprop", "schedule=one_cycle", "loss=mse"),
    "averaged": ("trainer.ema=0.9", "trainer.accumulate=2", "trainer.keep_last=3"),
    "bfloat16": ("trainer.precision=bfloat16", "data.prefetch=1"),
}
"""Settings that add to the state from which a run resumes."""


@dataclass(frozen=True)
class Ended:
    """The end of a run of train.py: its exit status and what it printed."""

    status: int
    out: str
    err: str

    def tail(self) -> str:
        """Returns the last lines on standard error."""
        return " | ".join(self.err.strip().splitlines()[-3:])


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its folder, its number of accesses, the seconds of its start and of its training."""

    folder: Path
    accesses: int
    starting: float
    training: float


class Bench:
    """Starts and compares runs below a folder.

    Args:
        folder: The folder, which is created if needed.
        files: Folder of files to damage copies of. Default: none.

    Raises:
        ValueError: The folder is not empty, or there is no folder `files`.
    """

    def __init__(self, folder: Path, files: Path | None = None):
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"[Bench] 'folder' must be empty or missing but '{folder}' is neither. Choose another.")
        if files is not None and not files.expanduser().is_dir():
            raise ValueError(f"[Bench] 'files' must be a folder but there is none at '{files}'.")
        self.folder, self._number, self.files = folder.resolve(), 0, files
        self._references: dict[str, Reference] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def new(self) -> Path:
        """Returns the folder of a new run."""
        self._number += 1
        return self.folder / f"{self._number:04d}" / NAME

    def drop(self, run: Path) -> None:
        """Removes a run that lost nothing."""
        shutil.rmtree(run.parent, ignore_errors=True)

    def reference(self, variant: str) -> Reference:
        """Returns the undisturbed run of a variant, which is trained at its first use.

        Raises:
            RuntimeError: The run failed.
        """
        if variant not in self._references:
            run, log = self.new(), self.folder / "reference.log"
            start = time.perf_counter()
            process = self.start(variant, run, plan=Plan(str(run), log=str(log)))
            wait_until_it_trains(process)
            trains = time.perf_counter()
            ended = finish(process)
            if ended.status != 0:
                raise RuntimeError(f"[Bench] the undisturbed run '{variant}' failed: {ended.tail()}")
            accesses = int(log.read_text().rpartition("accesses ")[2])
            times = trains - start, time.perf_counter() - trains
            self._references[variant] = Reference(run, accesses, *times)
        return self._references[variant]

    def start(
        self,
        variant: str,
        run: Path,
        *overrides: str,
        plan: Plan | None = None,
        resume: str = "auto",
        ranks: int = 1,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Starts or resumes a run, in a process group of its own.

        Args:
            variant: One of `VARIANTS`.
            run: The run's folder.
            overrides: More arguments of train.py.
            plan: Faults of the file system. Default: none.
            resume: The argument of train.py. Default: 'auto'.
            ranks: Number of processes that train together. Default: 1.
            variables: Variables to add to the environment. Default: none.
        """
        program = ["train.py"] if plan is None else ["-m", "fault_tests.child", plan.as_json()]
        folder = [f"output={run.parent}", f"name={run.name}", f"resume={resume}"]
        program += [*SHORT, *VARIANTS[variant], *folder, *overrides]
        return subprocess.Popen(
            launch_line(ranks, *program) if ranks > 1 else [sys.executable, *program],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def train(self, variant: str, run: Path, *overrides: str, **how: Any) -> Ended:
        """Starts or resumes a run, as `start` does, and waits for its end."""
        return finish(self.start(variant, run, *overrides, **how))

    def lost(self, variant: str, run: Path) -> str:
        """Takes a disturbed run to its end. Returns its differences from the undisturbed one, "" for none."""
        reference, ended = self.reference(variant), self.train(variant, run)
        if ended.status != 0:
            return f"it does not resume (status {ended.status}): {ended.tail()}"
        return shortened(differences(run, reference.folder))


def shortened(losses: list[str]) -> str:
    """Returns the first four of several losses as one text, and the number of the others."""
    more = f"; and {len(losses) - 4} more" if len(losses) > 4 else ""
    return "; ".join(losses[:4]) + more


def step_of(run: Path) -> int | None:
    """Returns the step from which a run would resume, or None if it would begin anew.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be read.
    """
    if not (run / checkpoints.FOLDER).is_dir() or not any(
        path.name != "last.tmp" and path.name != "best.tmp" for path in (run / checkpoints.FOLDER).iterdir()
    ):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an earlier checkpoint in place of a damaged one
        return checkpoints.read_state(checkpoints.find(run, prefer=("last", "best")))["step"]


def wait_until_it_trains(process: subprocess.Popen[str]) -> None:
    """Waits for the last line that train.py prints before it trains, or for the program's end."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("data "):
            return


def finish(process: subprocess.Popen[str]) -> Ended:
    """Waits for the end of a run. One that hangs is killed and has status 1."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Ended(1, "", f"it hangs: no end within {LIMIT} seconds")
    return Ended(process.returncode, out, err)
