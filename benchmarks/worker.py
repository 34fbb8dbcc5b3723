"""A process for one side of one workload, so that its peak memory is that of this side alone.

`python -m benchmarks.worker SIDE` reads requests from its input, one line each: a JSON object with the key `do`. It
answers each with a line.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

from benchmarks.workload import Workload

import numpy as np

# Imported only in the worker, since each side has its own libraries.
SIDES = {
    "ours": "benchmarks.ours:Side",
    "pytorch": "benchmarks.pytorch_side:Side",
    "our generator": "benchmarks.generator:Ours",
    "plain generator": "benchmarks.generator:Plain",
    "our machine": "benchmarks.profile:MLX",
    "pytorch's machine": "benchmarks.profile:PyTorch",
    "cases of the device": "benchmarks.gpu.correctness:Side",
}


class Side(Protocol):
    """The interface of a side."""

    def run(self) -> float | None:
        """Runs the work once. This is timed."""

    def check(self) -> dict[str, np.ndarray]:
        """Returns the arrays that must be equal on both sides."""


def resident() -> int:
    """Returns the bytes of memory that the process holds now, or its peak so far if the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return peak()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Returns the largest number of bytes of memory that the process has held."""
    try:  # Linux: ru_maxrss of a new process begins with its parent's, VmHWM with its own
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def answer(request: dict[str, Any], sides: dict[str, Any], make: Any) -> dict[str, Any]:
    """Fulfils a request and returns the answer."""
    what = request["do"]
    if what == "build":
        workload = Workload.from_json(request["workload"])
        sides["before"] = resident()
        sides["side"] = make(workload, Path(request["problem"]), request["options"])
        return {}
    side = sides["side"]
    if what == "check":
        np.savez(request["out"], **side.check())
        return {}
    if what == "run":
        start = time.perf_counter()
        loss = side.run()
        return {"seconds": time.perf_counter() - start, "loss": loss}
    if what == "memory":
        return {"peak_bytes": peak(), "own_bytes": peak() - sides["before"]}
    return {"value": getattr(side, what)()}


def main() -> None:
    # Output of libraries must not mix with the answers.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = SIDES[sys.argv[1]].partition(":")
    sides: dict[str, Any] = {}
    make = None
    for line in sys.stdin:
        try:
            if make is None:
                make = getattr(importlib.import_module(module), name)
            reply = answer(json.loads(line), sides, make)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
