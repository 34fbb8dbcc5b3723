"""Checkpoints from strangers: they run no code, and nothing outside their folder is read or written."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import re
import shutil
import struct
from pathlib import Path

from convlstm.checkpoints import CheckpointError, UntrustedTargetError, find, load, seal, verify
from convlstm.checkpoints.verification import sealed
from convlstm.models import EncoderForecaster
from tests.support.strangers import DESCRIPTION, describe, refused, watched

import mlx.core as mx
import pytest
import yaml


def test_the_watch_sees_forbidden_acts(secret, tmp_path):
    for act, seen in [
        (lambda: os.system("true"), "os.system"),
        (lambda: (tmp_path / "a").write_text(""), "open"),
        (lambda: (secret / "key").read_text(), "open"),
        (lambda: ctypes.CDLL(None), "ctypes.dlopen"),
        (lambda: pickle.loads(pickle.dumps(Path("a"))), "pickle.find_class"),
        (lambda: (tmp_path / "b").mkdir(), "os.mkdir"),
    ]:
        with pytest.raises(AssertionError, match=re.escape(seen)):
            watched(secret, act)


def test_an_intact_checkpoint_is_loaded(secret, run):
    model = watched(secret, lambda: load(run))
    assert isinstance(model, EncoderForecaster)


# `_target_`

TRICKS = [
    {"_target_": "os.system", "command": "touch it_ran"},
    {"_target_": "builtins.exec", "source": "import marker"},
    {"_target_": "builtins.__import__", "name": "marker"},
    {"_target_": "importlib.import_module", "name": "marker"},
    {"_target_": "subprocess.Popen", "args": ["touch", "it_ran"]},
    {"_target_": "pickle.loads", "data": "cos\nsystem\n(S'touch it_ran'\ntR."},
    {"_target_": "numpy.load", "file": "key", "allow_pickle": True},
    {"_target_": "marker.Model"},
    {"_target_": "marker"},
    {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", "command": "touch it_ran"}},
    # What a trusted package has imported.
    {"_target_": "convlstm.evaluation.tables.os.system", "command": "touch it_ran"},
    {"_target_": "convlstm.backend.files.os.system", "command": "touch it_ran"},
    {"_target_": "convlstm.backend.files.shutil.rmtree", "path": "secret"},
    {"_target_": "convlstm.backend.blas.ctypes.CDLL", "name": "evil.so"},
    {"_target_": "convlstm.checkpoints.build.importlib.import_module", "name": "marker"},
    {"_target_": "convlstm.checkpoints.Path", "args": "secret"},
    {"_target_": "mlx.nn.layers.base.os.system", "command": "touch it_ran"},
    # What it defines, but no layer.
    {"_target_": "convlstm.ops.cpu.library.Library", "path": "evil.so"},
    {"_target_": "convlstm.backend.files.DurableFile", "path": "it_ran"},
    {"_target_": "convlstm.runs.metrics_log.MetricsLog", "path": "it_ran", "columns": []},
    {"_target_": "convlstm.training.loop.Trainer", "max_steps": 1, "batch_size": 1},
    {"_target_": "convlstm.checkpoints.save", "folder": "it_ran"},
    {
        "_target_": "convlstm.checkpoints.build.build",
        "description": {"_target_": "os.system", "command": "touch it_ran"},
    },
    {"_target_": "convlstm.checkpoints.CheckpointError"},
    {"_target_": "convlstm.models.EncoderForecaster.__init__.__globals__"},
    {"_target_": "convlstm.models.EncoderForecaster.__class__", "name": "A", "bases": [], "dict": {}},
    {"_target_": "convlstm.models.EncoderForecaster.load_weights", "file_or_weights": "key"},
    {"_target_": "convlstm.models.EncoderForecaster.__subclasses__"},
    {"_target_": "mlx.core.load", "file": "key"},
    {"_target_": "mlx._distributed_utils.launch.RemoteProcess", "command": ["touch", "it_ran"]},
    # Spelled otherwise.
    {"_target_": "convlstm.os.system"},
    {"_target_": "convlstm/../os.system"},
    {"_target_": "convlstm.models.EncoderForecaster; import os"},
    {"_target_": " os.system"},
    {"_target_": "convlstm..os"},
    {"_target_": ".os.system"},
    {"_target_": ["os", "system"]},
    {"_target_": {"_target_": "os.system"}},
    {"_target_": None},
    {"_target_": "convlstm"},
    {"_target_": "\u0441onvlstm.models.EncoderForecaster"},
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: str(trick["_target_"])[:60])
def test_a_target_runs_nothing(trick, last, secret, marker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.so").write_bytes(b"\x7fELF")
    before = sorted(path.name for path in tmp_path.iterdir())
    for model in (
        trick,
        DESCRIPTION | {"hidden_channels": trick},
        DESCRIPTION | {"hidden_channels": [2, trick]},
        DESCRIPTION | {"downsample": [None, {"kernel_size": {"deeper": [[trick]]}}]},
    ):
        describe(last, model=model)
        refused(
            secret,
            lambda: load(last),
            r"^'_target_: (?s:.*) (so it was not loaded|does not exist)",
            UntrustedTargetError,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("key", ["_partial_", "_recursive_", "_convert_", "_args_", "__class__", "training", "a.b"])
def test_keys_of_hydra_and_python_are_plain_arguments(key, last, secret):
    describe(last, model=DESCRIPTION | {key: True})
    refused(secret, lambda: load(last), "unexpected keyword|without", ValueError)


@pytest.mark.parametrize(
    "model",
    [
        {"hidden_channels": 10**400},
        {"hidden_channels": [10**12]},
        {"hidden_channels": [-1]},
        {"hidden_channels": {"a": 1}},
        {"kernel_size": float("nan")},
        {"kernel_size": float("inf")},
        {"patch_size": "2"},
        {"hidden_channels": "22"},
        {3: 4},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_an_error(model, last, secret):
    (last / "config.yaml").write_text(yaml.safe_dump({"model": DESCRIPTION | model}))
    seal(last)
    refused(secret, lambda: load(last), ".", ValueError)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "checksums.json"]
)
@pytest.mark.parametrize("to", ["secret", "copy", "nowhere", "loop"])
def test_a_file_that_is_a_link_is_not_read(file, to, last, secret, run):
    shutil.copy(last / file, secret / file)
    (last / file).unlink()
    place = {"secret": secret / "key", "copy": secret / file, "nowhere": secret / "none", "loop": last / file}[to]
    (last / file).symlink_to(place)
    text = rf"{file}' is a link to somewhere else, so it was not read"
    refused(secret, lambda: load(last), text, CheckpointError)
    refused(secret, lambda: verify(last), text, CheckpointError)
    refused(secret, lambda: find(run), text, CheckpointError)


def test_an_average_that_is_a_link_is_not_read(last, secret):
    (last / "ema.safetensors").symlink_to(secret / "key")
    refused(secret, lambda: load(last), r"ema\.safetensors' is damaged: it was not written with", CheckpointError)
    with pytest.raises(CheckpointError, match=r"ema\.safetensors' is a link to somewhere else"):
        seal(last)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "checksums.json"]
)
def test_reading_does_not_wait_for_a_pipe_or_folder(file, kind, last, secret):
    (last / file).unlink()
    os.mkfifo(last / file) if kind == "fifo" else (last / file).mkdir()
    refused(secret, lambda: load(last), rf"{file}' is not a file, so it was not read", CheckpointError)


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/last"])
def test_a_checkpoint_outside_its_run_is_not_read(link, run, secret):
    shutil.move(run / link, secret / "there")
    (run / link).symlink_to(secret / "there")
    refused(secret, lambda: find(run), rf"leads out of '{run}', to '{secret / 'there'}", CheckpointError)
    # Whoever means it can name it.
    assert isinstance(load(secret / "there"), EncoderForecaster)


def test_a_run_that_is_reached_by_a_link_is_read(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert find(tmp_path / "link") == tmp_path / "link" / "checkpoints" / "last"


@pytest.mark.parametrize("name", ["../../../secret/key", "/etc/passwd", "..", "config.yaml/../../x"])
def test_checksums_name_files_of_the_folder_only(name, last, secret):
    known = json.loads((last / "checksums.json").read_text())["files"]
    (last / "checksums.json").write_text(sealed(known | {name: {"bytes": 14, "sha256": "0" * 64}}))
    refused(secret, lambda: load(last), r"checksums\.json' is damaged: it does not list", CheckpointError)


@pytest.mark.parametrize("name", ["../../x", "encoder.999999999.weight", "__class__", "encoder.0.__init__", ""])
def test_names_of_arrays_are_not_followed(name, last, secret):
    path = last / "model.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    first = next(key for key in header if key != "__metadata__")
    header[name] = header.pop(first)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + path.read_bytes()[8 + length :])
    seal(last)
    refused(secret, lambda: load(last), "belongs to another architecture", CheckpointError)


def test_other_files_in_the_folder_are_ignored(last, run, secret, monkeypatch):
    monkeypatch.chdir(last)
    for name in ("sitecustomize.py", "__init__.py", "conftest.py", "marker.py", "convlstm.py", "model.pkl", "model.pt"):
        (last / name).write_text("raise SystemExit")
    assert isinstance(watched(secret, lambda: load(run)), EncoderForecaster)


# Pickles and other formats


class Evil:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (os.mkdir, (str(self.place),))


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "checksums.json"]
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_are_not_loaded(file, protocol, last, secret, tmp_path):
    evil = pickle.dumps(Evil(tmp_path / "it_ran"), protocol)
    (last / file).write_bytes(evil)
    if file != "checksums.json":
        seal(last)
    text = rf"{file}' (is damaged|has no section 'model')"
    refused(secret, lambda: load(last), text, CheckpointError)
    refused(secret, lambda: verify(last), text, CheckpointError)
    assert not (tmp_path / "it_ran").exists()
    with pytest.raises(AssertionError, match=r"pickle\.find_class"):
        watched(secret, lambda: pickle.loads(evil))
    assert (tmp_path / "it_ran").exists(), "the pickle does what it should"


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_other_formats_of_arrays_are_not_loaded(file, last, secret, tmp_path):

    for write, name in ((mx.save, "a.npy"), (mx.savez, "a.npz"), (mx.save_gguf, "a.gguf")):
        array = mx.zeros((2, 2))
        write(str(tmp_path / name), array if name == "a.npy" else {"a": array} if name == "a.gguf" else array)
        shutil.copy(tmp_path / name, last / file)
        seal(last)
        refused(secret, lambda: load(last), rf"{file}' is damaged", CheckpointError)
