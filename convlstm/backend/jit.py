"""Functions that MLX compiles on CPUs and keeps in the folder for temporary files, for later processes."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from convlstm.backend.files import amount
from convlstm.backend.private_folder import temporary_folder

import mlx.core as mx

SETTLED = 10.0
"""Seconds without a change from which a library is no longer being written."""

LEAST_FREE = 32_000_000
"""Bytes that must be free for compiled functions: a training's take a few megabytes."""

# The header of a 64-bit ELF file: magic, offset of the section table, size and number of its entries.
_HEADER = struct.Struct("<4s36xQ10xHH2x")


_at_first_use: list[Callable[[], object]] = []


def prepare_at_first_use(*others: Callable[[], object]) -> None:
    """Has `prepare` called before `convlstm` compiles the first function on a CPU, if it does, and others after it.

    Damaged libraries are removed at once: a user's own classes may compile functions, as the activations of MLX do.
    """
    drop_damaged()
    _at_first_use[:] = [prepare, *others]


def before_compiling() -> None:
    """Makes the calls that are due before the first function is compiled."""
    while _at_first_use and mx.default_device() == mx.Device(mx.cpu):
        _at_first_use.pop(0)()


def prepare() -> None:
    """Removes damaged libraries and turns compilation off, with a warning, if nothing can be compiled."""
    drop_damaged()
    if mx.default_device() != mx.Device(mx.cpu) or "MLX_DISABLE_COMPILE" in os.environ:
        return
    if reason := _obstacle(str(temporary_folder()), os.environ.get("PATH", "")):
        mx.disable_compile()
        warnings.warn(f"Functions are not compiled, which costs speed: {reason}", stacklevel=2)


@functools.cache
def _obstacle(folder: str, path: str) -> str:
    """Returns the reason why nothing can be compiled in a folder with the programs on a path, or ""."""
    if shutil.which("g++", path=path) is None:
        return "there is no g++. Install it: sudo apt install g++, or sudo dnf install gcc-c++."
    remedy = "Set TMPDIR to another folder."
    try:
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE:
            return f"'{folder}' has only {amount(free)} free, and {amount(LEAST_FREE)} are needed. {remedy}"
        with tempfile.TemporaryDirectory(dir=folder, prefix="convlstm-") as trial:
            source, library = Path(trial, "trial.cpp"), Path(trial, "trial.so")
            source.write_text("#include <cmath>\n", encoding="utf-8")
            line = ["g++", "-shared", "-fPIC", str(source), "-o", str(library)]
            done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                lines = (done.stderr.strip() or f"it ended with status {done.returncode}").splitlines()
                return f"g++ fails: {lines[0]}. Check that g++ can write to '{folder}', or set TMPDIR."
            ctypes.CDLL(str(library))
    except OSError as error:
        return f"nothing can be kept in '{folder}': {error}. {remedy}"
    return ""


def drop_damaged(folder: Path | None = None) -> list[Path]:
    """Removes libraries that a kill or a crash cut off while they were written, with a warning.

    MLX loads any file with a library's name. A damaged one ends this process, and every later one, without a message.
    Removed libraries are compiled anew. A library that another process may be writing is waited for.

    Args:
        folder: Folder of the libraries. Default: MLX's own.

    Returns:
        The removed files.
    """
    if folder is None:
        folder = temporary_folder() / "mlx" / mx.__version__ / "cpu"  # type: ignore[attr-defined]
    dropped = []
    for path in sorted(folder.glob("*.so")):
        with suppress(OSError):
            if not _complete(path) and not _completed(path):
                path.unlink()
                dropped.append(path)
    if dropped:
        warnings.warn(
            f"{len(dropped)} compiled kernels in '{folder}' were damaged and are compiled anew.", stacklevel=2
        )
    return dropped


def _completed(path: Path) -> bool:
    """Returns True if a library is completed, or False once nobody has written to it for `SETTLED` seconds."""
    status = path.stat()
    # By this process's own clock: the file's time may lie in the future.
    since = time.monotonic() - max(0.0, time.time() - status.st_mtime)
    while time.monotonic() - since < SETTLED:
        time.sleep(0.1)
        if _complete(path):
            return True
        former, status = status, path.stat()
        if (status.st_size, status.st_mtime_ns) != (former.st_size, former.st_mtime_ns):
            since = time.monotonic()
    return False


def _complete(path: Path) -> bool:
    """Returns True if a library reaches to the end of its section table, which linkers write last."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return False
        magic, start, entry, number = _HEADER.unpack(head)
        if magic != b"\x7fELF" or start == 0 or start + entry * number > size:
            return False
        file.seek(start)
        return any(file.read(entry * number))
