"""Checkpoints from strangers: they run no code, and nothing is read or written outside of their folder."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import re
import shutil
import struct
import sys
from pathlib import Path

from convlstm.checkpoints import CheckpointError, find, load, read_config, restore, save, seal, verify
from convlstm.checkpoints.build import UntrustedTargetError
from convlstm.checkpoints.verification import sealed
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.tiny import OVERRIDES, call, snapshot

import mlx.optimizers as optim
import pytest
import yaml

DESCRIPTION = {
    "_target_": "convlstm.models.EncoderForecaster",
    "hidden_channels": [2],
    "kernel_size": 3,
    "patch_size": 2,
    "peepholes": True,
}
DATA = {
    "_target_": "convlstm.datasets.moving_mnist.MovingMNIST",
    "digits": "builtin",
    "frame_size": 16,
    "digit_size": 8,
    "num_digits": 1,
    "input_frames": 2,
    "target_frames": 2,
    "train_sequences": 4,
    "validation_sequences": 2,
    "test_sequences": 2,
}
# Besides opening files, which is looked at more closely.
ACTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
    "pty.spawn",
)
ACTS += (
    "pickle.find_class",
    "marshal.loads",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "webbrowser.open",
)
ACTS += ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "shutil.rmtree")


class Watch:
    """What the interpreter is seen to do while it is watched: see `sys.addaudithook`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.secret: Path | None = None

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.secret is None:
            return
        if event in ACTS:
            # Python keeps its compiled modules.
            if event == "marshal.loads" or "__pycache__" in str(arguments):
                return
            self.seen.append(f"{event} {arguments}")
        elif event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if str(self.secret) in str(path) or (writes and "__pycache__" not in str(path)):
                self.seen.append(f"open {path}")
        elif event == "import" and arguments[0].partition(".")[0] in ("marker", "pickle_marker"):
            self.seen.append(f"import {arguments[0]}")


WATCH = Watch()
sys.addaudithook(WATCH)  # for good: there is no way to take one away


@pytest.fixture
def secret(tmp_path):
    """A folder that is none of the checkpoint's business."""
    place = tmp_path / "secret"
    place.mkdir()
    (place / "key").write_text("step,loss\n1,2\n")
    return place


@pytest.fixture
def run(tmp_path):
    """A stranger's run with the checkpoint `last`."""
    model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    config = {"model": DESCRIPTION, "data": DATA}
    save(tmp_path / "run" / "checkpoints" / "last", model, optimizer, vars(Progress()), config)
    return tmp_path / "run"


@pytest.fixture
def last(run):
    return run / "checkpoints" / "last"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported or used."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "marker.py").write_text("def Model(**arguments): pass\n")
    monkeypatch.syspath_prepend(place)
    yield
    assert "marker" not in sys.modules


def watched(secret, attempt):
    """The result of an attempt, which is seen to do nothing that it must not do."""
    WATCH.seen, WATCH.secret = [], secret
    try:
        return attempt()
    finally:
        WATCH.secret = None
        assert WATCH.seen == []


def refused(secret, attempt, match, kind=(CheckpointError, UntrustedTargetError)):
    """The attempt ends with such an error, and has done nothing that it must not do."""
    with pytest.raises(kind, match=match):
        watched(secret, attempt)


def describe(last, **changes):
    """Writes another configuration, as a stranger can: with checksums that are right."""
    config = {"model": DESCRIPTION, "data": DATA}
    (last / "config.yaml").write_text(yaml.safe_dump(config | changes))
    seal(last)


def test_the_watch_sees_what_it_must(secret, tmp_path):
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


def test_a_sound_checkpoint_is_loaded(secret, run):
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
    {"_target_": "convlstm.runs.log.MetricsLog", "path": "it_ran", "columns": []},
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
def test_hydra_s_and_python_s_own_keys_are_plain_arguments(key, last, secret):
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


# Links and paths


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
def test_what_is_no_file_is_not_waited_for(file, kind, last, secret):
    (last / file).unlink()
    os.mkfifo(last / file) if kind == "fifo" else (last / file).mkdir()
    refused(secret, lambda: load(last), rf"{file}' is not a file, so it was not read", CheckpointError)


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/last"])
def test_a_run_s_checkpoint_that_lies_elsewhere_is_not_read(link, run, secret):
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
    refused(secret, lambda: load(last), r"checksums\.json' is damaged: it is not about", CheckpointError)


