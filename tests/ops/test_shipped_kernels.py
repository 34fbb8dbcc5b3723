"""The CPU's kernels that are built with the package: when they are used, and what is said where they do not fit."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import shutil
from pathlib import Path

from convlstm.ops.cpu import build
from convlstm.ops.cpu import library as module
from convlstm.ops.cpu.build import BRIDGE, KERNELS, UNKNOWN, Shipped
from convlstm.ops.cpu.library import UnavailableError, library

import mlx.core as mx
import pytest

BEST, LOWER = "level-2", "level-1"


@pytest.fixture
def good(kernels) -> tuple[Path, Path]:
    """Returns the libraries that the other tests use: the kernels and the bridge."""
    return library().path, library().bridge


@pytest.fixture
def package(good, tmp_path, monkeypatch) -> Path:
    """Returns a package's folder of libraries, which fit, with an empty cache and without a compiler."""
    folder = tmp_path / "built"
    for function in (module._built, module.available):
        monkeypatch.setattr(module, function.__name__, functools.cache(function.__wrapped__))
    monkeypatch.setattr(build, "BUILT", folder)
    monkeypatch.setattr(build, "levels_here", lambda: [BEST, LOWER])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("CXX", "CONVLSTM_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    put(good[0], build.shipped_kernels(BEST))
    put(good[1], build.shipped_bridge(mx.__version__))
    return folder


def put(library: Path, shipped: Shipped, **facts: str) -> Path:
    """Makes a library one of the package, with other facts about it if some are given."""
    shipped.path.parent.mkdir(exist_ok=True)
    shutil.copyfile(library, shipped.path)
    record = {**shipped.facts, "sha256": hashlib.sha256(library.read_bytes()).hexdigest(), **facts}
    shipped.path.with_suffix(".json").write_text(json.dumps(record))
    return shipped.path


def loaded() -> list[Path]:
    module._built.cache_clear()
    return [module.library().path, module.library().bridge]


def test_libraries_that_fit_are_used_without_a_compiler_and_checked_once(package, good, tmp_path, monkeypatch, capsys):
    own = [package / f"kernels-{BEST}.so", package / f"bridge-{platform.machine()}.so"]
    assert loaded() == own
    assert [path.name[:8] for path in (tmp_path / "cache" / "convlstm").iterdir()] == ["checked-"]
    monkeypatch.setattr(module, "_check", None)
    assert loaded() == own
    monkeypatch.setattr(module, "_version", lambda: "0.0.1")  # another MLX: the check is due again
    put(good[1], build.shipped_bridge("0.0.1"))
    with pytest.raises(TypeError):
        module._load()
    assert capsys.readouterr().err == ""


def test_without_a_cache_they_are_checked_each_time(package, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    checks = []
    monkeypatch.setattr(module, "_check", lambda *paths: checks.append(paths))
    assert [loaded(), loaded()] == [list(paths) for paths in checks]


def missing(folder: Path, good: tuple[Path, Path]) -> None:
    (folder / f"kernels-{BEST}.so").unlink()


def damaged(folder: Path, good: tuple[Path, Path]) -> None:
    path = folder / f"kernels-{BEST}.so"
    path.write_bytes(path.read_bytes()[:1000])


def without_facts(folder: Path, good: tuple[Path, Path]) -> None:
    (folder / f"kernels-{BEST}.json").write_text("{")


def of_other_sources(folder: Path, good: tuple[Path, Path]) -> None:
    put(good[0], build.shipped_kernels(BEST), made_from="else")


def for_another_mlx(folder: Path, good: tuple[Path, Path]) -> None:
    put(good[1], build.shipped_bridge(mx.__version__), mlx="0.0.1")


MISFITS = [
    (missing, "the package's kernels-level-2.so was not built when the package was installed"),
    (damaged, "the package's kernels-level-2.so is damaged"),
    (without_facts, "the package's kernels-level-2.so cannot be read ("),
    (of_other_sources, "the package's kernels-level-2.so was built from other sources"),
    (for_another_mlx, f"the package's bridge-{platform.machine()}.so is for MLX 0.0.1"),
]


@pytest.mark.parametrize(("spoil", "reason"), MISFITS)
def test_without_a_compiler_the_reason_is_why_there_are_none(spoil, reason, package, good):
    spoil(package, good)
    with pytest.raises(UnavailableError, match=rf"^{re.escape(reason)}.*, and there is no g\+\+. Install it"):
        loaded()


@pytest.mark.parametrize(("spoil", "reason"), MISFITS)
def test_what_does_not_fit_is_compiled_and_the_line_says_why(
    spoil, reason, package, good, tmp_path, monkeypatch, capsys
):
    compiled = []

    def compile_library(compiler, kind, target, *, march="", mlx=None):
        compiled.append((kind, march, mlx is not None))
        shutil.copyfile(good[kind is BRIDGE], target)

    monkeypatch.setattr(build, "compile_library", compile_library)
    monkeypatch.setenv("CXX", "/bin/true")
    spoil(package, good)
    own, cache = loaded(), tmp_path / "cache" / "convlstm"
    err = capsys.readouterr().err
    if spoil is for_another_mlx:
        assert compiled == [(BRIDGE, "", True)]
        assert [path.parent for path in own] == [package, cache]
        assert err.startswith(f"Compiling the bridge from the CPU kernels to MLX {mx.__version__}, once, about 3 ")
    else:
        assert compiled == [(KERNELS, "-march=native", False)]
        assert [path.parent for path in own] == [cache, package]
        assert err.startswith("Compiling the CPU kernels for this machine, once, about 20 seconds: ")
    assert len(err.splitlines()) == 1
    assert f": {reason}" in err


def test_a_processor_below_all_levels(package, monkeypatch):
    monkeypatch.setattr(build, "levels_here", list)
    with pytest.raises(
        UnavailableError, match=r"^the package has no kernels for this processor, and there is no g\+\+"
    ):
        loaded()


def test_libraries_that_fail_the_check_are_not_used(package, good):
    put(good[1], build.shipped_kernels(BEST))  # loads, and lacks the functions
    with pytest.raises(
        UnavailableError, match=r"^of the package's, they do not work with MLX .*undefined symbol.* g\+\+"
    ):
        loaded()


def test_a_level_can_be_chosen(package, good, monkeypatch):
    lower = put(good[0], build.shipped_kernels(LOWER))
    monkeypatch.setattr(build, "LEVELS", {BEST: build.Level("x", frozenset()), LOWER: build.Level("x", frozenset())})
    monkeypatch.setenv("CONVLSTM_KERNELS", LOWER)
    assert loaded()[0] == lower
    monkeypatch.setattr(build, "levels_here", lambda: [LOWER])
    monkeypatch.setenv("CONVLSTM_KERNELS", BEST)
    match = r"^CONVLSTM_KERNELS=level-2 is no level of this processor, which has: level-1\. Unset it\."
    with pytest.raises(UnavailableError, match=match):
        loaded()


def test_a_chosen_level_is_compiled_for_that_level(package, good, monkeypatch):
    options = []

    def compile_library(compiler, kind, target, *, march="", mlx=None):
        options.append(march)
        shutil.copyfile(good[0], target)

    monkeypatch.setattr(build, "compile_library", compile_library)
    monkeypatch.setattr(build, "LEVELS", {LOWER: build.Level("x", frozenset())})
    monkeypatch.setenv("CXX", "/bin/true")
    monkeypatch.setenv("CONVLSTM_KERNELS", LOWER)
    loaded()
    assert options == [f"-march={LOWER}"]


def test_without_a_compiler_a_lower_level_is_used(package, good, capsys):
    lower = put(good[0], build.shipped_kernels(LOWER))
    missing(package, good)
    assert loaded()[0] == lower
    err = capsys.readouterr().err
    assert err.startswith("The CPU kernels are those of 'kernels-level-1.so': the package's kernels-level-2.so was not")


@pytest.mark.parametrize(
    ("machine", "flags", "names"),
    [
        ("x86_64", {*build.LEVELS["x86-64-v4"].flags, "sse2"}, ["x86-64-v4", "x86-64-v3"]),
        ("x86_64", build.LEVELS["x86-64-v4"].flags - {"avx512bw"}, ["x86-64-v3"]),
        ("x86_64", build.LEVELS["x86-64-v3"].flags - {"fma"}, []),
        ("aarch64", set(), ["armv8-a"]),
        ("riscv64", set(), []),
    ],
)
def test_the_levels_of_a_processor(machine, flags, names, monkeypatch):
    text = f"processor: 0\nflags\t\t: {' '.join(flags)}\n\nprocessor: 1\nflags\t: \n"
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda path, **_: text)
    assert build.levels_here() == names


def test_without_proc_there_is_no_level(monkeypatch):
    def missing(path, **_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert build.levels_here() == []


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """Returns the folder of a checkout's own libraries, none yet, with MLX's headers and a compiler that writes `x`."""
    compiler, mlx = tmp_path / "c++", tmp_path / "mlx"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho x > "$last"\n')
    compiler.chmod(0o755)
    (mlx / "include" / "mlx").mkdir(parents=True)
    text = "#define MLX_VERSION_MAJOR 1\n#define MLX_VERSION_MINOR 2\n#define MLX_VERSION_PATCH 34\n"
    (mlx / "include" / "mlx" / "version.h").write_text(text)
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(build, "BUILT", tmp_path / "checkout")
    monkeypatch.setenv("CXX", str(compiler))
    return tmp_path / "checkout"


def test_a_package_is_built_once(checkout, tmp_path):
    names = ["kernels-x86-64-v3.so", f"bridge-{platform.machine()}.so"]
    assert build.build(checkout, ["x86-64-v3"]) == [f"{name} is built." for name in names]
    assert json.loads((checkout / names[1]).with_suffix(".json").read_text())["mlx"] == "1.2.34"
    assert build.shipped_kernels("x86-64-v3").misfit() == build.shipped_bridge("1.2.34").misfit() == ""
    assert build.build(checkout, ["x86-64-v3"]) == [f"{name} is built already." for name in names]
    # A wheel takes what the checkout has.
    assert build.build(tmp_path / "wheel", ["x86-64-v3"]) == [f"{name} is copied." for name in names]
    assert sorted(p.name for p in (tmp_path / "wheel").iterdir()) == sorted(p.name for p in checkout.iterdir())
    assert len(list(checkout.iterdir())) == 4


def test_what_cannot_be_built_does_not_stop_an_installation(checkout, tmp_path, monkeypatch):
    (tmp_path / "c++").write_text("#!/bin/sh\necho error: too old; exit 1\n")
    shutil.rmtree(tmp_path / "mlx")
    monkeypatch.setattr(build.sys, "path", [])
    assert build.build(checkout, ["x86-64-v4"]) == [
        "The bridge to MLX is not built, since MLX is not installed yet.",
        f"kernels-x86-64-v4.so is not built: {tmp_path}/c++ could not build them: error: too old. A g++ of version 11 "
        "or later is needed.",
    ]
    monkeypatch.setenv("CXX", "g++-none")
    assert build.build(checkout, ["x86-64-v4"])[1] == "kernels-x86-64-v4.so is not built, since there is no g++-none."
    assert build.can_build() is False
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert build.build(checkout, ["x86-64-v4"]) == [UNKNOWN]
    assert list(checkout.iterdir()) == []


def test_another_version_of_mlx_needs_another_bridge(checkout):
    build.build(checkout, [])
    build.build(checkout, ["x86-64-v3"])
    assert build.shipped_bridge("1.2.35").misfit() == f"the package's bridge-{platform.machine()}.so is for MLX 1.2.34"
