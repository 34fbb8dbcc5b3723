"""Speed of extrapolation, S-PROG and STEPS beside pysteps: `python -m benchmarks.nowcast_speed --python PATH`.

PATH is the interpreter of an environment with pysteps, pyfftw and dask. The two sides take turns, each in a process of
its own, with as many threads as there are cores. Both forecast the same synthetic rain, or that of `--archive`. Ours
find the motion each time. For pysteps the motion counts for the extrapolation only (Lucas-Kanade): S-PROG and STEPS get
one that is known. On a machine that others use too, the seconds of the processor are the fairer ones.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.machine import describe
from benchmarks.pysteps_process import Pysteps
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.datasets.transforms import Reflectivity

import mlx.core as mx
import numpy as np

METHODS = {"extrapolation": ["motion", "extrapolation"], "sprog": ["sprog"], "steps": ["steps"]}


def main() -> None:
    """Prints a table of times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of an environment with pysteps, pyfftw and dask")
    parser.add_argument("--archive", help="radar files that a reader knows; synthetic rain without")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--leads", type=int, default=20)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    inputs = frames_of(arguments)
    rain = Reflectivity().inverse(inputs)[0, ..., 0]
    models: dict[str, Any] = {
        "extrapolation": Extrapolation(),
        "sprog": SPROG(),
        "steps": STEPS(arguments.members, minutes=5, pixel_km=1),
    }
    options = {"steps": {"n_ens_members": arguments.members, "kmperpixel": 1.0, "timestep": 5.0, "seed": 0}}
    workers = len(os.sched_getaffinity(0))
    flow = np.array(models["sprog"].flow(mx.array(inputs)))[0, ..., ::-1].transpose(2, 0, 1)
    print(f"{describe()}; load before: {os.getloadavg()[0]:.1f}", flush=True)
    with Pysteps(arguments.python) as pysteps:
        for method in arguments.methods:
            call: dict[str, Any] = {"options": options, "flow": flow, "workers": workers}
            models[method](mx.array(inputs), 1)
            pysteps(rain, 1, METHODS[method], **call)
            ours, theirs = [], []
            for _ in range(arguments.repeats):
                ours.append(timed(partial(models[method], mx.array(inputs), arguments.leads)))
                result = pysteps(rain, arguments.leads, METHODS[method], **call)
                theirs.append(sum(result[f"seconds_{name}"] for name in METHODS[method]))
            report(method, np.array(ours), np.array(theirs))


def frames_of(arguments: argparse.Namespace) -> np.ndarray:
    """Returns five frames on the scale of `Reflectivity`, (1, 5, H, W, 1)."""
    size = arguments.size
    if arguments.archive is None:
        radar = SyntheticRadar(size, 5, pixel_km=1.0, wet_share=0.3)
        return Reflectivity().forward(radar.sample(np.random.default_rng(0)))[None, ..., None].astype(np.float32)
    options = {"frame_size": size, "target_frames": 1, "test_sequences": 1, "progress": False}
    data = RadarEcho(archive=arguments.archive, split=(0, 0, 1), **options)
    return np.array(next(iter(data.stream("test", 1)))["inputs"])


def timed(run: Callable[[], mx.array]) -> np.ndarray:
    """Returns the seconds that a computation takes, on the clock and of the processor."""
    started, used = time.perf_counter(), time.process_time()
    mx.eval(run())
    return np.array([time.perf_counter() - started, time.process_time() - used])


def report(method: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Prints the medians and the ranges of seconds (repeats, 2), and the ratios of pairs."""
    for n, clock in enumerate(("clock", "processor")):
        sides = [f"{np.median(s[:, n]):.2f} ({s[:, n].min():.2f}-{s[:, n].max():.2f})" for s in (ours, theirs)]
        ratio = theirs[:, n] / ours[:, n]
        times = f"{np.median(ratio):.1f} ({ratio.min():.1f}-{ratio.max():.1f})"
        print(f"| {method} | {clock} | {sides[0]} | {sides[1]} | {times} |", flush=True)


if __name__ == "__main__":
    main()
