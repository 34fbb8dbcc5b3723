"""S-PROG and STEPS beside those of pysteps: `python -m benchmarks.steps --python PATH --archive PATH [--archive PATH]`.

PATH of `--python` is the interpreter of an environment with pysteps and pyfftw. Each start of each archive is forecast
by both sides, one after the other, from the same frames and along the same motion. Scores are over the pixels at which
pysteps has values, in mm/h, pooled over all starts of an archive.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.metrics import EnsembleMetrics, RainMetrics

import mlx.core as mx
import numpy as np

THRESHOLDS = (0.5, 2.0, 5.0)


def main() -> None:
    """Compares both on the archives and prints a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of an environment with pysteps and pyfftw")
    parser.add_argument("--archive", action="append", required=True, help="radar files that a reader knows")
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--size", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--leads", type=int, default=12)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--pixel-km", type=float, help="side of a pixel, if the files do not say it")
    options = parser.parse_args()
    for archive in options.archive:
        compare(archive, options)


def compare(archive: str, options: argparse.Namespace) -> None:
    """Prints the scores and the speed of both sides on an archive."""
    data = RadarEcho(
        archive=archive,
        split=(0, 0, 1),
        target_frames=options.leads,
        frame_size=options.size,
        test_sequences=options.starts,
        progress=False,
    )
    pixel_km = options.pixel_km or data.pixel_km
    minutes = data.frame_interval
    if pixel_km is None or minutes is None:
        raise SystemExit(f"{archive} does not say the side of its pixels (--pixel-km NUMBER) or its step.")
    models = {
        "sprog": SPROG(),
        "steps": STEPS(options.members, minutes=minutes, pixel_km=pixel_km),
    }
    sides = [(name, side) for name in models for side in ("ours", "pysteps")]
    rain = {of: RainMetrics(THRESHOLDS, units="mm/h", pixel_km=pixel_km) for of in sides}
    ensembles = {side: EnsembleMetrics(options.members, THRESHOLDS) for side in ("ours", "pysteps")}
    seconds: dict[tuple[str, str], list[float]] = {of: [] for of in sides}
    for batch in data.stream("test", 1, truth=True):
        inputs, truth = mx.array(batch["inputs"]), np.array(batch["truth"])
        frames = data.physical(np.array(inputs))[..., 0]
        flow = np.array(models["sprog"].flow(inputs))[..., ::-1].transpose(0, 3, 1, 2)
        theirs = other_side(options, frames, flow, pixel_km, minutes)
        for name, model in models.items():
            model(inputs, 1)  # builds kernels
            begun = time.perf_counter()
            forecast = model(inputs, options.leads)
            mx.eval(forecast)
            seconds[name, "ours"].append(time.perf_counter() - begun)
            seconds[name, "pysteps"].append(float(theirs["seconds"][0][1 if name == "sprog" else 2]))
            both = {"ours": data.physical(np.array(forecast)), "pysteps": theirs[name][..., None]}
            if name == "steps":
                both["pysteps"] = both["pysteps"].swapaxes(0, 1)
            known = np.isfinite(both["pysteps"])
            known = known.all(axis=0) if name == "steps" else known
            for side, values in both.items():
                values = np.nan_to_num(values)
                if name == "steps":
                    ensembles[side].update(values, truth, known)
                    values = values.mean(axis=0)
                rain[name, side].update(values, truth, known)
    print(f"\n{archive}: {options.size} x {options.size}, {options.leads} leads, {options.members} members")
    for of in sides:
        scores = rain[of].compute()
        if of[0] == "steps":
            scores |= ensembles[of[1]].compute()
        names = [f"csi@{t:g}mmh" for t in THRESHOLDS] + ["mae_mmh"]
        names += ["crps_mmh", "spread_skill"] if of[0] == "steps" else []
        cells = "  ".join(f"{name} {scores[name]['overall']:.3f}" for name in names)
        print(f"{' '.join(of):14} {np.median(seconds[of]):7.2f} s a start  {cells}")


def other_side(
    options: argparse.Namespace, frames: np.ndarray, flow: np.ndarray, pixel_km: float, minutes: float
) -> dict[str, np.ndarray]:
    """Returns what pysteps forecasts, and its seconds for the motion, S-PROG and STEPS."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        facts = {"leads": options.leads, "members": options.members, "levels": 6, "workers": 1}
        np.savez(source, allow_pickle=False, rain=frames, flow=flow, pixel_km=pixel_km, minutes=minutes, **facts)
        side = Path(__file__).with_name("pysteps_side.py")
        subprocess.run([options.python, str(side), str(source), str(target)], check=True)
        with np.load(target) as file:
            return dict(file)


if __name__ == "__main__":
    main()
