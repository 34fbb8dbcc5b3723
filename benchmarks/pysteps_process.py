"""A process with pysteps, which lives in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np


class Pysteps:
    """The process of `pysteps_side.py`, as a context.

    Args:
        python: The interpreter of an environment with pysteps and pyfftw; with dask pysteps can use several workers.
    """

    def __init__(self, python: str):
        side = Path(__file__).with_name("pysteps_side.py")
        self._process = subprocess.Popen(
            [python, str(side)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Pysteps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def __call__(
        self,
        rain: np.ndarray,
        leads: int,
        methods: list[str],
        *,
        options: dict[str, dict[str, Any]] | None = None,
        flow: np.ndarray | None = None,
        workers: int = 1,
    ) -> dict[str, np.ndarray]:
        """Returns the forecasts of each method, and `seconds_METHOD`; see `pysteps_side.forecast`.

        Raises:
            SystemExit: The process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "task.npz", Path(folder) / "result.npz"
            task = {"rain": rain, "leads": np.array(leads), "workers": np.array(workers)}
            task |= {"methods": np.array(json.dumps(methods)), "options": np.array(json.dumps(options or {}))}
            if flow is not None:
                task["flow"] = flow
            np.savez(source, allow_pickle=False, **task)
            self._process.stdin.write(f"{source}\t{target}\n")
            if self._process.stdout.readline() != "done\n":
                raise SystemExit("the process with pysteps has ended; what it printed is above.")
            with np.load(target) as file:
                return dict(file)
