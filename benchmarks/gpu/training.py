"""The third part: a training run for the time that is left, with its curve and its scores."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import ROOT
from benchmarks.gpu.budget import Budget
from convlstm.report import training_curve
from convlstm.runs.folder import holds_checkpoints
from convlstm.runs.metrics_log import MetricsLog

PROBE_STEPS, LOGGED = 40, 10
# Share of the time of training that validations and checkpoints may take, and share for the evaluation at the end.
OVERHEAD, EVALUATION = 1.15, 0.15
# Seconds that a stopped run has to write its checkpoint, and the least that a start is worth.
STOPPING, LEAST_SECONDS = 30.0, 45.0
RARELY = 10**6


class TrainingError(RuntimeError):
    """A command failed."""


class Training:
    """A training run that can be cut into several commands.

    Args:
        results: Its part of the record: `step_seconds`, `max_steps`, `trained`, `scores` and so on, as far as known.
        device: 'gpu' or 'cpu'.
        changes: Arguments of `convlstm train`, such as experiment=NAME.
        sequences: Test sequences of the evaluation.
        folder: Folder of the run.
        budget: The time.
        reserve: Least seconds that are kept for the evaluation.
        pictures: Also draw pictures in the evaluation.
    """

    def __init__(
        self,
        results: dict[str, Any],
        device: str,
        changes: list[str],
        sequences: int,
        folder: Path,
        budget: Budget,
        reserve: float,
        pictures: bool = True,
    ):
        self.results, self.device, self.changes, self.sequences = results, device, changes, sequences
        self.folder, self.budget, self.reserve = folder.resolve(), budget, reserve
        self.pictures = pictures

    @property
    def run_folder(self) -> Path:
        """Folder of the run in the folder of the part."""
        return self.folder / "run"

    def go_on(self) -> None:
        """Does what is left of the part, as far as this command has time."""
        self.results["arguments"] = self.changes
        if "step_seconds" not in self.results and self._has_time():
            self._probe()
        if "max_steps" in self.results and not self.results.get("trained") and self._has_time():
            self._train()
        if self.results.get("trained") and "scores" not in self.results and self._can_evaluate():
            self._evaluate()

    def _has_time(self) -> bool:
        return self.budget.command_left() > min(LEAST_SECONDS, 0.5 * self.reserve + 1.0)

    def _can_evaluate(self) -> bool:
        """Returns True if this command has the time, or is the last one."""
        command, left = self.budget.command_left(), self.budget.left()
        return command >= self.reserve or 1.0 < left <= command + 1.0

    def _probe(self) -> None:
        """Measures a step in a short run, and chooses the number of steps that fits into the time."""
        steps = [f"trainer.max_steps={PROBE_STEPS}", f"trainer.log_every={LOGGED}", "trainer.validation_sequences=16"]
        steps += [f"trainer.{key}={RARELY}" for key in ("validate_every", "checkpoint_every")]
        self._call("train", *self.changes, *steps, f"output={self.folder}", "name=probe", "resume=null")
        rows = MetricsLog.read(self.folder / "probe" / "metrics.csv")
        seconds = [float(row["seconds"]) for row in rows]
        step = median((b - a) / LOGGED for a, b in itertools.pairwise(seconds))
        left = self.budget.left()
        left -= max(self.reserve, EVALUATION * left)
        self.results["step_seconds"] = step
        self.results["max_steps"] = max(LOGGED, int(left / step / OVERHEAD))
        self.budget.save()

    def _train(self) -> None:
        steps, begun = int(self.results["max_steps"]), holds_checkpoints(self.run_folder)
        every = [f"trainer.{key}={max(1, steps // 20)}" for key in ("validate_every", "checkpoint_every")]
        every += [f"trainer.max_steps={steps}", f"trainer.log_every={max(1, steps // 200)}"]
        place = [f"resume={self.run_folder}"] if begun else [f"output={self.folder}", "name=run", "resume=null"]
        left_for_training = self.budget.left() - max(self.reserve, EVALUATION * self.budget.left())
        limit = max(1.0, min(self.budget.command_left() - STOPPING, left_for_training))
        last = self.budget.command_left() >= self.budget.left() - 1.0  # the budget ends before this command does
        status, errors = self._run("train", [*self.changes, *every, *place], limit)
        if status not in (0, 128 + signal.SIGINT):
            raise TrainingError(f"train.py ended with status {status}: {errors[-600:].strip()}")
        rows = MetricsLog.read(self.run_folder / "metrics.csv") if (self.run_folder / "metrics.csv").is_file() else []
        self.results["trained"] = bool(rows) and (status == 0 or last or self.budget.left() < self.reserve + STOPPING)
        if rows:
            self.results["trained_steps"] = int(float(rows[-1]["step"]))
            self.results["trained_seconds"] = float(rows[-1]["seconds"])
            training_curve(self.folder / "curve.png", rows)
            self.results["curve"] = str(self.folder / "curve.png")
        self.budget.save()

    def _evaluate(self) -> None:
        out = self.folder / "scores"
        fewer = [] if self.pictures else ["examples=[]", "cases=0"]
        self._call("evaluate", f"ckpt={self.run_folder}", f"sequences={self.sequences}", f"out={out}", *fewer)
        result = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["forecasters"]
        self.results["scores"] = {
            name: {metric: values["overall"] for metric, values in each["scores"].items()}
            for name, each in result.items()
        }
        self.results["report"] = str(out / "report.html")
        self.budget.save()

    def _call(self, command: str, *arguments: str) -> None:
        """Runs a command, or raises TrainingError if it fails or has not enough time."""
        status, errors = self._run(command, list(arguments), max(1.0, self.budget.command_left()))
        if status:
            raise TrainingError(f"{command} ended with status {status}: {errors[-600:].strip()}")

    def _run(self, command: str, arguments: list[str], limit: float) -> tuple[int, str]:
        """Runs a command, stopped as by Ctrl-C after `limit` seconds; returns its status and its errors."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-m", "benchmarks.gpu.on_device", self.device, command, *arguments]
        log = self.folder / f"{command}.log"
        with log.open("a", encoding="utf-8") as file:
            process = subprocess.Popen(line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                try:
                    status = process.wait(STOPPING)
                except subprocess.TimeoutExpired:
                    process.kill()
                    status = process.wait()
        return status, log.read_text(encoding="utf-8", errors="replace")
