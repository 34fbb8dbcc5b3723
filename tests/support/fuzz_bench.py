"""The doors, called within this process with a configuration of which one key may be wrong."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from convlstm.training.loop import Trainer
from tests.support import fuzz_configs, radar_archives, tiny
from tests.support.fuzz_configs import REMOVED, Base, Corruption

import mlx.core as mx
import yaml

MEMORY = 1 << 30
"""What the machine seems to have: cases are not to take longer where it has more."""
LIMIT_S = 30.0
"""A case that takes longer has failed; they take half a second."""


@dataclass
class Outcome:
    """How a case ended: 'refused', 'accepted' or 'failed', and what was said."""

    kind: str
    text: str


@dataclass
class Case:
    """A corruption of a base, on the command line or in a file."""

    number: int
    base: Base
    corruption: Corruption
    in_file: bool

    def __str__(self) -> str:
        groups = " ".join(f"{group}={choice}" for group, choice in self.base.choices.items())
        if self.base.checkpoint:
            groups += f"ckpt={self.base.checkpoint}"
        value = "removed" if self.corruption.value is REMOVED else repr(self.corruption.value)[:80]
        where = "file" if self.in_file else "line"
        key, kind = self.corruption.key, self.corruption.kind
        return f"#{self.number} {self.base.door} {groups} ({where}) {kind}: {key} = {value}"


def cases(number: int, seed: int) -> Iterator[Case]:
    """Random cases, a function of the seed; of fewer cases the first ones."""
    bases = fuzz_configs.bases()
    for n in range(number):
        rng = random.Random(f"{seed} {n}")
        base = rng.choice(bases)
        corruption = fuzz_configs.corrupt(rng, base)
        in_file = rng.random() < 0.5 and base.door == "train" and corruption.value is not REMOVED
        yield Case(n, base, corruption, in_file and corruption.kind != "misspelt choice")


class Bench:
    """A folder with what the cases need, and the doors called within this process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0
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

    def run(
        self, base: Base, corruption: Corruption | None = None, *, in_file: bool = False, name: str = ""
    ) -> Outcome:
        """Calls a door with a base, or with a corruption of it."""
        self.number += 1
        config, settings = base.compose()
        if "experiment" in base.choices and config["data"].get("archive"):
            settings |= self.rain
        if base.door == "train":
            settings |= {"output": str(self.folder / "runs"), "name": name or f"case_{self.number}"}
        else:
            settings |= {"out": str(self.folder / "scores" / f"case_{self.number}")}
        if base.checkpoint:
            settings |= {"ckpt": str(self.checkpoints[base.checkpoint])}
        choices = dict(base.choices)
        line: list[str] = []
        if corruption is not None and corruption.kind == "misspelt choice":
            choices[corruption.key] = corruption.value
        elif corruption is not None:
            key, value = corruption.key, corruption.value
            settings = {k: v for k, v in settings.items() if k != key and not k.startswith(f"{key}.")}
            if not in_file:
                line = [f"~{key}"] if value is REMOVED else [f"{key}={spelled(value)}"]
        if in_file:
            changes: dict[str, Any] = {}
            for k, v in settings.items():
                fuzz_configs.put(changes, k, v)
            if corruption is not None:
                fuzz_configs.put(changes, corruption.key, corruption.value)
            parent = [choices["experiment"], "_self_"] if "experiment" in choices else []
            line = ["experiment=fuzz", *self.experiment({"defaults": parent} | changes)]
            choices.pop("experiment", None)
        else:
            line = [*(f"{key}={spelled(value)}" for key, value in settings.items()), *line]
        return call(base.door, [*(f"{group}={choice}" for group, choice in choices.items()), *line])

    def experiment(self, content: dict[str, Any]) -> list[str]:
        """Writes an experiment of one's own, and says to the door where it is."""
        path = self.folder / "configs" / "experiment" / "fuzz.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        return ["--config-dir", str(self.folder / "configs")]


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A bench in a folder of its own, without network, slow pictures and long training."""
    fit = Trainer.fit

    def short_fit(trainer: Trainer, *arguments: Any, **more: Any) -> Any:
        trainer.max_steps = min(trainer.max_steps, 1)
        return fit(trainer, *arguments, **more)

    def offline(*_: Any) -> Any:
        raise OSError("no network")

    here = Path.cwd()
    compiles = os.environ.get("MLX_DISABLE_COMPILE") is None
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        for target, new in (
            ("convlstm.datasets.digits.draw_digits", lambda: tiny.blots()[:2]),
            ("convlstm.datasets.digits._open", offline),
            ("evaluate.write_pictures", lambda *_, **__: []),
            ("evaluate.write_page", lambda *_, **__: None),
            ("convlstm.backend.memory.memory", lambda: MEMORY),
            ("convlstm.training.loop.Trainer.fit", short_fit),
        ):
            patches.enter_context(mock.patch(target, new))
        patches.enter_context(mock.patch.dict(os.environ, {"HYDRA_FULL_ERROR": "1"}))
        os.chdir(folder)
        mx.disable_compile()  # a compilation a case would be most of the time
        try:
            yield Bench(Path(folder))
        finally:
            os.chdir(here)
            if compiles:
                mx.enable_compile()


def call(door: str, line: list[str]) -> Outcome:
    """Calls a door with a command line."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with (
        mock.patch.object(sys, "argv", [f"{door}.py", *line]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            importlib.import_module(f"convlstm.cli.{door}").main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            return Outcome("failed", traceback.format_exc())
    if status in (0, None):
        return Outcome("accepted", out.getvalue() + err.getvalue())
    return Outcome("refused", err.getvalue() + str(status))


def judged(corruption: Corruption, outcome: Outcome, seconds: float) -> Outcome:
    """The outcome, failed where it took long, or where what was refused is not named."""
    if outcome.kind == "failed":
        return outcome
    if seconds > LIMIT_S:
        return Outcome("failed", f"it took {seconds:.0f} s\n{outcome.text}")
    if outcome.kind == "refused":
        if "Traceback" in outcome.text:
            return Outcome("failed", outcome.text)
        said = re.sub(r" Given: .*", "", outcome.text)
        if not re.search(rf"(?<![\w.]){re.escape(corruption.key)}(?![\w])", said):
            return Outcome("failed", f"the message does not name the key: {outcome.text}")
    return outcome


def spelled(value: Any) -> str:
    """A value as Hydra's command line takes it."""
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
