"""The machine and the versions of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from convlstm.backend.memory import memory

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mlx", "mlx-data", "torch", "numpy", "mkl")


def describe() -> dict[str, Any]:
    """Returns hardware, system, versions, commit and date as values for JSON."""
    return {
        "cpu": _cpu(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory() / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _instructions() -> str:
    """Returns the widest vector instructions that the kernels can use, or the architecture."""
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")):
            if flag in flags:
                return name
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    commit = _output("git", "rev-parse", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with changes" if commit and changed else commit or None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def warn_without_torch() -> None:
    """Ends the program with a remedy if PyTorch is missing."""
    if _version("torch") is None:
        sys.exit(
            "benchmarks: PyTorch, the other side, is not installed. Run: make bench, or pip install -e '.[bench]'."
        )
