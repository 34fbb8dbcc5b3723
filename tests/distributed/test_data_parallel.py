"""Runs with several ranks beside the same runs with one."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

from convlstm.checkpoints import MODEL, tensors
from convlstm.distributed.ranks import ALONE
from convlstm.distributed.watchdog import LOST
from convlstm.training.diagnostics import reproduce
from convlstm.training.replicas import distance
from tests.support import ranks
from tests.support.ranks import STEPS, Gaps, fitted, place_of
from tests.support.short_runs import MEASURED
from tests.support.tiny import OVERRIDES, PROJECT, call, environment

import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("without_compilation")


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in MEASURED} for row in csv.DictReader(file)]


def step_of(folder):
    return json.loads((folder / "checkpoints" / "last" / "state.json").read_text())["step"]


def check_same(folder, reference, steps=None):
    """Checks that the losses are those of another run to 1e-5, and the scores of validations to 1e-6."""
    expected = rows(reference)[:steps]
    found = rows(folder)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        for name, value in row.items():
            tolerance = 1e-6 if name.startswith("val_") else 1e-4 if name == "update_ratio" else 1e-5
            if value or other[name]:
                assert float(value) == pytest.approx(float(other[name]), rel=tolerance), (row["step"], name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one rank."""
    folder = tmp_path_factory.mktemp("alone")
    assert fitted(ALONE, folder / "whole") == f"finished at {STEPS}"
    return folder / "whole"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The runs of two ranks, each with a folder that the other does not see."""
    folder = tmp_path_factory.mktemp("pair")
    found, out, err = ranks.scene(folder, "training", 2)
    assert all(found), err
    return folder / "rank 0", found, out, err


def test_two_ranks_have_the_losses_and_scores_of_one(pair, alone):
    folder, found, _, _ = pair
    assert [rank["whole"] for rank in found] == [f"finished at {STEPS}"] * 2
    check_same(folder / "whole", alone)
    assert rows(alone)[9]["val_loss"] != ""


@pytest.mark.slow
def test_four_ranks_have_the_losses_and_scores_of_one(tmp_path, alone):
    found, _, err = ranks.scene(tmp_path, "four", 4)
    assert [rank["whole"] for rank in found] == [f"finished at {STEPS}"] * 4, err
    check_same(tmp_path / "rank 0" / "whole", alone)


def test_only_rank_0_writes_and_prints(pair):
    folder, _, out, _ = pair
    written = {path.name for path in (folder / "whole").iterdir()}
    assert {"checkpoints", "config.yaml", "metrics.csv"} <= written
    assert not list(folder.with_name("rank 1").glob("*/*"))
    assert out.count(f"step {STEPS}: validation") == 1


def test_data_that_fails_on_one_rank_ends_all_after_the_steps_before_are_saved(pair):
    folder, found, _, _ = pair
    text = "DataError: the data (train) failed after step 6: KeyError: 'no such frame' (ranks.py, line "
    assert all(rank["data"].startswith(text) and "on rank 1. " in rank["data"] for rank in found)
    assert step_of(folder / "data") == 6


def test_validation_data_that_fails_on_one_rank_ends_all(pair):
    folder, found, _, _ = pair
    text = "DataError: the data (validation) failed after step 10: KeyError: 'no such frame' (ranks.py, line "
    assert all(rank["validation"].startswith(text) and "on rank 1. " in rank["validation"] for rank in found)
    # The steps before are saved, and a resumed run makes up for the validation.
    assert step_of(folder / "validation") == 10


def test_a_signal_that_reaches_one_rank_stops_all_at_one_step(pair, alone):
    folder, found, _, _ = pair
    # The signal comes while a batch is loaded: if the ranks wait for that one, they stop before its step.
    stopped = [rank["stopped"] for rank in found]
    assert stopped[0] in ("interrupted by SIGTERM at 6", "interrupted by SIGTERM at 7")
    assert stopped[1] == stopped[0]
    assert [rank["resumed"] for rank in found] == ["finished at 20"] * 2
    assert [rank["again"] for rank in found] == ["finished at 20"] * 2
    check_same(folder / "stopped", alone, 20)


def test_a_run_resumes_bit_for_bit_with_the_same_number_of_ranks(pair):
    folder, _, _, _ = pair
    assert rows(folder / "stopped") == rows(folder / "whole")[:20]


def test_a_run_resumes_with_another_number_of_ranks(pair, alone, tmp_path):
    folder, _, _, _ = pair
    shutil.copytree(folder / "stopped", tmp_path / "stopped")
    assert fitted(ALONE, tmp_path / "stopped", resume=True) == f"finished at {STEPS}"
    check_same(tmp_path / "stopped", alone)


def test_a_validation_of_fewer_sequences_than_ranks(pair, tmp_path):
    folder, _, _, _ = pair
    assert fitted(ALONE, tmp_path / "small", steps=10, data=Gaps(validation=1)) == "finished at 10"
    check_same(folder / "small", tmp_path / "small")


def test_weights_that_drift_apart_are_found_at_the_next_checkpoint(pair):
    folder, found, _, _ = pair
    text = (
        r"RanksError: \[Ranks\] the weights of step 8 must be the same on every rank, but those of rank 1 differ from "
    )
    assert all(re.match(text + r"those of rank 0 by \S+ of the largest", rank["drifting"]) for rank in found)
    assert step_of(folder / "drifting") == 4


def test_ranks_that_round_differently_continue_with_rank_0s_weights_and_a_warning(pair, alone):
    folder, found, _, _ = pair
    (end, *warned), quiet = [rank["rounding"] for rank in found]
    assert quiet == [end] == ["finished at 20"]
    assert len(warned) == 1
    assert re.match(
        r"the ranks round differently: at step 8 their weights differ by \S+e-0\d of the largest", warned[0]
    )
    assert step_of(folder / "rounding") == 20


def test_a_step_that_is_not_finite_on_one_rank_is_skipped_by_all(pair, tmp_path):
    folder, found, _, _ = pair
    assert fitted(ALONE, tmp_path / "skipped", steps=10, data=Gaps(bad=place_of(1, 3))) == "finished at 10"
    assert [rank["skipped"] for rank in found] == ["finished at 10"] * 2
    check_same(folder / "skipped", tmp_path / "skipped")
    assert rows(folder / "skipped")[-1]["skipped"] == "1"


def test_the_dump_of_a_step_is_that_of_all_ranks(pair):
    folder, found, _, _ = pair
    assert all(rank["bad"].startswith("NonFiniteLossError: the loss became nan at step 7") for rank in found)
    dump = folder / "bad" / "non_finite" / "step_7"
    with np.load(dump / "batch.npz") as batch:
        assert batch["inputs"].shape[0] == 8
        assert np.isnan(batch["inputs"]).any(axis=(1, 2, 3, 4)).sum() == 1
    value, _ = reproduce(dump, model=ranks.Blur(), loss=ranks.MeanSquaredError())
    assert np.isnan(value)


def test_a_batch_that_ranks_cannot_share_is_refused(pair):
    text = (
        "ValueError: [Trainer] 'batch_size' is that of all ranks together and must be a multiple of 'accumulate' (2) "
        "times the number of ranks (2) but got 6. Change one of them."
    )
    assert [rank["odd"] for rank in pair[1]] == [text] * 2


FADE = ["model=persistence", "model._target_=tests.support.tiny.Fade", "trainer.batch_size=4", "trainer.max_steps=20"]
FADE += [override for override in OVERRIDES if not override.startswith(("model.", "trainer.batch_size"))]


def train_alone(*overrides):
    line = [sys.executable, "train.py", *overrides]
    done = subprocess.run(line, cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_rank_ends_the_run_which_one_process_resumes(tmp_path):
    train_alone(*FADE, f"output={tmp_path}", "name=whole")
    # Sequence 3 of epoch 2 belongs to rank 1 and to step 11.
    line = ["train.py", *FADE, f"output={tmp_path}", "name=pair"]
    out, err = ranks.finished(ranks.launched(2, *line, TINY_STOP="9:2:3"))
    assert "ranks       2, each with 2 of the 4 sequences of a batch\n" in out
    assert out.count("device ") == 1
    assert err.count("rank 1 of 2 (") == 1
    assert "ended without a message: it was killed, or its machine went down. This rank ends, too. To resume" in err
    assert f"exited with code {LOST}" in err
    assert "Traceback" not in err
    again = shlex.split(re.search(r"with any number of ranks:  python (.*)", err)[1])
    out = train_alone(*again[1:])
    assert "from step 10 on" in out
    assert "finished at step 20 of 20" in out
    check_same(tmp_path / "pair", tmp_path / "whole")


def test_ranks_start_from_the_weights_and_the_model_of_a_checkpoint(tmp_path, monkeypatch, capsys):
    short = [*FADE, "trainer.max_steps=4", f"output={tmp_path}"]
    assert call("train", monkeypatch, capsys, *short, "name=first")[0] == 0
    data = [change for change in short if not change.startswith("model")]
    line = [*data, f"init={tmp_path / 'first'}", "freeze=[bias]"]
    assert call("train", monkeypatch, capsys, *line, "name=whole")[0] == 0
    out, err = ranks.finished(ranks.launched(2, "train.py", *line, "name=pair"))
    assert "finished at step 4 of 4" in out, err
    assert out.count("init        2 of 2 arrays from") == 1
    assert out.count("frozen      1 arrays do not change: bias") == 1
    check_same(tmp_path / "pair", tmp_path / "whole")
    start, end = (tensors.read(tmp_path / name / "checkpoints" / "last" / MODEL) for name in ("first", "pair"))
    assert start["bias"].item() == end["bias"].item()
    assert start["weight"].item() != end["weight"].item()


@pytest.mark.slow
def test_a_signal_to_one_rank_is_an_orderly_end(tmp_path):
    line = ["train.py", *FADE, f"output={tmp_path}", "name=pair"]
    out, err = ranks.finished(ranks.launched(2, *line, TINY_STOP=f"{signal.SIGTERM.value}:2:3"))
    assert out.count("interrupted by SIGTERM at step 11 of 20") == 1
    assert out.count("Everything is saved. To resume:  python train.py") == 1
    assert step_of(tmp_path / "pair") == 11
    assert "rank" not in re.sub(r"Node with rank \d exited with code 143", "", err)


@pytest.mark.slow
def test_ctrl_c_in_the_terminal_is_an_orderly_end(tmp_path):
    """The signal also reaches the launcher, which then drops the output of the ranks."""
    more = ["trainer.max_steps=100000", "trainer.log_every=1", f"output={tmp_path}", "name=pair"]
    program = ranks.launched(2, "train.py", *FADE, *more, start_new_session=True)
    written = tmp_path / "pair" / "metrics.csv"
    while program.poll() is None and not (written.exists() and len(rows(tmp_path / "pair")) > 5):
        time.sleep(0.2)
    os.killpg(program.pid, signal.SIGINT)
    ranks.finished(program)
    state = json.loads((tmp_path / "pair" / "checkpoints" / "last" / "state.json").read_text())
    assert state["status"] == "interrupted by SIGINT"
    assert state["step"] == int(rows(tmp_path / "pair")[-1]["step"])


@pytest.mark.slow
@pytest.mark.parametrize(("what", "text"), [("trainer.batch_size=3", "a multiple of"), ("seed=-1", "'seed' must")])
def test_a_mistake_is_printed_once(tmp_path, what, text):
    out, err = ranks.finished(ranks.launched(2, "train.py", *FADE, f"output={tmp_path}", "name=pair", what))
    assert out == ""
    assert err.count(text) == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_ranks_with_other_data_are_refused(tmp_path):
    program = ["-c", "import os, sys; os.environ['TINY_DIGITS'] = os.environ['MLX_RANK']; os.execv(sys.executable, "]
    program[1] += "[sys.executable, *sys.argv[1:]])"
    out, err = ranks.finished(ranks.launched(2, *program, "train.py", *FADE, f"output={tmp_path}", "name=pair"))
    assert err.count("the ranks differ:\n  data: digits_sha256: '") == 1
    assert "on rank 0, '" in err
    assert "Give all machines the same project and the same data." in err
    assert not (tmp_path / "pair").exists()


@pytest.mark.slow
def test_a_sweep_is_refused(tmp_path):
    out, err = ranks.finished(ranks.launched(2, "train.py", "-m", *FADE, f"output={tmp_path}", "seed=1,2"))
    assert err.count("a sweep cannot run under mlx.launch. Start it without mlx.launch") == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_train_py_with_ranks_has_the_losses_of_one(tmp_path, count):
    more = ["trainer.batch_size=8", "trainer.max_steps=50", "trainer.log_every=1", "data.train_sequences=40"]
    line = [*OVERRIDES, *more, f"output={tmp_path}"]
    train_alone(*line, "name=whole")
    out, err = ranks.finished(ranks.launched(count, "train.py", *line, "name=many"))
    assert "finished at step 50 of 50" in out, err
    check_same(tmp_path / "many", tmp_path / "whole")


def test_distances_are_shares_of_the_largest_value():
    assert distance(mx.array([1.0, -4.0]), mx.array([1.0, -5.0])) == pytest.approx(0.2)
    assert distance(mx.array([3, 4]), mx.array([3, 4])) == 0
    assert distance(mx.array([3, 4]), mx.array([3, 5])) == np.inf
    assert distance(mx.zeros((0,)), mx.zeros((0,))) == 0
    assert distance(mx.zeros((2,)), mx.zeros((2,))) == 0
    assert np.isnan(distance(mx.array([np.nan]), mx.array([1.0])))
