"""Attacks with a stranger's run that is resumed: its links, pipes, texts and settings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from convlstm.checkpoints import seal
from fault_tests.attacks.stage import SECRET, Attack, Stage

import yaml

FILES = ("metrics.csv", "run.json", "config.yaml", "train.log", "metrics.jsonl", "lock", ".lock")
SECTIONS = {
    "hydra": {"launcher": {"_target_": "os.system"}, "callbacks": {"a": {"_target_": "stranger.Callback"}}},
    "defaults": ["../../../../victim/secret"],
    "logger": {"_target_": "stranger.Logger"},
    "optimizer": {"_target_": "os.system", "command": "CANARY"},
    "loss": {"_target_": "builtins.eval", "source": "CANARY"},
    "an old name": {"_target_": "datasets.digits.os.mkdir", "path": "CANARY"},
    "an old name of an old name": {"_target_": "datasets.datasets.digits.os.mkdir", "path": "CANARY"},
    "an old name with a tail": {"_target_": "convlstm.gru.os.mkdir", "path": "CANARY"},
}


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    for kind in ("hard link", "symbolic link", "link to a missing file", "FIFO", "folder"):
        for file in FILES:
            yield Attack("a run that is resumed", f"{kind}: {file}", partial(_file, kind, file), harmless=None)
    for folder in ("checkpoints", "checkpoints/last", "checkpoints/last.tmp", "wandb", "tensorboard"):
        yield Attack("a run that is resumed", f"a link: {folder}", partial(_folder, folder), harmless=None)
    for section in SECTIONS:
        yield Attack("settings in a run's checkpoint", f"resume: {section}", partial(_resumed, section), harmless=None)
        yield Attack("settings in a run's checkpoint", f"evaluate: {section}", partial(_shown, section), harmless=None)


def _file(kind: str, file: str, stage: Stage) -> list[str]:
    run = stage.trained()
    path = run / file
    path.unlink(missing_ok=True)
    victim = stage.victim / file
    if kind == "hard link":
        victim.write_text(f"step,{SECRET}\n1,{SECRET}\n")
        os.link(victim, path)
    elif kind == "symbolic link":
        path.symlink_to(stage.secret)
    elif kind == "link to a missing file":
        path.symlink_to(stage.victim / "new")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    return stage.resume(run)


def _folder(folder: str, stage: Stage) -> list[str]:
    run = stage.trained()
    path = run / folder
    if path.exists():
        shutil.move(path, stage.victim / "moved")
        path.symlink_to(stage.victim / "moved")
    else:
        path.symlink_to(stage.victim)
    return stage.resume(run)


def _changed(section: str, last: Path, stage: Stage) -> None:
    config = yaml.safe_load((last / "config.yaml").read_text())
    key = "model" if section.startswith("an old name") else section
    text = yaml.safe_dump(config | {key: SECTIONS[section]})
    (last / "config.yaml").write_text(text.replace("CANARY", str(stage.canary)))
    seal(last)
    (stage.work / "stranger.py").write_text(f"import os; os.mkdir({str(stage.canary)!r})\n")


def _resumed(section: str, stage: Stage) -> list[str]:
    run = stage.trained()
    for last in (run / "checkpoints").iterdir():
        _changed(section, last, stage)
    return stage.resume(run)


def _shown(section: str, stage: Stage) -> list[str]:
    run = stage.digits()
    _changed(section, run / "checkpoints" / "best", stage)
    return stage.evaluate(run)
