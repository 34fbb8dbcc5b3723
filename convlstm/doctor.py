"""Prints how fast MLX is on this machine, and remedies if it is slow: `convlstm doctor`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from convlstm.backend.blas import gemm_gflops, load_fast_blas, slow_blas_warning
from convlstm.backend.private_folder import temporary_folder
from convlstm.backend.program_frame import framed
from convlstm.backend.python_process import command
from convlstm.backend.terminal import printable_output
from convlstm.ops.cpu.library import SLOW, UnavailableError, library

import mlx.core as mx

BACKENDS = ("mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13")
LOGGERS = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A fast BLAS is at least this many times as fast as the reference one, even on one core of an old machine.
LEAST_RATIO = 5.0


@framed("convlstm doctor")
@printable_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report.

    Args:
        argv: Arguments of the command. Default: those of the process.

    Returns:
        Exit code: 0 if all is well, 1 if something is slow or broken; the report then ends with remedies.
    """
    parser = argparse.ArgumentParser(prog="convlstm doctor", description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the GEMM's matrices (default 1024)")
    size = parser.parse_args(argv).size
    if size < 1:
        parser.error(f"--size must be positive but got {size}")

    print_machine()
    remedies = check_backends() + check_gemm(size) + check_convolution() + check_kernels() + check_compile()
    remedies += check_threads()
    for remedy in remedies:
        print(f"! {remedy}")
    if not remedies:
        print("All is well.")
    return 1 if remedies else 0


def print_machine() -> None:
    """Prints the machine and the installation."""
    device = mx.default_device()
    _line("platform", f"{platform.platform()}, Python {platform.python_version()}")
    _line("cores", f"{_cores()} of {os.cpu_count()}")
    _line("mlx", f"{metadata.version('mlx')} ({', '.join(_installed_backends()) or 'backend unknown'})")
    versions = {name: next(iter(_installed(packages)), None) for name, packages in LOGGERS.items()}
    _line("loggers", ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items()))
    if _on_cpu():
        blas = load_fast_blas()
        _line("device", str(device))
        _line("BLAS", blas.name if blas.path is None else f"{blas.name}, {blas.path}")
    else:
        info = mx.device_info()
        _line("device", f"{device}, {info.get('device_name') or info.get('architecture', 'unknown')}")
        memory = info.get("memory_size") or info.get("total_memory")
        if isinstance(memory, int):
            _line("memory", f"{memory / 2**30:.1f} GiB")


def check_backends() -> list[str]:
    """Returns a remedy if two Linux backends are installed, which overwrite each other's library."""
    linux = [name for name in _installed_backends() if name != "mlx-metal"]
    if len(linux) < 2:
        return []
    return [f"{' and '.join(linux)} overwrite each other's files. Make a new environment with one extra only."]


def check_gemm(size: int) -> list[str]:
    """Prints the speed of a (size, size) GEMM and, on a Linux CPU, that with the BLAS inside MLX; returns remedies."""
    name = f"GEMM {size}"
    gflops = gemm_gflops(size)
    _line(name, f"{gflops:.1f} GFLOP/s")
    if not _on_cpu() or platform.system() != "Linux":
        return []
    warning = slow_blas_warning()
    if warning is not None:
        return [warning]
    if load_fast_blas().name == "built-in":
        return []
    reference = _reference_gflops(size)
    if reference is None:
        return ["The GEMM of MLX's own BLAS could not be measured: a process with CONVLSTM_BLAS=none failed."]
    ratio = gflops / reference
    _line("  MLX's own", f"{reference:.1f} GFLOP/s: the BLAS above is {ratio:.0f} times as fast")
    if ratio < LEAST_RATIO:
        return [
            f"{load_fast_blas().path} is only {ratio:.1f} times as fast as the reference BLAS. Is the machine busy, or "
            "the library a build without threads? CONVLSTM_BLAS chooses another."
        ]
    return []


