"""Folders of this user alone, for what later processes load, run or rely on."""

from __future__ import annotations

import os
import platform
import stat
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def temporary_folder() -> Path:
    """Returns the folder for temporary files as MLX finds it, which need not exist."""
    names = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")
    return Path(next((value for name in names if (value := os.environ.get(name))), "/tmp"))


def create_cache() -> Path:
    """Returns the folder of what this package builds for this user, created if it is missing.

    It is `convlstm` in XDG_CACHE_HOME or in `~/.cache`; or `~/.convlstm` if members of a group may write to `~/.cache`,
    as they may to what a user with the umask 002 creates.

    Raises:
        PermissionError: Another user may write to the folder, or could put another in its place.
        OSError: It cannot be created.
        RuntimeError: The user has no home folder.
    """
    return _create_first(_folders_of("XDG_CACHE_HOME", ".cache"))


def create_state() -> Path:
    """Returns the folder of what this package notes about this user's work, created if it is missing.

    It is `convlstm` in XDG_STATE_HOME or in `~/.local/state`, with the same fallback and errors as `create_cache`.
    """
    return _create_first(state_folders())


def state_folders() -> list[Path]:
    """Returns the folders that `create_state` may return, which need not exist. RuntimeError: there is no home."""
    return _folders_of("XDG_STATE_HOME", ".local/state")


def _folders_of(variable: str, default: str) -> list[Path]:
    parent = os.environ.get(variable)
    return [Path(parent) / "convlstm"] if parent else [Path.home() / default / "convlstm", Path.home() / ".convlstm"]


def _create_first(folders: Sequence[Path]) -> Path:
    """Returns the first folder that can be had for this user alone; the error is that of the first of them."""
    folders[0].parent.mkdir(parents=True, exist_ok=True)
    try:
        return create_own(folders[0])
    except PermissionError:
        for folder in folders[1:]:
            with suppress(OSError):
                return create_own(folder)
        raise


def is_own(status: os.stat_result) -> bool:
    """Returns True if a file or a folder belongs to this user or to root, and nobody else may write to it."""
    return status.st_uid in (0, os.getuid()) and not status.st_mode & _writing_by_others(status)


def check_own(folder: Path, *, closed: bool = False) -> None:
    """Raises PermissionError if a user other than root may have written to a folder, or OSError if it is missing.

    Args:
        folder: The folder, not a link to one.
        closed: If True, other users must not even enter it. Default: False.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"'{folder}' is not a folder")
    if status.st_uid not in (0, os.getuid()):
        raise PermissionError(f"'{folder}' belongs to another user, number {status.st_uid}")
    if status.st_mode & (0o077 if closed else _writing_by_others(status)):
        raise PermissionError(f"'{folder}' is open to other users, with mode {stat.S_IMODE(status.st_mode):o}")


def create_own(folder: Path) -> Path:
    """Creates a folder with mode 0700 if it is missing, and returns it.

    Raises:
        PermissionError: Another user may write to the folder, or could put another in its place.
        OSError: It cannot be created.
    """
    parent = folder.parent.stat()
    open_to_others = parent.st_mode & _writing_by_others(parent) and not parent.st_mode & stat.S_ISVTX
    if parent.st_uid not in (0, os.getuid()) or open_to_others:
        raise PermissionError(
            f"other users can replace folders in '{folder.parent}', with mode {stat.S_IMODE(parent.st_mode):o}"
        )
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_own(folder)
    return folder


def _writing_by_others(status: os.stat_result) -> int:
    """Returns the permission bits with which other users may write."""
    # A group with the user's number is the user's own.
    return 0o002 if status.st_gid == status.st_uid else 0o022


def compile_privately() -> None:
    """Gives MLX a folder of this user alone for the functions that it compiles on a CPU.

    MLX compiles them into the folder for temporary files and loads any file that has the right name there, whoever
    wrote it. Therefore TMPDIR becomes a folder inside it, or inside the user's cache if that cannot be had. A folder
    for temporary files that other users cannot enter stays as it is. Python's `tempfile` keeps the folder that it had.
    Without any such folder nothing is compiled, with a warning.
    """
    if not hasattr(os, "getuid"):
        return
    shared = temporary_folder()
    with suppress(OSError):
        check_own(shared, closed=True)
        return
    with suppress(OSError):
        tempfile.gettempdir()
    reasons = []
    for parent, name in ((lambda: shared, f"convlstm-{os.getuid()}"), (create_cache, f"mlx-{platform.machine()}")):
        try:
            os.environ["TMPDIR"] = str(create_own(parent() / name))
            return
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
            reasons.append(str(error))
    os.environ["MLX_DISABLE_COMPILE"] = "1"
    if "mlx.core" in sys.modules:
        sys.modules["mlx.core"].disable_compile()
    warnings.warn(
        f"Functions are not compiled, which costs speed: {'; '.join(reasons)}. Set TMPDIR to a folder of yours with "
        "mode 700.",
        stacklevel=3,
    )
