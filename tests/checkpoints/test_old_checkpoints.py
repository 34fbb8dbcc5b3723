"""Checkpoints of the old layout of modules still load, forecast, evaluate and resume.

`old/make.py` made them and describes them. On a machine of the kind that made them, forecasts agree to the last bit;
elsewhere, and in training, whose optimizer has a kernel since then, up to rounding errors.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from convlstm import Forecaster, load
from convlstm.ops.algorithm import on_cpu
from convlstm.ops.cpu.library import available
from tests.support.machine import machine
from tests.support.tiny import call

import mlx.core as mx
import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent / "old"
ABOUT = json.loads((FOLDER / "about.json").read_text(encoding="utf-8"))
RUNS, HORIZON = ABOUT["runs"], ABOUT["horizon"]
SAME_BITS = on_cpu() and available() is not None and machine() == ABOUT["machine"]
# Moving by the motion, and products of 1 x 1, have kernels since these were made, which round in another order.
WITH_NEW_KERNELS = ("advection_residual", "predrnn_v2")


def expected(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / "runs" / name / "expected.npz") as arrays:
        return dict(arrays)


def check(name: str, found: np.ndarray, wanted: np.ndarray, rtol: float = 1e-5, *, trained: bool = False) -> None:
    if SAME_BITS and not trained and name not in WITH_NEW_KERNELS:
        np.testing.assert_array_equal(found, wanted, strict=True)
    else:
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-6, strict=True)


def flat(path: Path) -> np.ndarray:
    """All arrays of a file as one, in the order of their names."""
    return np.concatenate([np.ravel(array) for _, array in sorted(mx.load(str(path)).items())])


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """Spares a new machine the minutes that MLX needs to compile these models; the bits are the same."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture
def run(request, tmp_path, monkeypatch) -> Path:
    """A copy of the run that the test is about, in a folder to work in; paths are relative to that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "indexes"))
    name = request.node.callspec.params["name"]
    shutil.copytree(FOLDER / "archive", "archive")
    shutil.copytree(FOLDER / "runs" / name, f"runs/{name}")
    return Path("runs", name)


@pytest.mark.parametrize("name", RUNS)
def test_an_old_checkpoint_forecasts_as_it_did(name):
    wanted = expected(name)
    model = load(FOLDER / "runs" / name)
    check(name, np.array(model(mx.array(wanted["inputs"]), HORIZON)), wanted["forecast"])


@pytest.mark.parametrize("name", RUNS)
def test_an_old_checkpoint_forecasts_physical_values_as_it_did(name):
    wanted = expected(name)
    forecaster = Forecaster.load(FOLDER / "runs" / name)
    assert forecaster.units == {"moving_mnist": "", "archive": "raw"}.get(name, "mm/h")
    # In mm/h, an exponential of the model's scale, errors are ten times as large.
    check(name, forecaster(wanted["frames"], HORIZON), wanted["physical"], rtol=1e-4)


@pytest.mark.parametrize("name", ABOUT["evaluated"])
def test_an_old_checkpoint_has_the_scores_it_had(name, run, monkeypatch, capsys):
    quick = ("baselines=[]", "examples=[]", "cases=0")
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run}", "out=evaluation", *quick)
    assert status == 0, err
    found = json.loads(Path("evaluation", "metrics.json").read_text(encoding="utf-8"))
    trained = json.loads((run / "checkpoints/last/state.json").read_text(encoding="utf-8"))["data"]
    if trained.get("digits_sha256") != found["record"]["data"].get("digits_sha256"):
        pytest.skip("other versions of Pillow and matplotlib draw other digits")
    for archive in found["record"]["data"].get("archives", {}).values():
        assert archive.pop("fields")  # recorded since then
    assert found["record"]["data"] == trained
    scores = found["forecasters"]["model"]["scores"]
    check(name, np.array([scores[key]["per_lead"] for key in ("mse_per_pixel", "ssim")]), expected(name)["scores"])


@pytest.mark.filterwarnings("default:.* is called .* now")  # two runs name their transform on the command line
@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_resumes_as_it_did(name, run, monkeypatch, capsys):
    overrides = [*ABOUT["common"], *RUNS[name], "trainer.max_steps=4", f"resume={run}"]
    status, out, err = call("train", monkeypatch, capsys, *overrides)
    if re.search(r"trained on other data:\n  digits_sha256: .*\nGive it the data", err):
        pytest.skip("other versions of Pillow and matplotlib draw other digits")
    assert status == 0, err
    assert f"{run}, from step 2 on" in out

    wanted, last = expected(name), run / "checkpoints" / "last"
    check(name, flat(last / "model.safetensors"), wanted["model"], trained=True)
    assert (last / "ema.safetensors").exists() == ("ema" in wanted)
    if "ema" in wanted:
        check(name, flat(last / "ema.safetensors"), wanted["ema"], trained=True)
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for column in ("train_loss", "val_loss"):
        check(name, np.array([float(row[column]) for row in rows if row[column]]), wanted[column], trained=True)
