"""The library of the CPU's kernels, which is built once for this machine's processor and this MLX.

The compiler is the one that `mx.compile` uses on a CPU, g++. The library lies in the user's cache. A new MLX, another
processor or a change to the sources needs a new one. Before a new library is used, a separate process checks that it
finds MLX's arrays and computes the same as MLX: a library that crashes ends only that process.
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
import warnings
from pathlib import Path

from convlstm.backend.files import remove, remove_leftovers, temporary_of
from convlstm.backend.private_folder import create_cache
from convlstm.backend.python_process import command

import mlx.core as mx

SOURCES = Path(__file__).resolve().parent
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-Wno-psabi")
# Each .cpp file is compiled on its own.
PARTS = (
    *("kernels", "st_lstm", "gru", "depthwise", "grouped", "patches"),
    *("norms", "activations", "sampling", "motion", "nowcast", "bridge"),
)
HEAD = object.__basicsize__  # bytes of a Python object before its contents
CHECK_SECONDS = 120  # limit of the check of a new library, which takes one or two
SLOW = "The convolutions of ConvLSTM layers take MLX's own kernels, which are several times slower on a CPU."


class UnavailableError(RuntimeError):
    """Raised if the kernels cannot be built or do not work on this machine; the message says why and what to do."""


class Library:
    """The loaded kernels.

    Args:
        path: The shared library.

    Attributes:
        lanes: Floats in a vector register, on which the packing of the gates depends.
        threads: Number of threads that share the work of a kernel.
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
        """Returns the number of floats of transformed kernels."""
        return self._loaded.convlstm_filter_floats(*map(ctypes.c_int64, (kernel_size, inputs, outputs)))

    def finds(self, array: mx.array) -> bool:
        """Returns True if the library finds the array inside a Python object."""
        return bool(self._loaded.convlstm_finds(ctypes.c_void_p(id(array)), HEAD, _integers(array.shape), array.ndim))

    def call(
        self,
        name: str,
        inputs: list[mx.array],
        shapes: list[tuple[int, ...]],
        numbers: list[int],
        reused: dict[int, int] | None = None,
    ) -> list[mx.array]:
        """Returns the outputs of a kernel, as an operation of MLX's graph.

        Args:
            name: Name of the function in the C++ sources.
            inputs: Its inputs, float32.
            shapes: The shapes of its outputs.
            numbers: Its integers.
            reused: For an output's number, the number of the input whose memory it may take over. Default: none.

        Raises:
            RuntimeError: The kernel could not be called.
        """
        outputs = [mx.array(0.0) for _ in shapes]
        taken_over = [(reused or {}).get(n, -1) for n in range(len(shapes))]
        failed = self._loaded.convlstm_call(
            getattr(self._loaded, name),
            HEAD,
            _objects([mx.contiguous(a) for a in inputs]),
            len(inputs),
            _objects(outputs),
            _integers([length for shape in shapes for length in shape]),
            _integers([len(shape) for shape in shapes]),
            _integers(taken_over),
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
    """Returns the addresses of Python objects, in an array that keeps the objects alive."""
    array = (ctypes.c_void_p * len(objects))(*map(id, objects))
    array.objects = objects  # type: ignore[attr-defined]
    return array


@functools.cache
def _built() -> Library | str:
    """Returns the kernels, built if this machine has none yet, or the reason why there are none."""
    try:
        return _load()
    except UnavailableError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # no home folder, or the cache cannot be read
        return f"there is no place to keep them: {error}. Set XDG_CACHE_HOME to a folder of yours with mode 700."


def library() -> Library:
    """Returns the kernels, built if this machine has none yet.

    Raises:
        UnavailableError: They cannot be built or do not work here.
    """
    built = _built()
    if isinstance(built, str):
        raise UnavailableError(built)
    return built


@functools.cache
def available() -> Library | None:
    """Returns the kernels, or None after a warning that says why there are none. The warning is given once."""
    built = _built()
    if isinstance(built, Library):
        return built
    warnings.warn(f"No fast kernels on this CPU: {built} {SLOW}", stacklevel=2)
    return None


def _load() -> Library:
    if os.environ.get("CONVLSTM_KERNELS") == "none":
        raise UnavailableError("CONVLSTM_KERNELS=none asks for MLX's own. Unset it.")
    if platform.system() != "Linux":
        raise UnavailableError(f"they are made for Linux, and this is {platform.system()}.")
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    if compiler is None:
        if name != "g++":
            raise UnavailableError(f"CXX names '{name}', which is no program. Name a g++, or unset CXX.")
        raise UnavailableError("there is no g++. Install it: sudo apt install g++, or sudo dnf install gcc-c++.")
    target = create_cache() / f"kernels-{_fingerprint(compiler)}.so"
    if not _intact(target):
        _build(compiler, target)
    try:
        return Library(target)
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"'{target}' does not load: {error}. Delete it, and it is built again.") from None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _checksum(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _intact(target: Path) -> bool:
    """Returns True if a library exists and is not damaged. A damaged one can end the process that loads it."""
    checksum = _checksum(target)
    return target.exists() and checksum.exists() and checksum.read_text(encoding="utf-8") == _digest(target)


def _sources() -> list[Path]:
    return sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")])


def _mlx() -> Path:
    """Returns the folder of MLX's headers and library."""
    # Not `mlx.__path__`: a folder called `mlx` beside the script that runs is part of that, too.
    return Path(mx.__file__).parent  # type: ignore[attr-defined]


def _fingerprint(compiler: str) -> str:
    """Returns a checksum of everything that the library depends on."""
    facts = hashlib.sha256()
    for source in _sources():
        facts.update(source.read_bytes())
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    model = [line for line in processor.splitlines() if line.startswith(("model name", "flags", "CPU p", "Features"))]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    for fact in (*model, version, mx.__version__, str(_mlx()), sys.version, *FLAGS):  # type: ignore[attr-defined]
        facts.update(fact.encode())
    return facts.hexdigest()[:16]


def _build(compiler: str, target: Path) -> None:
    """Compiles and checks the library, and moves it into the cache when it is complete."""
    print("Compiling the CPU kernels for this machine, once: about 20 seconds", file=sys.stderr, flush=True)
    folder = temporary_of(target)
    try:
        remove_leftovers(target)
        folder.mkdir(mode=0o700)
        new = folder / target.name
        _compile(compiler, folder, new)
        _check(new)
        _checksum(new).write_text(_digest(new), encoding="utf-8")
        _checksum(new).replace(_checksum(target))
        new.replace(target)
    except OSError as error:
        raise UnavailableError(f"they cannot be kept in '{target.parent}': {error}. Set XDG_CACHE_HOME.") from None
    finally:
        remove(folder)


def _compile(compiler: str, folder: Path, target: Path) -> None:
    headers, shared = _mlx() / "include", _mlx() / "lib"
    if not headers.is_dir():
        raise UnavailableError(f"MLX's headers are not in '{headers}'. Reinstall MLX from its wheel.")
    objects = [str(folder / f"{source}.o") for source in PARTS]
    processes = []
    for source, output in zip(PARTS, objects, strict=True):
        line = [compiler, *FLAGS, f"-I{headers}", "-c", str(SOURCES / f"{source}.cpp"), "-o", output]
        processes.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    messages = [process.communicate()[0] for process in processes]
    if not any(process.returncode for process in processes):
        line = [compiler, "-shared", *objects, f"-L{shared}", "-lmlx", f"-Wl,-rpath,{shared}", "-lpthread"]
        done = subprocess.run([*line, "-o", str(target)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        messages = [done.stderr]
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    reason = next((line for line in lines if "error" in line), lines[-1] if lines else "no reason given").rstrip(".")
    raise UnavailableError(f"{compiler} could not build them: {reason}. A g++ of version 11 or later is needed.")


def _check(target: Path) -> None:
    """Raises UnavailableError if the library does not compute the same as MLX in a separate process."""
    line = command("from convlstm.ops.cpu.check import main; main(sys.argv[1])", str(target))
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"their check did not end within {CHECK_SECONDS} s. Please report it.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise UnavailableError(
            f"they do not work with MLX {mx.__version__}: {reason} "  # type: ignore[attr-defined]
            "Use the version of MLX that pyproject.toml names, or a newer convlstm."
        )
