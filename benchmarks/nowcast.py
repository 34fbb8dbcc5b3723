"""A learned ensemble beside STEPS on events: `python -m benchmarks.nowcast --ckpt PATH --archive PATH [...]`.

Both sides get the same frames, have the same number of members, and are scored on the same pixels, in mm/h as they were
read: those that lie at least `--rim` pixels inside the frame, so that rain may come in, and that the radar sees. An
archive is averaged to coarser pixels by `--coarsen`. Starts lie evenly over the event. Each start is a block: the
95 % intervals of ratios are from a bootstrap over blocks of starts that follow each other.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.steps import STEPS
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.ensemble_losses import block_means
from convlstm.metrics import EnsembleMetrics
from convlstm.metrics.spectrum import radial_spectrum, taper

import mlx.core as mx
import numpy as np

THRESHOLDS = (0.5, 2.0, 5.0)
# Wavelengths in km between which the power of members is compared with that of the truth.
OCTAVES = ((4, 8), (8, 16), (16, 32), (32, 64))
# Lead times in minutes of the power.
TIMES = (30, 60)
# Rain rates below this, in mm/h, count as this in the logarithm of the power.
FLOOR = 0.1
DRAWS = 2000


def main() -> None:
    """Compares both on the archives and prints a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", action="append", default=[], help="run or checkpoint of a learned ensemble")
    parser.add_argument("--untrained", action="store_true", help="also score the model as it is before training")
    parser.add_argument("--archive", action="append", required=True, help="radar files that a reader knows")
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--leads", type=int, default=12)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--coarsen", type=int, default=1)
    parser.add_argument("--step", type=float, help="minutes from frame to frame, a multiple of the archive's step")
    parser.add_argument("--size", type=int, help="side of the crops in pixels (default: the whole frame)")
    parser.add_argument("--rim", type=int, default=32, help="pixels at the border that do not count")
    parser.add_argument("--pixel-km", type=float, help="side of a pixel after coarsening, if the files do not say it")
    options = parser.parse_args()
    for archive in options.archive:
        compare(archive, options)


def compare(archive: str, options: argparse.Namespace) -> None:
    """Prints the scores of all sides on an archive."""
    data = RadarEcho(
        archive=archive,
        split=(0, 0, 1),
        target_frames=options.leads,
        frame_size=options.size,
        coarsen=options.coarsen,
        step=options.step,
        multiple=4,
        test_sequences=options.starts,
        progress=False,
    )
    minutes, pixel_km = data.frame_interval, options.pixel_km or data.pixel_km
    if pixel_km is None or not np.isfinite(minutes):
        raise SystemExit(f"{archive} does not say the side of its pixels (--pixel-km NUMBER) or its step.")
    models: dict[str, Any] = {"STEPS": STEPS(options.members, minutes=minutes, pixel_km=pixel_km)}
    facts = {"minutes": minutes, "pixel_km": pixel_km}
    if options.untrained:
        mx.random.seed(0)
        models["untrained"] = LearnedSTEPS(options.members)
    for path in options.ckpt:
        loaded = checkpoints.load_all(path)
        loaded.model.size = options.members
        models[f"{Path(path).name}, step {loaded.state['step']}"] = loaded.model
    for model in models.values():
        model.eval()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for batch in data.stream("test", 1, truth=True):
        inputs, truth = mx.array(batch["inputs"]), np.array(batch["truth"])
        inside = np.zeros(truth.shape, bool)
        inside[:, :, options.rim : -options.rim or None, options.rim : -options.rim or None] = True
        known = inside & np.isfinite(truth) & np.asarray(batch["input_mask"]).all(axis=1, keepdims=True)
        for name, model in models.items():
            begun = time.perf_counter()
            told = {key: facts[key] for key in getattr(model, "told", ())}
            members = model(inputs, options.leads, **told)
            mx.eval(members)
            seconds[name] += time.perf_counter() - begun
            members = np.stack([data.physical(np.array(member)) for member in members])
            scores[name].append(scored(members, np.nan_to_num(truth), known, minutes, pixel_km))
    height, width = data.frame_shape[:2]
    print(
        f"\n{archive}: {len(scores['STEPS'])} starts, {options.leads} leads of {minutes:g} min, {height} x {width} "
        f"pixels of {pixel_km:.3g} km of which {options.rim} at the border do not count, {options.members} members"
    )
    print(table(scores, seconds, options.members))


