"""Times indexing and streaming of an archive larger than memory, and training from it: `python -m benchmarks.archive`.

It writes a stack of 20 GB of radar frames, most of them a hole in the file, and removes it at the end.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.report import write
from convlstm import EncoderForecaster
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step, to_device

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

SIDE, CROP, BATCH, EVERY = 1024, 256, 4, 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of the archive (default: 20)")
    parser.add_argument("--steps", type=int, default=8, help="training steps of each side (default: 8)")
    parser.add_argument("--folder", type=Path, help="folder to write the archive to (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("runs/archive.json"), help="(default: runs/archive.json)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "archive.npy"
        frames = write_archive(path, options.gigabytes)
        print(f"an archive of {frames:,} frames of {SIDE} x {SIDE}, {path.stat().st_size / 1e9:.1f} GB")
        result = {"machine": describe(), "frames": frames, **measure(path, options.steps)}
    write(result, options.out)
    print(f"Written: {options.out}")


def write_archive(path: Path, gigabytes: float) -> int:
    """Writes a uint16 stack of hundredths of mm/h with rain in every 64th frame. Returns its number of frames."""
    frames = int(gigabytes * 1e9 / (2 * SIDE**2))
    stack = np.lib.format.open_memmap(path, "w+", np.uint16, (frames, SIDE, SIDE))
    rain = SyntheticRadar((CROP, CROP), 1, pixel_km=1.0).sample(np.random.default_rng(0))[0]
    frame = np.tile(np.minimum(rain * 100, 60000).astype(np.uint16), (SIDE // CROP, SIDE // CROP))
    for t in range(0, frames, EVERY):
        stack[t] = frame
    stack.flush()
    return frames


def measure(path: Path, steps: int) -> dict[str, Any]:
    """Returns seconds to index and to start, peak memory, and step times with data of the archive and of one batch."""
    settings: dict[str, Any] = {"archive": str(path), "input_frames": 5, "target_frames": 10, "frame_size": CROP}
    settings |= {"reader": {"start": "2020-01-01", "step_minutes": 5, "units": "mm/h", "scale": 0.01}}
    settings |= {"index": str(path.parent / "index"), "split": (0.8, 0.1, 0.1)}
    _, first = timed(lambda: RadarEcho(**settings))
    # The processes that read the archive have ended.
    reading = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    print(f"index       {first:.1f} s, peak {peak_megabytes():.0f} MB, {reading:.0f} MB in the process that reads")
    data, again = timed(lambda: RadarEcho(**settings, progress=False))
    stream = data.stream("train", BATCH)
    batch, opening = timed(lambda: next(stream))
    print(f"start again {again:.1f} s, first batch {opening:.2f} s, peak {peak_megabytes():.0f} MB")

    model = EncoderForecaster(1, None, (64, 64), patch_size=4, concatenate=True)
    optimizer = optim.Adam(1e-4)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MeanSquaredError(), 1.0)
    one, key = to_device(batch), mx.random.key(0)
    for _ in range(2):
        step(one, key)
    sides: dict[str, list[float]] = {"bare": [], "streamed": []}
    for _ in range(steps):
        sides["bare"].append(timed(lambda: step(one, key))[1])
        sides["streamed"].append(timed(lambda: step(to_device(next(stream)), key))[1])
    stream.close()
    bare, streamed = (statistics.median(seconds) for seconds in sides.values())
    print(f"a step      {bare:.2f} s bare, {streamed:.2f} s fed from the archive: {bare / streamed:.2f} of the rate")
    print(f"peak        {peak_megabytes():.0f} MB in total, including the model's own memory")
    times = {"index_seconds": first, "start_seconds": again, "first_batch_seconds": opening}
    return times | {
        "step_seconds": sides,
        "rate": bare / streamed,
        "peak_bytes": int(peak_megabytes() * 1e6),
        "reading_peak_bytes": int(reading * 1e6),
    }


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Returns a call's result and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def peak_megabytes() -> float:
    """Returns the largest memory of this process so far, on Linux."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
