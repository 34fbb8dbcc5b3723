"""A comparison of a disturbed run with the undisturbed one, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.runs.metrics_log import MetricsLog

CLOCKED = ("seconds", "sequences_per_second", "peak_memory_mb")
"""Values that depend on the clock or on other work of the machine."""


def differences(run: Path, reference: Path) -> list[str]:
    """Returns the differences of two finished runs; [] if they are the same.

    Compares the weights, the optimizer's state and all other arrays of the checkpoints `last` and `best` byte by byte,
    their training state, and the rows of the metrics. Temporary files that were left behind count as well.
    """
    lines = [f"left behind: {path.relative_to(run)}" for path in sorted({*run.rglob("*.tmp*"), *run.rglob("*.part*")})]
    for name in ("last", "best"):
        ours, theirs = (folder / checkpoints.FOLDER / name for folder in (run, reference))
        if not theirs.exists():
            continue
        try:
            checkpoints.verify(ours)
            state, expected = checkpoints.read_state(ours), checkpoints.read_state(theirs)
        except checkpoints.CheckpointError as error:
            lines.append(f"{name}: {error}")
            continue
        arrays, others = _arrays(ours), _arrays(theirs)
        lines += [f"{name}/{file}" for file in sorted({*arrays, *others}) if arrays.get(file) != others.get(file)]
        lines += [f"{name}: state {text}" for text in _other(_unclocked(state), _unclocked(expected))]
    for name in ("metrics.csv", "metrics.jsonl"):
        if (reference / name).exists():
            lines += [f"{name}: {text}" for text in _other_rows(_rows(run / name), _rows(reference / name))]
    return lines


def steps(run: Path) -> list[str]:
    """Returns the steps that have a row in the metrics."""
    return [row["step"] for row in MetricsLog.read(run / "metrics.csv")]


def _arrays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    else:
        rows = list(MetricsLog.read(path))
    # The number distinguishes two rows of the same step.
    return {f"step {row['step']} (row {i})": _unclocked(row) for i, row in enumerate(rows)}


def _other_rows(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{name} is missing" for name in theirs if name not in ours]
    lines += [f"{name} should not be there" for name in ours if name not in theirs]
    return lines + [f"{name}: {text}" for name in ours if name in theirs for text in _other(ours[name], theirs[name])]


def _unclocked(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in CLOCKED}


def _other(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    return [f"{name} is {ours.get(name)!r}, not {theirs.get(name)!r}" for name in names]
