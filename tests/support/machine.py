"""A description of the machine, as far as it decides the bits of a forecast: processor, versions, BLAS and compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Returns the description; if two agree, the same code gives the same bits. The number of cores does not matter."""
    return {
        "architecture": platform.machine(),
        "system": platform.system(),
        **_processor(),
        **{name: _version(name) for name in ("mlx", "mlx-cpu", "numpy", "mkl")},
        "blas": os.environ.get("CONVLSTM_BLAS") or "auto",
        "compiler": _compiler(),
    }


def _processor() -> dict[str, Any]:
    """The vendor, and the instructions for vectors; MKL and NumPy choose their code by them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"vendor": platform.processor(), "instructions": []}
    lines = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in lines}
    flags = facts.get("flags", "").split()
    return {
        "vendor": facts.get("vendor_id", ""),
        "instructions": sorted(flag for flag in flags if flag.startswith(("avx", "fma"))),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _compiler() -> str | None:
    """The version of the compiler that builds MLX's and our kernels on a CPU."""
    path = shutil.which(os.environ.get("CXX") or "g++")
    if path is None:
        return None
    return subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
