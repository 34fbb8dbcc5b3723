"""The CPU's kernels: those that were built when the package was installed, or new ones, compiled for this machine.

The package's are used if they fit: this processor's level, the sources and MLX's version. What does not fit is compiled
by the compiler that `mx.compile` uses on a CPU, g++, and kept in the user's cache. Once for each pair of libraries, a
separate process checks that they find MLX's arrays and compute the same as MLX: a library that crashes ends only that
process.
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
from contextlib import suppress
from pathlib import Path

from convlstm.backend.files import remove, remove_leftovers, temporary_of
from convlstm.backend.private_folder import create_cache
from convlstm.backend.python_process import command
from convlstm.ops.cpu import build
from convlstm.ops.cpu.build import BRIDGE, KERNELS, BuildError, Kind

import mlx.core as mx

HEAD = object.__basicsize__  # bytes of a Python object before its contents
CHECK_SECONDS = 120  # limit of the check of new libraries, which takes one or two
SLOW = "The convolutions of ConvLSTM layers take MLX's own kernels, which are several times slower on a CPU."
_ASKED = "CONVLSTM_KERNELS=compile asks for it"
_NAMES = {KERNELS: "kernels", BRIDGE: "bridge"}


class UnavailableError(RuntimeError):
    """Raised if the kernels cannot be built or do not work on this machine; the message says why and what to do."""


class Library:
    """The loaded kernels.

    Args:
        path: The shared library of the kernels.
        bridge: The shared library that makes them operations of MLX's graph.

    Attributes:
        lanes: Floats in a vector register, on which the packing of the gates depends.
        threads: Number of threads that share the work of a kernel.
    """

    def __init__(self, path: Path, bridge: Path):
        self.path, self.bridge = path, bridge
        self._kernels, self._bridge = ctypes.CDLL(str(path)), ctypes.CDLL(str(bridge))
        self._bridge.convlstm_error.restype = ctypes.c_char_p
        self._kernels.convlstm_filter_floats.restype = ctypes.c_int64
        self.lanes: int = self._kernels.convlstm_lanes()

    @property
    def threads(self) -> int:
        return self._kernels.convlstm_threads()

    @property
    def multiplications(self) -> int:
        """Number of multiplications of all products of matrices so far, for benchmarks."""
        count = self._kernels.convlstm_multiplications
        count.restype = ctypes.c_int64
        return count()

    def filter_floats(self, kernel_size: int, inputs: int, outputs: int) -> int:
        """Returns the number of floats of transformed kernels."""
        return self._kernels.convlstm_filter_floats(*map(ctypes.c_int64, (kernel_size, inputs, outputs)))

    def finds(self, array: mx.array) -> bool:
        """Returns True if the library finds the array inside a Python object."""
        return bool(self._bridge.convlstm_finds(ctypes.c_void_p(id(array)), HEAD, _integers(array.shape), array.ndim))

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
        failed = self._bridge.convlstm_call(
            getattr(self._kernels, name),
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
            raise RuntimeError(f"[convlstm] {name}: {self._bridge.convlstm_error().decode()}")
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
    choice = os.environ.get("CONVLSTM_KERNELS", "")
    if choice == "none":
        raise UnavailableError("CONVLSTM_KERNELS=none asks for MLX's own. Unset it.")
    if choice not in ("", "compile", *build.LEVELS):
        known = ", ".join(("none", "compile", *build.levels()))
        raise UnavailableError(f"CONVLSTM_KERNELS must be one of {known} but got '{choice}'. Unset it.")
    if platform.system() != "Linux":
        raise UnavailableError(f"they are made for Linux, and this is {platform.system()}.")
    if choice == "compile":
        return _compiled(dict.fromkeys((BRIDGE, KERNELS), _ASKED), {}, build.NATIVE)
    names, march = build.levels_here(), build.NATIVE
    if choice:
        if choice not in names:
            has = ", ".join(names) or "none"
            raise UnavailableError(
                f"CONVLSTM_KERNELS={choice} is no level of this processor, which has: {has}. Unset it."
            )
        names, march = [choice], f"-march={choice}"
    bridge, levels = build.shipped_bridge(_version()), [build.shipped_kernels(name) for name in names]
    own = {BRIDGE: bridge.path, **({KERNELS: levels[0].path} if levels else {})}
    reasons = {
        BRIDGE: bridge.misfit(),
        KERNELS: levels[0].misfit() if levels else "the package has no kernels for this processor",
    }
    if not any(reasons.values()):
        try:
            return _checked(own[KERNELS], own[BRIDGE])
        except UnavailableError as error:
            reasons = dict.fromkeys(own, f"of the package's, {str(error).rstrip('.')}")
    try:
        return _compiled({kind: reason for kind, reason in reasons.items() if reason}, own, march)
    except UnavailableError as error:
        for lower in levels[1:]:
            if not bridge.misfit() and not lower.misfit():
                print(f"The CPU kernels are those of '{lower.path.name}': {error}", file=sys.stderr, flush=True)
                return _checked(lower.path, bridge.path)
        raise


def _compiled(reasons: dict[Kind, str], own: dict[Kind, Path], march: str) -> Library:
    """Returns the kernels with what does not fit compiled for this machine, unless it has been.

    Args:
        reasons: Why the package's own libraries are not used, for each kind that does not fit.
        own: The package's own libraries, used for the kinds that fit.
        march: The compiler's option for the kernels' processor.
    """
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    if compiler is None:
        if name != "g++":
            raise UnavailableError(f"CXX names '{name}', which is no program. Name a g++, or unset CXX.")
        reason = next(iter(reasons.values()))
        raise UnavailableError(
            f"{'' if reason == _ASKED else f'{reason}, and '}there is no g++. Install it: sudo apt install g++, or "
            "sudo dnf install gcc-c++."
        )
    cache = create_cache()
    targets = {kind: cache / f"{_NAMES[kind]}-{_fingerprint(compiler, kind, march)}.so" for kind in reasons}
    for kind, target in targets.items():
        if not _intact(target):
            _build(compiler, kind, target, reasons[kind], march)
    used = {**own, **targets}
    try:
        return _checked(used[KERNELS], used[BRIDGE])
    except UnavailableError:
        for target in targets.values():
            remove(target)
            remove(_checksum(target))
        raise


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _checksum(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _intact(target: Path) -> bool:
    """Returns True if a library exists and is not damaged. A damaged one can end the process that loads it."""
    checksum = _checksum(target)
    return target.exists() and checksum.exists() and checksum.read_text(encoding="utf-8") == _digest(target)


def _mlx() -> Path:
    """Returns the folder of MLX's headers and library."""
    # Not `mlx.__path__`: a folder called `mlx` beside the script that runs is part of that, too.
    return Path(mx.__file__).parent  # type: ignore[attr-defined]


