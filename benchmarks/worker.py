"""A process that does one side of one workload, and nothing else, so that its peak memory is that of this side.

`python -m benchmarks.worker SIDE` reads a request a line from its input, a JSON object with the key `do`, and answers
each with a line.
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

# Imported in the worker alone: each side has libraries of its own.
SIDES = {
    "ours": "benchmarks.ours:Side",
    "pytorch": "benchmarks.pytorch_side:Side",
    "our generator": "benchmarks.generator:Ours",
    "plain generator": "benchmarks.generator:Plain",
    "our machine": "benchmarks.profile:MLX",
    "pytorch's machine": "benchmarks.profile:PyTorch",
}


class Side(Protocol):
    """What a side has."""

    def run(self) -> float | None:
        """One run, the thing that is timed."""

    def check(self) -> dict[str, np.ndarray]:
        """What both sides must agree on."""


def resident() -> int:
    """Bytes of memory that the process holds now; its peak so far where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return peak()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Largest number of bytes of memory that the process has held."""
    try:  # Linux: a new process's ru_maxrss begins with that of the one that started it, VmHWM with its own
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def answer(request: dict[str, Any], sides: dict[str, Any], make: Any) -> dict[str, Any]:
    """Does what a request asks for."""
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
    # What libraries print must not come between the answers.
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
