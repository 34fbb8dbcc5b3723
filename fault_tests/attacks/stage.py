"""The place of an attack: a stranger's files, a secret beside them, a canary, and the commands that meet them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convlstm.ops.cpu.library import available
from fault_tests.bench import ONE_THREAD
from fault_tests.child import ROOT
from tests.support import forecast_runs, radar_archives, run_files
from tests.support.strangers import DATA, DESCRIPTION

SECRET = "the-secret-of-another-file"
LIMIT = 10.0
"""Seconds within which a command must end, beyond those of a harmless one."""

PATIENCE = 60.0
"""Seconds after which a command is killed."""

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
COMMAND = "from convlstm.cli.__main__ import main; main()"


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        kind: Row of the table.
        name: Its name in messages.
        prepare: Writes the stranger's files into a stage, and returns the arguments of `convlstm`, or `-c` and code.
        harmless: True if the command must do its work nevertheless, False if it must be refused, None for either.
    """

    kind: str
    name: str
    prepare: Callable[[Stage], Sequence[str]]
    harmless: bool | None = False


class Templates:
    """Harmless runs and an archive, of which every attack gets copies, and the seconds of a harmless command."""

    def __init__(self, folder: Path):
        self.rain = forecast_runs.write_run(folder / "rain")
        run_files.write_run(folder / "digits", rows=[(10, 0.5), (20, 0.25)], starts=[{"status": "finished"}])
        self.digits = forecast_runs.write_run(folder / "digits", DESCRIPTION, None, DATA)
        self.frames = folder / "frames"
        radar_archives.write_pictures(self.frames, 4)
        available()  # the kernels are built once for a machine and a Python, which takes minutes if it is busy
        start = time.perf_counter()
        arguments = ["evaluate", f"ckpt={self.digits}", "examples=[]", f"out={folder}/out"]
        status, printed = Stage(folder / "harmless", self).call(arguments)
        self.seconds = time.perf_counter() - start
        _check(status, printed)
        self.trained = folder / "trained"
        _check(*Stage(folder / "training", self).call(Stage.train(self.trained, 2)))


def _check(status: int | None, printed: bytes) -> None:
    if status != 0:
        raise RuntimeError(f"[Templates] a harmless command ended with status {status}: {printed.decode()[-500:]}")


class Stage:
    """The folder of one attack.

    Args:
        folder: The folder, which is created.
        templates: What the attack may copy.

    Attributes:
        work: The working folder of the command.
        secret: A file whose text must not appear anywhere.
        canary: A path that exists only if a stranger's code has run.
        out: The folder of results.
    """

    def __init__(self, folder: Path, templates: Templates):
        self.folder, self.templates = folder, templates
        self.work, self.out, self.canary = folder / "work", folder / "out", folder / "canary"
        self.victim = folder / "victim"
        self.secret = self.victim / "secret"
        for made in (self.work, self.victim):
            made.mkdir(parents=True)
        self.secret.write_text(f"{SECRET}\n" * 40)

    def digits(self, name: str = "run") -> Path:
        """Returns a copy of a run of digits."""
        return Path(shutil.copytree(self.templates.digits, self.folder / "runs" / name))

    def trained(self) -> Path:
        """Returns a copy of a run of two steps, which can be resumed."""
        return Path(shutil.copytree(self.templates.trained, self.folder / "runs" / "trained"))

    @staticmethod
    def train(run: Path, steps: int, *arguments: str) -> list[str]:
        """Returns the command that trains a small model."""
        data = [f"data.{key}={value}" for key, value in DATA.items() if key != "_target_"]
        model = ["model.hidden_channels=[2]", "model.kernel_size=3"]
        trainer = [f"trainer.max_steps={steps}", "trainer.batch_size=2", "trainer.checkpoint_every=1"]
        return ["train", *data, *model, *trainer, f"output={run.parent}", f"name={run.name}", *arguments]

    def resume(self, run: Path) -> list[str]:
        """Returns the command that resumes a copy of `trained` for another step."""
        return self.train(run, 3, f"resume={run}")

    def evaluate(self, run: Path, *arguments: str) -> list[str]:
        """Returns the command that evaluates a run."""
        return ["evaluate", f"ckpt={run}", "examples=[]", "baselines=[]", f"out={self.out}", *arguments]

    def forecast(self, path: Path, *arguments: str) -> list[str]:
        """Returns the command that forecasts from a stranger's file or folder."""
        return ["forecast", f"ckpt={self.templates.rain}", f"input={path}", f"out={self.out}", "format=npy", *arguments]

    def call(self, arguments: Sequence[str]) -> tuple[int | None, bytes]:
        """Returns the exit status of a command, None if it had to be killed, and what it printed."""
        code, *rest = arguments[1:] if arguments[0] == "-c" else (COMMAND, *arguments)
        # A script lies in a folder of its own, as an installed command does, so that Python looks there first.
        script = self.folder / "bin" / "command.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(code)
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, str(script), *(os.fsencode(part) for part in rest)],
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return (process.communicate(timeout=PATIENCE)[0], process.returncode)[::-1]
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]

    def perform(self, attack: Attack) -> tuple[str, str, float]:
        """Carries out an attack. Returns what was lost, "" for nothing; the outcome; the seconds of the command."""
        arguments = attack.prepare(self)
        inputs = set(_files(self.folder))
        kept = {path: path.read_bytes() for path in _files(self.victim)}
        start = time.perf_counter()
        status, printed = self.call(arguments)
        seconds = time.perf_counter() - start
        tail = b" | ".join(printed.strip().splitlines()[-3:]).decode(errors="backslashreplace")[-500:]
        lost = ""
        if self.canary.exists():
            lost = "a stranger's code has run"
        elif status is None or seconds > LIMIT + self.templates.seconds:
            lost = f"it took {seconds:.0f} seconds"
        elif status < 0 or status > 2:
            lost = f"it ended with status {status}: {tail}"
        elif b"Traceback" in printed:
            lost = f"a traceback: {tail}"
        elif SECRET.encode() in printed or any(SECRET.encode() in path.read_bytes() for path in self._new(inputs)):
            lost = "a text of another file appears"
        elif _CONTROL.search(printed):
            lost = f"a control character reaches the terminal: {tail!r}"
        elif {path: path.read_bytes() for path in _files(self.victim)} != kept:
            lost = "another file has changed"
        elif attack.harmless is not None and (status == 0) != attack.harmless:
            lost = f"it ended with status {status}: {tail}"
        elif status and not tail:
            lost = "it ended without a message"
        elif status and any(path.is_relative_to(self.out) for path in self._new(inputs)):
            lost = "it was refused, but has written results"
        return lost, "refused" if status else "harmless", seconds

    def _new(self, inputs: set[Path]) -> list[Path]:
        return [path for path in _files(self.folder) if path not in inputs]


def _files(folder: Path) -> list[Path]:
    """Returns the plain files below a folder, without those behind links."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
