"""Folders of compiled functions that other users have prepared."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

from convlstm.backend.private_folder import check_own, compile_privately, create_cache, create_own, temporary_folder
from convlstm.distributed.launch import compile_apart
from tests.support.project import PROJECT

import pytest

STRANGER, USER = 54321, 54322
two_users = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two users")


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder for temporary files that everybody may write to, as `/tmp` is one."""
    for parent in tmp_path.parents[:3]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    return folder


def acting_as(user: int, function) -> str:
    """Returns what a function returns in a process of another user, or the text of its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.write(writer, str(function()).encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read().decode()


def prepared() -> str:
    compile_privately()
    return os.environ.get("MLX_DISABLE_COMPILE", "") or os.environ["TMPDIR"]


def test_a_shared_folder_gets_a_private_one_inside_that_later_processes_find(shared, monkeypatch):
    folder = shared / f"convlstm-{os.getuid()}"
    assert prepared() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert prepared() == str(folder)  # a process that this one starts
    monkeypatch.setenv("TMPDIR", str(shared))
    assert prepared() == str(folder)


def test_a_private_folder_for_temporary_files_stays(shared, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(folder))
    assert prepared() == str(folder) == str(temporary_folder())


@pytest.mark.parametrize("kind", ["open", "link", "file", "missing", "replaceable"])
def test_without_a_private_folder_the_cache_is_used(shared, tmp_path, monkeypatch, kind):
    folder = shared / f"convlstm-{os.getuid()}"
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        folder.touch()
    elif kind == "missing":
        monkeypatch.setenv("TMPDIR", str(shared / "missing"))
    else:
        shared.chmod(0o777)
    assert prepared() == str(tmp_path / "cache" / "convlstm" / f"mlx-{platform.machine()}")
    assert not (shared / "missing").exists()


def test_without_any_private_folder_nothing_is_compiled(shared, tmp_path, monkeypatch):
    (shared / f"convlstm-{os.getuid()}").touch()
    (tmp_path / "cache").touch()
    code = "import convlstm, os; print(os.environ['MLX_DISABLE_COMPILE'])"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    assert done.stderr.count("Functions are not compiled, which costs speed: ") == 1


@pytest.mark.parametrize("made", ["by another program", "by this package"])
def test_a_cache_that_a_group_may_write_to_is_replaced_by_a_folder_at_home(made, shared, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / ".cache" / ("convlstm" if made == "by this package" else "")
    folder.mkdir(parents=True)
    for part in (folder, folder.parent):
        part.chmod(0o755)
    os.chown(folder, os.getuid(), USER) if os.getuid() == 0 else None
    folder.chmod(0o775 if os.getuid() == 0 else 0o777)
    assert create_cache() == tmp_path / "home" / ".convlstm"
    assert stat.S_IMODE(create_cache().stat().st_mode) == 0o700
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(PermissionError, match="other users"):
        create_cache()


def test_importing_the_package_is_enough(shared):
    code = "import convlstm, os, tempfile; print(os.environ['TMPDIR'], tempfile.gettempdir())"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{shared}/convlstm-{os.getuid()} {shared}\n", done.stderr


def test_a_rank_refuses_a_folder_that_others_may_write_to(shared):
    folder = shared / f"convlstm-{os.getuid()}-rank-1"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="is open to other users, with mode 777"):
        compile_apart(1)
    folder.chmod(0o700)
    compile_apart(1)
    assert os.environ["TMPDIR"] == str(folder)


@two_users
def test_the_folder_of_another_user_is_refused(shared, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, USER, USER)
    folder = shared / f"convlstm-{USER}"
    acting_as(STRANGER, lambda: folder.mkdir(mode=0o777))
    assert folder.stat().st_uid == STRANGER
    answer = acting_as(USER, lambda: create_own(folder))
    assert answer == f"PermissionError: '{folder}' belongs to another user, number {STRANGER}"
    assert acting_as(USER, prepared) == f"{cache}/convlstm/mlx-{platform.machine()}"
    rank = shared / f"convlstm-{USER}-rank-1"
    acting_as(STRANGER, lambda: rank.mkdir(mode=0o777))
    assert "belongs to another user" in acting_as(USER, lambda: compile_apart(1))


@two_users
def test_two_users_compile_apart(shared):
    first, second = (acting_as(user, prepared) for user in (STRANGER, USER))
    assert (first, second) == (f"{shared}/convlstm-{STRANGER}", f"{shared}/convlstm-{USER}")
    assert acting_as(USER, lambda: list(Path(first).iterdir())).startswith("PermissionError")
    assert acting_as(STRANGER, lambda: Path(second, "mlx").mkdir()).startswith("PermissionError")


@two_users
def test_the_cache_of_another_user_is_refused(shared, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, STRANGER, STRANGER)
    acting_as(STRANGER, lambda: (cache / "convlstm").mkdir())
    assert f"other users can replace folders in '{cache}'" in acting_as(USER, create_cache)
    os.chown(cache, USER, USER)
    assert "belongs to another user" in acting_as(USER, create_cache)


def test_a_group_of_the_user_alone_may_write(tmp_path):
    tmp_path.chmod(0o775)
    if os.getuid() == tmp_path.stat().st_gid:
        check_own(tmp_path)
    with pytest.raises(PermissionError):
        check_own(tmp_path, closed=True)
