"""S-PROG and STEPS beside those of pysteps: `python -m benchmarks.steps --python PATH --archive PATH [--archive PATH]`.

PATH of `--python` is the interpreter of an environment with pysteps and pyfftw. Each start of each archive is forecast
by both sides from the same frames, along the same motion, and with the same random numbers, those that pysteps draws.
Scores are over the pixels at which pysteps has values, in mm/h, pooled over the starts of an archive. The interval of a
difference is that of 95 % of 2,000 samples of the starts with replacement. A difference that is larger than 3 %, and
whose interval leaves out 0, is marked by a star.

`--options` compares the options of STEPS instead, each with its own run of both sides. `--own-draws` lets each side
draw its own numbers: then two ensembles of 24 members differ by several percent, above all by the few draws of the
motion's error, and the intervals do not know that. Ours runs by kernels then, and by MLX's own operations without it.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from benchmarks.pysteps_process import Pysteps
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.ops import band_processes
from convlstm.ops.algorithm import without_kernels

import mlx.core as mx
import numpy as np

THRESHOLDS = (0.5, 2.0, 5.0)
SIDES = ("ours", "pysteps")
SAMPLES, ALLOWED = 2000, 0.03

# Options of STEPS by the names of both sides.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "mask=obs": ({"mask": "obs"}, {"mask_method": "obs"}),
    "mask=sprog": ({"mask": "sprog"}, {"mask_method": "sprog"}),
    "mask=none": ({"mask": "none"}, {"mask_method": None}),
    "matching=mean": ({"matching": "mean"}, {"probmatching_method": "mean"}),
    "matching=none": ({"matching": "none"}, {"probmatching_method": None}),
    "noise=parametric": ({"noise": "parametric"}, {"noise_method": "parametric"}),
    "adjustment=fixed": ({"adjustment": "fixed"}, {"noise_stddev_adj": "fixed"}),
    "adjustment=auto": ({"adjustment": "auto"}, {"noise_stddev_adj": "auto"}),
    "no error of the motion": (
        {"parallel": [0, 1, 0], "perpendicular": [0, 1, 0]},
        {"vel_pert_method": None},
    ),
}


def main() -> None:
    """Compares both sides on the archives and prints a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of an environment with pysteps and pyfftw")
    parser.add_argument("--archive", action="append", required=True, help="radar files that a reader knows")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--size", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--leads", type=int, default=12)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--pixel-km", type=float, help="side of a pixel, if the files do not say it")
    parser.add_argument("--options", action="store_true", help="compare the options of STEPS")
    parser.add_argument("--own-draws", action="store_true", help="let each side draw its own random numbers")
    arguments = parser.parse_args()
    with Pysteps(arguments.python) as pysteps:
        for archive in arguments.archive:
            for name in OPTIONS if arguments.options else ("defaults",):
                compare(archive, name, arguments, pysteps)


def compare(archive: str, name: str, arguments: argparse.Namespace, pysteps: Pysteps) -> None:
    """Prints the scores of both sides on an archive, with a choice of the options of STEPS."""
    data = RadarEcho(
        archive=archive,
        split=(0, 0, 1),
        target_frames=arguments.leads,
        frame_size=arguments.size,
        test_sequences=arguments.starts,
        progress=False,
    )
    pixel_km, minutes = arguments.pixel_km or data.pixel_km, data.frame_interval
    if pixel_km is None or minutes is None:
        raise SystemExit(f"{archive} does not say the side of its pixels (--pixel-km NUMBER) or its step.")
    mine, theirs = OPTIONS[name]
    models: dict[str, SPROG] = {"sprog": SPROG()} if name == "defaults" else {}
    models["steps"] = DrawnByPysteps(arguments.members, minutes=minutes, pixel_km=pixel_km, **mine)
    options = {"n_ens_members": arguments.members, "kmperpixel": pixel_km, "timestep": minutes, **theirs}
    sums: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {(m, s): [] for m in models for s in SIDES}
    for batch in data.stream("test", 1, truth=True):
        inputs, truth = mx.array(batch["inputs"]), np.array(batch["truth"])[0, ..., 0]
        frames = data.physical(np.array(inputs))[0, ..., 0]
        flow = np.array(models["steps"].flow(inputs))[0, ..., ::-1].transpose(2, 0, 1)
        options["seed"] = seed = len(sums["steps", "ours"])
        result = pysteps(frames, arguments.leads, list(models), options={"steps": options}, flow=flow)
        for method, model in models.items():
            with contextlib.nullcontext() if arguments.own_draws else drawn_by_pysteps(models["steps"], seed):
                ours = data.physical(np.array(model(inputs, arguments.leads)))
            both = {
                "ours": ours[:, 0, ..., 0] if method == "steps" else ours[..., 0],
                "pysteps": result[method] if method == "steps" else result[method][None],
            }
            known = np.isfinite(both["pysteps"]).all(axis=0) & np.isfinite(truth)
            for side, members in both.items():
                sums[method, side].append(dict(statistics(np.where(known, members, 0), truth, known)))
    starts = len(sums["steps", "ours"])
    print(
        f"\n{archive}: {name}; {starts} starts, {arguments.leads} leads of {minutes:g} minutes, {arguments.members} "
        f"members, {arguments.size} x {arguments.size} pixels of {pixel_km:.3g} km\n"
    )
    print("| score | ours | pysteps | difference | 95 % interval |\n|---|---|---|---|---|")
    for method in models:
        for line in lines(method, *(sums[method, side] for side in SIDES)):
            print(line, flush=True)


