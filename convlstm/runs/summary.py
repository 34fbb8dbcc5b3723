"""The summary of a run, from the files in its folder alone: status, step, best score, configuration."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.checkpoints.old_names import updated
from convlstm.metrics.table import logged_score
from convlstm.runs.lock import is_locked
from convlstm.runs.metrics_log import MetricsLog, numbers

import yaml

RECORD, CONFIG, METRICS = "run.json", "config.yaml", "metrics.csv"
STATE = Path("checkpoints", "last", "state.json")


@dataclass
class RunSummary:
    """A run, as its files describe it.

    Attributes:
        folder: The run's folder.
        status: 'running', 'finished', 'stopped early', 'interrupted by ...', 'failed: ...', 'killed', or 'unknown' if
            the files do not say.
        step, max_steps: Steps so far, and steps in all.
        monitor: Name of the score that chooses the best checkpoint.
        best, best_step: Best value of that score, and its step. None before the first validation.
        started: Start of the run, as ISO 8601 with the zone.
        seconds: Time spent in training.
        commit: Commit of the code at the latest start, with a '+' if the code had been changed.
        config: The resolved configuration by dotted key.
    """

    folder: Path
    status: str = "unknown"
    step: int = 0
    max_steps: int | None = None
    monitor: str | None = None
    best: float | None = None
    best_step: int | None = None
    started: str | None = None
    seconds: float | None = None
    commit: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


def find(folder: Path) -> list[Path]:
    """Returns the folders of all runs in a folder, itself included, in order. Folders inside a run are not searched."""
    runs = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        if CONFIG in files and ({RECORD, METRICS} & set(files) or "checkpoints" in folders):
            runs.append(Path(parent))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return runs


def read(folder: Path) -> RunSummary:
    """Returns the summary of a run, with default values in place of those that are missing or damaged."""
    run = RunSummary(folder)
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    run.config = flat(updated(config)) if isinstance(config, dict) else {}
    run.max_steps = _typed(int, run.config.get("trainer.max_steps"))
    run.monitor = _typed(str, run.config.get("trainer.monitor"))
    _read_metrics(run)
    state = _mapping(folder / STATE)
    if type(state.get("step")) is int:
        run.step = max(run.step, state["step"])
    starts = entries(folder)
    if starts:
        run.started, code = _typed(str, starts[0].get("started")), starts[-1].get("code")
        if isinstance(code, dict) and isinstance(code.get("commit"), str):
            run.commit = code["commit"][:10] + ("+" if code.get("changed") else "")
    run.status = _status(folder, starts, state)
    return run


def entries(folder: Path) -> list[dict[str, Any]]:
    """Returns the starts in a run's record, or an empty list if the record is missing or damaged."""
    starts = _mapping(folder / RECORD).get("starts")
    return [entry for entry in starts if isinstance(entry, dict)] if isinstance(starts, list) else []


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a configuration by dotted key. A list counts as one value."""
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_metrics(run: RunSummary) -> None:
    """Sets the step, the seconds and the best score from `metrics.csv`."""
    try:
        rows = [numbers(row) for row in MetricsLog.read(run.folder / METRICS)]
    except (OSError, ValueError):
        return
    if rows:
        run.step, run.seconds = int(rows[-1]["step"]), rows[-1].get("seconds")
    scored = [(row[run.monitor], int(row["step"])) for row in rows if run.monitor in row] if run.monitor else []
    scored = [(value, step) for value, step in scored if abs(value) < float("inf")]
    if scored and run.monitor:
        sign = -1 if logged_score(run.monitor).higher_is_better else 1
        run.best, run.best_step = min(scored, key=lambda pair: (sign * pair[0], pair[1]))


def _status(folder: Path, starts: list[dict[str, Any]], state: Mapping[str, Any]) -> str:
    if is_locked(folder):
        return "running"
    if starts:
        last = starts[-1]
        if isinstance(last.get("status"), str):
            return last["status"]
        # A lock may be invisible from another machine.
        return "killed" if last.get("host") == platform.node() else "unknown"
    status = state.get("status")
    return status if isinstance(status, str) and status != "running" else "unknown"


def _typed(kind: type, value: Any) -> Any:
    """Returns a value if it has this type, else None."""
    return value if type(value) is kind else None


def _mapping(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; an empty one if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _raise(error: OSError) -> None:
    raise error