@pytest.mark.parametrize("name", ["../../x", "encoder.999999999.weight", "__class__", "encoder.0.__init__", ""])
def test_an_array_s_name_leads_nowhere(name, last, secret):
    path = last / "model.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    first = next(key for key in header if key != "__metadata__")
    header[name] = header.pop(first)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + path.read_bytes()[8 + length :])
    seal(last)
    refused(secret, lambda: load(last), "belongs to another architecture", CheckpointError)


def test_what_else_lies_in_the_folder_is_left_alone(last, run, secret, monkeypatch):
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
    import mlx.core as mx

    for write, name in ((mx.save, "a.npy"), (mx.savez, "a.npz"), (mx.save_gguf, "a.gguf")):
        array = mx.zeros((2, 2))
        write(str(tmp_path / name), array if name == "a.npy" else {"a": array} if name == "a.gguf" else array)
        shutil.copy(tmp_path / name, last / file)
        seal(last)
        refused(secret, lambda: load(last), rf"{file}' is damaged", CheckpointError)


# Texts

TEXTS = {
    "apply": "model: !!python/object/apply:os.system ['touch it_ran']",
    "new": "model: !!python/object/new:marker.Model {}",
    "name": "model: !!python/name:os.system",
    "module": "model: !!python/module:marker",
    "object": "model: !!python/object:marker.Model {a: 1}",
    "tuple": "model: !!python/tuple [1, 2]",
    "own tag": "model: !os.system touch",
    "a bomb": "a: &a [x, x]\nb: &b [*a, *a]\nmodel: {c: [*b, *b]}",
    "a merge": "a: &a {x: 1}\nmodel: {<<: [*a, *a]}",
    "a circle": "model: &a {b: *a}",
    "a wrong date": "model: {a: 2020-99-99}",
    "no int": "model: {a: !!int ''}",
    "no bool": "model: {a: !!bool perhaps}",
    "no float": "model: {a: !!float ''}",
    "a key that is a list": "model: {? [a] : b}",
    "two documents": "model: {}\n---\nmodel: {}",
    "depth": "model: {a: " + "[" * 300 + "]" * 300 + "}",
    "nul": "model: {a: '\0'}",
    "a long one": "model: {a: '" + "x" * (1 << 18) + "'}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_configuration_is_plain_values(text, last, secret, marker):
    (last / "config.yaml").write_text(text)
    seal(last)
    refused(secret, lambda: read_config(last), r"config\.yaml' is damaged: ", CheckpointError)
    refused(secret, lambda: load(last), r"config\.yaml' is damaged: ", CheckpointError)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "[" * 100_000, '{"step": 1e400}', '{"step": ' + "9" * 5000 + "}", "\ufeff{}", '{"step": NaN}'],
    ids=range(8),
)
def test_a_state_is_plain_values(text, last, secret):
    (last / "state.json").write_text(text)
    seal(last)
    refused(secret, lambda: load(last), r"state\.json' is damaged: ", CheckpointError)


# Headers