class DrawnByPysteps(STEPS):
    """STEPS with the random numbers of pysteps inside `drawn_by_pysteps`."""

    given: np.ndarray | None = None

    def draws(self, key: mx.array) -> mx.array:
        return super().draws(key) if self.given is None else mx.array(self.given)


@contextlib.contextmanager
def drawn_by_pysteps(model: Any, seed: int) -> Iterator[None]:
    """Gives a model the random numbers that pysteps draws from a seed, in the order in which it draws them."""
    noises, errors = [], []
    for _ in range(model.size):
        noises.append(np.random.RandomState(seed))
        motion = np.random.RandomState(noises[-1].randint(0, high=int(1e9)))
        seed = motion.randint(0, high=int(1e9))
        # The direction across the motion is the other one here.
        errors.append([motion.laplace(scale=np.sqrt(0.5)), -motion.laplace(scale=np.sqrt(0.5))])

    def white_noise(keys: mx.array, number: int, H: int, W: int) -> mx.array:
        fields = np.stack([noise.randn(H, W) for noise in noises]).astype(np.float32)
        return mx.fft.rfft2(mx.array(fields)) / np.sqrt(H * W)

    before, model.given = band_processes.white_noise, np.array(errors, np.float32)
    band_processes.white_noise = white_noise
    try:
        with without_kernels():
            yield
    finally:
        band_processes.white_noise, model.given = before, None


def statistics(members: np.ndarray, truth: np.ndarray, known: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names and sums of a start, each a numerator and a denominator, (2,).

    Args:
        members: (M, T, H, W) in mm/h, 0 where nothing is known.
        truth, known: (T, H, W).
    """
    M, pixels = len(members), known.sum()
    y = truth[known]
    values, mean = members[:, known], members.mean(axis=0)[known]
    for threshold in THRESHOLDS:
        wet = y >= threshold
        for name, forecast in {"single": values >= threshold, "mean": mean[None] >= threshold}.items():
            if M > 1 or name == "single":
                label = f"CSI at {threshold:g} mm/h" + (f" of {name}s" if name == "mean" else " of members") * (M > 1)
                yield label.replace("means", "the mean"), np.array([(forecast & wet).sum(), (forecast | wet).sum()])
    yield "MAE" + " of the mean" * (M > 1), np.array([abs(mean - y).sum(), pixels])
    if M > 1:
        rank = (2 * np.arange(M) - M + 1)[:, None] / M**2
        crps = abs(values - y).mean(axis=0).sum() - (rank * np.sort(values, axis=0)).sum()
        yield "CRPS", np.array([crps, pixels])
        # Squared; its root is taken when the sums are known.
        yield "spread / error", np.array([(1 + 1 / M) * values.var(axis=0, ddof=1).sum(), ((mean - y) ** 2).sum()])
    decibels = 10 * np.log10(np.maximum(members, 10**-1.5)) + 15
    H, W = truth.shape[1:]
    fading = np.hanning(H)[:, None] * np.hanning(W)
    power = (abs(np.fft.rfft2(decibels * fading)) ** 2).mean(axis=(0, 1))
    wave = 1 / np.maximum(np.hypot(np.fft.fftfreq(H)[:, None], np.fft.rfftfreq(W)), 1e-9)
    for low in 2.0 ** np.arange(1, 7):
        inside = (wave >= low) & (wave < 2 * low)
        yield f"power at waves of {low:g} to {2 * low:g} pixels", np.array([power[inside].sum(), inside.sum()])


def lines(method: str, ours: list[dict[str, np.ndarray]], theirs: list[dict[str, np.ndarray]]) -> Iterator[str]:
    """Yields a row of the table for each score."""
    drawn = np.random.default_rng(0).integers(0, len(ours), (SAMPLES, len(ours)))
    for name in ours[0]:
        a, b = (np.array([start[name] for start in side], np.float64) for side in (ours, theirs))
        value, other = score(name, a.sum(axis=0)), score(name, b.sum(axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            differences = score(name, a[drawn].sum(axis=1)) / score(name, b[drawn].sum(axis=1)) - 1
            difference = value / other - 1
        low, high = np.nanpercentile(differences, [2.5, 97.5]) if np.isfinite(differences).any() else (np.nan,) * 2
        star = "*" if abs(difference) > ALLOWED and (low > 0 or high < 0) else ""
        name = f"{'S-PROG' if method == 'sprog' else 'STEPS'}: {name}"
        yield f"| {name} | {value:.4g} | {other:.4g} | {difference:+.1%}{star} | {low:+.1%} to {high:+.1%} |"


def score(name: str, sums: np.ndarray) -> Any:
    """Returns the score of sums (..., 2)."""
    ratio = sums[..., 0] / np.maximum(sums[..., 1], 1e-12)
    return np.sqrt(ratio) if name == "spread / error" else ratio


if __name__ == "__main__":
    main()
