"""Several ranks for the tests: their start, and the program that each of them runs.

As a program, `ranks.py FOLDER SCENE`, it is one rank, and writes its results to FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from convlstm import checkpoints
from convlstm.datasets.stream import batches
from convlstm.distributed.ranks import ALONE, Ranks, RanksError, digest
from convlstm.losses import MeanSquaredError
from convlstm.training.batches import DataError
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.loop import Trainer
from convlstm.training.run import Run
from fault_tests.launch import launch_line
from tests.support.project import PROJECT

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

TESTS = PROJECT / "tests"


def launched(count: int, *line: str, start_new_session: bool = False, **variables: str) -> subprocess.Popen:
    """Starts a program on several ranks, in the project's folder."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes |= {"start_new_session": start_new_session}
    environment = {
        **{name: value for name, value in os.environ.items() if name != "CONVLSTM_THREADS"},  # conftest.py sets it
        "TMPDIR": tempfile.gettempdir(),
        "PYTHONPATH": str(PROJECT),
        **variables,
    }
    return subprocess.Popen(launch_line(count, *line), cwd=PROJECT, env=environment, **pipes)


def finished(program: subprocess.Popen, timeout: float = 500) -> tuple[str, str]:
    """Waits for a program and returns its standard output and error."""
    try:
        return program.communicate(timeout=timeout)
    finally:
        program.kill()


def scene(folder: Path, name: str, count: int, **variables: str) -> tuple[list[dict], str, str]:
    """Runs a scene and returns the results of each rank, and the standard output and error."""
    out, err = finished(launched(count, "-m", "tests.support.ranks", str(folder), name, **variables))
    paths = [folder / f"{rank}.json" for rank in range(count)]
    return [json.loads(path.read_text()) if path.exists() else {} for path in paths], out, err


def arrays() -> dict[str, mx.array]:
    """Returns arrays of many types, with values that arithmetic would change."""
    return {
        "key": mx.random.key(7),
        "floats": mx.array([-0.0, float("nan"), float("inf"), 1e-40]),
        "halves": mx.full((2, 3), 1.5, mx.bfloat16),
        "scalar": mx.array(np.array(2**63 + 1, np.uint64)),
        "none": mx.zeros((0, 3)),
        "flags": mx.array([True, False]),
    }


def exchange(ranks: Ranks) -> dict:
    r = ranks.rank
    tree = {"a": mx.arange(3) + 10.0 * r, "b": [mx.full((2, 2), float(r)), (mx.array(r, mx.int32), mx.array(0.5 * r))]}
    together = mx.compile(lambda tree: ranks.sum(tree))(tree)
    noise = mx.random.normal((70001,), key=mx.random.key(r))
    mx.eval(mx.compile(lambda x: mx.exp(x) * 2 + x)(noise))
    shared = ranks.share_arrays(arrays() if ranks.main else None)
    assert shared is not None
    return {
        "main": ranks.main,
        "size": ranks.size,
        "sum": [array.tolist() for array in (together["a"], together["b"][0], *together["b"][1])],
        "tuple": isinstance(together["b"][1], tuple),
        "integer": str(together["b"][1][0].dtype),
        "mean": ranks.mean({"x": mx.array([1.0, 2.0]) * r})["x"].tolist(),
        "threads": os.environ.get("CONVLSTM_THREADS"),
        "temporary": os.environ["TMPDIR"],
        "noise": digest(ranks.sum(noise)),
        "gathered": ranks.gather({"x": 0.1 * (r + 1), "text": "ä" * r, "none": None}),
        "bytes": [data.hex() for data in ranks.gather(bytes(range(r)))],
        "nothing": [data.hex() for data in ranks.gather(b"")],
        "shared": ranks.share(f"from {r}"),
        "arrays": digest(shared) == digest(arrays()),
        "no arrays": ranks.share_arrays(None),
        "any": ranks.any(r == 1, False, True),
    }


def differ(ranks: Ranks) -> dict:
    ranks.check_same("a text", "the same")
    try:
        ranks.check_same("the weights", "those" if ranks.rank == 1 else "these")
    except RanksError as error:
        sys.exit(str(error))
    return {}


def wrong(ranks: Ranks) -> dict:
    work(ranks, 20, lambda: {}["no such key"])
    return {}


def work(ranks: Ranks, step: int, what) -> None:
    """Takes steps that all ranks take together; at one of them rank 1 calls `what`."""
    ranks.advise("Do this.")
    for n in range(10000):
        if n == step and ranks.rank == 1:
            what()
        ranks.any(False)


