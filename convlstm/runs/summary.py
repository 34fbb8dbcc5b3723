"""The summary of a run, from the files in its folder alone: status, step, best score, configuration."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.backend.plain_files import parse_json, parse_yaml, read_bytes
from convlstm.checkpoints.old_names import updated
from convlstm.metrics.table import logged_score
from convlstm.runs.lock import is_locked
from convlstm.runs.metrics_log import MetricsLog, numbers

RECORD, CONFIG, METRICS = "run.json", "config.yaml", "metrics.csv"
STATE = Path("checkpoints", "last", "state.json")
# The largest size of a text, in bytes.
LONGEST = 1 << 22
LONGEST_CONFIG = 1 << 16


@dataclass
class RunSummary:
    """A run, as its files describe it.

    Attributes:
        folder: The run's folder.
        status: 'running', 'finished', 'stopped early', 'interrupted by ...', 'failed: ...', 'killed', 'unknown' if the
            files do not say, or 'unreadable: ...' if one of them is not a plain file of plain values.
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
    run, problems = RunSummary(folder), list[str]()
    config = _content(folder / CONFIG, _parse_yaml, problems)
    run.config = flat(updated(config)) if isinstance(config, dict) else {}
    run.max_steps = _typed(int, run.config.get("trainer.max_steps"))
    run.monitor = _typed(str, run.config.get("trainer.monitor"))
    _read_metrics(run, problems)
    state = _mapping(_content(folder / STATE, parse_json, problems))
    if type(state.get("step")) is int:
        run.step = max(run.step, state["step"])
    starts = _starts(_content(folder / RECORD, parse_json, problems))
    if starts:
        run.started, code = _typed(str, starts[0].get("started")), starts[-1].get("code")
        if isinstance(code, dict) and isinstance(code.get("commit"), str):
            run.commit = code["commit"][:10] + ("+" if code.get("changed") else "")
    run.status = _printable(f"unreadable: {problems[0]}") if problems else _status(folder, starts, state)
    return run


def entries(folder: Path) -> list[dict[str, Any]]:
    """Returns the starts in a run's record, or an empty list if the record is missing or damaged."""
    return _starts(_content(folder / RECORD, parse_json, []))


def _starts(record: Any) -> list[dict[str, Any]]:
    starts = _mapping(record).get("starts")
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


def _read_metrics(run: RunSummary, problems: list[str]) -> None:
    """Sets the step, the seconds and the best score from `metrics.csv`."""
    try:
        names = {"step", "seconds", run.monitor or "step"}
        log = MetricsLog.read(run.folder / METRICS)
        rows = [numbers({name: row[name] for name in names & row.keys()}) for row in log]
    except (OSError, ValueError) as error:
        _note(problems, METRICS, error)
        return
    if rows:
        run.step, seconds = int(rows[-1]["step"]), rows[-1].get("seconds", math.nan)
        run.seconds = seconds if 0 <= seconds < math.inf else None
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


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _content(path: Path, parse: Callable[[bytes], Any], problems: list[str]) -> Any:
    """Returns the value in a file, or None with a note in `problems` if it is damaged, and without if it is missing."""
    try:
        return _printable(parse(read_bytes(path, LONGEST)))
    except (OSError, ValueError) as error:
        _note(problems, path.name, error)
        return None


def _note(problems: list[str], name: str, error: OSError | ValueError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        problems.append(f"{name}: {reason.splitlines()[0]}")


def _parse_yaml(content: bytes) -> Any:
    if len(content) > LONGEST_CONFIG:
        raise ValueError(f"it is longer than {LONGEST_CONFIG:,} bytes")
    return parse_yaml(content.decode())


def _printable(value: Any) -> Any:
    """Returns a value with a mark in place of each character that moves a terminal's cursor or cannot be written."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value)
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def _raise(error: OSError) -> None:
    raise error