def _version() -> str:
    """Returns MLX's version."""
    return mx.__version__  # type: ignore[attr-defined]


def _processor() -> list[str]:
    """Returns the lines of /proc/cpuinfo that say which processor this is and what it can do."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    return [line for line in processor.splitlines() if line.startswith(("model name", "flags", "CPU p", "Features"))]


def _fingerprint(compiler: str, kind: Kind, march: str = build.NATIVE) -> str:
    """Returns a checksum of everything that a library depends on that is compiled for this machine."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    facts = [march, *_processor()] if kind is KERNELS else [_version()]
    return build.made_from(kind, version, *facts)[:16]


def _build(compiler: str, kind: Kind, target: Path, reason: str, march: str) -> None:
    """Compiles a library, and moves it into the cache when it is complete."""
    what = "CPU kernels for this machine" if kind is KERNELS else f"bridge from the CPU kernels to MLX {_version()}"
    print(f"Compiling the {what}, once, about {kind.seconds} seconds: {reason}.", file=sys.stderr, flush=True)
    options: dict = {"march": march} if kind is KERNELS else {"mlx": _mlx()}
    folder = temporary_of(target)
    try:
        remove_leftovers(target)
        folder.mkdir(mode=0o700)
        new = folder / target.name
        build.compile_library(compiler, kind, new, **options)
        _checksum(new).write_text(_digest(new), encoding="utf-8")
        _checksum(new).replace(_checksum(target))
        new.replace(target)
    except BuildError as error:
        raise UnavailableError(str(error)) from None
    except OSError as error:
        raise UnavailableError(f"they cannot be kept in '{target.parent}': {error}. Set XDG_CACHE_HOME.") from None
    finally:
        remove(folder)


def _checked(kernels: Path, bridge: Path) -> Library:
    """Returns the library of two files, after the check unless this machine, Python and MLX have passed it before."""
    facts = "\n".join((_digest(kernels), _digest(bridge), *_processor(), _version(), str(_mlx()), sys.version))
    note: Path | None = None
    with suppress(OSError, RuntimeError):  # without a cache the check is made each time
        note = create_cache() / f"checked-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    if note is None or not note.exists():
        _check(kernels, bridge)
        if note is not None:
            with suppress(OSError):
                note.touch()
    try:
        return Library(kernels, bridge)
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"'{kernels}' or '{bridge}' does not load: {error}.") from None


def _check(kernels: Path, bridge: Path) -> None:
    """Raises UnavailableError if the libraries do not compute the same as MLX in a separate process."""
    line = command("from convlstm.ops.cpu.check import main; main(*sys.argv[1:])", str(kernels), str(bridge))
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"their check did not end within {CHECK_SECONDS} s. Please report it.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise UnavailableError(
            f"they do not work with MLX {_version()}: {reason} "
            "Use the version of MLX that pyproject.toml names, or a newer convlstm."
        )
