"""Checkpoints, data and values that `evaluate` refuses."""

import os
import re
import shutil

from convlstm.architectures.baselines import Persistence
from convlstm.checkpoints import seal
from tests.support.tiny import snapshot

import mlx.core as mx
import pytest
import yaml


def describe(run, **changes):
    """Changes the description of the model in the checkpoints of a run."""
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


@pytest.mark.parametrize("where", [lambda address: address, lambda address: {"a": [address]}], ids=["plain", "nested"])
def test_a_stranger_s_data_have_no_server_asked(where, run, evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    address = "https://127.0.0.1:9/rain.zarr"
    for place in run.glob("checkpoints/*/config.yaml"):
        config = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump(config | {"data": config["data"] | {"archive": where(address)}}))
        seal(place.parent)
    status, out, err = evaluate(f"ckpt={run}")
    assert (status, out) == (1, "")
    assert f"are at {address}, from which you have not read yet." in err
    assert f"name it: data.archive={address}." in err
    known = tmp_path / "data" / "remote" / "https" / "127.0.0.1%3A9" / "rain.zarr"
    known.mkdir(parents=True)
    (known / ".address").write_text(address)
    assert "not read yet" not in evaluate(f"ckpt={run}")[2]


@pytest.mark.parametrize("target", ["marker.Data", "convlstm.datasets.digits.os.system"])
def test_a_stranger_s_data_runs_no_code(target, run, evaluate, tmp_path, monkeypatch):
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
        ("data=nothing", "data has no choice 'nothing'.\nChoices of data: fields, moving_mnist"),
        (
            "sequence=3",
            "there is no key 'sequence'. Did you mean 'sequences'?\nKeys: ckpt, split, sequences, batch_size",
        ),
    ],
)
def test_wrong_values_are_refused(change, text, runs, evaluate, tmp_path):
    out = tmp_path / "out"
    status, out_text, err = evaluate(
        *([] if change.startswith("ckpt") else [f"ckpt={runs / 'a'}"]), f"out={out}", change
    )
    assert (status, out_text) == (1, "")
    assert err.startswith("evaluate.py: ")
    assert text in err
    assert not out.exists()


def test_nothing_to_evaluate_is_refused(evaluate):
    assert evaluate() == (
        1,
        "",
        "evaluate.py: there is nothing to evaluate: name a run's folder, a checkpoint's folder, or a list of them "
        "(ckpt=runs/NAME), or a model that needs no training (model=persistence data=...).",
    )


def test_an_output_below_a_file_is_refused(runs, evaluate, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, out, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path / 'file' / 'sub'}")
    assert (status, out) == (1, "")
    assert err.startswith(f"evaluate.py: out: '{tmp_path / 'file' / 'sub'}': Not a directory.")
    assert snapshot(tmp_path) == {"file": b"mine"}


def test_weights_that_are_not_numbers_are_named(run, evaluate):
    (checkpoint,) = run.glob("checkpoints/best")
    for name in ("model", "ema"):
        if (file := checkpoint / f"{name}.safetensors").exists():
            weights = mx.load(str(file))
            first = min(weights)
            mx.save_safetensors(str(file), weights | {first: mx.full(weights[first].shape, mx.nan)})
    seal(checkpoint)
    status, out, err = evaluate(f"ckpt={run}")
    assert (status, out) == (1, "")
    assert re.search(
        rf"1 of \d+ weights in '{checkpoint}' have values that are NaN or infinite, such as '{first}'", err
    )
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.html", "<!DOCTYPE html>\n<title>A year of work</title>"),
        ("metrics.csv", "step,loss"),
        ("metrics.json", "{}"),
        ("lead_times.png", "a picture of mine"),
    ],
)
def test_a_file_of_another_program_is_not_replaced(run, evaluate, tmp_path, name, text):
    file = tmp_path / "mine" / name
    file.parent.mkdir()
    file.write_text(text)
    status, _, err = evaluate(f"ckpt={run}", f"out={file.parent}")
    assert status == 1
    assert f"'{file}' is not from an evaluation, and is left alone. Name another folder: out=PATH." in err
    assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


def test_results_are_not_written_through_hard_links(run, evaluate, tmp_path):
    secrets = {name: tmp_path / f"secret of {name}" for name in ("report.html", "metrics.csv", "lead_times.png")}
    assert evaluate(f"ckpt={run}", "sequences=2", "examples=[0]")[0] == 0
    for name, secret in secrets.items():
        shutil.copyfile(run / "evaluation" / name, secret)
        (run / "evaluation" / name).unlink()
        os.link(secret, run / "evaluation" / name)
    before = {name: secret.read_bytes() for name, secret in secrets.items()}
    assert evaluate(f"ckpt={run}", "sequences=1", "examples=[0]")[0] == 0
    for name, secret in secrets.items():
        assert secret.read_bytes() == before[name]
        assert not secret.samefile(run / "evaluation" / name)


def test_escape_sequences_in_names_and_values_do_not_reach_the_terminal(run, evaluate, tmp_path):
    hostile = run.rename(tmp_path / "run\x1b[2J\x9b31m\u202e")
    status, out, err = evaluate(f"ckpt='{hostile}'", "sequences=1")
    assert status == 0
    describe(hostile, hidden_channels="\x1b]0;title\x07")
    status, _, refusal = evaluate(f"ckpt='{hostile}'")
    assert status == 1
    assert "run\\x1b[2J\\x9b31m\\u202e" in out
    assert not set(out + err + refusal) & set("\x1b\x07\x9b\u202e")


def test_a_forecast_without_a_finite_value_is_not_scored(run, evaluate, monkeypatch):
    def diverged(self, x, horizon):
        return mx.full((len(x), horizon, *x.shape[2:]), mx.nan)

    monkeypatch.setattr(Persistence, "__call__", diverged)
    status, out, err = evaluate(f"ckpt={run}", "sequences=1", "baselines=[persistence]")
    assert status == 1
    assert re.fullmatch(r"data .*\n( {12}.*\n)*", out), out
    assert "the forecast of the Persistence has no finite value, so it cannot be scored." in err
