"""evaluate.py: what it takes, what it scores, what it writes."""

import csv
import io
import json
import shutil
import sys

from convlstm import load
from convlstm.architectures.frames import as_unit
from convlstm.checkpoints import seal
from convlstm.datasets.moving_mnist import MovingMNIST
from tests.support.tiny import OVERRIDES, Data, blots, call, snapshot

import mlx.core as mx
import numpy as np
import pytest
import yaml
from PIL import Image

# The frames that OVERRIDES describe.
DATA = {
    "frame_size": 16,
    "digit_size": 8,
    "num_digits": 1,
    "input_frames": 3,
    "target_frames": 3,
    "train_sequences": 22,
    "validation_sequences": 5,
    "test_sequences": 5,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of different loss: `a` of 12 steps, `b` of 2."""
    output = tmp_path_factory.mktemp("runs")
    from convlstm.cli import train

    for name, steps, loss in (("a", 12, "bce"), ("b", 2, "mse")):
        line = [*OVERRIDES, f"trainer.max_steps={steps}", f"loss={loss}", f"output={output}", f"name={name}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HYDRA_FULL_ERROR", "1")
            patch.setattr(sys, "argv", ["train.py", *line])
            train.main()
    return output


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """The door, with the data of these tests trusted and, unless `examples` are asked for, no pictures."""

    def run(*arguments):
        quiet = () if any(a.startswith("examples") for a in arguments) else ("examples=[]",)
        return call("evaluate", monkeypatch, capsys, "trusted=[tests]", *quiet, *arguments)

    return run


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs / "a", tmp_path / "a")


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())


def overall(document, forecaster, metric):
    return document["forecasters"][forecaster]["scores"][metric]["overall"]


def frames(split, n, **changes):
    """Inputs and targets in [0, 1] of the first sequences of a split."""
    data = Data(**(DATA | changes))
    samples = [data.sample(split, i) for i in range(n)]
    return [np.array(as_unit(np.stack([sample[key] for sample in samples]))) for key in ("inputs", "targets")]


def test_the_scores_are_those_of_the_forecasts(runs, evaluate, tmp_path):
    status, out, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}", "batch_size=2")
    assert (status, err) == (0, "")
    inputs, targets = frames("test", 5)
    model = load(runs / "a", trusted=("convlstm", "mlx", "tests"))
    forecasts = {
        "model": np.array(model(mx.array(inputs), 3)),
        "persistence": np.repeat(inputs[:, -1:], 3, axis=1),
        "zeros": np.zeros_like(targets),
    }
    document = scores(tmp_path)
    assert list(document["forecasters"]) == ["model", "persistence", "zeros"]
    assert (document["sequences"], document["horizon"]) == (5, 3)
    for name, forecast in forecasts.items():
        error = forecast.astype(np.float64) - targets
        got = document["forecasters"][name]["scores"]
        assert got["mse_per_pixel"]["overall"] == pytest.approx((error**2).mean(), rel=1e-5)
        assert got["mse_per_frame"]["overall"] == pytest.approx((error**2).sum((2, 3, 4)).mean(), rel=1e-5)
        np.testing.assert_allclose(got["mae_per_pixel"]["per_lead"], np.abs(error).mean((0, 2, 3, 4)), rtol=1e-5)
    skill = 1 - overall(document, "model", "mse_per_pixel") / overall(document, "zeros", "mse_per_pixel")
    assert document["forecasters"]["model"]["skill_against"]["zeros"] == pytest.approx(skill)

    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["forecaster"] == "model" and row["metric"] == "mse_per_frame"
        ]
    assert [row["lead"] for row in rows] == ["mean", "1", "2", "3"]
    assert float(rows[0]["value"]) == overall(document, "model", "mse_per_frame")
    assert f"{overall(document, 'model', 'mse_per_frame'):.2f}" in out
    assert "5 sequences, 3 frames ahead" in out


def test_a_run_stands_for_its_best_checkpoint(runs, evaluate, tmp_path):
    best = yaml.safe_load((runs / "a" / "checkpoints" / "best" / "state.json").read_text())["step"]
    for name, path, step in (
        ("run", runs / "a", best),
        ("best", runs / "a" / "checkpoints" / "best", best),
        ("last", runs / "a" / "checkpoints" / "last", 12),
    ):
        status, _, _ = evaluate(f"ckpt={path}", f"out={tmp_path / name}")
        assert status == 0
        record = scores(tmp_path / name)["record"]
        assert record["steps"] == {"model": step}
        assert record["checkpoints"]["model"].endswith("last" if name == "last" else "best")
        assert record["split"] == "test"
        assert record["data"]["digits_sha256"] == blots().sha256()


def test_several_runs_stand_side_by_side(runs, evaluate, tmp_path):
    status, out, _ = evaluate(f"ckpt=[{runs / 'a'},{runs / 'b'}]", f"out={tmp_path / 'both'}")
    assert status == 0
    both = scores(tmp_path / "both")
    assert list(both["forecasters"]) == ["a", "b", "persistence", "zeros"]
    for name in ("a", "b"):
        evaluate(f"ckpt={runs / name}", f"out={tmp_path / name}")
        alone = overall(scores(tmp_path / name), "model", "mse_per_frame")
        assert overall(both, name, "mse_per_frame") == alone
    assert overall(both, "a", "mse_per_frame") != overall(both, "b", "mse_per_frame")
    assert "note:" not in out

    status, _, _ = evaluate(f"ckpt=[{runs / 'a'},{runs / 'a' / 'checkpoints' / 'last'}]", f"out={tmp_path / 'twice'}")
    assert status == 0
    assert list(scores(tmp_path / "twice")["forecasters"]) == ["a/best#1", "a/last#2", "persistence", "zeros"]


def test_runs_of_other_data_are_scored_on_the_first_ones_and_told(runs, run, evaluate, tmp_path):
    for place in run.glob("checkpoints/*/config.yaml"):
        place.write_text(place.read_text().replace("num_digits: 1", "num_digits: 2"))
        seal(place.parent)
    status, out, _ = evaluate(f"ckpt=[{runs / 'b'},{run}]", f"out={tmp_path / 'out'}")
    assert status == 0
    assert "note: 'a' was trained on other data than 'b' (data.num_digits)." in out
    assert scores(tmp_path / "out")["record"]["data"]["num_digits"] == 1


@pytest.mark.parametrize(
    ("changes", "split", "n", "data", "horizon"),
    [
        (["split=validation"], "validation", 5, {}, 3),
        (["split=train", "sequences=3"], "train", 3, {}, 3),
        (["horizon=1"], "test", 5, {}, 1),
        (["data.target_frames=7", "horizon=6"], "test", 5, {"target_frames": 7}, 6),
        (["data.test_sequences=2", "data.dtype=float32"], "test", 2, {}, 3),
        (
            ["data.target_frames=4", "data.frame_size=[16,24]"],
            "test",
            5,
            {"target_frames": 4, "frame_size": [16, 24]},
            4,
        ),
    ],
)
def test_what_is_scored_can_be_changed(changes, split, n, data, horizon, runs, evaluate, tmp_path):
    status, _, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}", *changes)
    assert (status, err) == (0, "")
    document = scores(tmp_path)
    assert (document["sequences"], document["horizon"]) == (n, horizon)
    inputs, targets = frames(split, n, **data)
    expected = np.square(inputs[:, -1:].astype(np.float64) - targets[:, :horizon]).sum((2, 3, 4)).mean()
    assert overall(document, "persistence", "mse_per_frame") == pytest.approx(expected, rel=1e-5)


def test_other_data_can_be_named(runs, evaluate, tmp_path):
    status, _, _ = evaluate(
        f"ckpt={runs / 'a'}",
        f"out={tmp_path}",
        "data=moving_mnist",
        "data.digits=builtin",
        "data.frame_size=16",
        "data.digit_size=8",
        "sequences=2",
    )
    assert status == 0
    document = scores(tmp_path)
    assert document["record"]["data"]["digits_sha256"] == MovingMNIST(digits="builtin").describe()["digits_sha256"]
    assert (document["sequences"], document["horizon"], document["record"]["data"]["num_digits"]) == (2, 10, 2)


def test_pictures_of_the_chosen_sequences(run, evaluate):
    status, out, _ = evaluate(f"ckpt={run}", "examples=[3,0,99]")
    assert status == 0
    folder = run / "evaluation"
    pictures = ["forecast_0.png", "forecast_3.png", "forecast_0.gif", "lead_times.png", "training.png"]
    assert out.rstrip().splitlines()[-1] == "Pictures:  " + ", ".join(str(folder / name) for name in pictures)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*pictures, "metrics.csv", "metrics.json", "report.html"]
    )
    for name in pictures:
        with Image.open(folder / name) as image:
            assert getattr(image, "n_frames", 1) == (6 if name.endswith("gif") else 1)
            assert np.asarray(image.convert("L")).std() > 5
    assert (folder / "forecast_0.png").read_bytes() != (folder / "forecast_3.png").read_bytes()


def test_a_checkpoint_alone_is_enough(run, evaluate, tmp_path):
    alone = tmp_path / "given"
    (run / "checkpoints" / "best").rename(alone)
    shutil.rmtree(run)
    status, _, _ = evaluate(f"ckpt={alone}", "examples=[1]")
    assert status == 0
    assert sorted(path.name for path in (alone / "evaluation").iterdir()) == [
        "forecast_1.gif", "forecast_1.png", "lead_times.png", "metrics.csv", "metrics.json", "report.html",
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_and_a_pipe_none(runs, evaluate, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}")[2] == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}")[0] == 0
    assert "evaluating: 100%" in terminal.getvalue()
    assert "5/5" in terminal.getvalue()


def describe(run, **changes):
    """Changes what the checkpoints say the model is."""
    for place in run.glob("checkpoints/*/config.yaml"):
        config = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump(config | {"model": config["model"] | changes}))
        seal(place.parent)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hidden_channels": [6]}, "(24,) float32 in the model"),
        ({"hidden_channels": [4, 4]}, "missing: encoder.1.cell."),
        ({"hidden_channels": "many"}, "must be"),
        ({"wide": True}, "has layers without 'wide'"),
        ({"_target_": "marker.Model"}, "outside the trusted packages"),
        ({"_target_": "convlstm.backend.blas.os.system"}, "is not a class defined in a trusted package"),
        ({"_target_": "convlstm.losses.MeanSquaredError"}, "MeanSquaredError"),
    ],
)
def test_a_checkpoint_whose_configuration_does_not_fit_it(changes, text, run, evaluate, tmp_path, monkeypatch):
    (tmp_path / "marker.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    describe(run, **changes)
    before = snapshot(tmp_path)
    status, out, err = evaluate(f"ckpt={run}")
    assert (status, out) == (1, "")
    assert err.startswith("evaluate.py: ")
    assert text in err
    assert snapshot(tmp_path) == before
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize("target", ["marker.Data", "convlstm.datasets.digits.os.system"])
def test_the_data_of_a_stranger_is_not_run_either(target, run, evaluate, tmp_path, monkeypatch):
    (tmp_path / "marker.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for place in run.glob("checkpoints/*/config.yaml"):
        place.write_text(place.read_text().replace("tests.support.tiny.Data", target))
        seal(place.parent)
    before = snapshot(tmp_path)
    status, out, err = evaluate(f"ckpt={run}", "data.test_sequences=2")
    assert (status, out) == (1, "")
    assert err.startswith(f"evaluate.py: '_target_: {target}' is ")
    assert "so it was not loaded" in err
    assert snapshot(tmp_path) == before


def test_types_of_the_data_are_checked(run, evaluate):
    for place in run.glob("checkpoints/*/config.yaml"):
        place.write_text(
            place.read_text().replace("tests.support.tiny.Data", "convlstm.datasets.moving_mnist.MovingMNIST")
        )
        seal(place.parent)
    assert (
        "'data.frame_size' must be int | list[int] but got 'big'." in evaluate(f"ckpt={run}", "data.frame_size=big")[2]
    )
    assert "no key 'data.num_digit'" in evaluate(f"ckpt={run}", "data.num_digit=1")[2]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("ckpt=null", "there is nothing to evaluate: name a run's folder, a checkpoint's folder, or a list of them"),
        ("ckpt=[]", "there is nothing to evaluate: name a run's folder"),
        ("split=tset", "'split' must be one of train, validation, test but got 'tset'"),
        ("sequences=0", "'sequences' must be a whole number of at least 1 but got 0."),
        ("sequences=few", "'sequences' must be a whole number of at least 1 but got 'few'."),
        ("batch_size=null", "'batch_size' must be a whole number of at least 1 but got None."),
        ("horizon=0", "'horizon' must be a whole number of at least 1 but got 0."),
        (
            "horizon=4",
            "'horizon' (4) is longer than the data's targets (3 frames), so there is no truth to score with. ",
        ),
        ("examples=[a]", "'examples' must be a list of whole numbers of at least 0, [] for none, but got ['a']."),
        ("examples=3", "'examples' must be a list"),
        ("examples=[-1]", "'examples' must be a list"),
        ("cases=-1", "'cases' must be a whole number of at least 0 but got -1."),
        ("trusted=tests", "'trusted' must be a list of packages, such as trusted=[mine], but got 'tests'."),
        (
            "data.frame_size=18",
            "the model 'model' does not fit the data: [EncoderForecaster] frames of 18x18 cannot be",
        ),
        ("data.frame_size=big", "'frame_size' must be a whole number or (height, width) but got 'big'."),
        ("data.num_digit=1", "unexpected keyword argument 'num_digit'"),
        ("data=nothing", "data has no choice 'nothing'.\nChoices of data: moving_mnist"),
        (
            "sequence=3",
            "there is no key 'sequence'. Did you mean 'sequences'?\nKeys: ckpt, split, sequences, batch_size",
        ),
    ],
)
def test_values_that_cannot_be(change, text, runs, evaluate, tmp_path):
    out = tmp_path / "out"
    status, told, err = evaluate(*([] if change.startswith("ckpt") else [f"ckpt={runs / 'a'}"]), f"out={out}", change)
    assert (status, told) == (1, "")
    assert err.startswith("evaluate.py: ")
    assert text in err
    assert not out.exists()


def test_nothing_named(evaluate):
    assert evaluate() == (
        1,
        "",
        "evaluate.py: there is nothing to evaluate: name a run's folder, a checkpoint's folder, or a list of them "
        "(ckpt=runs/NAME), or a model that needs no training (model=persistence data=...).",
    )


def test_an_output_that_cannot_be_made(runs, evaluate, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, out, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path / 'file' / 'sub'}")
    assert (status, out) == (1, "")
    assert err.startswith(f"evaluate.py: out: '{tmp_path / 'file' / 'sub'}': Not a directory.")
    assert snapshot(tmp_path) == {"file": b"mine"}