def check_convolution() -> list[str]:
    """Prints the speed of a convolution of a typical ConvLSTM with 128 channels; returns no remedies."""
    batch = 1 if _on_cpu() and load_fast_blas().name == "built-in" else 16
    image, weight = mx.random.split(mx.random.key(1))
    x = mx.random.normal((batch, 16, 16, 128), key=image)
    w = mx.random.normal((512, 5, 5, 128), key=weight)
    mx.eval(x, w)
    times: list[float] = []
    for _ in range(4):
        start = time.perf_counter()
        mx.eval(mx.conv2d(x, w, padding=2))
        times.append(time.perf_counter() - start)
    seconds = min(times[1:])
    gflops = 2 * batch * 16 * 16 * 128 * 512 * 25 / seconds / 1e9
    _line("convolution", f"{seconds * 1e3:.1f} ms, {gflops:.1f} GFLOP/s (5x5, {batch}x16x16, 128 to 512 channels)")
    return []


def check_kernels() -> list[str]:
    """Prints the path of the kernels of `convlstm.ops.cpu`, building them if they are missing; returns remedies."""
    if not _on_cpu():
        return []
    try:
        kernels = library()
    except UnavailableError as error:
        _line("kernels", "none")
        # On other systems there is no remedy.
        return [f"No fast kernels on this CPU: {error} {SLOW}"] if platform.system() == "Linux" else []
    _line("kernels", f"{kernels.path}, vectors of {kernels.lanes} floats, threads: {kernels.threads}")
    return []


def check_compile() -> list[str]:
    """Tries `mx.compile`, which uses g++ on a Linux CPU and does nothing without it; returns remedies."""
    if _on_cpu() and platform.system() == "Linux" and shutil.which("g++") is None:
        _line("mx.compile", "no g++: everything runs without compilation")
        return ["Without g++ nothing is compiled, which costs speed: sudo apt install g++, or sudo dnf install gcc-c++"]
    x = mx.linspace(-2, 2, 64)
    try:
        compiled = mx.compile(_fused)(x)
        mx.eval(compiled)
    except RuntimeError as error:
        _line("mx.compile", "fails")
        reason = textwrap.shorten(str(error), 160)
        return [
            f"mx.compile fails: {reason} Check that g++ works and that you may write to '{temporary_folder()}'. "
            "MLX_DISABLE_COMPILE=1 avoids it, but is slower."
        ]
    if not mx.allclose(compiled, _fused(x), atol=1e-5).item():
        _line("mx.compile", "gives wrong numbers")
        return ["mx.compile gives wrong numbers here. Set MLX_DISABLE_COMPILE=1, and please report this to MLX."]
    _line("mx.compile", "works")
    return []


def check_threads() -> list[str]:
    """Returns a remedy if a container may use fewer cores than a BLAS sees: its threads would wait for each other."""
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    if not _on_cpu() or quota is None or quota >= _cores() or any(name in os.environ for name in THREAD_VARIABLES):
        return []
    threads = max(1, int(quota))
    return [f"This container may use {quota:g} cores of {_cores()}. Set OMP_NUM_THREADS={threads}."]


def _fused(x: mx.array) -> mx.array:
    return mx.tanh(x) * mx.sigmoid(x) + 0.5 * x


def _reference_gflops(size: int) -> float | None:
    """Returns the speed of the same GEMM in a process with only MLX's own BLAS, or None if that process fails."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    code = f"from convlstm.backend.blas import gemm_gflops; print(gemm_gflops({size}))"
    result = subprocess.run(
        command(code),
        env={**environment, "CONVLSTM_BLAS": "none"},
        capture_output=True,
        text=True,
    )
    return float(result.stdout) if result.returncode == 0 else None


def _installed_backends() -> list[str]:
    names = []
    for name in BACKENDS:
        with suppress(metadata.PackageNotFoundError):
            names.append(metadata.distribution(name).metadata["Name"])
    return names


def _installed(packages: Sequence[str]) -> list[str]:
    """Returns the versions of the packages that are installed."""
    versions = []
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            versions.append(metadata.version(name))
    return versions


def _cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _quota(file: Path) -> float | None:
    """Returns the cores that a control group's `cpu.max` allows, such as "200000 100000"; None for "max 100000"."""
    try:
        limit, period = file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _on_cpu() -> bool:
    return mx.default_device() == mx.Device(mx.cpu)


def _line(name: str, text: str) -> None:
    print(f"{name:<12} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
