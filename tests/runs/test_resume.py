"""Runs that are stopped and resumed: by train.py in its own process, and in this process with every option on."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time

from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.losses import MeanSquaredError
from convlstm.training import sampling
from convlstm.training.loop import Trainer
from tests.support import tiny
from tests.support.short_runs import MEASURED
from tests.support.tiny import OVERRIDES, PROJECT, call, environment, snapshot, stop_at, train

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

STEPS = 40
RUN = [f"trainer.max_steps={STEPS}", "model.dropout=0.2", "model.recurrent_dropout=0.2"]


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in MEASURED} for row in csv.DictReader(file)]


def weights(folder, name="last"):
    files = snapshot(folder / "checkpoints" / name)
    return {file: content for file, content in files.items() if file.endswith(".safetensors")}


def step_of(folder, name="last"):
    return json.loads((folder / "checkpoints" / name / "state.json").read_text())["step"]


def equal(run, reference):
    assert rows(run) == rows(reference)
    for name in ("last", "best"):
        assert weights(run, name) == weights(reference, name)
        assert step_of(run, name) == step_of(reference, name)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run without an interruption."""
    output = tmp_path_factory.mktemp("reference")
    done = train(*RUN, f"output={output}", "name=whole")
    assert done.returncode == 0, done.stderr
    assert f"finished at step {STEPS} of {STEPS}" in done.stdout
    return output / "whole"


def random_step():
    """Returns a step after the first checkpoint and well before the end, another one every time."""
    return int(np.random.default_rng().integers(12, STEPS - 5))


def test_the_reference_has_every_row_once(reference):
    steps = [int(row["step"]) for row in rows(reference)]
    assert steps == sorted({*range(3, STEPS + 1, 3), 10, 20, 30, 40})
    losses = [row["train_loss"] for row in rows(reference) if row["train_loss"]]
    assert len(set(losses)) == len(losses) == STEPS // 3
    assert [row["step"] for row in rows(reference) if row["val_loss"]] == ["10", "20", "30", "40"]


def test_sigterm_and_resume_by_name_equal_the_uninterrupted_run(reference, tmp_path, monkeypatch, capsys):
    run = [*RUN, f"output={tmp_path}", "name=mine"]
    step = random_step()
    stopped = train(*run, TINY_STOP=stop_at(signal.SIGTERM, step))
    assert stopped.returncode == 143, (step, stopped.stderr)
    assert "Traceback" not in stopped.stderr
    assert 0 < step_of(tmp_path / "mine") < STEPS
    assert f"interrupted by SIGTERM at step {step_of(tmp_path / 'mine')} of {STEPS}" in stopped.stdout

    status, _, err = call("train", monkeypatch, capsys, *OVERRIDES, *run)
    assert status == 1
    assert "holds a run already. Resume it (resume=auto)" in err

    done = train(*run, "resume=auto")
    assert done.returncode == 0, done.stderr
    equal(tmp_path / "mine", reference)

    before = snapshot(tmp_path)
    status, out, _ = call("train", monkeypatch, capsys, *OVERRIDES, *run, "resume=auto")
    assert status == 0
    assert f"finished at step {STEPS} of {STEPS}" in out
    assert snapshot(tmp_path) == before, "the resume of a finished run only says that it is finished"


def test_ctrl_c_prints_the_command_that_resumes(reference, tmp_path):
    run = [*RUN, f"output={tmp_path}", 'name="my run, [1]"']
    step = random_step()
    stopped = train(*run, TINY_STOP=stop_at(signal.SIGINT, step))
    assert stopped.returncode == 130, (step, stopped.stderr)
    assert "Traceback" not in stopped.stderr

    _, found, command = stopped.stdout.rstrip().splitlines()[-1].partition("To resume:  ")
    assert found, stopped.stdout
    words = shlex.split(command)
    assert words[:2] == ["python", "train.py"]
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    equal(tmp_path / "my run, [1]", reference)


def test_sigkill_and_resume_of_the_latest_run_equal_the_uninterrupted_run(reference, tmp_path):
    run = [*RUN, f"output={tmp_path}"]
    step = random_step()
    stopped = train(*run, TINY_STOP=stop_at(signal.SIGKILL, step))
    assert stopped.returncode == -signal.SIGKILL, step
    (folder,) = tmp_path.iterdir()
    assert step_of(folder) % 4 == 0 or step_of(folder) % 10 == 0

    # A second kill, in the middle of a save: a part of the new checkpoint, and the old one has been moved aside.
    checkpoints = folder / "checkpoints"
    (checkpoints / "last").rename(checkpoints / "last.previous.new")
    if (checkpoints / "last.previous").exists():
        for file in (checkpoints / "last.previous").iterdir():
            file.unlink()
        (checkpoints / "last.previous").rmdir()
    (checkpoints / "last.previous.new").rename(checkpoints / "last.previous")
    (checkpoints / "last.tmp").mkdir()
    (checkpoints / "last.tmp" / "model.safetensors").write_bytes(b"half of")

    done = train(*run, "resume=auto")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "it continued in its folder"
    equal(folder, reference)
    assert not (checkpoints / "last.tmp").exists()


def test_a_run_that_was_killed_in_its_first_checkpoint_starts_again(tmp_path, monkeypatch, capsys):
    half = tmp_path / "mine" / "checkpoints" / "last.tmp"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half of")
    line = [*OVERRIDES, f"output={tmp_path}", "name=mine", "trainer.max_steps=1"]
    for resume in ("auto", "null"):
        status, _, err = call("train", monkeypatch, capsys, *line, f"resume={resume}")
        assert status == (0 if resume == "auto" else 1), err
    assert "holds a run already" in err
    assert step_of(tmp_path / "mine") == 1
    assert not half.exists()


