"""The CPU's kernels compiled at run time, their cache, and their refusal. test_recurrence.py tests their results.

test_shipped_kernels.py tests those that are built with the package.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from convlstm.ops.convolution import winograd_conv2d
from convlstm.ops.cpu import build
from convlstm.ops.cpu import library as module
from convlstm.ops.cpu.build import BRIDGE, KERNELS
from convlstm.ops.cpu.library import UnavailableError, library
from tests.support.project import PROJECT

import mlx.core as mx
import pytest

GXX = shutil.which("g++")

# A library that has all the kernels' functions, but does not work.
STUB = """
#include <cstdint>
#include <cstdlib>
extern "C" {
int convlstm_lanes() { return 8; }
int convlstm_threads() { return 1; }
int64_t convlstm_filter_floats(int64_t, int64_t, int64_t) { return 1; }
int convlstm_finds(char*, int, const int64_t*, int) { FINDS; }
const char* convlstm_error() { return "broken on purpose"; }
int convlstm_call(void*, ...) { return 1; }
void convlstm_convolution() {}
}
"""


def run(code: str, *, cwd: Path = PROJECT, **environment: str) -> subprocess.Popen[str]:
    given = {**os.environ, "PYTHONPATH": str(cwd), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=cwd, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


LOAD = """
from convlstm.ops.cpu.library import library
print(library().path)
"""


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Returns an empty cache, and makes the functions forget that they have looked for the kernels."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the kernels are for Linux")
    for function in (module._built, module.available):
        monkeypatch.setattr(module, function.__name__, functools.cache(function.__wrapped__))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("CONVLSTM_KERNELS", "compile")
    return tmp_path / "cache" / "convlstm"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Returns a function that makes a compiler: it records its calls, and its linker copies existing libraries."""

    def make(kernels: Path | str, bridge: Path | str | None = None) -> Path:
        script, calls = tmp_path / "c++", tmp_path / "calls"
        script.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo 12 && exit 0\necho "$1" >> {calls}\n'
            f'for last; do :; done\ncase "$*" in *-shared*-lmlx*) cp {bridge or kernels} "$last";; '
            f'*-shared*) cp {kernels} "$last";; esac\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return calls

    return make


@pytest.fixture
def stub(tmp_path):
    """Returns a function that compiles a library that does not work."""
    if GXX is None:
        pytest.skip("there is no g++")

    def make(finds: str = "return 1", source: str = STUB) -> Path:
        file, target = tmp_path / "stub.cpp", tmp_path / "stub.so"
        file.write_text(source.replace("FINDS", finds))
        subprocess.run([GXX, "-shared", "-fPIC", str(file), "-o", str(target)], check=True)
        return target

    return make


def refused(text: str) -> None:
    with pytest.raises(UnavailableError, match=re.escape(text)):
        module.library()


TRAIN = """
import json, warnings
import convlstm
from convlstm.layers import ConvLSTM
from convlstm.ops.cpu.library import UnavailableError, available, library
import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
from mlx.utils import tree_flatten

def trained(algorithm):
    mx.random.seed(0)
    layer, optimizer = ConvLSTM(2, 3, 3, algorithm=algorithm), optim.SGD(0.1)
    x = mx.random.normal((2, 4, 6, 7, 2))
    loss, gradients = nn.value_and_grad(layer, lambda x: (layer(x)[0] ** 2).mean())(x)
    optimizer.update(layer, gradients)
    return [loss.tolist(), [a.tolist() for _, a in tree_flatten(layer.parameters())]]

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    same = trained("auto") == trained("native") == trained("auto")
    nothing = available() is None and available() is None
try:
    trained("winograd")
except UnavailableError as error:
    print(json.dumps([same, nothing, [str(w.message) for w in caught], str(error)]))
"""


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "/nowhere"}, "there is no g++. Install it: sudo apt install g++, or sudo dnf install gcc-c++."),
        ({"CONVLSTM_KERNELS": "none"}, "CONVLSTM_KERNELS=none asks for MLX's own. Unset it."),
    ],
)
def test_without_kernels_all_works_after_one_warning(environment, reason, cache):
    same, none_available, warned, error = json.loads(finish(run(TRAIN, **environment))[0])
    assert same
    assert none_available
    assert warned == [f"No fast kernels on this CPU: {reason} {module.SLOW}"]
    assert error == f"[ConvLSTM] algorithm='winograd' has no kernels here: {reason}"
    assert not cache.exists()


def test_available_warns_once(cache, monkeypatch):
    monkeypatch.setenv("CONVLSTM_KERNELS", "none")
    with pytest.warns(UserWarning, match=r"^No fast kernels on this CPU: CONVLSTM_KERNELS=none asks for MLX's own\."):
        assert module.available() is None
    assert module.available() is None  # warnings are errors in tests


