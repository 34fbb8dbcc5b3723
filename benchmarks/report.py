"""The table of results, and the file with all figures."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

HEAD = (
    "row",
    "ours (min-max)",
    "PyTorch (min-max)",
    "ratio",
    "torch.compile (min-max)",
    "ratio",
    "peak MB: ours",
    "recomputing",
    "PyTorch",
    "compiled",
    "ratio",
    "difference",
)
LEGEND = """\
Seconds of one run: median, fastest and slowest. Ratio: PyTorch's median or peak memory over ours, so above 1 is in our
favour. Memory: peak of the whole process. Difference: the largest one between the two sides' outputs and gradients,
relative to the largest value."""


def write(record: dict[str, Any], path: Path) -> None:
    """Writes all figures to a JSON file, whose folder is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def times(result: dict[str, Any] | None) -> str:
    """Returns `median (min-max)` in seconds."""
    seconds = (result or {}).get("seconds")
    return f"{median(seconds):.3g} ({min(seconds):.3g}-{max(seconds):.3g})" if seconds else "-"


def ratio(ours: dict[str, Any], other: dict[str, Any] | None) -> str:
    """Returns the other side's median over ours."""
    if not (other and other.get("seconds") and ours.get("seconds")):
        return "-"
    return f"**{median(other['seconds']) / median(ours['seconds']):.2f}**"


def megabytes(result: dict[str, Any] | None) -> str:
    """Returns the peak memory in MB."""
    return f"{result['peak_bytes'] / 1e6:.0f}" if result and "peak_bytes" in result else "-"


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows in Markdown, and the footnotes."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    notes: list[str] = []

    def noted(text: str, note: str) -> str:
        if note not in notes:
            notes.append(note)
        return f"{text} [{notes.index(note) + 1}]"

    for row in rows:
        ours, other, compiled, recomputing = (
            row.get(key) or {} for key in ("ours", "other", "compiled", "recomputing")
        )
        if "failed" in row:
            lines.append(f"| {noted(row['name'], row['failed'])} |" + " - |" * (len(HEAD) - 1))
            continue
        name = row["name"]
        if row["other_side"] != "PyTorch":
            name = noted(name, f"The other side is {row['other_side']}; {speeds(row)}.")
        share = "-"
        if "peak_bytes" in ours and "peak_bytes" in other:
            share = f"{other['peak_bytes'] / ours['peak_bytes']:.2f}"
        cells = [
            name,
            times(ours),
            times(other),
            ratio(ours, other),
            noted("-", compiled["failed"]) if "failed" in compiled else times(compiled),
            ratio(ours, compiled),
            megabytes(ours),
            noted("-", recomputing["failed"]) if "failed" in recomputing else megabytes(recomputing),
            megabytes(other),
            megabytes(compiled),
            share,
            "-" if row.get("difference") is None else f"{row['difference']:.0e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    foot = [f"[{n}] {' '.join(note.split())[:300]}" for n, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", LEGEND, *foot])


def speeds(row: dict[str, Any]) -> str:
    """Returns the sequences per second of both sides."""
    ours, other = (row["sequences"] / median(row[side]["seconds"]) for side in ("ours", "other"))
    return f"{ours:.4g} against {other:.4g} sequences/s"


def heading(record: dict[str, Any]) -> str:
    """Returns a few lines about the machine."""
    machine, speed = record["machine"], record["profile"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    return (
        f"{machine['cpu']}, {machine['instructions']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB; "
        f"{machine['system']}\n"
        f"Python {machine['python']}, {versions}; BLAS {speed['blas']}; commit {machine['commit']}\n"
        f"Matrix products: MLX {speed['mlx_gemm_gflops']:.0f} GFLOP/s, "
        f"PyTorch {speed['pytorch_gemm_gflops']:.0f} GFLOP/s; "
        f"copying {speed['copy_gb_per_second']:.1f} GB/s read and written"
    )
