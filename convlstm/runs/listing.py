"""The runs in a folder side by side, from their files alone: `python -m convlstm.runs [FOLDER]`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convlstm.runs.summary import Run, higher_is_better

SORTS = ("started", "name", "status", "step", "best", "seconds")
WIDEST = 28


def arranged(runs: list[Run], key: str, *, reverse: bool = False) -> list[Run]:
    """The runs in the order of a key; those that have no value for it come last. The best run comes first.

    Args:
        runs: In the order that is kept where values are the same.
        key: One of `SORTS`, or a key of the configuration.
        reverse: The other way round. Default: False.
    """

    def value(run: Run) -> Any:
        if key == "name":
            return str(run.folder)
        if key == "best" and run.best is not None:
            return (run.monitor, -run.best if higher_is_better(str(run.monitor)) else run.best)
        return getattr(run, key) if key in SORTS else run.config.get(key)

    def comparable(run: Run) -> Any:
        found = value(run)
        number = isinstance(found, int | float)
        return (1, found, "") if number else (2, 0, found) if isinstance(found, tuple) else (3, 0, str(found))

    known = [run for run in runs if value(run) is not None]
    return sorted(known, key=comparable, reverse=reverse) + [run for run in runs if value(run) is None]


def described(runs: Sequence[Run], changes: Sequence[str]) -> list[dict[str, Any]]:
    """The runs as JSON can hold them, each with its values of the keys that differ."""
    return [
        {key: value for key, value in asdict(run).items() if key != "config"}
        | {"folder": str(run.folder), "differs": {key: run.config[key] for key in changes if key in run.config}}
        for run in runs
    ]


def table(runs: Sequence[Run], changes: Sequence[str], *, base: Path = Path(), width: int | None = None) -> str:
    """The runs as lines of text.

    Args:
        runs: A line each.
        changes: Keys of the configuration that have a column.
        base: Folder that the runs' names are relative to. Default: the current one.
        width: Letters of a line; columns at the right that have no room are counted and left out. None: no limit.
    """
    monitors = {run.monitor for run in runs if run.best is not None}
    score = next(iter(monitors)) if len(monitors) == 1 else None
    columns = [
        ["run", *(_name(run, base) for run in runs)],
        ["status", *(_cut(run.status, WIDEST) for run in runs)],
        ["step", *(f"{run.step}/{'?' if run.max_steps is None else run.max_steps}" for run in runs)],
        [f"best {score}" if score else "best", *(_best(run, named=score is None) for run in runs)],
    ]
    if len({run.commit for run in runs}) > 1:
        columns.append(["code", *(run.commit or "-" for run in runs)])
    columns += [[_short(key, changes), *(_shown(run.config.get(key, "-")) for run in runs)] for key in changes]
    widths = [max(map(len, column)) for column in columns]
    shown = len(columns)
    while width is not None and shown > 4 and sum(widths[:shown]) + 2 * (shown - 1) > width:
        shown -= 1
    lines = [
        "  ".join(text.ljust(size) for text, size in zip(cells[:shown], widths, strict=False)).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    if shown < len(columns):
        lines.append(f"More that differs, for a wider terminal or --json: {', '.join(c[0] for c in columns[shown:])}")
    return "\n".join(lines)


def _name(run: Run, base: Path) -> str:
    name = str(run.folder.relative_to(base)) if run.folder.is_relative_to(base) else str(run.folder)
    return run.folder.resolve().name if name == "." else name


def _best(run: Run, *, named: bool) -> str:
    if run.best is None:
        return "-"
    return f"{run.monitor} {run.best:.4g} at {run.best_step}" if named else f"{run.best:.4g} at {run.best_step}"


def _short(key: str, keys: Sequence[str]) -> str:
    """The end of a key that no other one has: 'learning_rate', or 'model' for the class of the model."""
    parts = key.removesuffix("._target_").split(".")
    others = [other.removesuffix("._target_").split(".") for other in keys if other != key]
    for n in range(1, len(parts)):
        if all(other[-n:] != parts[-n:] for other in others):
            return ".".join(parts[-n:])
    return ".".join(parts)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # Of a class its name is enough.
    tail = text.rpartition(".")[2]
    return _cut(tail if text.startswith(("convlstm.", "mlx.")) else text)


def _cut(text: str, most: int = WIDEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "~"
