"""Where short runs are made, disturbed, taken up again and compared."""

from __future__ import annotations

import os
import shutil
import socket
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

BATCH, BATCHES, STEPS = 2, 13, 60
"""Sequences in a step, steps in an epoch, steps of a run."""

VALIDATION = 5
LIMIT = 900  # seconds after which a run hangs
NAME = "mine"
LAUNCH = Path(sys.executable).with_name("mlx.launch")

SHORT = (
    "data._target_=soak.data.Data",
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
"""A run of a second after a second of starting: losses, validations and checkpoints that do not fall together."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Of the kernels: for so little to compute, threads only wait for each other, long ones where the machine is busy."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "threads": ("data.threads=3", "data.prefetch=8"),
    "early stop": ("trainer.patience=2", "trainer.monitor=val_psnr", "schedule.learning_rate=0.3"),
    "rmsprop": ("optimizer=rmsprop", "schedule=one_cycle", "loss=mse"),
    "averaged": ("trainer.ema=0.9", "trainer.accumulate=2", "trainer.keep_last=3"),
    "bfloat16": ("trainer.precision=bfloat16", "data.prefetch=1"),
}
"""What else is part of the state that a run must go on from."""


@dataclass(frozen=True)
class Ended:
    """How a run of train.py ended."""

    status: int
    out: str
    err: str

    def tail(self) -> str:
        """The last of what it said of a failure."""
        return " | ".join(self.err.strip().splitlines()[-3:])


@dataclass(frozen=True)
class Reference:
    """A run that nothing disturbed: its folder, its accesses to it, the seconds of its start and of its training."""

    folder: Path
    accesses: int
    starting: float
    training: float


class Bench:
    """Makes runs below a folder.

    Args:
        folder: Where to; it is made.

    Raises:
        ValueError: There is something in it.
    """

    def __init__(self, folder: Path):
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"[Bench] 'folder' must be empty or not there but '{folder}' is neither. Choose another.")
        self.folder, self._number = folder.resolve(), 0
        self._references: dict[str, Reference] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def new(self) -> Path:
        """The folder of a run that is yet to begin."""
        self._number += 1
        return self.folder / f"{self._number:04d}" / NAME

    def drop(self, run: Path) -> None:
        """Removes a run of which nothing was lost."""
        shutil.rmtree(run.parent, ignore_errors=True)

    def reference(self, variant: str) -> Reference:
        """The undisturbed run of a variant, made at its first use.

        Raises:
            RuntimeError: It failed.
        """
        if variant not in self._references:
            run, log = self.new(), self.folder / "reference.log"
            start = time.perf_counter()
            process = self.start(variant, run, plan=Plan(str(run), log=str(log)))
            wait_until_it_trains(process)
            trains = time.perf_counter()
            ended = finish(process)
            if ended.status != 0:
                raise RuntimeError(f"[soak] the undisturbed run '{variant}' failed: {ended.tail()}")
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
        """Starts a run, or goes on with it, in a process group of its own.

        Args:
            variant: One of `VARIANTS`.
            run: The run's folder.
            overrides: More arguments of train.py.
            plan: What goes wrong in the file system.
            resume: As train.py takes it. Default: 'auto'.
            ranks: Processes that train together. Default: 1.
            variables: For the environment. None: as it is.
        """
        program = ["train.py"] if plan is None else ["-m", "soak.child", plan.as_json()]
        place = [f"output={run.parent}", f"name={run.name}", f"resume={resume}"]
        launch = [str(LAUNCH), "-n", str(ranks), "-p", str(free_ports(ranks)), "--"] if ranks > 1 else []
        return subprocess.Popen(
            [*launch, sys.executable, *program, *SHORT, *VARIANTS[variant], *place, *overrides],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def train(self, variant: str, run: Path, *overrides: str, **how: Any) -> Ended:
        """Starts a run, or goes on with it, as `start` does, and waits for its end."""
        return finish(self.start(variant, run, *overrides, **how))

    def lost(self, variant: str, run: Path) -> str:
        """Takes a disturbed run to its end. What is not as in the undisturbed one; "" where nothing was lost."""
        reference, ended = self.reference(variant), self.train(variant, run)
        if ended.status != 0:
            return f"it does not go on (status {ended.status}): {ended.tail()}"
        found = differences(run, reference.folder)
        more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
        return "; ".join(found[:4]) + more


def step_of(run: Path) -> int | None:
    """The step that a run would go on from; None where it would begin anew.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be read.
    """
    if not (run / checkpoints.FOLDER).is_dir() or not any(
        path.name != "last.tmp" and path.name != "best.tmp" for path in (run / checkpoints.FOLDER).iterdir()
    ):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an older checkpoint in the place of a damaged one
        return checkpoints.read_state(checkpoints.find(run, prefer=("last", "best")))["step"]


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody uses."""
    for first in range(20000 + os.getpid() % 5000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("[soak] there are no free ports for ranks")


def wait_until_it_trains(process: subprocess.Popen[str]) -> None:
    """Waits for the line that train.py prints last before it trains, or for its end."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("data "):
            return


def finish(process: subprocess.Popen[str]) -> Ended:
    """Waits for the end of a run; status 1 and a word where it has none."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Ended(1, "", f"it hangs: no end within {LIMIT} seconds")
    return Ended(process.returncode, out, err)
