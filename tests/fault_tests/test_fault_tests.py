"""The judgement of the fault tests: they see every loss, and a fault is one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

from convlstm import checkpoints
from convlstm.runs.metrics_log import MetricsLog
from fault_tests import __main__ as program
from fault_tests.bench import Bench, Ended, step_of
from fault_tests.campaign import Strike, campaign, lost_at_once
from fault_tests.child import ROOT, Plan
from fault_tests.damage import DAMAGES
from fault_tests.equality import differences, steps
from fault_tests.faults import Try
from fault_tests.power_cut import lose

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest


def finished(folder, weight=0.5, best=0.1, seconds=1.0, losses=(0.5, 0.25)):
    """Writes a run's folder as train.py does, without training."""
    folder.mkdir(parents=True)
    model, optimizer = nn.Linear(2, 1), optim.Adam(0.1)
    model.update({"weight": mx.full((1, 2), weight), "bias": mx.zeros(1)})
    optimizer.init(model.trainable_parameters())
    for name in ("last", "best"):
        state = {"step": 2, "best": best, "seconds": seconds}
        checkpoints.save(folder / checkpoints.FOLDER / name, model, optimizer, state, {"model": {}})
    log = MetricsLog(folder / "metrics.csv", ["step", "loss", "seconds"])
    for step, loss in enumerate(losses, 1):
        log.add({"step": step, "loss": loss, "seconds": seconds})
    return folder


def test_values_of_the_clock_are_no_difference(tmp_path):
    assert differences(finished(tmp_path / "a"), finished(tmp_path / "b", seconds=2.0)) == []
    assert steps(tmp_path / "a") == ["1", "2"]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"weight": np.nextafter(np.float32(0.5), np.float32(1)).item()}, ["last/model.safetensors"]),
        ({"best": 0.2}, ["last: state best is 0.2, not 0.1", "best: state best is 0.2, not 0.1"]),
        ({"losses": (0.5,)}, ["metrics.csv: step 2 (row 1) is missing", "metrics.jsonl: step 2 (row 1) is missing"]),
        ({"losses": (0.5, 0.25, 0.25)}, ["metrics.csv: step 3 (row 2) should not be there"]),
        ({"losses": (0.5, 0.5)}, ["metrics.csv: step 2 (row 1): loss is '0.5', not '0.25'"]),
    ],
)
def test_every_difference_is_seen(tmp_path, other, expected):
    found = differences(finished(tmp_path / "a", **other), finished(tmp_path / "b"))
    assert set(expected) <= set(found)


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_checkpoint_at_the_end_is_seen(tmp_path, damage):
    run, reference = finished(tmp_path / "a"), finished(tmp_path / "b")
    for folder in (run, reference):
        (folder / "checkpoints" / "last").rename(folder / "checkpoints" / "kept")
        checkpoints.save(folder / "checkpoints" / "last", nn.Linear(3, 3), optim.SGD(0.1), {"step": 9}, {"model": {}})
        (folder / "checkpoints" / "last").rename(folder / "checkpoints" / "last.previous")
        (folder / "checkpoints" / "kept").rename(folder / "checkpoints" / "last")
    assert differences(run, reference) == []
    DAMAGES[damage](run / "checkpoints" / "last" / "model.safetensors", np.random.default_rng(0))
    (found,) = differences(run, reference)
    assert found.startswith("last: ")
    assert "model.safetensors" in found


def test_a_file_left_behind_is_a_difference(tmp_path):
    run = finished(tmp_path / "a")
    (run / "checkpoints" / "last.tmp").mkdir()
    assert differences(run, finished(tmp_path / "b")) == ["left behind: checkpoints/last.tmp"]


@pytest.mark.parametrize(
    ("before", "ended", "expected"),
    [
        (2, Ended(-9, "", ""), ""),
        (3, Ended(-9, "", ""), "step 3 was saved, and step 2 is left"),
        (None, Ended(1, "", "a\nb"), "it ended with status 1: a | b"),
        (2, Ended(-9, "", "Traceback (most recent call last):\nKeyError"), "a traceback: Traceback"),
        (2, Ended(-9, "not it", ""), "it did not print room"),
    ],
)
def test_losses_of_a_strike(tmp_path, before, ended, expected):
    says = ("room",) if ended.out else ()
    found = lost_at_once(finished(tmp_path / "a"), before, Strike("", ended, (-9,), says))
    assert found.startswith(expected)
    assert bool(found) is bool(expected)


def test_a_run_without_an_intact_checkpoint_is_lost(tmp_path):
    run = finished(tmp_path / "a")
    assert step_of(run) == 2
    for name in ("last", "best"):
        (run / "checkpoints" / name / "state.json").unlink()
        for old in (run / "checkpoints").glob(f"{name}.*"):
            old.rename(tmp_path / old.name)
    assert "no checkpoint is left" in lost_at_once(run, 2, Strike("", Ended(-9, "", ""), (-9,)))
    assert step_of(tmp_path / "none") is None


def test_a_plan_survives_the_command_line():
    plan = Plan("/a", {3: 9, 5: 2}, (4, 100), False, 0.5, 7, "/log")
    assert Plan.from_json(plan.as_json()) == plan


