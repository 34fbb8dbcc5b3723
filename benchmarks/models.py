"""Makes the table of models, with size, work, speed, and scores after equal training: `python -m benchmarks.models`.

The speed is that of a training step on 4 sequences of Moving-MNIST's size, 10 frames of 64 x 64 in and 10 out. The
score is that of test sequences of the quickstart's data after a fixed number of seconds, or steps, of `train.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import ROOT, WARM_UP, WorkerError, working
from benchmarks.machine import describe
from benchmarks.ours import MODELS
from benchmarks.report import write
from benchmarks.workload import Workload
from convlstm.cli.configuration import CONFIGS, plain
from convlstm.runs.metrics_log import MetricsLog
from convlstm.summary import macs, parameters

import hydra
import yaml
from tqdm import tqdm

GRU = ("model=encoder_forecaster", "model.cell=convgru")
CHOICES: dict[str, tuple[str, ...]] = {
    "encoder_forecaster": ("model=encoder_forecaster",),
    "convgru": GRU,
    "trajgru": ("model=encoder_forecaster", "model.cell=trajgru", "model.kernel_size=3"),
    "convlstm_stack": ("model=convlstm_stack",),
    "predrnn": ("model=predrnn",),
    "predrnn_v2": ("model=predrnn_v2",),
    "simvp": ("model=simvp",),
    "simvp_incepu": ("model=simvp_incepu",),
}
SHAPE, HORIZON = (4, 10, 64, 64, 1), 10
QUICKSTART = yaml.safe_load((CONFIGS / "experiment" / "quickstart.yaml").read_text(encoding="utf-8"))
# Settings of all models; the loss suits every model's output.
TRAINING = ("loss=mse", "deterministic=false", f"trainer.batch_size={QUICKSTART['trainer']['batch_size']}")
HEAD = ("model", "parameters", "GMACs", "step in s", "sequences/s", "trained steps", "in s", "MSE per frame", "zeros")
METRIC = "mse_per_frame"


def data(digits: str) -> list[str]:
    """Returns the arguments of the command line for the quickstart's data."""
    return [f"data.digits={digits}", *(f"data.{key}={value}" for key, value in QUICKSTART["data"].items())]


