"""The build of the CPU's kernels when the package is installed, and of one of their libraries at run time.

Two kinds of libraries: the kernels are plain functions of pointers, one library for each level of processors; the
bridge makes them operations of MLX's graph and depends on MLX's version alone. Beside each library lies a file that
says what it was made from. setup.py runs this module before anything is installed: it imports only the standard
library.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent
BUILT = SOURCES / "built"
FLAGS = ("-std=c++20", "-fPIC", "-Wno-psabi")
NATIVE = "-march=native"
UNKNOWN = "The CPU's kernels are for Linux on x86-64 and arm64. This package has none."


class Kind(NamedTuple):
    """A kind of library.

    Attributes:
        parts: Its .cpp files. Each is compiled on its own.
        flags: Options of the compiler, beside `FLAGS`.
        libraries: Libraries that it needs.
        seconds: About how long it takes.
    """

    parts: tuple[str, ...]
    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    seconds: int


KERNELS = Kind(
    parts=(
        *("kernels", "st_lstm", "gru", "norms", "nowcast", "grouped", "linear"),
        *("sampling", "motion", "depthwise", "patches", "patch_kernels", "activations", "adam", "squares"),
    ),
    flags=("-O3", "-fno-math-errno"),
    libraries=("-lpthread",),
    seconds=20,
)
BRIDGE = Kind(parts=("bridge",), flags=("-O1",), libraries=(), seconds=3)


class Level(NamedTuple):
    """A level of processors.

    Attributes:
        machine: Architecture, as `platform.machine` names it.
        flags: Flags of /proc/cpuinfo that a processor of this level has.
    """

    machine: str
    flags: frozenset[str]


_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"))
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# By the names that g++ gives them, the fastest first.
LEVELS = {
    "x86-64-v4": Level("x86_64", _V4),
    "x86-64-v3": Level("x86_64", _V3),
    "armv8-a": Level("aarch64", frozenset()),
}


class BuildError(RuntimeError):
    """Raised if a library cannot be built. The message says why."""


def levels(machine: str | None = None) -> list[str]:
    """Returns the levels of an architecture, the fastest first. Default: this machine's."""
    machine = machine or platform.machine()
    return [name for name, level in LEVELS.items() if level.machine == machine]


def levels_here() -> list[str]:
    """Returns the levels that this processor has, the fastest first."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return [name for name in levels() if LEVELS[name].flags <= flags]


def sources(kind: Kind) -> list[Path]:
    """Returns the files that a library is made from. Any header may be part of the kernels, none is of the bridge."""
    files = [SOURCES / f"{part}.cpp" for part in kind.parts]
    return files if kind is BRIDGE else sorted([*files, *SOURCES.glob("*.h")])


def made_from(kind: Kind, *facts: str) -> str:
    """Returns a checksum of sources, options and other facts that a library depends on."""
    digest = hashlib.sha256()
    for file in sources(kind):
        digest.update(file.read_bytes())
    for fact in (*FLAGS, *kind.flags, *facts):
        digest.update(fact.encode())
    return digest.hexdigest()


def compile_library(compiler: str, kind: Kind, target: Path, *, march: str = "", mlx: Path | None = None) -> None:
    """Compiles the parts of a library side by side and links them.

    Args:
        compiler: A g++.
        kind: The kind of library.
        target: The file to write. Its folder is also used for the parts.
        march: Option for the processor. Default: none.
        mlx: Folder of MLX's headers and library, for the bridge.

    Raises:
        BuildError: The compiler failed, or MLX's headers are missing.
        OSError: The compiler cannot be started, or the folder cannot be written to.
    """
    flags, libraries = [*FLAGS, *kind.flags, *([march] if march else [])], [*kind.libraries]
    if mlx is not None:
        if not (mlx / "include").is_dir():
            raise BuildError(f"MLX's headers are not in '{mlx / 'include'}'. Reinstall MLX from its wheel.")
        # The library is found by its name, since MLX is in the process already: no path is kept.
        flags, libraries = [*flags, f"-I{mlx / 'include'}"], [*libraries, f"-L{mlx / 'lib'}", "-lmlx"]
    objects = [str(target.with_name(f"{part}.o")) for part in kind.parts]
    lines = [
        [compiler, *flags, "-c", str(SOURCES / f"{part}.cpp"), "-o", output]
        for part, output in zip(kind.parts, objects, strict=True)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        _raise_failure(compiler, pool.map(_run, lines))
    _raise_failure(compiler, [_run([compiler, "-shared", "-s", *objects, *libraries, "-o", str(target)])])


def _run(line: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )


def _raise_failure(compiler: str, done: Iterable[subprocess.CompletedProcess[str]]) -> None:
    """Raises BuildError with the first error of compilers, if one failed."""
    processes = list(done)
    if not any(process.returncode for process in processes):
        return
    lines = [line.strip() for process in processes for line in process.stdout.splitlines() if line.strip()]
    reason = next((line for line in lines if "error" in line), lines[-1] if lines else "no reason given").rstrip(".")
    raise BuildError(f"{compiler} could not build them: {reason}. A g++ of version 11 or later is needed.")


class Shipped(NamedTuple):
    """A library of the package.

    Attributes:
        path: The file.
        facts: What it must have been made from.
    """

    path: Path
    facts: dict[str, str]

    def misfit(self) -> str:
        """Returns "" if the library exists, is not damaged and was made from the right things, otherwise the reason."""
        name = f"the package's {self.path.name}"
        try:
            record = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return f"{name} was not built when the package was installed"
        except (OSError, ValueError) as error:
            return f"{name} cannot be read ({error})"
        if not isinstance(record, dict) or record.get("sha256") != digest:
            return f"{name} is damaged"
        if record.get("mlx") != self.facts.get("mlx"):
            return f"{name} is for MLX {record.get('mlx')}"
        if record.get("made_from") != self.facts["made_from"]:
            return f"{name} was built from other sources"
        return ""

    def write(self, compiler: str, kind: Kind, *, march: str = "", mlx: Path | None = None) -> None:
        """Builds the library, and notes what it was made from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".building-") as folder:
            new = Path(folder) / self.path.name
            compile_library(compiler, kind, new, march=march, mlx=mlx)
            record = {**self.facts, "sha256": hashlib.sha256(new.read_bytes()).hexdigest()}
            new.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            self.path.unlink(missing_ok=True)  # never a library beside the note of another one
            new.with_suffix(".json").replace(self.path.with_suffix(".json"))
            new.replace(self.path)


