"""Makes the checkpoints in this folder, and what is expected of them. Run once; kept as a record.

It ran against commit 8ea9625, before the package was reorganised, from the root of the project:

    PYTHONPATH=. python tests/checkpoints/old/make.py

Each run in `runs` is trained for 2 steps on tiny frames. Only the files that loading and resuming need are kept. The
run's `expected.npz` holds an input, the forecasts from it, scores of some runs, and the weights and losses after 2 more
steps, all computed by the code of that commit. `about.json` lists the overrides of each run and describes the machine.

Do not run it again to mend a test that fails: new checkpoints say nothing about those of the old layout.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import convlstm
from convlstm.blas import hold_to_one_thread
from tests.support.machine import machine

import mlx.core as mx
import numpy as np

FOLDER, PROJECT = Path(__file__).resolve().parent, Path.cwd()
HORIZON = 4  # longer than in training, and than what SimVP forecasts at once

COMMON = (
    "data=radar_echo",
    "data.frame_size=8",
    "data.input_frames=3",
    "data.target_frames=2",
    "data.train_sequences=8",
    "data.validation_sequences=2",
    "data.test_sequences=2",
    # Large, so that a gradient of nothing but rounding errors does not become a whole step.
    "optimizer.eps=1e-3",
    "schedule.learning_rate=0.02",
    "trainer.batch_size=2",
    "trainer.log_every=1",
    "trainer.max_steps=2",
    "trainer.validate_every=2",
)
SMALL = ("model.kernel_size=3", "model.patch_size=2")
KEEP = "{channels: 2, kernel_size: 3, padding: 1}"
HALVE, DOUBLE = (f"{{channels: 2, kernel_size: {size}, stride: 2, padding: 1}}" for size in (3, 4))
LEVELS = (
    *("model.kernel_size=3", "model.hidden_channels=[2,2]", "model.head_channels=[2]"),
    *(f"model.downsample=[{KEEP},{HALVE}]", f"model.upsample=[{KEEP},{DOUBLE}]"),
)
SIMVP = (
    *("model.frames=3", "model.hidden_channels=2", "model.translator_channels=4", "model.levels=2", "model.blocks=2"),
    *("loss=mse", "schedule=one_cycle", "schedule.learning_rate=0.002"),
)
RUNS: dict[str, tuple[str, ...]] = {
    "encoder_forecaster": ("model=encoder_forecaster", *SMALL, "model.hidden_channels=[2,1]", "trainer.ema=0.5"),
    "encoder_forecaster_convgru": (
        *("model=encoder_forecaster", "model.cell=convgru", *SMALL, "model.hidden_channels=[2,2]"),
        *("loss=b_mse", "optimizer=adamw", "seed=1"),
    ),
    "shi2015": (
        *("model=shi2015", *SMALL, "model.hidden_channels=[2,1,1]", "model.grid_size=[4,4]"),
        *("optimizer=rmsprop", "schedule=constant"),
    ),
    "shi2017": (
        *("model=shi2017", *LEVELS, "model.recurrent_kernel_size=[3,1]"),
        *("loss=balanced", "schedule=staircase", "schedule.every=2"),
    ),
    "convgru": ("model=convgru", *LEVELS, "model.recurrent_kernel_size=[3,1]", "loss=b_mae", "trainer.accumulate=2"),
    "trajgru": (
        *("model=trajgru", *LEVELS, "model.links=[2,1]", "+model.flow_channels=2", "+model.flow_kernel_size=3"),
        *("loss=balanced", "data.transform={_target_: datasets.transforms.LogRain, minimum: 0.1, maximum: 100}"),
    ),
    "advection_residual": (
        *("model=advection_residual", *SMALL, "model.hidden_channels=[2,2]", "loss=balanced_csi"),
        *("data.frame_size=16", "data.augment=true"),
    ),
    "convlstm_stack": (
        *("model=convlstm_stack", *SMALL, "model.hidden_channels=[2,3]", "model.dropout=0.2", "loss=mse"),
        *("sampling=linear", "sampling.steps=5"),
    ),
    "predrnn": (
        *("model=predrnn", *SMALL, "model.hidden_channels=[1,1]", "model.norm_grid=[4,4]", "loss=mse_mae"),
        "sampling=exponential",
    ),
    "predrnn_v2": (
        *("model=predrnn_v2", *SMALL, "model.hidden_channels=[2,2]", "loss=mse", "optimizer=rmsprop"),
        *("sampling=reverse", "sampling.hold=1", "sampling.end=5"),
    ),
    "simvp": ("model=simvp", *SIMVP, "+model.large_kernel=9", "+model.mlp_ratio=2.0", "optimizer=adam_one_cycle"),
    "simvp_incepu": ("model=simvp_incepu", *SIMVP, "+model.kernel_sizes=[3,5]", "+model.groups=2"),
    "moving_mnist": (
        *("model=encoder_forecaster", *SMALL, "model.hidden_channels=[2]"),
        *("data=moving_mnist", "data.digits=builtin", "data.frame_size=16", "data.digit_size=8"),
    ),
    "archive": (
        *("model=convlstm_stack", *SMALL, "model.hidden_channels=[2,2]", "loss=mae"),
        *("data.archive=archive/fields.npy", "data.split=[0.5,0.25,0.25]", "data.thresholds=[10,20]"),
        "data.reader={start: 2024-01-01T00:00, step_minutes: 5, missing: 255}",
        "data.transform={_target_: datasets.transforms.Linear, scale: 40}",
    ),
}
EVALUATED = ("encoder_forecaster", "moving_mnist", "archive")


def call(door: str, folder: Path, *arguments: str) -> None:
    """Runs train.py or evaluate.py in a folder that holds `runs` and `archive`."""
    with tempfile.TemporaryDirectory() as indexes:
        line = [sys.executable, str(PROJECT / f"{door}.py"), *arguments]
        subprocess.run(line, cwd=folder, env={**os.environ, "CONVLSTM_DATA": indexes}, check=True)


def keep_what_is_needed(run: Path) -> None:
    """Removes what neither loading nor resuming needs; some of it describes the machine."""
    for path in run.iterdir():
        if path.is_file() and path.name != "config.yaml":
            path.unlink()
    for path in (run / "checkpoints").iterdir():
        if path.name != "last":
            shutil.rmtree(path)


def moving_spot(frames: int, side: int) -> np.ndarray:
    """A spot that moves and grows, (frames, side, side) within 0 and 1."""
    t, y, x = np.ogrid[:frames, :side, :side]
    distance = (y - 0.3 * side - t) ** 2 + (x - 0.4 * side - 2 * t) ** 2
    return ((0.6 + 0.1 * t) * np.exp(-distance / (0.15 * side + t) ** 2)).astype(np.float32)


def forecasts(run: Path, side: int, peak: float) -> dict[str, np.ndarray]:
    """An input with its forecast on the model's scale, and one in physical units, where a pixel is missing."""
    x = moving_spot(3, side)
    inputs, frames = x[None, ..., None], x * np.float32(peak)
    frames[1, 2, 5] = np.nan
    return {
        "inputs": inputs,
        "forecast": np.array(convlstm.load(run)(mx.array(inputs), HORIZON)),
        "frames": frames,
        "physical": convlstm.Forecaster.load(run)(frames, HORIZON),
    }


