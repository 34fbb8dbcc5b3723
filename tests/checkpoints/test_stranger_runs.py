"""Commands on a stranger's run."""

from __future__ import annotations

import json
import sys

from convlstm.checkpoints import seal
from tests.support.strangers import DATA, describe, seen
from tests.support.tiny import OVERRIDES, call, snapshot

import pytest
import yaml


@pytest.fixture
def evaluate(monkeypatch, capsys):
    return lambda *arguments: call("evaluate", monkeypatch, capsys, "examples=[]", *arguments)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"_target_": "os.system", "command": "touch it_ran"}, "outside the trusted packages (convlstm.datasets)"),
        ({"_target_": "convlstm.models.EncoderForecaster"}, "outside the trusted packages (convlstm.datasets)"),
        (
            {"_target_": "convlstm.datasets.digits.urllib.request.Request", "url": "http://x"},
            "not a class defined in a trusted",
        ),
        (
            {"_target_": "convlstm.datasets.archives.archive.Archive", "path": "SECRET", "cache": "SECRET/new"},
            "is not a Data",
        ),
        ({"_target_": "convlstm.datasets.archives.index.Store", "folder": "SECRET", "key": 1}, "is not a Data"),
        (
            DATA | {"step": {"_target_": "convlstm.datasets.archives.archive.Archive", "path": "SECRET"}},
            "is not a Transform",
        ),
        (DATA | {"step": [{"_target_": "marker.Model"}]}, "outside the trusted packages (convlstm.datasets)"),
        ({"digits": "builtin"}, "outside the trusted packages (convlstm.datasets)"),
    ],
)
def test_data_of_a_stranger_runs_nothing(data, text, last, run, secret, marker, evaluate, monkeypatch):
    data = json.loads(json.dumps(data).replace("SECRET", str(secret)))
    describe(last, data=data)
    before = snapshot(secret.parent)
    (status, _, err), acts = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}"))
    assert status == 1
    assert text in err
    assert acts == []
    assert snapshot(secret.parent) == before


def test_data_of_a_stranger_fetches_nothing_and_writes_nothing(last, run, secret, evaluate, monkeypatch):
    root = secret / "new"
    more = {"digits": "mnist", "root": str(root), "mirrors": "http://localhost:9/", "index": str(secret / "index")}
    describe(last, data=DATA | more)
    (status, _, err), acts = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}"))
    assert status == 1
    assert (
        f"is not in {root} and was not downloaded (there is no mirror to try). Put the file there, set data.root" in err
    )
    assert acts == []
    assert sorted(path.name for path in secret.iterdir()) == ["key"]


@pytest.mark.parametrize("link", ["evaluation", "evaluation/lead_times.png"])
def test_scores_are_not_written_through_a_link(link, run, secret, evaluate, monkeypatch):
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(secret if link == "evaluation" else secret / "key")
    before = snapshot(secret)
    status, _, err = evaluate(f"ckpt={run}")
    assert status == 1
    assert f"'{run / link}' is a link to another place. Name the folder of the results: out=PATH." in err
    assert snapshot(secret) == before


def test_an_evaluation_stays_inside_its_folders(last, run, secret, evaluate, monkeypatch):
    describe(last, data=DATA | {"root": str(secret / "new"), "index": str(secret / "index")}, output=str(secret))
    (run / "metrics.csv").symlink_to(secret / "key")
    (run / "evaluation").symlink_to(secret)
    (status, out, err), acts = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}", f"out={run.parent / 'out'}"))
    assert status == 0, err
    assert sorted(path.name for path in secret.iterdir()) == ["key"]
    assert "training.png" not in out
    assert acts == []
    assert {path.name for path in run.iterdir()} == {"checkpoints", "evaluation", "metrics.csv"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step, and the line that goes on with it."""
    from convlstm.cli import train

    output = tmp_path_factory.mktemp("runs")
    line = [
        *OVERRIDES,
        "data._target_=convlstm.datasets.moving_mnist.MovingMNIST",
        "trainer.max_steps=1",
        f"output={output}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["train.py", *line, "name=own"])
        train.main()
    return output / "own", [*line, "data.digits=auto", f"resume={output / 'own'}"]


@pytest.mark.parametrize(
    "digits", [{"_target_": "os.system", "command": "touch it_ran"}, "${oc.env:HOME}", ["builtin"], None]
)
def test_resuming_a_run_of_a_stranger_runs_nothing(digits, trained, secret, tmp_path, monkeypatch, capsys):
    """`data.digits=auto` takes the checkpoint's word, and only one of two words is good."""
    monkeypatch.chdir(tmp_path)
    run, line = trained
    for place in (run / "checkpoints").iterdir():
        config = yaml.safe_load((place / "config.yaml").read_text())
        config["data"]["digits"] = digits
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        seal(place)
    before = snapshot(run)
    (status, _, err), acts = seen(monkeypatch, secret, lambda: call("train", monkeypatch, capsys, *line))
    assert status == 1
    assert f"config.yaml' must have data.digits mnist or builtin but has {digits!r}. Name the digits on" in err
    assert acts == []
    assert list(tmp_path.iterdir()) == [secret]
    assert snapshot(run) == before
