"""The script for a GPU: a walk with tiny sizes on the CPU, its budget, and what it goes on with."""

from __future__ import annotations

import importlib.util
import json
import re

from benchmarks.gpu import __main__ as script
from benchmarks.gpu import devices, record, timing, training
from benchmarks.gpu.budget import Budget
from benchmarks.ours import MODELS
from benchmarks.rows import select
from convlstm.summary import parameters
from tests.support.tiny import OVERRIDES, call

import mlx.core as mx
import numpy as np
import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "memory_gb": 8.0,
    "system": "Linux",
    "python": "3.11",
    "versions": {"mlx": "0.32.4", "torch": None},
    "commit": "abc",
    "date": "2026-01-01",
    "device": "a GPU",
    "backend": "cuda",
    "driver": "580",
}


@pytest.fixture
def in_this_process(monkeypatch, capsys):
    """Trains and evaluates in this process, and returns the commands."""
    lines = []

    def run(self, command, arguments, limit):
        lines.append([command, *arguments])
        status, _, err = call(command, monkeypatch, capsys, *arguments)
        return status, err

    monkeypatch.setattr(training.Training, "_run", run)
    return lines


@pytest.fixture(autouse=True)
def same_commit(request, monkeypatch):
    """A commit that somebody makes during the tests would end a record that is gone on with."""
    if request.function is not test_the_gpu_s_names:
        monkeypatch.setattr(devices, "describe", lambda: json.loads(json.dumps(MACHINE)))


@pytest.mark.usefixtures("without_compilation")
@pytest.mark.filterwarnings("ignore::UserWarning")  # of few sequences for validation
def test_a_walk(tmp_path, in_this_process, capsys, monkeypatch):
    monkeypatch.setattr(training, "PROBE_STEPS", 4)
    monkeypatch.setattr(training, "LOGGED", 1)
    monkeypatch.setattr(timing, "LEAST_TIMED", 0.0)
    line = ["--device", "cpu", "--tiny", "--out", str(tmp_path), "--runs", "1", "--factor", "1", "--no-compile"]
    line += ["--cases", "gelu; ConvGRU", "--rows", "layer forward", "--precisions", "float32", "--sequences", "3"]
    # Validations and rows of few steps: the run takes as many as fit into the minutes, here at most some.
    fit = training.Training._probe
    monkeypatch.setattr(training.Training, "_probe", lambda self: (fit(self), self.results.update(max_steps=5)))

    # Cut off after the first part: the second command does the rest, and nothing twice.
    assert script.main([*line, "--parts", "correctness"]) == script.DONE
    first = json.loads((tmp_path / "results.json").read_text())["correctness"]
    assert set(first) == {"gelu", "ConvGRU"}
    assert all(one["agrees"] and one["value"] < 1e-5 for one in first.values())
    assert first["ConvGRU"]["gradient"] is not None

    assert script.main([*line, *OVERRIDES]) == script.DONE
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["correctness"] == first
    [(key, one)] = results["timing"].items()
    assert key == "layer forward, N=2, float32"
    assert len(one["ours"]["seconds"]) == 1
    assert ("other" in one) is HAS_TORCH
    assert [words[0] for words in in_this_process] == ["train", "train", "evaluate"]
    assert results["training"]["trained_steps"] == 5
    assert set(results["training"]["scores"]) >= {"model", "persistence"}
    assert (tmp_path / "training" / "curve.png").stat().st_size > 1000

    text = (tmp_path / "results.md").read_text()
    assert f"| ConvGRU | {first['ConvGRU']['value']:.1e} | 1e-04 |" in text
    assert "| layer forward | 2 | float32 |" in text
    assert "5 steps in" in text
    assert "a trial of the script" in text

    # All is done: nothing runs again.
    before = (tmp_path / "results.json").read_text()
    assert script.main([*line, *OVERRIDES]) == script.DONE
    assert len(in_this_process) == 3
    assert json.loads(before)["timing"] == json.loads((tmp_path / "results.json").read_text())["timing"]
    capsys.readouterr()


