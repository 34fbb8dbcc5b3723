"""The device that is measured: its choice, its description, and the same device for PyTorch."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from typing import Any

from benchmarks.machine import describe

import mlx.core as mx

DEVICES = ("gpu", "cpu")
BACKENDS = ("mlx-metal", "mlx-cuda-12", "mlx-cuda-13", "mlx-cpu")


def check_device(name: str) -> None:
    """Raises ValueError if MLX does not have the device."""
    if name == "gpu" and mx.default_device() != mx.Device(mx.gpu):
        raise ValueError(
            f"--device gpu needs a GPU, but MLX's device here is {mx.default_device()}. Install MLX's backend for it "
            "(docs/performance.md), or try the script with --device cpu --tiny."
        )


def backend(device: str) -> str:
    """Returns 'metal', 'cuda' or 'cpu'."""
    if device == "cpu":
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"  # type: ignore[attr-defined]


def torch_device(device: str) -> str | None:
    """Returns PyTorch's name of the same device, or None if PyTorch is missing or lacks it."""
    try:
        import torch
    except ImportError:
        return None
    kind = backend(device)
    if kind == "cuda":
        return "cuda" if torch.cuda.is_available() else None
    if kind == "metal":
        return "mps" if torch.backends.mps.is_available() else None
    return "cpu"


def description(device: str) -> dict[str, Any]:
    """Returns hardware, driver, versions, commit and date as values for JSON."""
    machine = describe()
    machine["versions"] |= {name: _version(name) for name in BACKENDS}
    of_mlx = {key: value for key, value in mx.device_info().items() if isinstance(value, str | int)}
    if device == "cpu":
        return machine | {"device": machine["cpu"], "backend": "cpu", "driver": None}
    name, driver = _nvidia() if backend(device) == "cuda" else (None, f"macOS {platform.mac_ver()[0]}")
    name = name or str(of_mlx.get("device_name", of_mlx.get("architecture", "unknown")))
    return machine | {"device": name, "backend": backend(device), "driver": driver, "device_info": of_mlx}


def _nvidia() -> tuple[str | None, str | None]:
    """Returns the GPU's name with its memory, and the driver's version, as far as nvidia-smi tells."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        name, memory, driver = (text.strip() for text in done.stdout.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None, None
    return f"{name}, {memory}", driver


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
