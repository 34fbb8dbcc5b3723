"""A fast BLAS for MLX on Linux CPUs. The BLAS inside MLX's own wheel is the slow reference implementation."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import time
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CHOICES = "auto, mkl, openblas, none or the path of a library"

REMEDY = (
    "Install one: pip install mkl (x86-64), or sudo apt install libopenblas0 (Debian, Ubuntu), or "
    "sudo dnf install openblas-threads (Fedora, RHEL)."
)
IMPORT_ORDER = "Import convlstm before mlx."

# Fedora's threaded build has another name; libopenblas.so.0 is the serial one there.
_OPENBLAS = (f"{sys.prefix}/lib/libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so.0", "libopenblas.so")

_MKL_SETTINGS = {
    "MKL_CBWR": "AUTO",  # otherwise equal bits from run to run are promised only for equally aligned arrays
    "KMP_BLOCKTIME": "0",  # otherwise its threads keep waiting on the cores that our kernels need next
}

# The reference BLAS reaches 2 to 6 GFLOP/s on any machine; a tuned one reaches at least 20 on one core.
_SLOW_GFLOPS = 12.0


@dataclass(frozen=True)
class Blas:
    """The BLAS that MLX's CPU backend uses.

    Attributes:
        name: 'mkl', 'openblas', 'custom' (CONVLSTM_BLAS gives its path), 'preloaded' (in the process before convlstm),
            'accelerate' (macOS), or 'built-in': the one MLX was built with, the reference BLAS in wheels for Linux.
        path: File of the library, or None for 'accelerate' and 'built-in'.
        too_late: True if nothing was loaded because MLX had been imported before convlstm.
    """

    name: str
    path: str | None = None
    too_late: bool = False


class _DlInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


@functools.cache
def load_fast_blas() -> Blas:
    """Loads a fast BLAS into the process, where MLX finds its routines. Later calls change nothing.

    MLX looks for `cblas_sgemm` and the like when `mlx.core` is first imported, in the libraries that were loaded
    globally before its own. Therefore `convlstm/__init__.py` calls this first. The environment variable CONVLSTM_BLAS
    chooses: 'auto' (default) takes MKL from this environment, otherwise the system's OpenBLAS; 'mkl' and 'openblas'
    insist on one; 'none' leaves MLX as it is; a path names a library. The library itself reads the number of threads
    from OMP_NUM_THREADS, MKL_NUM_THREADS or OPENBLAS_NUM_THREADS.

    Returns:
        The BLAS that MLX uses.

    Raises:
        ValueError: CONVLSTM_BLAS has another value, or its library is missing. 'auto' never raises.
    """
    choice = os.environ.get("CONVLSTM_BLAS", "auto") or "auto"
    if choice not in ("auto", "mkl", "openblas", "none") and "/" not in choice:
        raise ValueError(f"[convlstm] CONVLSTM_BLAS must be {CHOICES} but got '{choice}'.")
    if platform.system() != "Linux":
        return Blas("accelerate" if platform.system() == "Darwin" else "built-in")
    preloaded = _defining_file(ctypes.CDLL(None))
    if preloaded is not None:
        return Blas("preloaded", _begun(preloaded))
    if choice == "none":
        return Blas("built-in")
    if "mlx.core" in sys.modules:
        return Blas("built-in", too_late=True)
    if "/" in choice:
        return Blas("custom", _begun(_load_named(choice)))
    if choice in ("auto", "mkl"):
        path = _load_mkl()
        if path is not None:
            return Blas("mkl", _begun(path))
        if choice == "mkl":
            raise ValueError("[convlstm] CONVLSTM_BLAS is 'mkl' but no libmkl_rt.so was found. Run: pip install mkl")
    path = next((path for name in _OPENBLAS if (path := _load(name)) is not None), None)
    if path is None and choice == "openblas":
        raise ValueError(f"[convlstm] CONVLSTM_BLAS is 'openblas' but no libopenblas.so.0 was found. {REMEDY}")
    return Blas("built-in") if path is None else Blas("openblas", path)


def slow_blas_warning() -> str | None:
    """Returns a warning with its remedy if MLX uses a slow BLAS on the CPU.

    Returns:
        None if MLX's default device is a GPU or its BLAS is fast. If no BLAS was loaded, a matrix product is timed,
        once: an MLX built from source may contain a fast one.
    """
    import mlx.core as mx

    blas = load_fast_blas()
    if mx.default_device() != mx.Device(mx.cpu) or blas.name != "built-in":
        return None
    gflops = _built_in_gflops()
    if gflops >= _SLOW_GFLOPS:
        return None
    slow = f"MLX uses a slow BLAS on this CPU ({gflops:.1f} GFLOP/s; a fast one reaches 20 to 100 times that)."
    if blas.too_late:
        return f"{slow} mlx.core was imported before convlstm, which is too late to load a fast one. {IMPORT_ORDER}"
    if os.environ.get("CONVLSTM_BLAS") == "none":
        return f"{slow} CONVLSTM_BLAS=none asks for that: unset it."
    return f"{slow} {REMEDY}"


@functools.cache
def warn_if_too_late() -> None:
    """Warns once, in the place that called the caller, if MLX has a slow BLAS since it was imported before convlstm."""
    if load_fast_blas().too_late and (warning := slow_blas_warning()):
        warnings.warn(warning, stacklevel=3)


def gemm_gflops(size: int = 1024, seconds: float = 0.5) -> float:
    """Returns the speed of a product of two (size, size) float32 matrices on MLX's default device.

    Args:
        size: Rows and columns of the matrices. Default: 1024.
        seconds: Time to measure for; at least one product is timed. Default: 0.5.

    Returns:
        Billions of floating-point operations per second of the fastest product, which other work disturbed least.
    """
    import mlx.core as mx

    a, b = (mx.random.normal((size, size), key=key) for key in mx.random.split(mx.random.key(0)))
    mx.eval(a, b)
    mx.eval(a[:64] @ b)
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        mx.eval(a @ b)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def hold_to_one_thread() -> bool:
    """Limits MKL to one thread in this process, so that equal work gives equal bits. Returns True if MKL is in use.

    MKL chooses one or several threads by the load of the machine, whatever MKL_DYNAMIC says, and then sums in another
    order. OpenBLAS and Apple's Accelerate are left alone.
    """
    blas = load_fast_blas()
    if blas.path is None or "mkl" not in Path(blas.path).name:
        return False
    ctypes.CDLL(blas.path).MKL_Set_Num_Threads(1)
    return True


@functools.cache
def _built_in_gflops() -> float:
    return gemm_gflops(512, 0.1)


def _load_mkl() -> str | None:
    """Loads MKL with the settings above and returns its file, or None if it is not installed."""
    ours = _MKL_SETTINGS.keys() - os.environ.keys()
    os.environ.update({name: _MKL_SETTINGS[name] for name in ours})
    for folder in _mkl_folders():
        for file in sorted(folder.glob("libmkl_rt.so*"), reverse=True):
            path = _load(str(file))
            if path is not None:
                return path
    for name in ours:
        del os.environ[name]
    return None


def _begun(path: str) -> str:
    """Returns the path of a BLAS after a first call of MKL, if it is MKL.

    MKL's first call adds a variable to the environment. It must not do so in MLX's thread while this one starts a
    compiler for a function of MLX: g++ would get memory that has just been freed ("popen() failed").
    """
    if "mkl" in Path(path).name:
        ctypes.CDLL(path).MKL_Get_Max_Threads()
    return path


def _mkl_folders() -> list[Path]:
    folders = [Path(sys.prefix) / "lib"]
    try:  # pip install --user or --target puts it elsewhere
        files = metadata.files("mkl") or []
        folders += {Path(str(file.locate())).resolve().parent for file in files if file.name.startswith("libmkl_rt")}
    except metadata.PackageNotFoundError:
        pass
    return folders


def _load_named(choice: str) -> str:
    """Loads the library at a path and returns its file, or raises ValueError if it is missing or without CBLAS."""
    try:
        library = ctypes.CDLL(choice, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise ValueError(f"[convlstm] CONVLSTM_BLAS names '{choice}' but it does not load: {error}") from None
    path = _defining_file(library)
    if path is None:
        raise ValueError(f"[convlstm] CONVLSTM_BLAS names '{choice}' but it has no cblas_sgemm. Name a CBLAS library.")
    return path


def _load(name: str) -> str | None:
    """Loads a library globally and returns its file, or None if it is missing, broken or without CBLAS."""
    try:
        return _defining_file(ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL))
    except OSError:
        return None


def _defining_file(library: ctypes.CDLL) -> str | None:
    """Returns the file that defines the `cblas_sgemm` of a library, or None if the library leads to none."""
    info = _DlInfo()
    try:
        address = ctypes.cast(library.cblas_sgemm, ctypes.c_void_p)
        if ctypes.CDLL(None).dladdr(address, ctypes.byref(info)) and info.file:
            return os.fsdecode(info.file)
    except AttributeError:
        pass
    return None