def test_a_case_that_differs_makes_the_status_1(tmp_path, monkeypatch, capsys):
    def compare(self, name, folder, limit):
        return {"value": 1.0, "gradient": None, "limits": [1e-4], "share": 1.0, "agrees": name != "gelu"}

    monkeypatch.setattr("benchmarks.gpu.correctness.Pair.compare", compare)
    line = ["--device", "cpu", "--tiny", "--out", str(tmp_path), "--parts", "correctness", "--cases", "gelu;drift"]
    assert script.main(line) == script.WRONG
    out, err = capsys.readouterr()
    assert "| gelu | 1.0e+00 | 1e-04 | - | - | **differs** |" in out
    assert "1 of 2 agree" in out
    assert err == "Wrong: gelu\n"


def test_a_command_without_time_leaves_the_rest_to_the_next_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.gpu.correctness.Pair.compare", lambda *_: pytest.fail("there is no time"))
    line = ["--device", "cpu", "--tiny", "--out", str(tmp_path), "--cases", "gelu"]
    assert script.main([*line, "--command-minutes", "1e-9"]) == script.MORE
    assert "correctness: still to do: 1 of 1, such as gelu" in capsys.readouterr().out
    # Without minutes for all of it, nothing is left to do.
    assert script.main([*line, "--minutes", "1e-9"]) == script.DONE
    assert "correctness: no minutes left for 1 of 1" in capsys.readouterr().out


def test_the_budget_counts_earlier_commands(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("benchmarks.gpu.budget.time.monotonic", lambda: clock[0])
    saved, kept = [], {"spent_seconds": 50.0}
    budget = Budget(kept, 200.0, 90.0, lambda: saved.append(dict(kept)))
    budget.begin_part(0.5)
    assert (budget.spent(), budget.left(), budget.command_left(), budget.over()) == (50, 150, 90, False)
    clock[0] = 150.0
    assert (budget.spent(), budget.left(), budget.command_left(), budget.over()) == (100, 100, 40, True)
    budget.begin_part(1.0)
    assert not budget.over()
    clock[0] = 190.0
    assert (budget.command_left(), budget.left(), budget.over()) == (0, 60, True)
    budget.save()
    assert saved == [{"spent_seconds": 140.0}]
    # The last command ends with the budget.
    assert Budget({"spent_seconds": 180.0}, 200.0, 90.0, list).command_left() == 20


def test_jobs_begin_with_the_table_s_own_sizes():
    rows = timing.rows("default,simvp train", tiny=False)
    jobs = timing.jobs(rows, 8, ["float32", "bfloat16"], compiles=True)
    assert [job.key for job in jobs[:4]] == [
        "default, N=16, float32",
        "simvp train, N=4, float32",
        "default, N=128, bfloat16",
        "simvp train, N=32, bfloat16",
    ]
    assert jobs[4].key == "default, N=16, float32, torch.compile"
    assert len({job.key for job in jobs}) == len(jobs) == 16
    assert not any(job.compiled for job in timing.jobs(rows, 8, ["float32"], compiles=False))
    assert [job.key for job in timing.jobs(rows, 1, ["float32"], compiles=False)] == [job.key for job in jobs[:2]]
    assert {row.name for row in timing.rows(None, False)} == {row.name for row in select(None)} - {
        "generator",
        "train.py",
    }
    with pytest.raises(ValueError, match="must name a row that a GPU computes but got 'generator'"):
        timing.rows("generator", False)


@pytest.mark.parametrize("row", timing.rows(None, tiny=True), ids=lambda row: row.name)
def test_rows_of_a_trial_are_small_models(row):
    model = MODELS[row.workload.model](**row.workload.arguments)
    assert 0 < parameters(model) < 100_000
    assert row.workload.inputs[:4] == (2, 2, 8, 8)


def test_outputs_are_compared_and_gradients_are_not(tmp_path):
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(b, loss=np.array(2.0), **{"gradient of W": np.array([1.0])})
    np.savez(a, loss=np.array(2.1), **{"gradient of W": np.array([5.0])})
    assert timing.outputs_differ(a, b) == pytest.approx(0.05)
    np.savez(a, loss=np.array(np.nan))
    assert np.isnan(timing.outputs_differ(a, b))


def test_tables_of_a_gpu():
    side = {"seconds": [0.02, 0.01, 0.03], "device_bytes": 5_000_000, "peak_bytes": 9}
    other = {"seconds": [0.04], "device_bytes": 7_000_000, "peak_bytes": 9}
    base = {"row": "default", "sequences": 16, "precision": "float32", "compiled": False}
    results = {
        "default, N=16, float32": base | {"ours": side, "other": other, "difference": 0.5, "agrees": False},
        "default, N=16, float32, torch.compile": base | {"compiled": True, "failed": "it took\nlonger | than 300 s"},
    }
    text = "\n".join(record.timing(results))
    times = "0.02 (0.01-0.03) | 0.04 (0.04-0.04) | **2.00** | - | - | - | 5 | 7 | 5e-01 **differs** |"
    assert f"| default | 16 | float32 | {times}" in text
    assert "- default, N=16, float32, torch.compile: it took longer / than 300 s" in text
    whole = {"machine": MACHINE, "asked": {"device": "gpu", "tiny": False}, "spent_seconds": 90.0}
    text = record.markdown(whole | {"correctness": {}, "timing": results, "training": {}})
    assert text.startswith("# a GPU\n\ncuda, driver 580; a CPU, 2 cores")
    assert "mlx 0.32.4; commit abc; 2026-01-01; 1.5 minutes so far." in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"commit": "def"}, "commit: abc there, def here"),
        ({"device": "another GPU"}, "device: a GPU there, another GPU here"),
    ],
)
def test_a_record_of_other_conditions_is_not_gone_on_with(tmp_path, change, text):
    record.save(record.load(tmp_path, MACHINE, "gpu", False, False), tmp_path)
    assert record.load(tmp_path, MACHINE, "gpu", False, False)["timing"] == {}
    with pytest.raises(record.RecordError, match=re.escape(text)):
        record.load(tmp_path, MACHINE | change, "gpu", False, False)
    assert record.load(tmp_path, MACHINE | change, "gpu", False, again=True)["machine"] == MACHINE | change
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(record.RecordError, match="is no record of this script"):
        record.load(tmp_path, MACHINE, "gpu", False, False)


