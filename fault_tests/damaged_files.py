"""Damaged files of every format that the project reads: each is read, refused or left out, soon and by name."""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fault_tests.bench import ONE_THREAD, Bench
from fault_tests.child import ROOT
from fault_tests.faults import Try
from fault_tests.file_damage import HARMS, SHARES, harmed
from fault_tests.file_sources import Source, built, own

import numpy as np

LIMIT = 10.0
"""Seconds within which a file must be read, refused or left out."""

PATIENCE = 60.0
"""Seconds after which the program that reads is blocked."""


class Reading:
    """A process that reads files. It is started again if a file has ended or blocked it.

    Args:
        log: File of its standard error.
    """

    def __init__(self, log: Path):
        self._log = log
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as err:
            self._process: Any = subprocess.Popen(
                [sys.executable, "-m", "fault_tests.file_reader"],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,
            )
        self.read({"door": "", "path": "", "name": "", "options": {}, "number": 0})  # waits for its imports

    def read(self, request: dict[str, Any]) -> tuple[str, str, float]:
        """Returns the outcome of reading a file, its text, and the seconds that it took."""
        start = time.perf_counter()
        process = self._process
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if readable else b""
        seconds = time.perf_counter() - start
        if line:
            answer = json.loads(line)
            return answer["outcome"], answer["text"], seconds
        self.end()
        how = f"it ended the process (status {process.returncode})" if readable else "it blocks the process"
        self._start()
        return "lost", how, seconds

    def end(self) -> None:
        """Ends the process."""
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # of a request that it did not read
            self._process.stdin.close()


def damaged_files(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of reading `count` damaged files: small ones that are built here, and those of `bench.files`.

    Every format has the same number of tries. Frames are read alone or beside an intact file of the same kind.
    """
    sources = built(bench.new().parent)
    if bench.files is not None:
        sources += own(bench.files)
    others = [(source.path / part).read_bytes()[:65536] for source in sources for part in source.parts()]
    formats = sorted({source.format for source in sources})
    seed, processes = int(rng.integers(1 << 31)), os.cpu_count() or 1
    idle: queue.SimpleQueue[Reading] = queue.SimpleQueue()
    readings = [Reading(bench.folder / f"reader-{number}.log") for number in range(processes)]
    for reading in readings:
        idle.put(reading)
    stopped = threading.Event()

    def one(number: int) -> Try | None:
        if stopped.is_set():
            return None
        case = np.random.default_rng([seed, number])
        format = formats[number % len(formats)]
        fitting = [source for source in sources if source.format == format]
        reading = idle.get()
        try:
            return _tried(bench.new().parent, reading, case, fitting[int(case.integers(len(fitting)))], others)
        finally:
            idle.put(reading)

    with ThreadPoolExecutor(processes) as pool:
        try:
            yield from (result for result in pool.map(one, range(count)) if result is not None)
        finally:
            stopped.set()
            for reading in readings:
                reading.end()


def _tried(folder: Path, reading: Reading, rng: np.random.Generator, source: Source, others: list[bytes]) -> Try:
    """Damages a copy of a file, has it read, and keeps it if something is lost."""
    kind = str(rng.choice(list(HARMS), p=SHARES))
    damaged = source.copy(folder / "damaged")
    parts = source.parts()
    part = parts[int(rng.integers(len(parts)))]
    file = damaged / part if part else damaged
    content = file.read_bytes()
    file.write_bytes(harmed(content, HARMS[kind], rng, others) if content else b"")
    path = damaged
    if source.door == "archive" and rng.random() < 0.5:
        source.copy(folder / "intact")
        path = folder
    number = int(rng.integers(1 << 16))
    request = {"door": source.door, "path": str(path), "name": str(damaged), "options": source.options}
    outcome, text, seconds = reading.read(request | {"number": number})
    if outcome != "lost" and seconds > LIMIT:
        outcome, text = "lost", f"{outcome} after {seconds:.1f} seconds: {text}"
    if outcome != "lost":
        shutil.rmtree(folder)
        return Try(source.format, outcome=outcome, seconds=seconds)
    (folder / "request.json").write_text(json.dumps(request | {"number": number}))
    return Try(source.format, f"{kind}: {text} (see '{folder}')", seconds=seconds)
