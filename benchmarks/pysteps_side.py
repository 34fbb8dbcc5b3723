"""The side of pysteps in `benchmarks.steps`, run by a Python that has pysteps: `python pysteps_side.py IN.npz OUT.npz`.

It imports nothing of this project: rain comes in, and forecasts go out, as arrays of NumPy in mm/h.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np

THRESHOLD, ZERO = 0.1, -15.0


def decibels(rain: np.ndarray) -> np.ndarray:
    """Returns dBR, -15 below 0.1 mm/h; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        return np.where(rain >= THRESHOLD, 10 * np.log10(rain), np.where(np.isnan(rain), np.nan, ZERO))


def rates(db: np.ndarray) -> np.ndarray:
    """Returns mm/h of dBR, 0 below the threshold; NaN stays NaN."""
    return np.where(db < 10 * np.log10(THRESHOLD) - 1e-9, 0, 10 ** (db / 10))


def main(source: str, target: str) -> None:
    """Forecasts every start in the file `source` by the methods that it names."""
    from pysteps import motion, nowcasts  # type: ignore[import-not-found]

    task = np.load(source)
    rain, leads, members = task["rain"], int(task["leads"]), int(task["members"])
    options = {"precip_thr": 10 * np.log10(THRESHOLD), "n_cascade_levels": int(task["levels"]), "fft_method": "pyfftw"}
    lucas_kanade, sprog, steps = motion.get_method("LK"), nowcasts.get_method("sprog"), nowcasts.get_method("steps")
    results: dict[str, list] = {name: [] for name in ("sprog", "steps", "seconds")}
    for start, frames in enumerate(rain):
        db = decibels(frames)
        seconds = [time.perf_counter()]
        velocity = task["flow"][start] if "flow" in task else lucas_kanade(np.nan_to_num(db[-3:], nan=ZERO))
        seconds.append(time.perf_counter())
        results["sprog"].append(rates(sprog(db[-3:], velocity, leads, **options)).astype(np.float32))
        seconds.append(time.perf_counter())
        if members:
            forecast = steps(
                db[-3:],
                velocity,
                leads,
                n_ens_members=members,
                kmperpixel=float(task["pixel_km"]),
                timestep=float(task["minutes"]),
                seed=start,
                num_workers=int(task["workers"]),
                **options,
            )
            results["steps"].append(rates(forecast).astype(np.float32))
        seconds.append(time.perf_counter())
        results["seconds"].append(np.diff(seconds))
    np.savez(target, allow_pickle=False, **{name: np.array(values) for name, values in results.items()})


if __name__ == "__main__":
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # pysteps prints each step
        main(*sys.argv[1:])
