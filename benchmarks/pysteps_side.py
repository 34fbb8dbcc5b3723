"""The side of pysteps in `benchmarks.steps` and `benchmarks.nowcast_speed`, run by a Python that has pysteps.

It imports nothing of this project. Each line of its input names two files, a task and its result, with a tab between:
rain comes in, and forecasts go out, as arrays of NumPy in mm/h. It answers each line by "done".
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD, ZERO = 0.1, -15.0


def decibels(rain: np.ndarray) -> np.ndarray:
    """Returns dBR, -15 below 0.1 mm/h; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rain >= THRESHOLD, 10 * np.log10(rain), np.where(np.isnan(rain), np.nan, ZERO))


def rates(db: np.ndarray) -> np.ndarray:
    """Returns mm/h of dBR, 0 below the threshold; NaN stays NaN."""
    return np.where(db < 10 * np.log10(THRESHOLD) - 1e-9, 0, 10 ** (db / 10))


def forecast(task: Any) -> dict[str, np.ndarray]:
    """Returns the forecasts that a task asks for, and the seconds that each took, on the clock and of the processor.

    Args:
        task: rain (T, H, W) in mm/h; methods, a list in JSON of 'motion' (by Lucas-Kanade), 'extrapolation', 'sprog'
            and 'steps'; flow (2, H, W) for them, unless 'motion' is asked for; options, in JSON, of 'sprog' and 'steps'
            by their names; leads, workers.
    """
    from pysteps import extrapolation, motion, nowcasts  # type: ignore[import-not-found]

    db, leads, options = decibels(task["rain"]), int(task["leads"]), json.loads(str(task["options"]))
    common = {"precip_thr": 10 * np.log10(THRESHOLD), "fft_method": "pyfftw", "num_workers": int(task["workers"])}
    results, seconds = {}, {}
    velocity = task.get("flow")
    for method in json.loads(str(task["methods"])):
        started, used = time.perf_counter(), time.process_time()
        if method == "motion":
            velocity = motion.get_method("LK")(np.nan_to_num(db[-3:], nan=ZERO))
        elif method == "extrapolation":
            result = extrapolation.get_method("semilagrangian")(np.nan_to_num(db[-1], nan=ZERO), velocity, leads)
        else:
            result = nowcasts.get_method(method)(db[-3:], velocity, leads, **common, **options.get(method, {}))
        seconds[f"seconds_{method}"] = np.array([time.perf_counter() - started, time.process_time() - used])
        if method != "motion":
            results[method] = rates(result).astype(np.float32)
    return results | seconds


def main() -> None:
    """Forecasts what the lines of the input ask for."""
    answers = sys.stdout
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # pysteps prints each step
        for line in sys.stdin:
            source, target = line.rstrip("\n").split("\t")
            with np.load(source) as task:
                np.savez(target, allow_pickle=False, **forecast(dict(task)))
            print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