def test_ctrl_c_while_the_step_is_compiled_leaves_no_traceback(tmp_path):
    cache, output = tmp_path / "cache", tmp_path / "runs"
    cache.mkdir()
    process = subprocess.Popen(
        [sys.executable, "train.py", *OVERRIDES, "trainer.max_steps=3", f"output={output}", "name=mine"],
        cwd=PROJECT,
        # With kernels nothing is compiled.
        env=environment(TMPDIR=str(cache), CONVLSTM_KERNELS="none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The compiler is tried on trial.cpp before training starts.
    while process.poll() is None and not any(path.name != "trial.cpp" for path in cache.rglob("*.cpp")):
        time.sleep(0.02)
    # As a terminal does it: to the compiler that MLX has started as well.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    # The signal may also fall between two calls of the compiler: then the step is finished and saved.
    if "interrupted by SIGINT at step 0 of 3" in out:
        assert "Nothing has been trained yet." in out
        assert not (output / "mine" / "checkpoints").exists()
    else:
        assert "interrupted by SIGINT at step 1 of 3" in out
        assert step_of(output / "mine") == 1


def test_ctrl_c_before_the_first_step_leaves_no_traceback_and_no_folder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "train.py", *OVERRIDES, f"output={tmp_path / 'runs'}"],
        cwd=PROJECT,
        env=environment(TINY_START="slow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.strip() == "train.py: interrupted."
    assert not (tmp_path / "runs").exists()


# Within one process: loading threads, scheduled sampling, dropout, accumulation, an average of the weights, skipped
# steps and early stopping


class Awkward(tiny.Data):
    """Data with some infinite batches, loaded in `threads` threads; SIGTERM comes before the batch after `stop`."""

    def __init__(self, threads=3, stop=None):
        sizes = {"train_sequences": 44, "validation_sequences": 6, "test_sequences": 2}
        frames = {"frame_size": 16, "digit_size": 8, "num_digits": 1, "input_frames": 3, "target_frames": 3}
        super().__init__(**sizes, **frames, threads=threads, prefetch=2 * threads)
        self.stop = stop

    def stream(self, split, batch_size, *, seed=0, epoch=0, start=0):
        for number, batch in enumerate(super().stream(split, batch_size, seed=seed, epoch=epoch, start=start), start):
            step = 11 * epoch + number + 1
            if split == "train" and step in (5, 12, 13):
                batch["targets"] = batch["targets"] + np.float32(np.inf)
            if split == "train" and self.stop is not None and step == self.stop + 1:
                signal.raise_signal(signal.SIGTERM)
            yield batch


def everything(folder, data, resume=False, **changes):
    mx.random.seed(3)
    model = ConvLSTMStack(hidden_channels=[4], kernel_size=3, dropout=0.2)
    settings = {"accumulate": 2, "ema": 0.7, "max_skipped": 2, "keep_last": 2, "patience": 4, "max_grad_norm": 1.0}
    every = {"log_every": 3, "validate_every": 2, "checkpoint_every": 3}
    return Trainer(**({"max_steps": 40, "batch_size": 4} | settings | every | changes)).fit(
        model,
        # Up and then too far, so that the validations grow worse.
        optim.Adam(lambda step: 0.001 * (step + 1)),
        MeanSquaredError(),
        data,
        folder,
        {"model": {}},
        seed=7,
        resume=folder / "checkpoints" / "last" if resume else None,
        sampling=sampling.linear(1.0, 0.0, 20),
    )


def same_end(run, reference):
    assert rows(run) == rows(reference)
    for name in ("last", "best"):
        assert weights(run, name) == weights(reference, name)
        assert "ema.safetensors" in weights(run, name)
        one, other = (json.loads((f / "checkpoints" / name / "state.json").read_text()) for f in (run, reference))
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    progress = everything(folder, Awkward())
    assert (progress.status, progress.skipped) == ("stopped early", 3)
    assert 13 < progress.step == progress.best_step + 8 < 40, "resumes before, within and after the three skipped steps"
    return folder


@pytest.mark.parametrize("stop", [1, 12])
def test_with_everything_on_a_run_resumes_exactly(stop, whole, tmp_path):
    """Stops early and late in an epoch, within skipped steps, and while early stopping counts."""
    progress = everything(tmp_path, Awkward(stop=stop))
    assert (progress.step, progress.status) == (stop, "interrupted by SIGTERM")
    progress = everything(tmp_path, Awkward(threads=1), resume=True)
    assert progress.status == "stopped early"
    same_end(tmp_path, whole)


def test_a_run_that_is_stopped_repeatedly_resumes_exactly(whole, tmp_path):
    everything(tmp_path, Awkward(stop=3))
    for stop in (4, 11, 13, 14, 23):
        assert everything(tmp_path, Awkward(threads=2, stop=stop), resume=True).step == stop
    everything(tmp_path, Awkward(), resume=True)
    same_end(tmp_path, whole)


def test_more_steps_or_more_patience_count_as_if_given_from_the_start(whole, tmp_path):
    everything(tmp_path, Awkward(), max_steps=6)
    progress = everything(tmp_path, Awkward(), resume=True, max_steps=40)
    assert progress.status == "stopped early"
    same_end(tmp_path, whole)