def test_cxx_names_the_compiler(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    refused("CXX names '/nowhere/g++', which is no program. Name a g++, or unset CXX.")
    assert not cache.exists()


def test_only_linux(cache, monkeypatch):
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    refused("they are made for Linux, and this is Darwin.")


def test_an_unknown_choice(cache, monkeypatch):
    monkeypatch.setenv("CONVLSTM_KERNELS", "native")
    names = ", ".join(("none", "compile", *build.levels()))
    refused(f"CONVLSTM_KERNELS must be one of {names} but got 'native'. Unset it.")


def test_headers_must_exist(cache, compiler, tmp_path, monkeypatch):
    calls = compiler("/nowhere")
    monkeypatch.setattr(module, "_mlx", lambda: tmp_path)
    refused(f"MLX's headers are not in '{tmp_path / 'include'}'. Reinstall MLX from its wheel.")
    assert not calls.exists()


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (
            "In file included from x.h:\\nvector.h:7:1: error: this is too old\\nx.h:1: error: the second",
            "could not build them: vector.h:7:1: error: this is too old. A g++ of version 11 or later is needed.",
        ),
        ("c++: fatal error: Killed signal terminated program cc1plus", "fatal error: Killed signal terminated"),
        ("", "could not build them: no reason given. A g++"),
    ],
)
def test_a_compiler_that_fails_is_quoted(says, expected, cache, tmp_path, monkeypatch):
    script = tmp_path / "c++"
    script.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && exit 0\nprintf '{says}\\n' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    refused(expected)
    assert list(cache.iterdir()) == []


