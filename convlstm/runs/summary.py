"""What the files in a run's folder say about it: status, step, best score, configuration. Nothing is loaded or run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.checkpoints.old_names import updated
from convlstm.metrics.pixels import HIGHER_IS_BETTER
from convlstm.runs.lock import held
from convlstm.runs.log import MetricsLog, numbers

import yaml

RECORD, CONFIG, METRICS = "run.json", "config.yaml", "metrics.csv"
STATE = Path("checkpoints", "last", "state.json")


@dataclass
class Run:
    """A run.

    Attributes:
        folder: Its folder.
        status: 'running', 'finished', 'stopped early', 'interrupted by ...', 'failed: ...', 'killed', or 'unknown'
            where the files do not tell.
        step, max_steps: How far it has come, and how far it is to go.
        monitor: The score that its checkpoints are chosen by.
        best, best_step: The best value of it and the step that had it; None where there was no validation yet.
        started: When it began, as ISO 8601 with the zone.
        seconds: How long it has trained.
        commit: The commit of the code when it last started, with a '+' where the code had been changed.
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
    """The folders of all runs in a folder, itself included, in their order; a run is not looked into."""
    found = []
    for place, names, files in os.walk(folder, onerror=_raise):
        if CONFIG in files and ({RECORD, METRICS} & set(files) or "checkpoints" in names):
            found.append(Path(place))
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))
    return found


def read(folder: Path) -> Run:
    """What a run's files say; what is missing or damaged is left at its default."""
    run = Run(folder)
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    run.config = flat(updated(config)) if isinstance(config, dict) else {}
    run.max_steps = _a(int, run.config.get("trainer.max_steps"))
    run.monitor = _a(str, run.config.get("trainer.monitor"))
    _read_metrics(run)
    state = _mapping(folder / STATE)
    if type(state.get("step")) is int:
        run.step = max(run.step, state["step"])
    starts = entries(folder)
    if starts:
        run.started, code = _a(str, starts[0].get("started")), starts[-1].get("code")
        if isinstance(code, dict) and isinstance(code.get("commit"), str):
            run.commit = code["commit"][:10] + ("+" if code.get("changed") else "")
    run.status = _status(folder, starts, state)
    return run


def entries(folder: Path) -> list[dict[str, Any]]:
    """The starts in a run's record; none where there is no record or where it is damaged."""
    starts = _mapping(folder / RECORD).get("starts")
    return [entry for entry in starts if isinstance(entry, dict)] if isinstance(starts, list) else []


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a configuration by dotted key; a list is a value."""
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def higher_is_better(monitor: str) -> bool:
    """Whether more of a score of the validation is better."""
    return monitor.removeprefix("val_") in HIGHER_IS_BETTER


def _read_metrics(run: Run) -> None:
    try:
        rows = [numbers(row) for row in MetricsLog.read(run.folder / METRICS)]
    except (OSError, ValueError):
        return
    if rows:
        run.step, run.seconds = int(rows[-1]["step"]), rows[-1].get("seconds")
    scored = [(row[run.monitor], int(row["step"])) for row in rows if run.monitor in row] if run.monitor else []
    scored = [(value, step) for value, step in scored if abs(value) < float("inf")]
    if scored and run.monitor:
        sign = -1 if higher_is_better(run.monitor) else 1
        run.best, run.best_step = min(scored, key=lambda pair: (sign * pair[0], pair[1]))


def _status(folder: Path, starts: list[dict[str, Any]], state: Mapping[str, Any]) -> str:
    if held(folder):
        return "running"
    if starts:
        last = starts[-1]
        if isinstance(last.get("status"), str):
            return last["status"]
        # Locks may not reach from one machine to another.
        return "killed" if last.get("host") == platform.node() else "unknown"
    status = state.get("status")
    return status if isinstance(status, str) and status != "running" else "unknown"


def _a(kind: type, value: Any) -> Any:
    """The value if it is of that kind, else None."""
    return value if type(value) is kind else None


def _mapping(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _raise(error: OSError) -> None:
    raise error