def tensor_file(header, data=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(4,), offsets=(0, 16), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


HEADERS = {
    "shorter than its length": b"\x08\x00",
    "longest length": tensor_file({"a": entry()}, length=2**64 - 1),
    "negative length": tensor_file({"a": entry()}, length=2**63),
    "length beyond the end": tensor_file({"a": entry()}, length=1000),
    "length of nothing": tensor_file({"a": entry()}, length=0),
    "a header of 17 MB": tensor_file(b'{"a": "' + b" " * (17 << 20) + b'"}'),
    "negative offset": tensor_file({"a": entry(offsets=(-16, 0))}),
    "offset beyond the end": tensor_file({"a": entry(offsets=(16, 32))}),
    "offset far beyond the end": tensor_file({"a": entry(offsets=(2**62, 2**62 + 16))}),
    "offset of 2^64": tensor_file({"a": entry(offsets=(2**64, 2**64 + 16))}),
    "end before begin": tensor_file({"a": entry(offsets=(16, 0))}),
    "a gap": tensor_file({"a": entry((2,), (0, 8)), "b": entry((1,), (12, 16))}),
    "an overlap": tensor_file({"a": entry(), "b": entry()}),
    "bytes at the end": tensor_file({"a": entry()}, data=b"\0" * 20),
    "fewer bytes": tensor_file({"a": entry()}, data=b"\0" * 12),
    "negative shape": tensor_file({"a": entry((-4,))}),
    "two negatives": tensor_file({"a": entry((-2, -2))}),
    "a product that overflows": tensor_file({"a": entry((2**31 + 1, 2**33))}),
    "a product that wraps": tensor_file({"a": entry((2**32, 2**32, 4))}),
    "a huge empty one": tensor_file({"a": entry((2**62, 0), (0, 0))}, data=b""),
    "many axes": tensor_file({"a": entry((1,) * 40 + (4,))}),
    "another size": tensor_file({"a": entry((5,))}),
    "a type that is none": tensor_file({"a": entry(dtype="PICKLE")}),
    "a type that is a list": tensor_file({"a": entry(dtype=["F32"])}),
    "a shape of fractions": tensor_file({"a": entry((4.0,))}),
    "a shape of truths": tensor_file({"a": entry((True, 4))}),
    "a shape of text": tensor_file({"a": entry() | {"shape": "4"}}),
    "three offsets": tensor_file({"a": entry(offsets=(0, 8, 16))}),
    "a further key": tensor_file({"a": entry(path="../secret")}),
    "no shape": tensor_file({"a": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "no mapping": tensor_file({"a": [1, 2]}),
    "a list": tensor_file([1, 2]),
    "a name twice": tensor_file(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2)),
    "a name that moves the cursor": tensor_file({"\x1b[2Ja": entry()}),
    "no JSON": tensor_file(b"{a: 1}"),
    "no text": tensor_file(b"\xff\xfe\xfd"),
    "depth": tensor_file(b"[" * 100_000),
    "a long number": tensor_file(b'{"a": ' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_header_is_not_believed(file, content, last, secret):
    (last / file).write_bytes(content)
    seal(last)
    refused(secret, lambda: load(last), rf"{file}' is damaged: it", CheckpointError)


def test_what_is_shown_of_a_stranger_s_text_moves_no_cursor(last, secret):
    (last / "model.safetensors").write_bytes(HEADERS["a name that moves the cursor"])
    seal(last)
    with pytest.raises(CheckpointError) as caught:
        load(last)
    assert "\x1b" not in str(caught.value)
    assert r"'\x1b[2Ja'" in str(caught.value)


def test_restore_is_as_careful(last, secret):
    model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    assert watched(secret, lambda: restore(last, model, optimizer))["step"] == 0
    (last / "optimizer.safetensors").write_bytes(HEADERS["two negatives"])
    seal(last)
    refused(secret, lambda: restore(last, model, optimizer), r"optimizer\.safetensors' is damaged", CheckpointError)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "config.yaml"])
def test_whatever_a_file_holds_the_error_is_one_of_ours(file, last, secret, rng):
    """Some bytes of it are others, and the checksums say that they are right."""
    content = (last / file).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little") if file == "model.safetensors" else len(content)
    failed = 0
    for _ in range(120):
        changed = bytearray(content)
        for place in rng.integers(header, size=rng.integers(1, 6)):
            changed[place] = rng.choice(list(b'\x00\xff{}[]",:-!&*09eE.~ \n'))
        (last / file).write_bytes(changed)
        seal(last)
        try:
            model = watched(secret, lambda: load(last))
        except ValueError:
            failed += 1
        else:
            assert isinstance(model, EncoderForecaster)
    assert failed > 30


# The doors


@pytest.fixture
def evaluate(monkeypatch, capsys):
    return lambda *arguments: call("evaluate", monkeypatch, capsys, "examples=[]", *arguments)


def seen(monkeypatch, secret, attempt):
    """The result of a door, and what was seen of the secret folder, of the network, and of programs and pickles."""
    WATCH.seen, WATCH.secret = [], secret
    try:
        result = attempt()
    finally:
        WATCH.secret = None
    told = [act for act in WATCH.seen if str(secret) in act or not act.startswith(("open ", "os.mkdir", "os.re"))]
    return result, told


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"_target_": "os.system", "command": "touch it_ran"}, "outside the trusted packages (datasets)"),
        ({"_target_": "convlstm.models.EncoderForecaster"}, "outside the trusted packages (datasets)"),
        (
            {"_target_": "convlstm.datasets.digits.urllib.request.Request", "url": "http://x"},
            "not a class defined in a trusted",
        ),
        ({"_target_": "convlstm.datasets.archive.Archive", "path": "SECRET", "cache": "SECRET/new"}, "is not a Data"),
        ({"_target_": "convlstm.datasets.index.Store", "folder": "SECRET", "key": 1}, "is not a Data"),
        (
            DATA | {"step": {"_target_": "convlstm.datasets.archive.Archive", "path": "SECRET"}},
            "is not a RadarTransform",
        ),
        (DATA | {"step": [{"_target_": "marker.Model"}]}, "outside the trusted packages (datasets)"),
        ({"digits": "builtin"}, "outside the trusted packages (datasets)"),
    ],
)
def test_data_of_a_stranger_runs_nothing(data, text, last, run, secret, marker, evaluate, monkeypatch):
    data = json.loads(json.dumps(data).replace("SECRET", str(secret)))
    describe(last, data=data)
    before = snapshot(secret.parent)
    (status, _, err), told = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}"))
    assert status == 1
    assert text in err
    assert told == []
    assert snapshot(secret.parent) == before