def test_a_linker_that_fails_is_quoted(cache, tmp_path, monkeypatch):
    script = tmp_path / "c++"
    script.write_text('#!/bin/sh\n[ "$1" = -shared ] || exit 0\necho "ld: error: no libmlx" >&2\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    refused("could not build them: ld: error: no libmlx")


@pytest.mark.parametrize(
    ("finds", "text"),
    [
        ("return 0", "an array was not found in its Python object."),
        ("abort()", "it ended with status -6"),
        ("return 1", "[convlstm] convlstm_convolution: broken on purpose"),
    ],
)
def test_a_library_that_does_not_work_is_refused(finds, text, cache, compiler, stub):
    compiler(stub(finds))
    version = re.escape(mx.__version__)
    with pytest.raises(UnavailableError, match=rf"^they do not work with MLX {version}: .*{re.escape(text)}"):
        module.library()
    assert list(cache.iterdir()) == []


def test_a_library_without_the_functions_is_refused(cache, compiler, stub):
    compiler(stub(source="int nothing;"))
    refused("undefined symbol: convlstm_error")


def test_a_cache_that_cannot_be_written(compiler, cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    compiler("/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused("there is no place to keep them: ")
    refused("Set XDG_CACHE_HOME")


@pytest.fixture
def built(kernels) -> tuple[Path, Path]:
    """Returns the libraries that the other tests use: the kernels and the bridge."""
    return library().path, library().bridge


@pytest.mark.parametrize("left", [0, 10, 1000, 100_000])
def test_a_damaged_library_is_built_again(left, built, cache, compiler):
    calls = compiler(*built)
    target = Path(finish(run(LOAD))[0].strip())
    count = len(calls.read_text().split())
    target.write_bytes(built[0].read_bytes()[:left])
    assert finish(run(LOAD))[0].strip() == str(target)
    assert target.read_bytes() == built[0].read_bytes()
    assert len(calls.read_text().split()) == count + len(KERNELS.parts) + 1  # and not the bridge


def fingerprints(compiler: str) -> tuple[str, str]:
    return module._fingerprint(compiler, KERNELS), module._fingerprint(compiler, BRIDGE)


def test_the_fingerprint_follows_sources_and_compiler(cache, tmp_path, monkeypatch):
    def compiler(version):
        script = tmp_path / "c++"
        script.write_text(f"#!/bin/sh\necho {version}\n")
        script.chmod(0o755)
        return str(script)

    def change(name):
        with (tmp_path / "sources" / name).open("a") as file:
            file.write("\n")

    prints = [fingerprints(compiler(12)), fingerprints(compiler(13)), fingerprints(compiler(12))]
    shutil.copytree(build.SOURCES, tmp_path / "sources")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "sources")
    prints.append(fingerprints(compiler(12)))
    change("vector.h")
    prints.append(fingerprints(compiler(12)))
    change("bridge.cpp")
    prints.append(fingerprints(compiler(12)))
    kernels, bridges = zip(*prints, strict=True)
    assert kernels[0] == kernels[2] == kernels[3] != kernels[4] == kernels[5]
    assert bridges[0] == bridges[2] == bridges[3] == bridges[4] != bridges[5]
    assert len(set(kernels)) == len(set(bridges)) == 3


def test_the_fingerprint_of_the_bridge_follows_mlx(cache, monkeypatch):
    before = fingerprints("true")
    monkeypatch.setattr(module, "_version", lambda: "0.0.1")
    after = fingerprints("true")
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_the_fingerprint_follows_the_processor(cache, monkeypatch):
    read_text = Path.read_text
    prints = []
    for flags in ("avx2 fma", "avx2 fma avx512f", "avx2 fma"):
        processor = f"model name: A\nflags: {flags}\n\nmodel name: A"
        monkeypatch.setattr(
            Path, "read_text", lambda p, text=processor, **o: text if p.name == "cpuinfo" else read_text(p, **o)
        )
        prints.append(fingerprints("true"))
    assert prints[0] == prints[2]
    assert prints[0][0] != prints[1][0]
    assert prints[0][1] == prints[1][1]


def test_it_is_built_and_checked_once(built, cache, compiler):
    calls = compiler(*built)
    out, err = finish(run(LOAD))
    assert "Compiling the CPU kernels for this machine, once, about 20 seconds: CONVLSTM_KERNELS=compile asks" in err
    assert f"Compiling the bridge from the CPU kernels to MLX {mx.__version__}, once, about 3 seconds: CONV" in err
    assert Path(out.strip()).parent == cache
    count = len(calls.read_text().split())
    assert count == len(KERNELS.parts) + len(BRIDGE.parts) + 2
    files = sorted(cache.iterdir())
    assert [re.sub("-[0-9a-f]{16}", "", file.name) for file in files] == FILES
    once = "from convlstm.ops.cpu import library as m; del m._check\n"
    again, err = finish(run(once + LOAD))
    assert again == out
    assert "Compiling" not in err
    assert len(calls.read_text().split()) == count
    assert sorted(cache.iterdir()) == files


FILES = ["bridge.sha256", "bridge.so", "checked", "kernels.sha256", "kernels.so"]
"""What lies in the cache after a build, without checksums."""


@pytest.mark.parametrize("killed_in", ["_check", "build.compile_library"])
def test_a_killed_build_leaves_nothing_after_the_next_one(killed_in, built, cache, compiler):
    compiler(*built)
    kill = "lambda *_, **__: os.kill(os.getpid(), 9)"
    killed = run(f"import os; from convlstm.ops.cpu import library as m; m.{killed_in} = {kill}; m.library()")
    killed.communicate()
    assert killed.returncode == -9
    assert not list(cache.glob("checked*"))
    finish(run(LOAD))
    assert len(list(cache.iterdir())) == len(FILES)


def test_two_processes_that_build_at_once(built, cache, compiler):
    compiler(*built)
    both = [run(LOAD) for _ in range(2)]
    outs = {finish(process)[0] for process in both}
    assert len(outs) == 1
    assert len(list(cache.iterdir())) == len(FILES)


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"CONVLSTM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"CONVLSTM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"CONVLSTM_THREADS": "many", "OMP_NUM_THREADS": "0"}, None),
    ],
)
def test_threads_follow_the_environment(environment, threads, kernels):
    environment = {"CONVLSTM_THREADS": "", "OMP_NUM_THREADS": "", **environment}
    code = "from convlstm.ops.cpu.library import library; print(library().threads)"
    expected = threads or len(os.sched_getaffinity(0))
    assert int(finish(run(code, **environment))[0]) == expected


def test_an_error_in_a_kernel_is_python_s_and_leaves_the_kernels_working(kernels):
    x, w = mx.ones((1, 4, 4, 2)), mx.ones((3, 3, 3, 2))
    with pytest.raises(RuntimeError, match=r"^\[convlstm\] a kernel needs contiguous float32 arrays\.$"):
        mx.eval(winograd_conv2d(x.astype(mx.float16), w))
    assert winograd_conv2d(x, w)[0, 1, 1, 0].item() == pytest.approx(18, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "good", "bad", "text"),
    [
        ("winograd.h", "const vec even = parity_sum", "const vec even = 1.001f * parity_sum", "differs from MLX's"),
        ("bridge.cpp", "if (!(flags & 4))", "if (flags & 4)", "it ended with status -11"),
    ],
)
def test_kernels_that_are_wrong_or_crash_are_refused(file, good, bad, text, kernels, tmp_path):
    shutil.copytree(PROJECT / "convlstm", tmp_path / "convlstm", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "convlstm" / "ops" / "cpu" / file
    assert good in source.read_text()
    source.write_text(source.read_text().replace(good, bad))
    code = (
        "import convlstm.ops.cpu.library as m\ntry: print(m.library().path)\nexcept m.UnavailableError as e: print(e)"
    )
    out, _ = finish(run(code, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")))
    assert text in out
    assert list((tmp_path / "cache" / "convlstm").iterdir()) == []