@pytest.mark.parametrize("metal", [True, False])
def test_the_gpu_s_names(monkeypatch, metal):
    monkeypatch.setattr(devices.mx.metal, "is_available", lambda: metal)
    assert devices.backend("gpu") == ("metal" if metal else "cuda")
    assert devices.backend("cpu") == "cpu"
    monkeypatch.setattr(devices.mx, "device_info", lambda: {"device_name": "Some GPU", "limits": [1]})
    monkeypatch.setattr(devices, "_nvidia", lambda: ("Some GPU, 80 GB", "580.1"))
    monkeypatch.setattr(devices.platform, "mac_ver", lambda: ("15.1", "", ""))
    found = devices.description("gpu")
    assert found["device"] == ("Some GPU" if metal else "Some GPU, 80 GB")
    assert found["driver"] == ("macOS 15.1" if metal else "580.1")
    assert found["device_info"] == {"device_name": "Some GPU"}
    monkeypatch.setattr(devices.mx, "default_device", lambda: mx.Device(mx.gpu))
    devices.check_device("gpu")


def test_errors(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices.mx, "default_device", lambda: mx.Device(mx.cpu))
    out = ["--out", str(tmp_path)]
    assert script.main(out) == 2
    assert "--device gpu needs a GPU, but MLX's device here is Device(cpu, 0)" in capsys.readouterr().err
    assert script.main([*out, "--device", "cpu", "--cases", "gelu;nothing"]) == 2
    assert "--cases has no 'nothing'. Choose from: encoder_forecaster" in capsys.readouterr().err
    for wrong, text in (
        (["--minutes", "0"], "--minutes must be above 0 but got 0.0"),
        (["--parts", "timing,all"], "--parts has no 'all'. Choose from: correctness, timing, training"),
        (["--precisions", "float16"], "--precisions has no 'float16'. Choose from: float32, bfloat16"),
        (["quickstart"], "arguments of train.py must be KEY=VALUE but got 'quickstart'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            script.main([*out, *wrong])
        assert text in capsys.readouterr().err
    monkeypatch.setitem(script.NEEDED, "no_such_module.at_all", "no-such-package")
    with pytest.raises(SystemExit, match="no-such-package not installed"):
        script.main(out)
