"""`convlstm push`: what is published of a run, its card, and what of a repository is kept."""

from __future__ import annotations

import json
import re

from convlstm import checkpoints, load
from convlstm.checkpoints import tensors
from convlstm.checkpoints.build import build
from convlstm.publish.__main__ import main
from tests.support.forecast_runs import ENCODER, RAIN

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
import yaml

NAMES = {"README.md", "checksums.json", "config.json", "config.yaml", "model.safetensors", "optimizer.safetensors"}
NAMES |= {"state.json", ".gitattributes"}

# Of huggingface_hub 2.4 with its own HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def trained(tmp_path):
    """A run with averaged weights, whose configuration and record name places of this machine."""
    place = tmp_path / "private"
    model = build(ENCODER)
    averaged = {name: array + 1 for name, array in tensors.named(model.parameters()).items()}
    data = {
        "_target_": "convlstm.datasets.radar_echo.RadarEcho",
        "archive": [str(place / "knmi"), str(place / "dwd")],
        "index": str(place / "index"),
        "reader": {"projection": "+proj=stere", "file": str(place / "grid.nc")},
    }
    config = {
        "model": ENCODER,
        "data": data,
        "optimizer": {"_target_": "mlx.optimizers.Adam", "learning_rate": 0.001},
        "trainer": {"_target_": "convlstm.training.loop.Trainer", "monitor": "mse", "max_steps": 7},
        "logger": {"wandb": {"entity": "secret-team"}},
        "output": str(tmp_path / "private"),
        "name": "mine",
    }
    record = RAIN | {"archives": {"knmi: 1.h5": {"sha256": "0"}}, "file": str(place / "a.nc")}
    state = {"step": 7, "seed": 3, "status": "finished", "best": 0.25, "best_step": 6, "data": record}
    checkpoints.save(tmp_path / "mine" / "checkpoints" / "best", model, optim.Adam(0.1), state, config, ema=averaged)
    scores = {"mse_per_pixel": {"overall": 0.125, "per_lead": [0.1]}, "csi@2mmh": {"overall": 0.5, "per_lead": [0.5]}}
    evaluation = {
        "record": {"split": "test|x"},
        "sequences": 12,
        "forecasters": {"model": {"scores": scores}, "<persistence>": {"scores": {}}},
    }
    (tmp_path / "mine" / "evaluation").mkdir()
    (tmp_path / "mine" / "evaluation" / "metrics.json").write_text(json.dumps(evaluation))
    return tmp_path / "mine"


def test_the_averaged_weights_are_published_and_loaded_again(hub, trained, capsys):
    assert main([str(trained), "me/model", "--license", "cc-by-4.0"]) == 0
    out = capsys.readouterr().out
    number = re.search(r"pushed      hf://me/model@([0-9a-f]{40})\n", out)[1]
    assert set(hub.files("me/model", number)) == NAMES
    assert "note" not in out
    own = tensors.named(load(trained).parameters())
    for name, array in tensors.named(load(f"me/model@{number}").parameters()).items():
        np.testing.assert_array_equal(array, own[name])


def test_nothing_of_this_machine_is_published(hub, trained, tmp_path):
    main([str(trained), "me/model"])
    files = hub.files("me/model")
    texts = b"".join(content for name, content in files.items() if name != "model.safetensors")
    for word in (str(tmp_path), "private", "secret-team"):
        assert word.encode() not in texts
    config = yaml.safe_load(files["config.yaml"])
    assert config["data"]["archive"] == ["knmi", "dwd"]
    assert (config["data"]["index"], config["data"]["reader"]["file"]) == (None, "grid.nc")
    assert set(config) == {"model", "data", "optimizer", "trainer"}
    assert json.loads(files["config.json"])["model"] == ENCODER
    assert json.loads(files["config.json"])["record"]["units"] == "mm/h"


def test_the_card_has_data_training_scores_limits_and_licence(hub, trained):
    main([str(trained), "me/model", "--license", "cc-by-4.0"])
    card = hub.files("me/model")["README.md"].decode()
    header, text = card.removeprefix("---\n").split("---\n", 1)
    about = yaml.safe_load(header)
    assert (about["library_name"], about["license"]) == ("mlx", "cc-by-4.0")
    assert {"convlstm", "nowcasting"} <= set(about["tags"])
    for line in (
        "convlstm forecast ckpt=hf://me/model input=FOLDER_OF_FRAMES out=forecast.nc",
        "| Input frames | 3 |",
        "| Best mse of validation | 0.25, step 6 |",
        "| Optimizer | Adam {'learning_rate': 0.001} |",
        "12 sequences of the split `test\\|x`",
        "| score | model | &lt;persistence> |",
        "| 0.125 |",
        "It has learnt motion at 5 minutes a frame.",
    ):
        assert line in text, line


def test_a_card_that_is_there_is_kept_and_other_weights_are_removed(hub, run, capsys):
    hub.commit("me/model", {"README.md": b"mine", "ema.safetensors": b"old", "notes.txt": b"kept"})
    assert main([str(run), "hf://me/model"]) == 0
    files = hub.files("me/model")
    assert (files["README.md"], files["notes.txt"]) == (b"mine", b"kept")
    assert "ema.safetensors" not in files
    out = capsys.readouterr().out
    assert "kept        the README.md that is there; --card replaces it" in out
    assert "note        the card states no licence" in out
    main([str(run), "me/model", "--card"])
    assert hub.files("me/model")["README.md"].startswith(b"---\nlibrary_name: mlx")


def test_a_branch_of_its_own(hub, run):
    main([str(run), "me/model"])
    main([str(run), "me/model@v2", "--message", "Second"])
    assert set(hub.files("me/model", "v2")) == NAMES


def test_the_files_can_be_looked_at_first(hub, run, tmp_path, capsys):
    assert main([str(run), "me/model", "--to", str(tmp_path / "look")]) == 0
    assert {path.name for path in (tmp_path / "look").iterdir()} == NAMES - {".gitattributes"}
    assert load(tmp_path / "look")
    assert hub.requests == []
    assert main([str(run), "me/model", "--to", str(tmp_path / "look")]) == 1
    assert "it exists already; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere", "me/model"], "'nowhere' does not exist"),
        (["RUN", "model"], r"'model' names no repository of the hub\. Use owner/name"),
        (["RUN", "me/../x"], r"'me/\.\./x' names no repository of the hub"),
    ],
)
def test_slips_are_refused(hub, run, arguments, text, capsys):
    assert main([str(run) if word == "RUN" else word for word in arguments]) == 1
    assert re.search(f"convlstm push: {text}.* Nothing was published", capsys.readouterr().err)
    assert hub.requests == []


def test_without_a_token_a_message_says_how_to_log_in(hub, run, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main([str(run), "me/model"]) == 1
    err = capsys.readouterr().err
    assert re.search(r"the hub refused 'me/model': .*401.* Log in with a token that may write: hf auth login", err)


def test_weights_that_are_not_finite_are_not_published(hub, tmp_path, capsys):
    model = build(ENCODER)
    weights = {name: array * mx.nan for name, array in tensors.named(model.parameters()).items()}
    model.load_weights(list(weights.items()))
    checkpoints.save(tmp_path / "bad", model, optim.SGD(0.1), {"step": 1}, {"model": ENCODER})
    assert main([str(tmp_path / "bad"), "me/model"]) == 1
    assert "NaN or infinite" in capsys.readouterr().err
    assert hub.repositories == {}
