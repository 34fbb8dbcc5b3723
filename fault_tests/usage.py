"""Memory and descriptors of a process and its children over time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

MOST_MIB, MOST_DESCRIPTORS = 24, 4
"""Growth from the second fifth of a session to its last one that counts as flat: caches fill, the allocator rounds."""


class Point(NamedTuple):
    """A measurement: frames so far, MiB and descriptors of the process, and MiB of its children."""

    frames: int
    memory: float
    descriptors: int
    children: float


class Usage:
    """Measurements of a process on Linux; elsewhere there are none.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int):
        self.pid, self.points = pid, list[Point]()

    def measure(self, frames: int) -> None:
        """Adds a measurement."""
        with suppress(OSError, ValueError):
            descriptors = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
            children = sum(_memory(pid) for pid in self.children())
            self.points.append(Point(frames, _memory(self.pid), descriptors, children))

    def children(self) -> list[int]:
        """Returns the processes that the process has started, and theirs."""
        found, parents = list[int](), [self.pid]
        while parents:
            pid = parents.pop()
            for file in Path("/proc").glob(f"{pid}/task/*/children"):
                with suppress(OSError):
                    parents += (new := [int(word) for word in file.read_text().split()])
                    found += new
        return found

    def _fifths(self) -> tuple[np.ndarray, np.ndarray]:
        points = np.array(self.points, float)
        size = len(points) // 5
        return points[size : 2 * size].mean(0), points[-size:].mean(0)

    def lost(self) -> str:
        """Returns what has grown, "" for nothing."""
        if len(self.points) < 10:
            return ""
        former, last = self._fifths()
        grown = last - former
        names = (("memory", 1, MOST_MIB), ("descriptors", 2, MOST_DESCRIPTORS), ("memory of children", 3, MOST_MIB))
        texts = [f"{n} grew from {former[k]:.0f} to {last[k]:.0f}" for n, k, most in names if grown[k] > most]
        return "; ".join(texts)

    def summary(self) -> str:
        """Returns the figures as a line."""
        if len(self.points) < 10:
            return "no figures"
        former, last = self._fifths()
        return (
            f"from frame {self.points[len(self.points) // 5].frames} to {self.points[-1].frames}: {former[1]:.1f} to "
            f"{last[1]:.1f} MiB, {former[2]:.1f} to {last[2]:.1f} descriptors, children {former[3]:.1f} to "
            f"{last[3]:.1f} MiB"
        )

    def draw(self, path: Path) -> None:
        """Draws the curves as a picture, with the numbers beside it as CSV."""
        from matplotlib.figure import Figure

        points = np.array(self.points, float).reshape(-1, 4)
        lines = [",".join(Point._fields), *(",".join(f"{value:g}" for value in point) for point in points)]
        path.with_suffix(".csv").write_text("\n".join(lines) + "\n")
        figure = Figure(figsize=(7, 4), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True)
        upper.plot(points[:, 0], points[:, 1], label="watcher")
        upper.plot(points[:, 0], points[:, 3], label="process that decodes files")
        upper.set(ylabel="memory (MiB)", ylim=(0, None))
        upper.legend(loc="lower right")
        lower.plot(points[:, 0], points[:, 2])
        lower.set(ylabel="descriptors", xlabel="frames", ylim=(0, None))
        figure.savefig(path, dpi=100)


def _memory(pid: int) -> float:
    """Returns the MiB of a process that are in memory, 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return 0.0
