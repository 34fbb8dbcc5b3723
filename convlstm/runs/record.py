"""The record of a run, `run.json`: the code, versions, machine and command of its start and of each resume."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.blas import load_fast_blas
from convlstm.backend.memory import memory
from convlstm.runs.summary import RECORD, entries

import mlx.core as mx

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("convlstm", "mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "mlx-data", "numpy", "hydra-core")
VARIABLES = ("CONVLSTM_BLAS", "CONVLSTM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MLX_DISABLE_COMPILE")


class Record:
    """A logger that writes `run.json`, with an entry for the start of the run and for each resume.

    An entry contains the time, the step, the machine and the command; the commit of the code, and whether the code had
    been changed since; versions, hardware, and how it ended. An entry without an end belongs to a process that was
    killed or that still runs.

    Args:
        ranks: Number of processes that train together. Default: 1.
    """

    def __init__(self, ranks: int = 1):
        self.ranks = ranks

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        self.path = folder / RECORD
        self.entry: dict[str, Any] = {
            "started": _now(),
            "step": step,
            "command": shlex.join(sys.orig_argv),
            "directory": str(Path.cwd()),
            "host": platform.node(),
            "process": os.getpid(),
            "ranks": self.ranks,
            "code": code(),
            "versions": versions(),
            "hardware": hardware(),
            "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        }
        if config.get("init"):
            self.entry["init"] = config["init"]
        self.entries = [*entries(folder), self.entry]
        self._write()
        return step

    def log(self, step: int, row: Mapping[str, float | int]) -> None:
        """Does nothing: the rows are in `metrics.csv`."""

    def close(self, status: str) -> None:
        self.entry |= {"ended": _now(), "status": status}
        self._write()

    def _write(self) -> None:
        files.replace(self.path, json.dumps({"starts": self.entries}, indent=2) + "\n")


@cache
def code() -> dict[str, Any]:
    """Returns the project's commit, and whether its files have been changed since; None if it is not a repository.

    The result of the first call is kept, since the code that runs has none of the later changes.
    """
    top, commit = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != PROJECT:
        return {"commit": None, "changed": None}
    changes = _git("status", "--porcelain")
    return {"commit": commit, "changed": None if changes is None else changes != ""}


def _git(*arguments: str) -> str | None:
    """Returns the output of a git command, or None if it fails."""
    # Without locks, since `status` would refresh the index, which may belong to another user.
    line = ["git", "--no-optional-locks", "-C", str(PROJECT), *arguments]
    try:
        result = subprocess.run(line, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that affect the results."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> dict[str, Any]:
    """Returns the platform, processor, memory, MLX's device, its BLAS, and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    machine = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "memory_gib": round(memory() / 2**30, 1),
        "device": str(mx.default_device()),
    }
    if mx.default_device() == mx.Device(mx.cpu):
        return machine | {"blas": load_fast_blas().name}
    device = mx.device_info()
    return machine | {"device_name": device.get("device_name") or device.get("architecture")}


@cache
def _processor() -> str:
    """Returns the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "darwin":
        line = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(line, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def _now() -> str:
    """Returns the local time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