def test_data_of_a_stranger_fetches_nothing_and_writes_nothing(last, run, secret, evaluate, monkeypatch):
    root = secret / "new"
    more = {"digits": "mnist", "root": str(root), "mirrors": "http://localhost:9/", "index": str(secret / "index")}
    describe(last, data=DATA | more)
    (status, _, err), told = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}"))
    assert status == 1
    assert (
        f"is not in {root} and was not downloaded (there is no mirror to try). Put the file there, point data.root"
        in err
    )
    assert told == []
    assert sorted(path.name for path in secret.iterdir()) == ["key"]


@pytest.mark.parametrize("link", ["evaluation", "evaluation/lead_times.png"])
def test_scores_are_not_written_through_a_link(link, run, secret, evaluate, monkeypatch):
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(secret if link == "evaluation" else secret / "key")
    before = snapshot(secret)
    status, _, err = evaluate(f"ckpt={run}")
    assert status == 1
    assert f"'{run / link}' is a link to somewhere else. Name the folder of the scores and pictures: out=PATH." in err
    assert snapshot(secret) == before


def test_an_evaluation_reads_and_writes_in_its_own_places(last, run, secret, evaluate, monkeypatch):
    describe(last, data=DATA | {"root": str(secret / "new"), "index": str(secret / "index")}, output=str(secret))
    (run / "metrics.csv").symlink_to(secret / "key")
    (run / "evaluation").symlink_to(secret)
    (status, out, err), told = seen(monkeypatch, secret, lambda: evaluate(f"ckpt={run}", f"out={run.parent / 'out'}"))
    assert status == 0, err
    assert sorted(path.name for path in secret.iterdir()) == ["key"]
    assert "training.png" not in out
    assert told == []
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
def test_a_stranger_s_run_that_is_resumed_runs_nothing(digits, trained, secret, tmp_path, monkeypatch, capsys):
    """`data.digits=auto` takes the checkpoint's word, and only one of two words is good."""
    monkeypatch.chdir(tmp_path)
    run, line = trained
    for place in (run / "checkpoints").iterdir():
        config = yaml.safe_load((place / "config.yaml").read_text())
        config["data"]["digits"] = digits
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        seal(place)
    before = snapshot(run)
    (status, _, err), told = seen(monkeypatch, secret, lambda: call("train", monkeypatch, capsys, *line))
    assert status == 1
    assert f"config.yaml' names no digits but {digits!r}. Name them: data.digits=mnist or builtin." in err
    assert told == []
    assert list(tmp_path.iterdir()) == [secret]
    assert snapshot(run) == before