def scores(folder: Path) -> np.ndarray:
    """Some of an evaluation's scores by lead time, (2, T_out)."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["forecasters"]["model"]["scores"]
    return np.array([found[name]["per_lead"] for name in ("mse_per_pixel", "ssim")])


def resumed(run: Path) -> dict[str, np.ndarray]:
    """Returns the result of 2 more steps: weights, averaged weights, losses."""
    files = [run / "checkpoints" / "last" / f"{name}.safetensors" for name in ("model", "ema")]
    found = {path.stem: flat(path) for path in files if path.exists()}
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = {name: [float(row[name]) for row in rows if row[name]] for name in ("train_loss", "val_loss")}
    return found | {name: np.array(values) for name, values in losses.items()}


def flat(path: Path) -> np.ndarray:
    """All arrays of a file as one, in the order of their names."""
    return np.concatenate([np.ravel(array) for _, array in sorted(mx.load(str(path)).items())])


def expected(name: str) -> dict[str, np.ndarray]:
    """Returns what a checkpoint is expected to give: forecasts, scores, and the result of resuming."""
    side = 16 if "data.frame_size=16" in RUNS[name] else 8
    peak = {"moving_mnist": 1.0, "archive": 40.0}.get(name, 30.0)
    found = forecasts(FOLDER / "runs" / name, side, peak)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(FOLDER / "runs" / name, folder / "runs" / name)
        shutil.copytree(FOLDER / "archive", folder / "archive")
        if name in EVALUATED:
            quick = ("baselines=[]", "examples=[]", "cases=0")
            call("evaluate", folder, f"ckpt=runs/{name}", "out=evaluation", *quick)
            found["scores"] = scores(folder / "evaluation")
        call("train", folder, *COMMON, *RUNS[name], "trainer.max_steps=4", f"resume=runs/{name}")
        return found | resumed(folder / "runs" / name)


def main() -> None:
    hold_to_one_thread()  # as train.py does
    fields = np.round(36 * np.sqrt(moving_spot(32, 16) / 4)).astype(np.uint8)
    fields[5:9, :2] = 255
    (FOLDER / "archive").mkdir()
    np.save(FOLDER / "archive" / "fields.npy", fields)
    for name in RUNS:
        call("train", FOLDER, *COMMON, *RUNS[name], "output=runs", f"name={name}")
        keep_what_is_needed(FOLDER / "runs" / name)
        np.savez_compressed(FOLDER / "runs" / name / "expected.npz", **expected(name))
    about = {
        "commit": "8ea9625",
        "horizon": HORIZON,
        "common": COMMON,
        "runs": RUNS,
        "evaluated": EVALUATED,
        "machine": machine(),
        "cores": os.cpu_count(),
    }
    (FOLDER / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