def killed(ranks: Ranks) -> dict:
    work(ranks, 20, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return {}


def broken(ranks: Ranks) -> dict:
    work(ranks, 20, lambda: sys.exit("the frames of rank 1 are broken"))
    return {}


def busy(ranks: Ranks) -> dict:
    """Rank 1 is killed while rank 0 writes a file."""
    if not ranks.main:
        ranks.any(False)
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # which the launcher sends
    with ranks.undisturbed():
        ranks.any(False)
        for _ in range(20):
            signal.sigtimedwait([], 0.05)
        print("written", flush=True)
    while True:
        signal.pause()


class Gaps:
    """Sequences of noise with different numbers of missing pixels.

    The sequence (split, epoch, index) that is `broken` cannot be loaded, the one that is `stop` sends SIGTERM, and the
    one that is `bad` contains NaN.
    """

    def __init__(self, validation: int = 7, **places: tuple[str, int, int]):
        self.sizes, self.places = {"train": 19, "validation": validation}, places

    def size(self, split: str) -> int:
        return self.sizes[split]

    def describe(self) -> dict:
        return {"name": "gaps"}

    def stream(self, split: str, batch_size: int, *, seed: int = 0, epoch: int = 0, start: int = 0, rank=0, ranks=1):
        def load(index: int) -> dict[str, np.ndarray]:
            here = [name for name, place in self.places.items() if place == (split, epoch, index)]
            if "broken" in here:
                raise KeyError("no such frame")
            if "stop" in here:
                os.kill(os.getpid(), signal.SIGTERM)
            rng = np.random.default_rng([index, len(split)])
            frames = rng.random((4, 8, 8, 1), np.float32)
            mask = rng.random((2, 8, 8, 1)) < rng.random()
            if "bad" in here:
                frames[0] = np.nan
                frames[1] = np.nan
            return {"inputs": frames[:2], "targets": frames[2:], "mask": mask, "input_mask": mask[::-1]}

        more = {"shuffle": split == "train", "drop_last": split == "train", "start": start, "prefetch": 1, "threads": 1}
        return batches(self.size(split), load, batch_size, seed=seed, epoch=epoch, rank=rank, ranks=ranks, **more)


class Blur(nn.Module):
    """A convolution of the last frame."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)
        self.norm = nn.BatchNorm(1)
        self.norm.freeze()

    def __call__(self, inputs, horizon, *, key=None):
        forecast = self.convolution(inputs[:, -1])
        if self.training:
            self.norm(forecast)  # only for what it keeps: a rank's own
        return mx.repeat(mx.sigmoid(forecast)[:, None], horizon, axis=1)


@contextmanager
def drifting(share: float) -> Iterator[None]:
    """Changes the weights of rank 1 alone by a share of them, once, in the runs of a `with` block."""

    original = Run.count

    def count(run: Run, *arguments: Any) -> None:
        original(run, *arguments)
        if run.ranks.rank == 1 and run.progress.step == 5:
            run.model.convolution.weight = run.model.convolution.weight * (1 + share)

    with mock.patch.object(Run, "count", count):
        yield


SEED, STEPS = 3, 30
TRAINER = {"log_every": 1, "validate_every": 10, "checkpoint_every": 4, "accumulate": 2, "ema": 0.9}


def place_of(rank: int, epoch: int) -> tuple[str, int, int]:
    """Returns a training sequence in a rank's half of the epoch's first batch."""
    order = np.random.default_rng([SEED, epoch]).permutation(19)
    return "train", epoch, int(order[5 if rank else 1])


def fitted(ranks: Ranks, folder: Path, *, steps=STEPS, data=None, resume=False, **changes) -> str:
    """Trains `Blur` and returns how that ended."""
    mx.random.seed(1)
    model = Blur()
    trainer = Trainer(**{"max_steps": steps, "batch_size": 8, **TRAINER, **changes})
    data, loss = Gaps() if data is None else data, MeanSquaredError()
    found = checkpoints.find(folder, prefer=("last",)) if resume and ranks.main else None
    config = {"model": {"_target_": "ranks.Blur"}}
    try:
        trainer.check(model, loss, data, ranks=ranks)
        run = {"seed": SEED, "resume": found, "ranks": ranks}
        progress = trainer.fit(model, optim.Adam(0.02), loss, data, folder, config, **run)
    except (ValueError, DataError, RanksError, NonFiniteLossError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{progress.status} at {progress.step}"


def training(ranks: Ranks) -> dict:
    """Trains several runs, some of which end early."""
    place = Path(sys.argv[1]) / f"rank {ranks.rank}"  # as if it were another machine

    def run(name: str, **changes) -> str:
        return fitted(ranks, place / name, **changes)

    return {
        "whole": run("whole"),
        "validation": run("validation", data=Gaps(broken=("validation", 0, 3))),
        "data": run("data", data=Gaps(broken=place_of(1, 3))),
        "stopped": run("stopped", data=Gaps(stop=place_of(1, 3))),
        "resumed": run("stopped", resume=True, steps=20),
        "again": run("stopped", resume=True, steps=20),
        "small": run("small", steps=10, data=Gaps(validation=1)),
        "drifting": drifted(run),
        "rounding": rounding(run),
        "bad": run("bad", data=Gaps(bad=place_of(1, 3)), max_skipped=0),
        "skipped": run("skipped", steps=10, data=Gaps(bad=place_of(1, 3))),
        "odd": run("odd", batch_size=6),
    }


def drifted(run) -> str:
    with drifting(0.01):
        return run("drifting")


def rounding(run) -> list[str]:
    """Trains with a drift as small as the rounding of another processor."""
    with warnings.catch_warnings(record=True) as warned, drifting(1e-6):
        warnings.simplefilter("always")
        return [run("rounding", steps=20), *(str(warning.message) for warning in warned)]


def four(ranks: Ranks) -> dict:
    return {"whole": fitted(ranks, Path(sys.argv[1]) / f"rank {ranks.rank}" / "whole")}


def alone(ranks: Ranks) -> dict:
    """Returns what a single process under `mlx.launch -n 1` has."""
    tree = {"x": mx.array([1.0])}
    return {
        "alone": ranks is ALONE,
        "same": [ranks.sum(tree) is tree, ranks.mean(tree) is tree, ranks.share_arrays(tree) is tree],
        "gathered": [ranks.gather(3), ranks.share(4), ranks.any(True, False)],
        "size": ranks.size,
    }


def main(folder: str, name: str) -> None:
    with Ranks.join() as ranks:
        found = globals()[name](ranks)
        (Path(folder) / f"{ranks.rank}.json").write_text(json.dumps(found))
        if ranks.main:  # the others have left long before
            for _ in range(10):
                signal.sigtimedwait([], 0.05)
            print("the last word of rank 0")


if __name__ == "__main__":
    main(*sys.argv[1:])