def shipped_kernels(level: str, folder: Path | None = None) -> Shipped:
    """Returns the kernels of a level in a folder, by default the package's, which need not exist."""
    return Shipped((folder or BUILT) / f"kernels-{level}.so", {"made_from": made_from(KERNELS, f"-march={level}")})


def shipped_bridge(version: str, folder: Path | None = None) -> Shipped:
    """Returns the bridge to a version of MLX in a folder, by default the package's, which need not exist."""
    facts = {"made_from": made_from(BRIDGE, platform.machine(), version), "mlx": version}
    return Shipped((folder or BUILT) / f"bridge-{platform.machine()}.so", facts)


def can_build() -> bool:
    """Returns True if this machine has the system and the compiler that the kernels need."""
    return platform.system() == "Linux" and shutil.which(os.environ.get("CXX", "g++")) is not None


def build(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Builds the libraries of a package that are missing or do not fit. Those beside the sources are copied.

    Args:
        folder: Folder to write to.
        wanted: The levels.

    Returns:
        A line for each library: what was built, or why not.
    """
    if platform.system() != "Linux" or not wanted:
        return [UNKNOWN]
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    lines = []
    plans: list[tuple[Shipped, Shipped, Kind, dict]] = [
        (shipped_kernels(level, folder), shipped_kernels(level), KERNELS, {"march": f"-march={level}"})
        for level in wanted
    ]
    if mlx := find_mlx():
        version = mlx_version(mlx)
        plans.append((shipped_bridge(version, folder), shipped_bridge(version), BRIDGE, {"mlx": mlx}))
    else:
        lines.append("The bridge to MLX is not built, since MLX is not installed yet.")
    for target, existing, kind, options in plans:
        if not target.misfit():
            lines.append(f"{target.path.name} is built already.")
        elif not existing.misfit():
            folder.mkdir(parents=True, exist_ok=True)
            for suffix in (".json", ".so"):
                shutil.copyfile(existing.path.with_suffix(suffix), target.path.with_suffix(suffix))
            lines.append(f"{target.path.name} is copied.")
        elif compiler is None:
            lines.append(f"{target.path.name} is not built, since there is no {name}.")
        else:
            try:
                target.write(compiler, kind, **options)
                lines.append(f"{target.path.name} is built.")
            except (BuildError, OSError) as error:
                lines.append(f"{target.path.name} is not built: {error}")
    return lines


def find_mlx() -> Path | None:
    """Returns the folder of MLX's headers and library in the environment that the package is installed into, or None.

    pip builds in an environment of its own, with the latest MLX. The one of the user's environment comes first.
    """
    folders = [Path(sysconfig.get_path("platlib")), Path(sysconfig.get_path("purelib")), *map(Path, sys.path)]
    return next((f / "mlx" for f in folders if (f / "mlx" / "include" / "mlx" / "version.h").is_file()), None)


def mlx_version(mlx: Path) -> str:
    """Returns the version that MLX's headers name."""
    text = (mlx / "include" / "mlx" / "version.h").read_text(encoding="utf-8")
    return ".".join(re.findall(r"#define MLX_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text))