@pytest.mark.parametrize(
    ("plan", "status", "left"),
    [
        ({}, 0, ["a", "b"]),
        ({"signals": {2: int(signal.SIGKILL)}}, -signal.SIGKILL, ["a"]),
        ({"torn": (2, 10)}, -signal.SIGXFSZ, ["a", "b"]),
        ({"torn": (2, 10), "fatal": False}, 1, ["a", "b"]),
        ({"delay": 0.01, "seed": 1}, 0, ["a", "b"]),
    ],
)
def test_a_plan_strikes_at_its_access(tmp_path, plan, status, left):
    run, log = tmp_path / "run", tmp_path / "log"
    run.mkdir()
    code = """
import os, sys
from pathlib import Path
from fault_tests.child import Disturber, Plan
Disturber(Plan.from_json(sys.argv[1])).install()
folder = Path(sys.argv[2])
for name in "ab":
    with (folder / name).open("wb", buffering=0) as file:
        file.write(bytes(100))
        os.fsync(file)
"""
    line = [sys.executable, "-c", code, Plan(str(run), **plan, log=str(log)).as_json(), str(run)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert sorted(path.name for path in run.iterdir()) == left
    lines = log.read_text().splitlines()
    assert len([text for text in lines if text.startswith("flushed")]) == {0: 2}.get(
        status, 1 if plan.get("torn") else 0
    )
    if status == 0:
        assert lines[-1] == "accesses 4"
    if "torn" in plan:
        assert (run / "b").stat().st_size == 10


def test_a_power_cut_takes_content_that_was_not_flushed(tmp_path):
    for seed in range(8):
        run = tmp_path / str(seed)
        run.mkdir()
        (run / "safe").write_bytes(b"1234")
        (run / "grown").write_bytes(b"1234")
        flushed = {(p.stat().st_ino, 4, p.stat().st_mtime_ns) for p in run.iterdir()}
        with (run / "grown").open("ab") as file:
            file.write(b"5678")
        (run / "new").write_bytes(b"abcd")
        lose(run, flushed, np.random.default_rng(seed))
        assert (run / "safe").read_bytes() == b"1234"
        assert (run / "grown").read_bytes() in (b"12345678", b"1234", b"1234" + bytes(4))
        assert (run / "new").read_bytes() in (b"abcd", b"", bytes(4))
    assert {(tmp_path / str(seed) / "new").read_bytes() for seed in range(8)} > {b""}


def test_the_table_counts_and_losses_are_the_result(tmp_path, monkeypatch, capsys):
    def fault(bench, rng, count):
        yield from (Try("odd" if n % 2 else "even", "the weights" if n == 1 else "", "a word") for n in range(count))

    monkeypatch.setitem(program.FAULTS, "kill", (fault, 4))
    assert program.run(Bench(tmp_path), {"kill": 4}, 3) == 1
    out = capsys.readouterr().out
    assert "lost: kill: odd: the weights" in out
    rows = [line.split() for line in out.splitlines() if re.match(r"(fault|kill: (odd|even)|all)\s", line)]
    assert rows[-3:] == [["kill:", "even", "2", "2", "0"], ["kill:", "odd", "2", "1", "1"], ["all", "4", "3", "1"]]
    assert out.count("note: kill: ") == 4
    assert "seed 3" in out


def test_ctrl_c_prints_the_tries_so_far(tmp_path, monkeypatch, capsys):
    def fault(bench, rng, count):
        yield Try("first")
        raise KeyboardInterrupt

    monkeypatch.setitem(program.FAULTS, "kill", (fault, 4))
    with pytest.raises(KeyboardInterrupt):
        program.run(Bench(tmp_path), {"kill": 4}, 0)
    assert re.search(r"all +1 +1 +0\n", capsys.readouterr().out)


def test_faults_and_numbers_are_parsed():
    assert program.parse([]) == {name: number for name, (_, number) in program.FAULTS.items()}
    assert program.parse(["kill=100", "sleep"]) == {"kill": 100, "sleep": program.FAULTS["sleep"][1]}
    with pytest.raises(ValueError, match=r"there is no fault 'kil'\. Choose from: kill, "):
        program.parse(["kil=3"])
    with pytest.raises(ValueError, match="the tries of 'kill' must be a whole number of at least 1 but got '0'"):
        program.parse(["kill=0"])


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"\[Bench\] 'folder' must be empty or missing"):
        Bench(tmp_path)


@pytest.mark.slow
def test_a_run_that_resumes_elsewhere_is_lost(tmp_path):
    bench = Bench(tmp_path)

    def strike(bench, rng, variant, run, step):
        ended = bench.train(variant, run, "trainer.max_steps=9")
        for path in (run / "checkpoints").rglob("state.json"):
            state = json.loads(path.read_text())
            path.write_text(json.dumps(state | {"loss_sum": 1.0}))
            checkpoints.seal(path.parent)
        return Strike("another sum", Ended(-9, ended.out, ended.err), (-9,))

    found = list(campaign(bench, np.random.default_rng(0), 1, strike))
    assert [one.kind for one in found] == ["another sum"]
    assert "metrics.csv: step 9" in found[0].lost or "train_loss" in found[0].lost or "row" in found[0].lost


@pytest.mark.slow
def test_kills_are_survived(tmp_path):
    counts = {"kill": 3, "loader": 1, "damage": 2}
    assert program.run(Bench(tmp_path), counts, 0) == 0
