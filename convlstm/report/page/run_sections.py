"""The sections about runs: their training, their configurations, and other runs in the same folders."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.metrics import logged_score
from convlstm.report.chart_descriptions import Chart, Line
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.page.svg import legend, looks, plots
from convlstm.report.style import digits
from convlstm.runs.comparison import differing_keys
from convlstm.runs.metrics_log import MetricsLog, numbers
from convlstm.runs.record import code, hardware, versions
from convlstm.runs.summary import CONFIG, METRICS, RECORD, RunSummary, entries, flat, read

MOST_OTHERS = 20


def runs_of(folders: Mapping[str, Path]) -> dict[str, RunSummary]:
    """Returns the runs of checkpoints by name, each with the configuration of its checkpoint."""
    runs = {}
    for name, folder in folders.items():
        runs[name] = read(checkpoints.run_of(folder))
        runs[name].config = flat(checkpoints.read_config(folder))
    return runs


def others_of(runs: Mapping[str, RunSummary]) -> dict[str, RunSummary]:
    """Returns the other runs in the same folders, by the names of their folders; if there are many, the newest."""
    evaluated = {run.folder.resolve() for run in runs.values()}
    times: dict[Path, float] = {}
    for parent in {folder.parent for folder in evaluated}:
        try:
            others = [path for path in parent.iterdir() if path not in evaluated and not path.is_symlink()]
            times |= {path: (path / CONFIG).stat().st_mtime for path in others if _is_run(path)}
        except OSError:
            continue
    newest = sorted(times, key=lambda path: times[path], reverse=True)[:MOST_OTHERS]
    return {path.name: read(path) for path in sorted(newest)}


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and ((path / RECORD).is_file() or (path / METRICS).is_file())


def beside_others(runs: Mapping[str, RunSummary], others: Mapping[str, RunSummary]) -> list[Markup]:
    """Returns a table of the evaluated runs and the other runs, with the keys in which their configurations differ."""
    # A single run is called "model", which does not distinguish it from other runs.
    evaluated = runs if len(runs) != 1 else {run.folder.resolve().name: run for run in runs.values()}
    all_runs = [*evaluated.items(), *others.items()]
    changes = differing_keys([run.config for _, run in all_runs])
    rows = [
        [
            name,
            "yes" if k < len(runs) else "no",
            run.status,
            f"{run.step:,}" + ("" if run.max_steps is None else f" of {run.max_steps:,}"),
            "-" if run.best is None else f"{run.monitor} {digits(run.best)} at {run.best_step:,}",
            *(_text(run.config.get(key, "-")) for key in changes),
        ]
        for k, (name, run) in enumerate(all_runs)
    ]
    heads = ["run", "evaluated", "status", "step", "best validation", *changes]
    note = "Their configurations are the same." if len(all_runs) > 1 and not changes else None
    if len(all_runs) == 1:
        note = "There is no other run beside this one."
    caption = "Runs, and the keys of the configuration in which they differ"
    return [table(heads, rows, caption=caption, numbers=False), *([element("p", note, class_="note")] if note else [])]


def facts(runs: Mapping[str, RunSummary], steps: Mapping[str, int]) -> Markup:
    """Returns a table of time, command, code and machine of each run's training and of this evaluation."""
    columns = [_facts(run, steps.get(name)) for name, run in runs.items()]
    columns.append({"command": shlex.join(sys.orig_argv)} | _machine(code(), hardware(), versions()))
    keys = dict.fromkeys(key for column in columns for key in column)
    heads = ["", *runs, "this evaluation"]
    rows = [[key, *(column.get(key, "-") for column in columns)] for key in keys]
    return table(heads, rows, caption="Training, code and machine", numbers=False)


def _facts(run: RunSummary, step: int | None) -> dict[str, str]:
    starts = entries(run.folder)
    last = starts[-1] if starts else {}
    rows = {
        "checkpoint of step": "-" if step is None else f"{step:,}",
        "started": (run.started or "-").replace("T", " ").replace("+00:00", " UTC"),
        "trained for": "-" if run.seconds is None else _duration(run.seconds),
        "starts": str(len(starts)) if starts else "-",
        "command": str(last.get("command", "-")),
    }
    parts: list[Any] = [
        last.get(key) if isinstance(last.get(key), dict) else {} for key in ("code", "hardware", "versions")
    ]
    return rows | _machine(*parts)


def _machine(code: Mapping[str, Any], hardware: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, str]:
    commit = code.get("commit")
    rows = {"commit": "-" if not commit else f"{commit}{', with changes' if code.get('changed') else ''}"}
    words = {"memory_gib": "memory (GiB)", "device_name": "device name"}
    rows |= {words.get(key, key): str(value) for key, value in hardware.items() if value is not None}
    if versions:
        rows["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return rows


def configurations(runs: Mapping[str, RunSummary]) -> Markup:
    """Returns every value of every run's configuration; keys that differ are marked."""
    keys = dict.fromkeys(key for run in runs.values() for key in run.config)
    changed = {key for key in keys if len({_text(run.config.get(key, ...)) for run in runs.values()}) > 1}
    rows = [
        [
            element("span", key, class_="differs" if key in changed else None),
            *(_text(run.config.get(key, "-")) for run in runs.values()),
        ]
        for key in keys
    ]
    caption = "Configuration" + ("; keys in colour differ" if changed else "")
    return element(
        "details",
        element("summary", "Configuration"),
        table(["key", *runs], rows, caption=caption, numbers=False),
    )


def settings(record: Mapping[str, Any]) -> Markup | None:
    """Returns a table of the evaluation's settings, its data and its members; None if they are unknown."""
    rows = [[key, _text(value)] for key, value in flat(record).items()]
    if not rows:
        return None
    title = "Settings and data of this evaluation"
    return element("details", element("summary", title), table(["key", "value"], rows, caption=title, numbers=False))


def training(runs: Mapping[str, RunSummary]) -> list[Markup]:
    """Returns charts of losses and validation scores against the step; nothing if no run has a `metrics.csv`."""
    lines: dict[str, dict[str, Line]] = {}
    for name, run in runs.items():
        try:
            rows = [numbers(row) for row in MetricsLog.read(run.folder / METRICS)]
        except (OSError, ValueError):
            continue
        for key in dict.fromkeys(key for row in rows for key in row):
            if key == "train_loss" or key.startswith("val_"):
                points = _thinned([(row["step"], row[key]) for row in rows if key in row])
                lines.setdefault(key, {})[name] = Line([x for x, _ in points], [y for _, y in points])
    charts = [_training_chart(key, of_runs) for key, of_runs in lines.items()]
    look = looks(list(runs))
    return [legend(charts, look), plots("training", charts, look)] if charts else []


def _training_chart(key: str, lines: Mapping[str, Line]) -> Chart:
    values = [value for line in lines.values() for value in line.y if value is not None]
    log = min(values) > 0 and max(values) > 30 * min(values)
    entry = logged_score(key)
    title = {"train_loss": "Training loss", "val_loss": "Validation loss"}.get(key, f"Validation: {entry.title}")
    return Chart(title, "step", entry.axis + (", logarithmic" if log else ""), lines, log_y=log, whole=True)


def _thinned(points: Sequence[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    """Returns at most `most` points, the means of neighbours."""
    share = -(-len(points) // most)
    groups = [points[k : k + share] for k in range(0, len(points), share)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _text(value: Any) -> str:
    """Returns a value of a configuration as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
