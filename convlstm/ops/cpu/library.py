"""Builds the kernels for this machine's processor and this MLX, once, and loads them.

The compiler is the one that `mx.compile` uses on a CPU, g++. What it makes lies in the user's cache; a new MLX, another
processor or a change to the sources makes another. Before a new library is used, a process of its own checks that it
finds MLX's arrays and computes what MLX computes: a library that crashes takes nothing with it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import mlx.core as mx

SOURCES = Path(__file__).resolve().parent
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-Wno-psabi")
# .cpp, each compiled by itself
PARTS = (
    "kernels",
    "st_lstm",
    "gru",
    "depthwise",
    "grouped",
    "patches",
    "norms",
    "activations",
    "bridge",
)  # .cpp, each compiled by itself
HEAD = object.__basicsize__  # bytes of a Python object before its contents
CHECKING = 120  # seconds that the check of a new library may take; it takes one or two
LACKING = "The convolutions of ConvLSTM layers take MLX's own kernels, which are several times slower on a CPU."


class UnavailableError(RuntimeError):
    """The kernels cannot be built or do not work here; the message says why and what to do."""


class Library:
    """The loaded kernels.

    Args:
        path: The shared library.

    Attributes:
        lanes: Floats in a vector register, which the packing of the gates depends on.
        threads: Threads that the kernels share their work among.
    """

    def __init__(self, path: Path):
        self.path, self._loaded = path, ctypes.CDLL(str(path))
        self._loaded.convlstm_error.restype = ctypes.c_char_p
        self._loaded.convlstm_filter_floats.restype = ctypes.c_int64
        self.lanes: int = self._loaded.convlstm_lanes()

    @property
    def threads(self) -> int:
        return self._loaded.convlstm_threads()

    def filter_floats(self, kernel_size: int, inputs: int, outputs: int) -> int:
        """Floats that the transformed kernels take."""
        return self._loaded.convlstm_filter_floats(*map(ctypes.c_int64, (kernel_size, inputs, outputs)))

    def finds(self, array: mx.array) -> bool:
        """Whether the library finds what a Python array object holds."""
        return bool(self._loaded.convlstm_finds(ctypes.c_void_p(id(array)), HEAD, _integers(array.shape), array.ndim))

    def call(
        self,
        name: str,
        inputs: list[mx.array],
        shapes: list[tuple[int, ...]],
        numbers: list[int],
        reused: dict[int, int] | None = None,
    ) -> list[mx.array]:
        """A kernel as an operation of MLX's graph.

        Args:
            name: Of the function in kernels.cpp.
            inputs: Its inputs, float32.
            shapes: The shapes of its outputs.
            numbers: Its integers.
            reused: Of an output, the number of the input whose memory it may take over.
        """
        outputs = [mx.array(0.0) for _ in shapes]
        taken = [(reused or {}).get(n, -1) for n in range(len(shapes))]
        failed = self._loaded.convlstm_call(
            getattr(self._loaded, name),
            HEAD,
            _objects([mx.contiguous(a) for a in inputs]),
            len(inputs),
            _objects(outputs),
            _integers([length for shape in shapes for length in shape]),
            _integers([len(shape) for shape in shapes]),
            _integers(taken),
            len(shapes),
            _integers(numbers),
            len(numbers),
        )
        if failed:
            raise RuntimeError(f"[convlstm] {name}: {self._loaded.convlstm_error().decode()}")
        return outputs


def _integers(values) -> ctypes.Array:
    return (ctypes.c_int64 * len(values))(*values)


def _objects(objects: list) -> ctypes.Array:
    """Addresses of Python objects, which are kept alive as long as the array is."""
    array = (ctypes.c_void_p * len(objects))(*map(id, objects))
    array.objects = objects  # type: ignore[attr-defined]
    return array


@functools.cache
def _built() -> Library | str:
    """The kernels, built where this machine has none yet, or why they cannot be had."""
    try:
        return _load()
    except UnavailableError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # no home folder, no right to look into the cache
        return f"there is no place to keep them: {error}. Set XDG_CACHE_HOME to a folder of yours."


def library() -> Library:
    """The kernels, built where this machine has none yet.

    Raises:
        UnavailableError: They cannot be built or do not work here.
    """
    built = _built()
    if isinstance(built, str):
        raise UnavailableError(built)
    return built


@functools.cache
def available() -> Library | None:
    """The kernels, or None after a warning that says what they lack; it is given once."""
    built = _built()
    if isinstance(built, Library):
        return built
    warnings.warn(f"No fast kernels on this CPU: {built} {LACKING}", stacklevel=2)
    return None


def _load() -> Library:
    if os.environ.get("CONVLSTM_KERNELS") == "none":
        raise UnavailableError("CONVLSTM_KERNELS=none asks for MLX's own. Unset it.")
    if platform.system() != "Linux":
        raise UnavailableError(f"they are made for Linux, and this is {platform.system()}.")
    named = os.environ.get("CXX", "g++")
    compiler = shutil.which(named)
    if compiler is None:
        if named != "g++":
            raise UnavailableError(f"CXX names '{named}', which is no program. Name a g++, or unset CXX.")
        raise UnavailableError("there is no g++. Install it: sudo apt install g++, or sudo dnf install gcc-c++.")
    target = _folder() / f"kernels-{_fingerprint(compiler)}.so"
    if not _whole(target):
        _build(compiler, target)
    try:
        return Library(target)
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"'{target}' does not load: {error}. Delete it, and it is built again.") from None


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "convlstm"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _checksum(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _whole(target: Path) -> bool:
    """Whether a library lies there as it was built: a damaged one can end the process that loads it."""
    checksum = _checksum(target)
    return target.exists() and checksum.exists() and checksum.read_text(encoding="utf-8") == _digest(target)


def _sources() -> list[Path]:
    return sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")])


def _mlx() -> Path:
    """The folder of MLX's headers and library."""
    return Path(next(iter(__import__("mlx").__path__)))


