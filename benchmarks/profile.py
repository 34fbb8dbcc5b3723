"""Measures the machine's own speed, for comparison with the table: `python -m benchmarks.profile`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import working
from benchmarks.workload import Workload

import numpy as np

SIZE = 2048
COPIED = 256 << 20


class MLX:
    """The speed of a matrix product with MLX on the CPU."""

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        import convlstm.backend.blas

        import mlx.core as mx

        mx.set_default_device(mx.cpu)  # type: ignore[arg-type]
        self._gflops, self._blas = convlstm.backend.blas.gemm_gflops, convlstm.backend.blas.load_fast_blas()

    def gflops(self) -> float:
        """Returns billions of floating-point operations per second."""
        return self._gflops(SIZE, 1.0)

    def blas(self) -> str:
        """Returns the name and file of the BLAS."""
        return self._blas.name if self._blas.path is None else f"{self._blas.name} ({Path(self._blas.path).name})"


class PyTorch:
    """The speed of a matrix product with PyTorch."""

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        import torch

        if options.get("threads"):
            torch.set_num_threads(options["threads"])
        self._a, self._b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)

    def gflops(self) -> float:
        """Returns billions of floating-point operations per second."""
        return 2 * SIZE**3 / _fastest(lambda: self._a @ self._b) / 1e9

    def threads(self) -> int:
        """Returns the number of threads that PyTorch uses."""
        import torch

        return torch.get_num_threads()


def _fastest(call: Any, seconds: float = 1.0) -> float:
    call()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def copy_gigabytes_per_second() -> float:
    """Returns the bytes read and written per second by NumPy's copy of 256 MiB, in 1e9."""
    source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
    return 2 * COPIED / _fastest(lambda: np.copyto(target, source)) / 1e9


def profile(threads: int | None = None) -> dict[str, Any]:
    """Returns the machine's figures."""
    figures: dict[str, Any] = {}
    nothing = Workload("forward", "none", inputs=(1,))
    for side, key in (("our machine", "mlx"), ("pytorch's machine", "pytorch")):
        with working(side, threads) as worker:
            worker.ask("build", workload=nothing.as_json(), problem="", options={"threads": threads})
            figures[f"{key}_gemm_gflops"] = worker.ask("gflops")["value"]
            if key == "mlx":
                figures["blas"] = worker.ask("blas")["value"]
            else:
                figures["pytorch_threads"] = worker.ask("threads")["value"]
    figures["copy_gb_per_second"] = copy_gigabytes_per_second()
    return figures


if __name__ == "__main__":
    print(json.dumps(profile(), indent=2))
