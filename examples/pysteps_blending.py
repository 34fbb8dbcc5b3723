"""Blends members of this package with a weather model in pysteps: `python examples/pysteps_blending.py`, a minute.

It needs pysteps: `pip install "convlstm[cpu,pysteps]"`. Radar, weather model and truth of the example are invented. The
members go into `pysteps.blending.steps.forecast` as an external nowcast, and a table has the errors, by lead time, of
the members alone, of the weather model alone and of both blended.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs in a checkout without installation, too

from convlstm.pysteps_plugin import register  # before mlx: on Linux CPUs convlstm brings a fast BLAS

import numpy as np

MINUTES, KM = 5.0, 2.0
# dBR: 0.1 mm/h, and no rain.
THRESHOLD, ZERO = -10.0, -15.0
RADAR_FRAMES = 5


def smooth_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a periodic field of mean 0 and variance 1, (size, size), whose waves are mostly 40 pixels and longer."""
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    amplitudes = np.maximum(waves, 1 / 40) ** -1.8
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * amplitudes, s=(size, size))
    return (field - field.mean()) / field.std()


def moving_rain(frames: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns rain that moves and changes, and a weather model's version of it, (T, size, size) each in dBR.

    The weather model has the rain in places that are some pixels off, and a part of it is made up. Its error does not
    depend on the lead time.
    """
    z, error = smooth_noise(2 * size, rng), smooth_noise(2 * size, rng)
    true: list[np.ndarray] = []
    modelled: list[np.ndarray] = []
    for t in range(frames):
        z = 0.97 * z + np.sqrt(1 - 0.97**2) * smooth_noise(2 * size, rng)
        for fields, field in ((true, z), (modelled, 0.9 * np.roll(z, (2, 3), axis=(0, 1)) + np.sqrt(0.19) * error)):
            moved = np.roll(field, (t, -2 * t), axis=(0, 1))[:size, :size]
            decibels = 10 * (moved - 1)
            fields.append(np.where(decibels >= THRESHOLD, decibels, ZERO))
    return np.stack(true), np.stack(modelled)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what pysteps prints from the screen."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def blend(
    radar: np.ndarray, members: np.ndarray, modelled: np.ndarray, velocity: np.ndarray, motions: np.ndarray, seed: int
) -> np.ndarray:
    """Returns the members (M, T, m, n) blended with a weather model, all in dBR.

    Args:
        radar: The last three fields, (3, m, n).
        members: (M, T, m, n), as `get_method("convlstm")` returns them.
        modelled: The weather model, (T + 1, m, n), from the time of the last radar field on.
        velocity: Motion of the radar's rain, (2, m, n).
        motions: Motion of the weather model's rain, (T + 1, 2, m, n).
        seed: Seed of pysteps' draws.
    """
    from pysteps import blending  # type: ignore[import-not-found,import-untyped,unused-ignore]

    # pysteps expects the last radar field before the forecasts.
    now = np.broadcast_to(radar[-1], (len(members), 1, *radar.shape[1:]))
    with tempfile.TemporaryDirectory() as skill, quiet():
        result: np.ndarray = blending.get_method("steps")(
            precip=radar,
            precip_models=modelled[None],
            velocity=velocity,
            velocity_models=motions[None],
            timesteps=members.shape[1],
            timestep=MINUTES,
            issuetime=datetime.datetime(2026, 1, 1),
            n_ens_members=len(members),
            precip_nowcast=np.concatenate([now, members], axis=1),
            nowcasting_method="external_nowcast",
            noise_method=None,  # the members have noise of their own
            precip_thr=THRESHOLD,
            kmperpixel=KM,
            outdir_path_skill=f"{skill}/",
            seed=seed,
        )
    return result


def rates(decibels: np.ndarray) -> np.ndarray:
    """Returns mm/h of dBR; NaN stays NaN."""
    return np.where(decibels < THRESHOLD, 0, 10 ** (decibels / 10))


def crps(members: np.ndarray, truth: np.ndarray) -> float:
    """Returns the CRPS of members (M, m, n) in mm/h, of the pixels that all members know; of one its absolute error."""
    known = np.isfinite(members).all(axis=0)
    x, y = np.sort(members[:, known], axis=0), truth[known]
    M = len(x)
    spread = ((2 * np.arange(1, M + 1) - M - 1)[:, None] * x).sum(axis=0) / M**2
    return float((np.abs(x - y).mean(axis=0) - spread).mean())


def main(argv: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="steps", help="steps, nowcast or a run of an ensemble (default steps)")
    parser.add_argument("--members", type=int, default=12, help="members (default 12)")
    parser.add_argument("--leads", type=int, default=12, help="steps of five minutes to forecast (default 12)")
    parser.add_argument("--size", type=int, default=128, help="side of the fields in pixels (default 128)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the fields and of all draws (default 1)")
    parser.add_argument("--out", help="a .npy file for the blended members in dBR (default: none)")
    given = parser.parse_args(argv)

    print(register())
    from pysteps import motion, nowcasts  # type: ignore[import-not-found,import-untyped,unused-ignore]

    frames = RADAR_FRAMES + given.leads
    true, modelled = moving_rain(frames, given.size, np.random.default_rng(given.seed))  # yours: pysteps' importers
    radar, modelled, truth = true[:RADAR_FRAMES], modelled[RADAR_FRAMES - 1 :], rates(true[RADAR_FRAMES:])

    nowcast: Any = nowcasts.get_method("convlstm")
    members = nowcast(
        radar,
        None,  # the model finds the motion itself
        given.leads,
        n_ens_members=given.members,
        ckpt=given.ckpt,
        timestep=MINUTES,
        kmperpixel=KM,
        seed=given.seed,
    )
    flow = motion.get_method("LK")
    with quiet():
        velocity = flow(radar[-3:])
        motions = [flow(modelled[t - 1 : t + 1]) for t in range(1, len(modelled))]
    blended = blend(radar[-3:], members, modelled, velocity, np.stack([motions[0], *motions]), given.seed)

    sources = {"members": members, "weather model": modelled[None, 1:], "blended": blended}
    scores = {
        name: np.array([crps(rates(x[:, t]), truth[t]) for t in range(given.leads)]) for name, x in sources.items()
    }
    print(f"CRPS in mm/h; members {members.shape}, blended {blended.shape}")
    print("minutes" + "".join(f"{name:>16}" for name in scores))
    for t in range(given.leads):
        print(f"{MINUTES * (t + 1):7g}" + "".join(f"{values[t]:16.3f}" for values in scores.values()))
    if given.out:
        np.save(given.out, blended)
    return scores


if __name__ == "__main__":
    main()
