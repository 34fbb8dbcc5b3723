"""The commands, called within this process with a configuration that may hold a slip."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from convlstm.training.loop import Trainer
from tests.support import radar_archives, tiny
from tests.support.configurations import Base, put
from tests.support.slips import REMOVED, Case, Slip

import mlx.core as mx
import yaml

MEMORY = 1 << 30
"""Bytes of memory that the machine seems to have, so that large values are refused alike everywhere."""
LIMIT_S = 60.0
"""Processor time after which a case counts as failed. A case takes half a second."""


@dataclass
class Outcome:
    """The end of a case: 'refused', 'accepted' or 'failed', with the text that was printed."""

    kind: str
    text: str


class Commands:
    """A folder with everything that the cases need, in which the commands are called."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._numbers = itertools.count()
        for n, name in enumerate(("train", "train2", "validation", "test")):
            radar_archives.write_pictures(folder / "archives" / name, 9, prefix=f"{n}_")
        self.rain = {
            "data.archive": [str(folder / "archives" / name) for name in ("train", "train2")],
            "data.validation_archive": str(folder / "archives" / "validation"),
            "data.test_archive": str(folder / "archives" / "test"),
            "data.format": "auto",
            "data.reader": radar_archives.OPTIONS,
            "data.split": [1, 0, 0],
            "data.split_dates": None,
            "data.transform": None,
            "data.thresholds": None,
            "data.stride": 1,
            "data.index": str(folder / "index"),
            "data.progress": False,
        }
        self.checkpoints = {}
        for name, choices in (("digits", {}), ("rain", {"experiment": "nowcast"})):
            outcome = self.run(Base("train", choices), name=name)
            if outcome.kind != "accepted":
                raise RuntimeError(f"the base of the checkpoints does not train: {outcome.text}")
            self.checkpoints[name] = folder / "runs" / name

    def run(self, base: Base, slip: Slip | None = None, *, in_file: bool = False, name: str = "") -> Outcome:
        """Calls a command with a base that may hold a slip."""
        number = next(self._numbers)
        config, settings = base.compose()
        if "experiment" in base.choices and config["data"].get("archive"):
            settings |= self.rain
        if base.command == "train":
            settings |= {"output": str(self.folder / "runs"), "name": name or f"case_{number}"}
        else:
            settings |= {"out": str(self.folder / "scores" / f"case_{number}")}
        if base.checkpoint:
            settings |= {"ckpt": str(self.checkpoints[base.checkpoint])}
        choices = dict(base.choices)
        line: list[str] = []
        if slip is not None and slip.kind == "misspelt choice":
            choices[slip.key] = slip.value
        elif slip is not None:
            settings = {k: v for k, v in settings.items() if k != slip.key and not k.startswith(f"{slip.key}.")}
            if not in_file:
                line = [f"~{slip.key}"] if slip.value is REMOVED else [f"{slip.key}={spelled(slip.value)}"]
        if in_file:
            changes: dict[str, Any] = {}
            for key, value in settings.items():
                put(changes, key, value)
            if slip is not None:
                put(changes, slip.key, slip.value)
            parent = [choices.pop("experiment"), "_self_"] if "experiment" in choices else []
            line = ["experiment=slip", *self._experiment({"defaults": parent} | changes)]
        else:
            line = [*(f"{key}={spelled(value)}" for key, value in settings.items()), *line]
        return call(base.command, [*(f"{group}={choice}" for group, choice in choices.items()), *line])

    def judge(self, case: Case) -> Outcome:
        """Runs a case; returns its outcome, failed if it breaks a rule of `judged`."""
        start = time.process_time()
        outcome = self.run(case.base, case.slip, in_file=case.in_file)
        return judged(case.slip, outcome, time.process_time() - start)

    def _experiment(self, content: dict[str, Any]) -> list[str]:
        """Writes an experiment; returns the options that lead a command to it."""
        path = self.folder / "configs" / "experiment" / "slip.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        return ["--config-dir", str(self.folder / "configs")]


@contextlib.contextmanager
def commands() -> Iterator[Commands]:
    """Yields commands in a temporary folder, without network, pictures and training beyond a step."""
    fit = Trainer.fit

    def short_fit(trainer: Trainer, *arguments: Any, **options: Any) -> Any:
        trainer.settings = replace(trainer.settings, max_steps=min(trainer.settings.max_steps, 1))
        return fit(trainer, *arguments, **options)

    def offline(*_: Any) -> Any:
        raise OSError("no network")

    working_folder = Path.cwd()
    compiles = os.environ.get("MLX_DISABLE_COMPILE") is None
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        for target, new in (
            ("convlstm.datasets.digits.draw_digits", lambda: tiny.blots()[:2]),
            ("convlstm.datasets.digits._open", offline),
            ("convlstm.cli.evaluate.write_pictures", lambda *_, **__: []),
            ("convlstm.cli.evaluate.write_page", lambda *_, **__: None),
            ("convlstm.backend.memory.memory", lambda: MEMORY),
            ("convlstm.training.loop.Trainer.fit", short_fit),
        ):
            patches.enter_context(mock.patch(target, new))
        patches.enter_context(mock.patch.dict(os.environ, {"HYDRA_FULL_ERROR": "1"}))
        os.chdir(folder)
        mx.disable_compile()  # compiling would be most of a case's time
        try:
            yield Commands(Path(folder))
        finally:
            os.chdir(working_folder)
            if compiles:
                mx.enable_compile()


def call(command: str, line: list[str]) -> Outcome:
    """Calls a command with the words of a command line."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with (
        mock.patch.object(sys, "argv", [f"{command}.py", *line]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            importlib.import_module(f"convlstm.cli.{command}").main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            return Outcome("failed", traceback.format_exc())
    if status in (0, None):
        return Outcome("accepted", out.getvalue() + err.getvalue())
    return Outcome("refused", err.getvalue() + str(status))


def judged(slip: Slip, outcome: Outcome, seconds: float) -> Outcome:
    """Returns the outcome, failed if it took long, or if a refusal shows a traceback or does not name the key."""
    if outcome.kind == "failed":
        return outcome
    if seconds > LIMIT_S:
        return Outcome("failed", f"it took {seconds:.0f} s of processor time\n{outcome.text}")
    if outcome.kind == "refused":
        if "Traceback" in outcome.text:
            return Outcome("failed", outcome.text)
        message = re.sub(r" Given: .*", "", outcome.text)
        if not re.search(rf"(?<![\w.]){re.escape(slip.key)}(?![\w])", message):
            return Outcome("failed", f"the message does not name the key: {outcome.text}")
    return outcome


def spelled(value: Any) -> str:
    """Returns a value as Hydra's command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = re.sub(r'(\\*)"', r'\1\1\\"', value)
        return '"' + re.sub(r"(\\+)$", r"\1\1", text) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    return repr(value)
