"""The header of the functions that MLX compiles on a CPU, compiled once: each of them then takes a quarter of the time.

Nearly all of the time that g++ takes for such a function goes into this header. g++ looks for a compiled one in the
folder of the source first, and leaves it alone if it was made with other options or by another version.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from convlstm.backend.files import free_bytes, remove_leftovers, replacing, sync
from convlstm.backend.private_folder import temporary_folder

import mlx.core as mx

HEADER = Path("mlx", "backend", "cpu", "compiled_preamble.h")
LEAST_FREE = 1_000_000_000
"""Bytes that must be free: a compiled header takes 50 megabytes."""

# MLX's own options, which must be the same.
_OPTIONS = ("-std=c++17", "-O3", "-Wall", "-fPIC")


def start() -> threading.Thread | None:
    """Compiles the header in the background, for this process's later functions and for later processes.

    Returns:
        The thread that waits for g++, or None if there is nothing to do: the header has been compiled or another
        process compiles it, functions are not compiled here, there is no g++, or little room.
    """
    include = Path(mx.__file__ or "").parent / "include"
    folder = temporary_folder() / "mlx" / mx.__version__ / "cpu"  # type: ignore[attr-defined]
    path = folder / HEADER.with_name(f"{HEADER.name}.gch")
    if (
        not sys.platform.startswith("linux")  # elsewhere g++ is another compiler
        or mx.default_device() != mx.Device(mx.cpu)
        or "MLX_DISABLE_COMPILE" in os.environ
        or path.exists()
        or not (include / HEADER).is_file()
        or shutil.which("g++") is None
        or (free_bytes(temporary_folder()) or 0) < LEAST_FREE
    ):
        return None
    remove_leftovers(path)
    if any(path.parent.glob(f".{path.stem}.*{path.suffix}")):
        return None
    thread = threading.Thread(target=_compile, args=(include, path), name="precompiled header", daemon=True)
    thread.start()
    return thread


def _compile(include: Path, path: Path) -> None:
    # Without it everything works as well, more slowly.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            command = ["g++", *_OPTIONS, "-x", "c++-header", "-I", str(include), str(include / HEADER)]
            null = subprocess.DEVNULL
            process = subprocess.Popen(
                [*command, "-o", str(temporary)], stdin=null, stdout=null, stderr=null, start_new_session=True
            )

            def end() -> None:
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGTERM)  # g++ then removes its own temporary files
                thread.join(2.0)

            thread = threading.current_thread()
            atexit.register(end)
            try:
                if process.wait():
                    raise OSError
                with temporary.open("rb") as file:  # a damaged one would end every compilation
                    sync(file.fileno())
            finally:
                atexit.unregister(end)
