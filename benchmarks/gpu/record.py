"""The record of the script: a JSON file that a later command goes on with, and its tables in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import write

RESULTS, TABLES = "results.json", "results.md"
PARTS = ("correctness", "timing", "training")


class RecordError(ValueError):
    """A record cannot be gone on with."""


def load(folder: Path, machine: dict[str, Any], device: str, tiny: bool, again: bool) -> dict[str, Any]:
    """Returns the record in a folder, or a new one.

    Args:
        folder: The folder.
        machine: What `benchmarks.gpu.devices.description` returns now.
        device: 'gpu' or 'cpu'.
        tiny: True for sizes of a trial.
        again: True to begin anew.

    Raises:
        RecordError: It is of another device, commit or size, or is damaged.
    """
    path = folder / RESULTS
    asked: dict[str, Any] = {"device": device, "tiny": tiny}
    new: dict[str, Any] = {"machine": machine, "asked": asked, "spent_seconds": 0.0}
    if again or not path.exists():
        return new | {part: {} for part in PARTS}
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        former = record["asked"] | {key: record["machine"][key] for key in ("device", "commit")}
        assert all(isinstance(record[part], dict) for part in PARTS)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise RecordError(f"'{path}' is no record of this script ({error!r}). Choose another --out.") from None
    now = asked | {key: machine[key] for key in ("device", "commit")}
    if changed := [f"{key}: {former[key]} there, {now[key]} here" for key in now if former[key] != now[key]]:
        raise RecordError(
            f"'{path}' is of other conditions ({'; '.join(changed)}). Choose another --out, or begin anew with --again."
        )
    return record


def save(record: dict[str, Any], folder: Path) -> None:
    """Writes the record and its tables; a command that is ended meanwhile leaves the former record."""
    new = folder / f".{RESULTS}"
    write(record, new)
    new.replace(folder / RESULTS)
    (folder / TABLES).write_text(markdown(record), encoding="utf-8")


def markdown(record: dict[str, Any]) -> str:
    """Returns the tables."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    driver = f", driver {machine['driver']}" if machine.get("driver") else ""
    lines = [
        f"# {machine['device']}",
        "",
        f"{machine['backend']}{driver}; {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB; "
        f"{machine['system']}; Python {machine['python']}, {versions}; commit {machine['commit']}; {machine['date']}; "
        f"{record['spent_seconds'] / 60:.1f} minutes so far.",
    ]
    if record["asked"]["tiny"]:
        lines += ["", "Tiny sizes: a trial of the script, whose times mean nothing."]
    for part, table in (("correctness", correctness), ("timing", timing), ("training", training)):
        if record[part]:
            lines += ["", *table(record[part])]
    return "\n".join(lines) + "\n"


def correctness(results: dict[str, Any]) -> list[str]:
    """Returns the table of differences."""
    lines = [
        "## Differences from the CPU",
        "",
        "The largest ones relative to the largest value of an array, in float32 with all digits of products. The other "
        "side is plain MLX on the CPU. Where a share is named, that share of the values keeps the limit.",
        "",
        "| | values | limit | gradients | limit | |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        if "failed" in one:
            lines.append(f"| {name} | - | - | - | - | **failed**: {_short(one['failed'])} |")
            continue
        limits = [f"{limit:.0e}" for limit in one["limits"]]
        cells = [f"{one['value']:.1e}", limits[0]]
        cells += ["-", "-"] if one["gradient"] is None else [f"{one['gradient']:.1e}", limits[1]]
        share = "" if one["share"] == 1 else f"{one['share']:.0%} of the values"
        lines.append(f"| {name} | {' | '.join(cells)} | {share if one['agrees'] else '**differs**'} |")
    bad = sum(not one["agrees"] for one in results.values())
    return [*lines, "", f"{len(results) - bad} of {len(results)} agree."]


def timing(results: dict[str, Any]) -> list[str]:
    """Returns the table of times."""
    lines = [
        "## Times beside PyTorch",
        "",
        "Seconds: median (range) of alternating runs, the device synchronised after each. Memory: peak of the arrays "
        "on the device, or of the whole process on a CPU. Difference: of outputs and losses of both sides.",
        "",
        "| | N | precision | convlstm, s | PyTorch, s | ratio | convlstm beside it, s | `torch.compile`, s | ratio | "
        "MB: convlstm | PyTorch | difference |",
        "|" + "---|" * 12,
    ]
    notes: list[str] = []
    for key, one in results.items():
        if one["compiled"]:
            continue
        beside = results.get(f"{key}, torch.compile", {})
        cells = [one["row"], str(one["sequences"]), one["precision"]]
        cells += [_times(one.get("ours")), _times(one.get("other")), _ratio(one)]
        cells += [_times(beside.get("ours")), _times(beside.get("other")), _ratio(beside)]
        cells += [_megabytes(one.get("ours")), _megabytes(one.get("other"))]
        cells.append(f"{one['difference']:.0e}{_mark(one)}" if "difference" in one else "-")
        lines.append(f"| {' | '.join(cells)} |")
        notes += [f"{key}: {_short(one['failed'])}"] if "failed" in one else []
        notes += [f"{key}, torch.compile: {_short(beside['failed'])}"] if "failed" in beside else []
    return [*lines, *([""] if notes else []), *(f"- {note}" for note in notes)]


def training(results: dict[str, Any]) -> list[str]:
    """Returns the training's figures."""
    lines = ["## A training run", "", f"`convlstm train {' '.join(results.get('arguments', []))}`"]
    if "failed" in results:
        return [*lines, "", f"**failed**: {_short(results['failed'])}"]
    if "step_seconds" in results:
        lines += ["", f"{results['step_seconds']:.4g} s a step, {results['max_steps']} steps planned."]
    if "trained_steps" in results:
        lines.append(f"{results['trained_steps']} steps in {results['trained_seconds']:.0f} s.")
    if "curve" in results:
        lines += ["", f"![Losses and scores by step]({Path(results['curve']).name})"]
    if scores := results.get("scores"):
        shown = [name for name in ("mse_per_frame", "ssim", "psnr") if name in next(iter(scores.values()))]
        lines += ["", f"| test | {' | '.join(shown)} |", "|" + "---|" * (len(shown) + 1)]
        lines += [f"| {name} | {' | '.join(f'{each[m]:.4g}' for m in shown)} |" for name, each in scores.items()]
    return lines


def _times(side: dict[str, Any] | None) -> str:
    seconds = (side or {}).get("seconds")
    return f"{median(seconds):.3g} ({min(seconds):.3g}-{max(seconds):.3g})" if seconds else "-"


def _ratio(one: dict[str, Any]) -> str:
    if "ours" not in one or "other" not in one:
        return "-"
    return f"**{median(one['other']['seconds']) / median(one['ours']['seconds']):.2f}**"


def _megabytes(side: dict[str, Any] | None) -> str:
    if not side:
        return "-"
    on_device = side.get("device_bytes")
    return f"{(on_device or side['peak_bytes']) / 1e6:.0f}"


def _short(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[-200:]


def _mark(one: dict[str, Any]) -> str:
    return "" if one["agrees"] else " **differs**"
