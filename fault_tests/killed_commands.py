"""Conversions and forecasts that are killed at any moment: the next one works, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fault_tests.bench import LIMIT, ONE_THREAD, Bench
from fault_tests.child import ROOT
from fault_tests.faults import Try
from tests.support import forecast_runs, radar_archives

import numpy as np

CONVERT = ("-m", "convlstm.convert", "weights.npz", "run")
FORECAST = ("forecast.py", "ckpt=rain", "input=frames", "out=out", forecast_runs.READER)


def convert(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of killing `count` conversions of 19 MB, each with the next one."""
    folder = bench.new().parent
    folder.mkdir()
    weights = np.zeros((1024, 512, 3, 3), np.float32)
    named = {"cell_list.0.conv.weight": weights, "cell_list.0.conv.bias": np.zeros(1024, np.float32)}
    np.savez(folder / "weights.npz", **named)  # type: ignore[arg-type]
    yield from _killed(folder, CONVERT, "run", rng, count)


def forecast(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of killing `count` forecasts, each with the next one."""
    folder = bench.new().parent
    forecast_runs.write_run(folder / "rain")
    radar_archives.write_pictures(folder / "frames", 4)
    yield from _killed(folder, FORECAST, "out", rng, count)


def _killed(folder: Path, line: Sequence[str], result: str, rng: np.random.Generator, count: int) -> Iterator[Try]:
    start = time.perf_counter()
    if lost := _finished(folder, line):
        raise RuntimeError(f"[fault_tests] the undisturbed command failed: {lost}")
    whole, good = time.perf_counter() - start, _paths(folder)
    while count > 0:
        shutil.rmtree(folder / result, ignore_errors=True)
        process = _start(folder, line)
        time.sleep(rng.uniform(0.5, 1.0) * whole)
        process.kill()
        process.communicate()
        if process.returncode == 0:
            continue  # it ended before
        outcome = "while it wrote" if _paths(folder) - good or (folder / result).exists() else "before it wrote"
        if (folder / "run").exists():  # it was complete, and refuses another conversion
            shutil.rmtree(folder / "run")
        lost = _finished(folder, line) or ", ".join(sorted(_paths(folder) ^ good))
        count -= 1
        yield Try("SIGKILL at any moment", lost and f"{lost} (see '{folder}')", "", outcome)


def _start(folder: Path, line: Sequence[str]) -> subprocess.Popen[str]:
    first = [str(ROOT / line[0])] if line[0].endswith(".py") else [line[0]]
    return subprocess.Popen(
        [sys.executable, *first, *line[1:]],
        cwd=folder,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(folder: Path, line: Sequence[str]) -> str:
    """Runs a command to its end. Returns what it printed if it failed, else ""."""
    process = _start(folder, line)
    try:
        printed = process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return f"no end within {LIMIT} seconds: {process.communicate()[0][-300:]}"
    return f"status {process.returncode}: {printed[-300:]}" if process.returncode else ""


def _paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