def configured(name: str) -> dict[str, Any]:
    """Returns the configuration of a model's training."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return plain(hydra.compose("train", [*CHOICES[name], "name=benchmark"]))


def workload(name: str, shape: tuple[int, ...]) -> Workload:
    """Returns a training step of a model with the mean squared error."""
    model = dict(configured(name)["model"])
    return Workload("train", model.pop("_target_").rpartition(".")[2], model, shape, HORIZON)


def step_seconds(work: Workload, runs: int, threads: int | None) -> list[float]:
    """Returns the seconds of training steps in a separate process, after a few that do not count."""
    with tempfile.TemporaryDirectory() as folder, working("ours", threads) as worker:
        problem = str(Path(folder) / "problem.npz")
        worker.ask("build", workload=work.as_json(), problem=problem, options={"threads": threads})
        return [worker.ask("run")["seconds"] for _ in range(WARM_UP + runs)][WARM_UP:]


def call(*command: Any) -> None:
    """Runs a program, or raises WorkerError if it fails."""
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError(f"{command[0]} ended with status {done.returncode}: {done.stderr[-400:].strip()}")


def learn(name: str, steps: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Trains a model on the quickstart's data and scores it on the test split."""
    every = [f"trainer.{key}={max(1, steps // 5)}" for key in ("validate_every", "checkpoint_every")]
    every += [f"trainer.max_steps={steps}", f"trainer.log_every={min(steps, 10)}"]
    every += [f"trainer.validation_sequences={min(options.sequences, 128)}"]
    call("train.py", *CHOICES[name], *TRAINING, *data(options.digits), *every, f"output={folder}", "name=run")
    call(
        "evaluate.py", f"ckpt={folder / 'run'}", f"sequences={options.sequences}", "baselines=[zeros]", "examples=[]",
        "cases=0", f"out={folder / 'scores'}",
    )  # fmt: skip
    scores = json.loads((folder / "scores" / "metrics.json").read_text(encoding="utf-8"))["forecasters"]
    rows = MetricsLog.read(folder / "run" / "metrics.csv")
    trained = next(key for key in scores if key != "zeros")
    return {
        "trained_steps": steps,
        "trained_seconds": float(rows[-1]["seconds"]),
        "score": scores[trained]["scores"][METRIC]["overall"],
        "zeros": scores["zeros"]["scores"][METRIC]["overall"],
    }


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Returns a row of the table.

    Raises:
        WorkerError: A step, the training or the evaluation failed.
    """
    work = workload(name, SHAPE)
    model = MODELS[work.model](**work.arguments)
    result: dict[str, Any] = {
        "name": name,
        "parameters": parameters(model),
        "macs": macs(model, (1, *SHAPE[1:]), HORIZON),
        "step_seconds": step_seconds(work, options.runs, options.threads),
    }
    steps = options.steps
    if steps is None:
        side = QUICKSTART["data"]["frame_size"]
        shape = (QUICKSTART["trainer"]["batch_size"], HORIZON, side, side, 1)
        steps = max(1, round(options.seconds / median(step_seconds(workload(name, shape), 3, options.threads))))
    with tempfile.TemporaryDirectory() as folder:
        return result | learn(name, steps, options, Path(folder))


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Returns the rows in Markdown, and their explanation."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        cells = [row["name"], *["-"] * (len(HEAD) - 1)]
        if "failed" not in row:
            seconds = median(row["step_seconds"])
            cells[1:] = [
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e9:.1f}",
                f"{seconds:.3g}",
                f"{SHAPE[0] / seconds:.3g}",
                f"{row['trained_steps']}",
                f"{row['trained_seconds']:.0f}",
                f"{row['score']:.1f}",
                f"{row['zeros']:.1f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    budget = f"{options.seconds:.0f} seconds" if options.steps is None else f"{options.steps} steps"
    settings = ", ".join(f"{key} {value}" for key, value in QUICKSTART["data"].items() if "sequences" not in key)
    N, T, H, W, C = SHAPE
    lines += [
        "",
        f"GMACs of a sequence and seconds of a training step with Adam on {N} sequences: {T} frames of {H}x{W}x{C} in, "
        f"{HORIZON} out. Median of {options.runs} steps.",
        f"Score: on {options.sequences} test sequences of Moving-MNIST ({settings}), after {budget} of training with "
        f"the mean squared error, batches of {QUICKSTART['trainer']['batch_size']}; zeros: the all-zero forecast's.",
    ]
    return "\n".join([*lines, *(f"{row['name']} failed: {row['failed'][:300]}" for row in rows if "failed" in row)])


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--models", metavar="NAME,NAME", default=",".join(CHOICES), help=f"some of {', '.join(CHOICES)}"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--seconds", type=float, default=600.0, help="seconds of training for each model (default: 600)"
    )
    budget.add_argument("--steps", type=int, help="steps of training for each model, instead of --seconds")
    parser.add_argument("--runs", type=int, default=5, help="timed steps of each model (default: 5)")
    parser.add_argument("--sequences", type=int, default=1000, help="test sequences (default: 1000, the most)")
    parser.add_argument("--digits", choices=("auto", "builtin", "mnist"), default="auto", help="default: auto")
    parser.add_argument("--threads", type=int, help="threads of the timed steps (default: the libraries' choice)")
    parser.add_argument("--out", type=Path, default=Path("runs/models.json"), help="(default: runs/models.json)")
    options = parser.parse_args()
    options.models = [name.strip() for name in options.models.split(",")]
    if unknown := [name for name in options.models if name not in CHOICES]:
        parser.error(f"--models has no {', '.join(map(repr, unknown))}. Choose from: {', '.join(CHOICES)}")
    for name in ("seconds", "steps", "runs", "sequences", "threads"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            parser.error(f"--{name} must be above 0 but got {value}.")
    return options


def main() -> None:
    options = arguments()
    record: dict[str, Any] = {
        "machine": describe(),
        "options": vars(options) | {"out": str(options.out)},
        "rows": [],
    }
    with tqdm(options.models, disable=None, unit="model") as bar:
        for name in bar:
            bar.set_description_str(name)
            try:
                result = measure(name, options)
            except WorkerError as error:
                result = {"name": name, "failed": str(error)}
            record["rows"].append(result)
            write(record, options.out)
    print(f"{table(record['rows'], options)}\n\nWritten: {options.out}")
    if any("failed" in row for row in record["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