def _fingerprint(compiler: str) -> str:
    """Of all that the library depends on."""
    facts = hashlib.sha256()
    for source in _sources():
        facts.update(source.read_bytes())
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    known = [line for line in processor.splitlines() if line.startswith(("model name", "flags", "CPU p", "Features"))]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    for fact in (*known, version, mx.__version__, str(_mlx()), sys.version, *FLAGS):  # type: ignore[attr-defined]
        facts.update(fact.encode())
    return facts.hexdigest()[:16]


def _build(compiler: str, target: Path) -> None:
    """Compiles and checks the library, and puts it in its place whole."""
    print("Compiling the CPU kernels for this machine, once: about 20 seconds", file=sys.stderr, flush=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
            made = Path(folder) / target.name
            _compile(compiler, Path(folder), made)
            _check(made)
            _checksum(made).write_text(_digest(made), encoding="utf-8")
            _checksum(made).replace(_checksum(target))
            made.replace(target)
    except OSError as error:
        raise UnavailableError(f"they cannot be kept in '{target.parent}': {error}. Set XDG_CACHE_HOME.") from None


def _compile(compiler: str, folder: Path, made: Path) -> None:
    headers, shared = _mlx() / "include", _mlx() / "lib"
    if not headers.is_dir():
        raise UnavailableError(f"MLX's headers are not in '{headers}'. Reinstall MLX from its wheel.")
    parts = []
    for source in PARTS:
        line = [
            compiler,
            *FLAGS,
            f"-I{headers}",
            "-c",
            str(SOURCES / f"{source}.cpp"),
            "-o",
            str(folder / f"{source}.o"),
        ]
        parts.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [part.communicate()[0] for part in parts]
    line = [compiler, "-shared", *(str(folder / f"{source}.o") for source in PARTS)]
    line += [f"-L{shared}", "-lmlx", f"-Wl,-rpath,{shared}", "-lpthread", "-o", str(made)]
    if not any(part.returncode for part in parts):
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        outputs = [done.stderr]
    lines = [line.strip() for output in outputs for line in output.splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line), lines[-1] if lines else "no reason given").rstrip(".")
    raise UnavailableError(f"{compiler} could not build them: {said}. A g++ of version 11 or later is needed.")


def _check(made: Path) -> None:
    """Raises UnavailableError where the library, tried in a process of its own, does not give what MLX gives."""
    package = str(SOURCES.parents[2])
    places = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    line = [sys.executable, "-m", "convlstm.ops.cpu.check", str(made)]
    environment = {**os.environ, "PYTHONPATH": places}
    try:
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=CHECKING)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"their check did not end within {CHECKING} s. Please report it.") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise UnavailableError(
            f"they do not work with MLX {mx.__version__}: {said} "  # type: ignore[attr-defined]
            "Use the version of MLX that pyproject.toml names, or a newer convlstm."
        )
