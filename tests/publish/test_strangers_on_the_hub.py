"""Repositories of strangers: they run no code, and nothing but the files of a checkpoint is downloaded."""

from __future__ import annotations

import os
import pickle
import shutil
import sys

from convlstm.checkpoints import CheckpointError, UntrustedTargetError, load, seal
from convlstm.checkpoints.hub_cache import blob_of, repository_of
from tests.support.strangers import ACTS, DESCRIPTION, WATCH, describe

import pytest

RUNS = tuple(act for act in ACTS if act.partition(".")[0] in ("subprocess", "ctypes", "pty", "pickle", "webbrowser"))
RUNS += ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "import marker", "import pickle_marker")


class Evil:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (os.mkdir, (str(self.place),))


@pytest.fixture
def attempt(hub, tmp_path, monkeypatch):
    """Loads `me/evil`; no program, library, pickle or module of the repository may be used meanwhile."""
    secret = tmp_path / "secret"
    secret.mkdir()
    load_first = pytest.importorskip("huggingface_hub")
    assert callable(load_first.HfApi), "its modules are imported now"
    assert callable(load_first.snapshot_download)

    def run():
        WATCH.seen, WATCH.secret = [], secret
        try:
            return load("me/evil")
        finally:
            WATCH.secret = None
            assert [act for act in WATCH.seen if act.startswith(RUNS) or str(secret) in act] == []
            assert not (tmp_path / "it_ran").exists()
            assert "marker" not in sys.modules

    return run


@pytest.mark.parametrize(
    "trick",
    [
        {"_target_": "os.system", "command": "touch it_ran"},
        DESCRIPTION | {"hidden_channels": {"_target_": "builtins.exec", "source": "import marker"}},
    ],
    ids=lambda trick: trick["_target_"],
)
def test_a_target_runs_nothing(hub, attempt, best, trick):
    describe(best, model=trick)
    hub.push("me/evil", best, **{"marker.py": b"raise SystemExit", "modeling.py": b"raise SystemExit"})
    with pytest.raises(UntrustedTargetError, match="so it was not loaded"):
        attempt()


@pytest.mark.parametrize("file", ["model.safetensors", "config.yaml"])
def test_a_pickle_in_place_of_a_file_is_not_loaded(hub, attempt, best, tmp_path, file):
    (best / file).write_bytes(pickle.dumps(Evil(tmp_path / "it_ran")))
    seal(best)
    hub.push("me/evil", best)
    with pytest.raises(CheckpointError, match=f"{file}' (is damaged|has no section 'model')"):
        attempt()


def test_only_the_files_of_a_checkpoint_are_downloaded(hub, attempt, best, tmp_path):
    evil = pickle.dumps(Evil(tmp_path / "it_ran"))
    others = dict.fromkeys(
        [
            "pytorch_model.bin",
            "model.pkl",
            "optimizer.pt",
            "sitecustomize.py",
            "convlstm.py",
            "config.json",
            "README.md",
        ]
        + ["../../../escaped", "/etc/escaped", "..\\escaped", "sub/config.yaml", "config.yaml/../../x", ".git/hooks/x"],
        evil,
    )
    hub.push("me/evil", best, **others)
    assert attempt() is not None
    assert set(hub.downloads()) == {path.name for path in best.iterdir()}
    files = [path for path in tmp_path.rglob("*") if path.is_file() and best not in path.parents]
    assert [path for path in files if path.read_bytes() == evil] == []


def test_files_that_do_not_match_their_checksums_are_refused(hub, attempt, best):
    (best / "model.safetensors").write_bytes((best / "model.safetensors").read_bytes() + b"x")
    hub.push("me/evil", best)
    with pytest.raises(CheckpointError, match=r"model\.safetensors' is damaged"):
        attempt()


@pytest.mark.parametrize("kind", ["elsewhere", "absolute", "deeper", "a link", "a folder", "blobs are a link"])
def test_only_links_of_the_cache_are_followed(kind, best, tmp_path):
    """A stranger's archive can have the layout of the cache."""
    repository = tmp_path / "models--me--evil"
    folder, blobs = repository / "snapshots" / "abc", repository / "blobs"
    shutil.copytree(best, folder)
    shutil.copytree(best, blobs)
    link, blob = folder / "config.yaml", blobs / "config.yaml"
    link.unlink()
    link.symlink_to("../../blobs/config.yaml")
    assert (repository_of(folder), blob_of(link)) == ("me/evil@abc", blob)
    assert load(folder)
    target = {"elsewhere": "../../../x", "absolute": str(blob), "deeper": "../../blobs/../blobs/config.yaml"}.get(kind)
    if target is not None:
        link.unlink()
        link.symlink_to(target)
    elif kind == "a link":
        blob.rename(blobs / "other")
        blob.symlink_to("other")
    elif kind == "a folder":
        blob.unlink()
        blob.mkdir()
    else:
        blobs.rename(repository / "other")
        blobs.symlink_to("other")
    assert blob_of(link) is None
    with pytest.raises(CheckpointError, match=r"config\.yaml' is a link to somewhere else, so it was not read"):
        load(folder)
