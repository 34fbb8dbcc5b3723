"""What a page says of the runs behind the forecasts: how they were trained, on what, and how others were."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.metrics import logged_score
from convlstm.report.page.chart import Line, legend, line_chart, looks
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.style import digits
from convlstm.runs.comparison import differing_keys
from convlstm.runs.log import MetricsLog, numbers
from convlstm.runs.record import code, hardware, versions
from convlstm.runs.summary import CONFIG, METRICS, RECORD, RunSummary, entries, flat, read

MOST_OTHERS = 20


def runs_of(folders: Mapping[str, Path]) -> dict[str, RunSummary]:
    """The runs of checkpoints by name, each with the configuration of its checkpoint."""
    found = {}
    for name, folder in folders.items():
        found[name] = read(checkpoints.run_of(folder))
        found[name].config = flat(checkpoints.read_config(folder))
    return found


def others_of(runs: Mapping[str, RunSummary]) -> dict[str, RunSummary]:
    """The runs beside these, by the names of their folders; of many the newest ones."""
    own = {run.folder.resolve() for run in runs.values()}
    found: dict[Path, float] = {}
    for parent in {folder.parent for folder in own}:
        try:
            folders = [path for path in parent.iterdir() if path not in own and not path.is_symlink() and _is_run(path)]
            found |= {path: (path / CONFIG).stat().st_mtime for path in folders}
        except OSError:
            continue
    newest = sorted(found, key=lambda path: found[path], reverse=True)[:MOST_OTHERS]
    return {path.name: read(path) for path in sorted(newest)}


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and ((path / RECORD).is_file() or (path / METRICS).is_file())


def beside_others(runs: Mapping[str, RunSummary], others: Mapping[str, RunSummary]) -> list[Markup]:
    """A table of the runs and those beside them, with what their configurations differ in."""
    # A run alone is called "model" beside its baselines, which says nothing beside other runs.
    own = runs if len(runs) != 1 else {run.folder.resolve().name: run for run in runs.values()}
    every = [*own.items(), *others.items()]
    changes = differing_keys([run.config for _, run in every])
    rows = [
        [
            name,
            "here" if k < len(runs) else "beside",
            run.status,
            f"{run.step:,}" + ("" if run.max_steps is None else f" of {run.max_steps:,}"),
            "-" if run.best is None else f"{run.monitor} {digits(run.best)} at {run.best_step:,}",
            *(shown(run.config.get(key, "-")) for key in changes),
        ]
        for k, (name, run) in enumerate(every)
    ]
    heads = ["run", "evaluated", "status", "step", "best validation", *changes]
    told = "Their configurations are the same." if len(every) > 1 and not changes else None
    if len(every) == 1:
        told = "There is no other run beside this one."
    caption = "Runs, and the keys of the configuration in which they differ"
    return [table(heads, rows, caption=caption, numbers=False), *([element("p", told, class_="note")] if told else [])]


def facts(runs: Mapping[str, RunSummary], steps: Mapping[str, int]) -> Markup:
    """When, where and with what each run was trained, and the same of this evaluation."""
    columns = [_facts(run, steps.get(name)) for name, run in runs.items()]
    columns.append({"command": shlex.join(sys.orig_argv)} | _machine(code(), hardware(), versions()))
    keys = dict.fromkeys(key for column in columns for key in column)
    heads = ["", *runs, "this evaluation"]
    rows = [[key, *(column.get(key, "-") for column in columns)] for key in keys]
    return table(heads, rows, caption="Training, code and machine", numbers=False)


def _facts(run: RunSummary, step: int | None) -> dict[str, str]:
    starts = entries(run.folder)
    last = starts[-1] if starts else {}
    told = {
        "checkpoint of step": "-" if step is None else f"{step:,}",
        "started": (run.started or "-").replace("T", " ").replace("+00:00", " UTC"),
        "trained for": "-" if run.seconds is None else _duration(run.seconds),
        "starts": str(len(starts)) if starts else "-",
        "command": str(last.get("command", "-")),
    }
    parts: list[Any] = [
        last.get(key) if isinstance(last.get(key), dict) else {} for key in ("code", "hardware", "versions")
    ]
    return told | _machine(*parts)


def _machine(code: Mapping[str, Any], hardware: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, str]:
    commit = code.get("commit")
    told = {"commit": "-" if not commit else f"{commit}{', with changes' if code.get('changed') else ''}"}
    words = {"memory_gib": "memory (GiB)", "device_name": "device's name"}
    told |= {words.get(key, key): str(value) for key, value in hardware.items() if value is not None}
    if versions:
        told["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return told


def configurations(runs: Mapping[str, RunSummary]) -> Markup:
    """Every value of every run's configuration; keys that differ are marked."""
    keys = dict.fromkeys(key for run in runs.values() for key in run.config)
    changed = {key for key in keys if len({shown(run.config.get(key, ...)) for run in runs.values()}) > 1}
    rows = [
        [
            element("span", key, class_="differs" if key in changed else None),
            *(shown(run.config.get(key, "-")) for run in runs.values()),
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
    """What the evaluation scored, on which data and with which members; nothing where it is not known."""
    rows = [[key, shown(value)] for key, value in flat(record).items()]
    if not rows:
        return None
    told = table(["key", "value"], rows, caption="Settings and data of this evaluation", numbers=False)
    return element("details", element("summary", "Settings and data of this evaluation"), told)


def training(runs: Mapping[str, RunSummary]) -> list[Markup]:
    """Losses and validation scores against the step; nothing where there is no `metrics.csv`."""
    series: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name, run in runs.items():
        try:
            rows = [numbers(row) for row in MetricsLog.read(run.folder / METRICS)]
        except (OSError, ValueError):
            continue
        for key in dict.fromkeys(key for row in rows for key in row):
            if key == "train_loss" or key.startswith("val_"):
                points = [(row["step"], row[key]) for row in rows if key in row]
                series.setdefault(key, {})[name] = tuple(map(list, zip(*_thinned(points), strict=True)))  # type: ignore[assignment]
    if not series:
        return []
    look = looks(list(runs))
    charts: list[Markup] = []
    for key, found in series.items():
        values = [value for _, known in found.values() for value in known]
        words = logged_score(key)
        title = {"train_loss": "training loss", "val_loss": "validation loss"}.get(key, f"validation: {words.title}")
        lines = {name: Line(*points, look[name]) for name, points in found.items()}
        log = min(values) > 0 and max(values) > 30 * min(values)
        axis = ("loss" if key.endswith("_loss") else words.axis) + (", logarithmic" if log else "")
        charts.append(line_chart(f"training{len(charts)}", lines, title=title, x="step", y=axis, log=log, whole=True))
    return [legend(look), element("div", charts, class_="plots")]


def _thinned(points: Sequence[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    """At most so many points, the means of neighbours."""
    share = -(-len(points) // most)
    groups = [points[k : k + share] for k in range(0, len(points), share)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def shown(value: Any) -> str:
    """A value of a configuration as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
