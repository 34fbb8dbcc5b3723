"""Checkpoints on disks that fill up or break, and checkpoints that were damaged afterwards: nothing sound is lost."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from convlstm import checkpoints
from convlstm.backend import files
from convlstm.checkpoints import (
    CheckpointError,
    CheckpointWriteError,
    find,
    read_config,
    read_ema,
    read_state,
    restore,
    save,
    verify,
)
from convlstm.checkpoints.verification import sealed
from convlstm.runs.progress import Progress
from tests.support.tiny import OVERRIDES, Fade, call, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

CONFIG = {"model": {"_target_": "tests.support.tiny.Fade"}, "seed": 0}
FILES = [*checkpoints.FILES, "ema.safetensors", "checksums.json"]


def save_step(place: Path, step: int, *, padding: int = 1, keep: int = 1) -> None:
    """A checkpoint with averaged weights whose numbers tell the step; `padding` floats make it larger."""
    model, optimizer = Fade(float(step)), optim.SGD(0.1, momentum=0.9)
    optimizer.init(model.trainable_parameters())
    optimizer.state["step"] = mx.array(step, mx.uint64)
    model.bias = mx.full((padding,), 0.5)
    ema = {"weight": mx.array([step + 0.5]), "bias": model.bias}
    save(place, model, optimizer, vars(Progress(step=step)), CONFIG, ema=ema, keep=keep)


def parts():
    """A model and an optimizer that fit, with values of their own."""
    model, optimizer = Fade(-1.0), optim.SGD(0.1, momentum=0.9)
    model.bias = mx.full((1,), 0.5)
    optimizer.init(model.trainable_parameters())
    return model, optimizer


def values(model, optimizer):
    return {n: np.array(a).tolist() for tree in (model.parameters(), optimizer.state) for n, a in tree_flatten(tree)}


@pytest.fixture
def run(tmp_path):
    """A run with `last` of step 3, `last.previous` of step 2, and `best` of step 1."""
    for name, step in (("best", 1), ("last", 2), ("last", 3)):
        save_step(tmp_path / "run" / "checkpoints" / name, step)
    return tmp_path / "run"


# Damage


def shorter(path):
    path.write_bytes(path.read_bytes()[:-5])


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flipped(path, place=None, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1 << bit
    path.write_bytes(content)


def garbled(path):
    path.write_bytes(b"\x00\xff not this" * 20)


def missing(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [shorter, half, empty, longer, flipped, garbled, missing, folder])
@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_and_the_checkpoint_before_is_used(file, harm, run):
    last, previous = run / "checkpoints" / "last", run / "checkpoints" / "last.previous"
    harm(last / file)
    text = {
        missing: rf"the checkpoint '.*last' is incomplete, without {file}\.",
        folder: rf"'.*last/{file}' is not a file, so it was not read\.",
    }.get(harm, rf"'.*last/{file}' is damaged: ")
    model, optimizer = parts()
    before, kept = values(model, optimizer), snapshot(run)
    # Named itself, it is the one that is meant.
    with pytest.raises(CheckpointError, match=text):
        restore(find(last) if harm is not missing else last, model, optimizer)
    assert values(model, optimizer) == before
    # Of a run, the one before it is taken.
    with pytest.warns(UserWarning, match=rf"{text}.* So '.*last\.previous' is used instead of '.*last'\.$"):
        assert find(run, prefer=("last", "best")) == previous
    assert restore(previous, model, optimizer)["step"] == 2
    assert (model.weight.item(), read_ema(previous, model)["weight"].item()) == (2.0, 2.5)
    assert snapshot(run) == kept


@pytest.mark.parametrize("apart", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_flipped_bits_and_lost_ends_are_found_wherever_they_are(apart, run):
    last = run / "checkpoints" / "last"
    verify(last)
    found = 0
    for file in FILES:
        content = (last / file).read_bytes()
        for place in range(0, len(content), apart):
            flipped(last / file, place, bit=place % 8)
            with pytest.raises(CheckpointError, match=rf"last/{file}' is damaged"):
                verify(last)
            (last / file).write_bytes(content[:place])
            with pytest.raises(CheckpointError, match=rf"last/{file}' is damaged"):
                verify(last)
            (last / file).write_bytes(content)
            found += 2
    verify(last)
    assert found > 3000 / apart


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"])
@pytest.mark.parametrize("harm", [shorter, empty, garbled, missing])
def test_damage_without_checksums(file, harm, run):
    last = run / "checkpoints" / "last"
    (last / "checksums.json").unlink()
    (last / "ema.safetensors").unlink()
    (last / "state.json").write_text((last / "state.json").read_text().replace('"format": 2,', ""))
    verify(last)
    harm(last / file)
    if file == "config.yaml" and harm is shorter:
        (last / file).write_text("model: {_target_: [")
    with pytest.raises(CheckpointError, match=rf"{file}' (is damaged|has no section 'model')|without {file}"):
        verify(last)
    with pytest.warns(UserWarning, match=r"last\.previous' is used instead"):
        assert find(run, prefer=("last",)).name == "last.previous"


def test_a_damaged_best_gives_way_to_an_earlier_best_and_then_to_the_last(run):
    checkpoints = run / "checkpoints"
    flipped(checkpoints / "best" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"best/model.*is damaged.* So '.*/last' is used instead of '.*/best'\.$"):
        assert find(run) == checkpoints / "last"
    save_step(checkpoints / "best", 4)
    assert find(run) == checkpoints / "best"
    save_step(checkpoints / "best", 5)
    flipped(checkpoints / "best" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"So '.*best\.previous' is used instead of '.*/best'\.$"):
        assert find(run) == checkpoints / "best.previous"


def test_where_several_are_damaged_all_are_named(run):
    for step in (4, 5):
        save_step(run / "checkpoints" / "last", step, keep=3)
    for name in ("last", "last.previous"):
        flipped(run / "checkpoints" / name / "model.safetensors")
    with pytest.warns(
        UserWarning, match=r"'.*last/model.* is damaged.*'.*last\.previous/model.* is damaged.*"
    ) as caught:
        assert find(run, prefer=("last",)).name == "last.previous.2"
    assert str(caught[0].message).endswith(
        "last.previous.2' is used instead of '" + f"{run / 'checkpoints' / 'last'}'."
    )


def test_where_all_are_damaged_there_is_no_checkpoint(run):
    for place in (run / "checkpoints").iterdir():
        missing(place / "state.json")
    with pytest.raises(CheckpointError, match=r"last' is incomplete, without state\.json.*Nor is there another.*best'"):
        find(run, prefer=("last", "best"))


def test_a_sound_run_gives_no_warning(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(run).name == "best"


def test_a_damaged_checkpoint_takes_no_sound_one_s_place(run):
    checkpoints = run / "checkpoints"
    flipped(checkpoints / "last" / "model.safetensors")
    lost = snapshot(checkpoints / "last")
    save_step(checkpoints / "last", 4)
    assert {p.name for p in checkpoints.iterdir()} == {"best", "last", "last.previous", "last.damaged"}
    assert [read_state(checkpoints / name)["step"] for name in ("last", "last.previous")] == [4, 2]
    assert snapshot(checkpoints / "last.damaged") == lost
    # Once only: the next damaged one replaces it.
    missing(checkpoints / "last" / "config.yaml")
    save_step(checkpoints / "last", 5)
    assert [read_state(checkpoints / name)["step"] for name in ("last", "last.previous", "last.damaged")] == [5, 2, 4]


def test_an_average_that_the_checksums_do_not_list(run):
    last = run / "checkpoints" / "last"
    (last / "ema.safetensors").rename(run / "ema")
    checkpoints.seal(last)
    verify(last)
    (run / "ema").rename(last / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"ema\.safetensors' is damaged: it was not written with this checkpoint"):
        verify(last)


@pytest.mark.parametrize("known", [{}, {"model.safetensors": 3}, {"../state.json": {"bytes": 1, "sha256": ""}}])
def test_checksums_of_other_files(known, run):
    last = run / "checkpoints" / "last"
    (last / "checksums.json").write_text(sealed(known))
    with pytest.raises(CheckpointError, match=r"checksums\.json' is damaged: it is not about model\.safetensors, opt"):
        verify(last)


# Full and broken disks


def unchanged(run, before):
    """What was there is there, whole, and nothing else."""
    assert snapshot(run) == before
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last", "last.previous"]
    assert find(run, prefer=("last",)) == run / "checkpoints" / "last"


CODES = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS]
PLACES = [
    *FILES,
    "sync file",
    "sync folder",
    "mkdir",
    "rename last.previous",
    "rename last",
    "rename last.tmp",
]


@pytest.mark.parametrize("code", CODES, ids=[errno.errorcode[code] for code in CODES])
@pytest.mark.parametrize("place", PLACES)
def test_an_error_of_the_disk_leaves_what_was_there(place, code, run, monkeypatch):
    before = snapshot(run)

    def failing(call, when):
        def replacement(first, *rest, **more):
            if when(first):
                raise OSError(code, os.strerror(code))
            return call(first, *rest, **more)

        return replacement

    with monkeypatch.context() as patch:
        if place in FILES:
            write = failing(files.DurableFile.write, lambda file: file.path.name == place)
            patch.setattr(files.DurableFile, "write", write)
        elif place == "sync file":
            patch.setattr(os, "fsync", failing(os.fsync, lambda _: True))
        elif place == "sync folder":
            # The last thing that a save does: what it has renamed is put back.
            patch.setattr(files, "sync_folder", failing(files.sync_folder, lambda path: path.name == "checkpoints"))
        elif place == "mkdir":
            patch.setattr(Path, "mkdir", failing(Path.mkdir, lambda _: True))
        else:
            tried = []
            at = failing(
                Path.rename, lambda path: path.name == place.split()[1] and not tried.append(path) and len(tried) == 1
            )
            patch.setattr(Path, "rename", at)
        with pytest.raises(CheckpointWriteError) as caught:
            save_step(run / "checkpoints" / "last", 4)
    text = str(caught.value)
    assert caught.value.errno == code
    assert text.startswith(
        f"the checkpoint '{run / 'checkpoints' / 'last'}' could not be written: {os.strerror(code)}. "
    )
    assert "Those before it are as they were." in text
    assert ("Make room on that disk" in text) == (code in (errno.ENOSPC, errno.EDQUOT))
    unchanged(run, before)
    save_step(run / "checkpoints" / "last", 4)
    assert [read_state(run / "checkpoints" / name)["step"] for name in ("last", "last.previous")] == [4, 3]


@pytest.mark.parametrize("limit", [0, 10, 100, 200, 1000, 2000, 10_000, 39_000])
def test_a_file_that_may_grow_no_further(limit, run):
    """The kernel's own refusal, in the middle of a write: RLIMIT_FSIZE."""
    before = snapshot(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(
            CheckpointWriteError, match=r"could not be written: File too large\. It takes 80\.3 kB, and"
        ):
            save_step(run / "checkpoints" / "last", 4, padding=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    unchanged(run, before)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not sys.platform.startswith("linux"):
        pytest.skip("a small disk is made with Linux's tmpfs")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here, that takes root: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk):
    """Whatever room is left, page by page, a checkpoint is written whole or not at all."""
    run = small_disk / "run"
    for name, step in (("best", 1), ("last", 2), ("last", 3)):
        save_step(run / "checkpoints" / name, step, padding=10_000)
    before = snapshot(run)
    filler = small_disk / "filler"
    failed = 0
    for pages in range(100):
        with filler.open("wb", buffering=0) as file:
            file.write(bytes(max(0, shutil.disk_usage(small_disk).free - 4096 * pages)))
        free = shutil.disk_usage(small_disk).free
        assert free == 4096 * pages
        try:
            save_step(run / "checkpoints" / "last", 4, padding=10_000)
            break
        except CheckpointWriteError as error:
            told = error
        room = f"It takes 80\\.3 kB, and {re.escape(files.amount(free))} are free there"
        assert re.search(rf"No space left on device\. {room}\. Those before it are as they were\. Make room", str(told))
        assert told.errno == errno.ENOSPC
        unchanged(run, before)
        filler.unlink()
        failed += 1
    # Two files of 40 kB and small ones, each of whole pages.
    assert failed >= 20
    filler.unlink()
    assert [read_state(run / "checkpoints" / name)["step"] for name in ("last", "last.previous", "best")] == [4, 3, 1]
    for name in ("last", "last.previous", "best"):
        verify(run / "checkpoints" / name)


def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    place, flushed, renamed = tmp_path / "runs" / "a" / "checkpoints" / "last", set(), []

    def sync(descriptor, call=files.sync):
        call(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def rename(source, target, call=Path.rename):
        assert {path.stat().st_ino for path in (source, *source.iterdir())} <= flushed
        assert len(list(source.iterdir())) == len(FILES)
        flushed.discard(source.parent.stat().st_ino)
        renamed.append(source.name)
        return call(source, target)

    monkeypatch.setattr(files, "sync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    for step in (1, 2):
        save_step(place, step)
    assert renamed == ["last.tmp", "last", "last.tmp"]
    # And the names in the folders, up to the one that was there.
    assert {path.stat().st_ino for path in place.parents[:4]} <= flushed
    assert tmp_path == place.parents[3]


def test_a_disk_that_keeps_less_than_it_was_given(tmp_path, monkeypatch):
    file = files.DurableFile(tmp_path / "a")
    file.write(b"12345")
    write, sync = file._file, files.sync
    monkeypatch.setattr(files, "sync", lambda descriptor: (sync(descriptor), os.ftruncate(descriptor, 3)))
    with pytest.raises(OSError, match="3 of 5 bytes were kept"):
        file.__exit__(None)
    assert write.closed


def test_a_folder_that_cannot_be_flushed_is_left_at_that(tmp_path, monkeypatch):
    def unable(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unable)
    files.sync_folder(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"), files.DurableFile(tmp_path / "a") as file:
        file.write(b"1")


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    files.replace(path, "old: 1\n")
    assert path.read_text() == "old: 1\n"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.DurableFile, "write", full)
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, "new: 2\n")
    assert snapshot(tmp_path) == {"config.yaml": b"old: 1\n"}
    (tmp_path / "config.yaml.tmp").write_text("half of")
    files.replace(path, "new: 2\n")
    assert snapshot(tmp_path) == {"config.yaml": b"new: 2\n"}


def test_bytes_are_told_in_a_unit_that_suits_them():
    assert [files.amount(n) for n in (0, 999, 1500, 2_340_000, 7_200_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2.34 MB",
        "7.2 GB",
    ]
    assert files.free_bytes(Path("/no/such/folder")) == shutil.disk_usage("/").free


# The doors


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of 12 steps with checkpoints at 4, 8, 10 and 12, and a best one."""
    output = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        from convlstm.cli import train

        patch.setattr(sys, "argv", ["train.py", *OVERRIDES, "trainer.max_steps=12", f"output={output}", "name=a"])
        train.main()
    return output / "a"


@pytest.mark.filterwarnings("default:.*is used instead of:UserWarning")
@pytest.mark.parametrize(("file", "harm"), [("model.safetensors", flipped), ("state.json", missing)])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(file, harm, reference, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(reference, tmp_path / "a")
    harm(run / "checkpoints" / "last" / file)
    assert read_state(run / "checkpoints" / "last.previous")["step"] == 10
    line = [*OVERRIDES, "trainer.max_steps=12", f"output={tmp_path}", "name=a", "resume=auto"]
    status, out, err = call("train", monkeypatch, capsys, *line)
    assert status == 0, err
    assert "last.previous' is used instead of '" in err
    assert file in err
    assert "from step 10 on" in out
    for name in ("model.safetensors", "optimizer.safetensors"):
        got, expected = (folder / "checkpoints" / "last" / name for folder in (run, reference))
        assert got.read_bytes() == expected.read_bytes()
    # A checkpoint that is named itself is the one that is meant.
    shutil.rmtree(run)
    shutil.copytree(reference, run)
    harm(run / "checkpoints" / "last" / file)
    before = snapshot(run)
    status, _, err = call("train", monkeypatch, capsys, *line[:-1], f"resume={run / 'checkpoints' / 'last'}")
    assert status == 1
    assert file in err
    assert snapshot(run) == before


@pytest.mark.filterwarnings("default:.*is used instead of:UserWarning")
def test_a_run_with_a_damaged_best_is_evaluated_all_the_same(reference, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(reference, tmp_path / "a")
    for name in ("best", "best.previous"):
        if (run / "checkpoints" / name).exists():
            flipped(run / "checkpoints" / name / "model.safetensors")
    line = [f"ckpt={run}", "trusted=[tests]", "examples=[]"]
    status, _, err = call("evaluate", monkeypatch, capsys, *line)
    assert status == 0, err
    assert "best/model.safetensors' is damaged: its contents are not those that were written" in err
    assert f"So '{run / 'checkpoints' / 'last'}' is used instead of '{run / 'checkpoints' / 'best'}'." in err
    document = (run / "evaluation" / "metrics.json").read_text()
    assert str(run / "checkpoints" / "last") in document
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run / 'checkpoints' / 'best'}", *line[1:])
    assert status == 1
    assert "best/model.safetensors' is damaged" in err


def test_the_configuration_stays_readable(run):
    assert read_config(run / "checkpoints" / "last") == CONFIG