def scored(
    members: np.ndarray, truth: np.ndarray, known: np.ndarray, minutes: float, pixel_km: float
) -> dict[str, float]:
    """Returns the scores of one start and the number of pixels: members (M, 1, T, H, W, 1), in mm/h."""
    result: dict[str, float] = {"pixels": float(known.sum())}
    for side in (1, 4, 16):
        share = np.array(block_means(mx.array(known.astype(np.float32)), side))
        x, y = (
            np.array(block_means(mx.array((v * known).astype(np.float32)), side)) / np.maximum(share, 1e-6)
            for v in (members, truth)
        )
        metrics = EnsembleMetrics(len(members), THRESHOLDS)
        metrics.update(x, y, share >= 0.5)
        values = metrics.compute()
        result[f"crps {side}px"] = values["crps_mmh"]["overall"]
        if side == 1:
            result |= {f"brier {t:g}": values[f"brier@{t:g}mmh"]["overall"] for t in THRESHOLDS}
            result["spread^2"] = values["spread_mmh"]["overall"] ** 2
            result["error^2"] = values["rmse_of_mean_mmh"]["overall"] ** 2
            result["mean"] = float((members.mean(axis=0) * known).sum() / max(known.sum(), 1))
            result["truth"] = float((truth * known).sum() / max(known.sum(), 1))
            result["mae of median"] = float((abs(np.median(members, axis=0) - truth) * known).sum() / known.sum())
    for moment in TIMES:
        lead = round(moment / minutes) - 1
        if 0 <= lead < truth.shape[1]:
            of_truth = power(truth[:, lead, ..., 0] * known[:, lead, ..., 0], pixel_km)
            of_members = power(members[:, 0, lead, ..., 0] * known[0, lead, ..., 0], pixel_km)
            for (low, high), a, b in zip(OCTAVES, of_members, of_truth, strict=True):
                result[f"power {low}-{high} km {moment} min"] = a
                result[f"truth's {low}-{high} km {moment} min"] = b
    return result


def power(fields: np.ndarray, pixel_km: float) -> list[float]:
    """Returns the mean power of fields (n, H, W) in mm/h by octaves of waves, of the logarithm of rain."""
    height, width = fields.shape[1:]
    z = np.log10(np.maximum(fields, FLOOR) / FLOOR) * taper(height, width)
    spectrum = radial_spectrum(z).mean(axis=0)[1:]
    wavelength = max(height, width) / np.arange(1, len(spectrum) + 1) * pixel_km
    return [float(spectrum[(wavelength >= low) & (wavelength < high)].sum()) for low, high in OCTAVES]


def table(scores: dict[str, list[dict[str, float]]], seconds: dict[str, float], members: int) -> str:
    """Returns the scores of all sides, with ratios to those of STEPS and their intervals."""
    lines = []
    base = scores["STEPS"]
    weight = np.array([one["pixels"] for one in base])
    for name, starts in scores.items():

        def mean(key: str, starts: list[dict[str, float]] = starts) -> float:
            return float(np.average([one[key] for one in starts], weights=weight))

        cells = [f"{seconds[name] / len(starts):.1f} s"]
        for key in ("crps 1px", "crps 4px", "crps 16px", *(f"brier {t:g}" for t in THRESHOLDS), "mae of median"):
            ours, theirs = (np.array([one[key] for one in of]) for of in (starts, base))
            text = f"{key} {mean(key):.4g}"
            if name != "STEPS":
                low, high = interval(ours * weight, theirs * weight)
                text += f" ({(ours * weight).sum() / (theirs * weight).sum():.3f}, {low:.3f} to {high:.3f})"
            cells.append(text)
        cells.append(f"spread/error {np.sqrt((members + 1) / members * mean('spread^2') / mean('error^2')):.2f}")
        cells.append(f"mean {mean('mean') / mean('truth'):.2f} of the truth's")
        ratios = [
            f"{mean(key) / mean(key.replace('power', 'truth' + chr(39) + 's')):.2f}"
            for key in starts[0]
            if key.startswith("power")
        ]
        cells.append(f"power of {', '.join(f'{a}-{b}' for a, b in OCTAVES)} km: {' '.join(ratios)}")
        lines.append(f"{name}\n    " + "\n    ".join(cells))
    return "\n".join(lines)


def interval(ours: np.ndarray, theirs: np.ndarray, block: int = 2) -> tuple[float, float]:
    """Returns the 95 % interval of the ratio of sums over starts, by draws of blocks of neighbouring starts."""
    rng = np.random.default_rng(0)
    n = len(ours)
    starts = rng.integers(0, n, (DRAWS, -(-n // block)))
    drawn = ((starts[..., None] + np.arange(block)) % n).reshape(DRAWS, -1)[:, :n]
    ratios = ours[drawn].sum(axis=1) / theirs[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
