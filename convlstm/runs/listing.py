"""Lists of runs: their order, and a table of them with the values that differ."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convlstm.metrics.table import logged_score
from convlstm.runs.summary import RunSummary

SORT_KEYS = ("started", "name", "status", "step", "best", "seconds")
WIDEST_CELL = 28
# Words about the columns that do not fit are not wrapped to shorter lines.
LEAST_WIDTH = 40


def arranged(runs: list[RunSummary], key: str, *, reverse: bool = False) -> list[RunSummary]:
    """Returns the runs sorted by a key; those that have no value for it come last.

    Args:
        runs: Runs, in the order that is kept for equal values.
        key: One of `SORT_KEYS`, or a key of the configuration. 'best' puts the best run first.
        reverse: True for the reverse order. Default: False.
    """

    def value(run: RunSummary) -> Any:
        if key == "name":
            return str(run.folder)
        if key == "best" and run.best is not None:
            return (run.monitor, -run.best if logged_score(str(run.monitor)).higher_is_better else run.best)
        return getattr(run, key) if key in SORT_KEYS else run.config.get(key)

    def comparable(run: RunSummary) -> Any:
        sort_value = value(run)
        if isinstance(sort_value, int | float):
            return (1, sort_value, "")
        return (2, 0, sort_value) if isinstance(sort_value, tuple) else (3, 0, str(sort_value))

    with_value = [run for run in runs if value(run) is not None]
    return sorted(with_value, key=comparable, reverse=reverse) + [run for run in runs if value(run) is None]


def described(runs: Sequence[RunSummary], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the runs as values for JSON, each with its values of the given keys of the configuration."""
    return [
        {key: value for key, value in asdict(run).items() if key != "config"}
        | {"folder": str(run.folder), "differs": {key: run.config[key] for key in keys if key in run.config}}
        for run in runs
    ]


def table(runs: Sequence[RunSummary], keys: Sequence[str], *, base: Path = Path(), width: int | None = None) -> str:
    """Returns a table of runs as text.

    Args:
        runs: Runs, one for each line.
        keys: Keys of the configuration, one for each column.
        base: Folder that the names of the runs are relative to. Default: the current one.
        width: Characters of a line. Columns that do not fit are named below the table. Default: None, no limit.
    """
    monitors = {run.monitor for run in runs if run.best is not None}
    score = next(iter(monitors)) if len(monitors) == 1 else None
    columns = [
        ["run", *(_name(run, base) for run in runs)],
        ["status", *(_cut(run.status) for run in runs)],
        ["step", *(f"{run.step}/{'?' if run.max_steps is None else run.max_steps}" for run in runs)],
        [f"best {score}" if score else "best", *(_best(run, named=score is None) for run in runs)],
    ]
    if len({run.commit for run in runs}) > 1:
        columns.append(["code", *(run.commit or "-" for run in runs)])
    columns += [[_short(key, keys), *(_cell(run.config.get(key, "-")) for run in runs)] for key in keys]
    widths = [max(map(len, column)) for column in columns]
    shown = len(columns)
    while width is not None and shown > 4 and sum(widths[:shown]) + 2 * (shown - 1) > width:
        shown -= 1
    lines = [
        "  ".join(text.ljust(size) for text, size in zip(cells[:shown], widths, strict=False)).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    if shown < len(columns):
        hidden = ", ".join(column[0] for column in columns[shown:])
        lines += textwrap.wrap(f"Further columns, with --wide or --json: {hidden}", max(width or 0, LEAST_WIDTH))
    return "\n".join(lines)


def _name(run: RunSummary, base: Path) -> str:
    name = str(run.folder.relative_to(base)) if run.folder.is_relative_to(base) else str(run.folder)
    return run.folder.resolve().name if name == "." else name


def _best(run: RunSummary, *, named: bool) -> str:
    if run.best is None:
        return "-"
    return f"{run.monitor} {run.best:.4g} at {run.best_step}" if named else f"{run.best:.4g} at {run.best_step}"


def _short(key: str, keys: Sequence[str]) -> str:
    """Returns the shortest end of a key that no other key has: 'learning_rate', or 'model' for the model's class."""
    parts = key.removesuffix("._target_").split(".")
    others = [other.removesuffix("._target_").split(".") for other in keys if other != key]
    for n in range(1, len(parts)):
        if all(other[-n:] != parts[-n:] for other in others):
            return ".".join(parts[-n:])
    return ".".join(parts)


def _cell(value: Any) -> str:
    """Returns a value as text. For a class of convlstm or MLX this is its name alone."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.startswith("/") and len(text) > WIDEST_CELL:
        return "~" + text[1 - WIDEST_CELL :]  # the end of a path tells more than its beginning
    return _cut(text.rpartition(".")[2] if text.startswith(("convlstm.", "mlx.")) else text)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "~"
