"""Loading of a BLAS. Each case runs in a process of its own, since a process loads one BLAS only once."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from convlstm.backend import blas
from tests.support.project import PROJECT

import pytest

LOADED = blas.load_fast_blas()

linux = pytest.mark.skipif(platform.system() != "Linux", reason="other systems load nothing")
with_mkl = pytest.mark.skipif(LOADED.name != "mkl", reason="no MKL in this environment")

SHOW = "from convlstm.backend.blas import load_fast_blas as load; b = load(); print(b.name, b.path, b.too_late)"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {
        key: value for key, value in os.environ.items() if key not in ("CONVLSTM_BLAS", "MKL_CBWR", "LD_PRELOAD")
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**variables, **environment}, capture_output=True, text=True
    )


def printed(code: str, **environment: str) -> str:
    done = python(code, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@with_mkl
@pytest.mark.parametrize("choice", ["", "auto", "mkl"])
def test_mkl_of_the_environment_comes_first(choice):
    assert printed(SHOW, CONVLSTM_BLAS=choice) == f"mkl {LOADED.path} False"


@with_mkl
def test_a_path_names_a_library():
    assert printed(SHOW, CONVLSTM_BLAS=str(LOADED.path)) == f"custom {LOADED.path} False"


@with_mkl
@pytest.mark.parametrize("variables", [{}, {"CONVLSTM_BLAS": str(LOADED.path)}, {"LD_PRELOAD": str(LOADED.path)}])
def test_mkl_adds_to_the_environment_when_it_is_loaded_and_not_later(variables):
    """MLX starts compilers in one thread while another one multiplies, and C's environment is not made for that."""
    code = (
        "import ctypes, convlstm\n"
        "def names():\n"
        "    entries, n = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ'), 0\n"
        "    while entries[n]:\n"
        "        n += 1\n"
        "    return [entry.partition(b'=')[0] for entry in entries[:n]]\n"
        "before = names()\n"
        "import mlx.core as mx\n"
        "a = mx.random.normal((300, 300))\n"
        "mx.eval(a @ a)\n"
        "print(names() == before)"
    )
    assert printed(code, **variables) == "True"


@with_mkl
def test_a_library_that_is_already_global_is_left_alone():
    assert printed(SHOW, LD_PRELOAD=str(LOADED.path)) == f"preloaded {LOADED.path} False"


@linux
def test_none_loads_nothing():
    assert printed(SHOW, CONVLSTM_BLAS="none") == "built-in None False"


@linux
def test_auto_without_any_library_is_quiet():
    assert printed(f"import sys; sys.prefix = '/nowhere'; {HIDE}; {SHOW}") == "built-in None False"


# Finds no installed distribution, and no library by name.
HIDE = (
    "import ctypes; from importlib import metadata; metadata.files = lambda name: None; load_ = ctypes.CDLL; "
    "ctypes.CDLL = lambda name, **mode: load_(name and '/nowhere/' + name, **mode)"
)


@linux
def test_after_mlx_it_is_too_late_and_the_warning_says_so():
    code = f"import mlx.core; {SHOW}; from convlstm.backend.blas import *; print(slow_blas_warning())"
    state, warning = printed(code).splitlines()
    assert state == "built-in None True"
    assert "imported before convlstm" in warning
    assert warning.endswith("Import convlstm before mlx.")


@linux
@pytest.mark.parametrize("load", ["convlstm.load", "convlstm.Forecaster.load"])
def test_weights_that_are_loaded_after_mlx_warn_once(load):
    code = f"import convlstm; {load}('nowcast'); {load}('nowcast')"
    assert python(f"import mlx.core; {code}").stderr.count("imported before convlstm") == 1
    assert "imported before convlstm" not in python(code).stderr


@linux
def test_the_warning_names_the_setting_that_asks_for_the_slow_blas():
    warning = printed("from convlstm.backend.blas import *; print(slow_blas_warning())", CONVLSTM_BLAS="none")
    assert warning.startswith("MLX uses a slow BLAS on this CPU (")
    assert warning.endswith("CONVLSTM_BLAS=none asks for that: unset it.")


@with_mkl
def test_a_fast_blas_gives_no_warning():
    assert printed("from convlstm.backend.blas import *; print(slow_blas_warning())") == "None"


@with_mkl
def test_mlx_computes_with_the_loaded_library():
    # With verbose mode MKL reports each call that reaches it.
    code = "import convlstm, mlx.core as mx; mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))"
    assert "SGEMM" in python(code, MKL_VERBOSE="1").stdout
    assert "SGEMM" not in python(code, MKL_VERBOSE="1", CONVLSTM_BLAS="none").stdout


@with_mkl
@pytest.mark.parametrize(("setting", "expected"), [({}, "AUTO"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE")])
def test_mkl_gives_equal_bits_unless_the_user_has_a_setting(setting, expected):
    assert printed("import convlstm, os; print(os.environ['MKL_CBWR'])", **setting) == expected


@with_mkl
def test_products_have_equal_bits_at_any_alignment():
    code = """if True:
        import convlstm, hashlib, mlx.core as mx, numpy as np
        a, b = (mx.random.normal(s, key=mx.random.key(0)) for s in ((513, 1201), (1201, 257)))
        def at(x, offset):
            flat = mx.concatenate([mx.zeros(offset), x.reshape(-1)])
            mx.eval(flat)
            return flat[offset:].reshape(x.shape)
        print({hashlib.sha256(np.array(at(a, i) @ at(b, 3 * i)).tobytes()).hexdigest() for i in (0, 1, 2, 5, 8, 13)})
    """
    first = printed(code)
    assert first.count(",") == 0
    assert printed(code) == first


@linux
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("fast", "CONVLSTM_BLAS must be auto, mkl, openblas, none or the path of a library but got 'fast'."),
        ("/nowhere/libblas.so", "CONVLSTM_BLAS names '/nowhere/libblas.so' but it does not load: "),
        ("libm", "but got 'libm'."),
    ],
)
def test_a_bad_choice_is_refused_with_the_choices(choice, message):
    done = python("import convlstm", CONVLSTM_BLAS=choice)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ValueError: [convlstm] CONVLSTM_BLAS")
    assert message in done.stderr


@linux
def test_a_library_without_blas_is_refused():
    import _ctypes

    done = python("import convlstm", CONVLSTM_BLAS=_ctypes.__file__)
    assert f"CONVLSTM_BLAS names '{_ctypes.__file__}' but it has no cblas_sgemm." in done.stderr


@linux
@pytest.mark.parametrize("choice", ["mkl", "openblas"])
def test_a_missing_library_that_was_asked_for_is_an_error(choice):
    done = python(f"import sys; sys.prefix = '/nowhere'; {HIDE}; import convlstm", CONVLSTM_BLAS=choice)
    assert f"CONVLSTM_BLAS is '{choice}' but no lib" in done.stderr
    assert "pip install mkl" in done.stderr


@with_mkl
def test_mkl_is_limited_to_one_thread():
    code = (
        "import ctypes; from convlstm.backend import blas; path = blas.load_fast_blas().path; "
        "threads = ctypes.CDLL(path).MKL_Get_Max_Threads; before = threads(); "
        "print(blas.hold_to_one_thread(), before, threads())"
    )
    assert printed(code, MKL_NUM_THREADS="2", MKL_DYNAMIC="FALSE") == "True 2 1"


@linux
def test_without_mkl_no_thread_is_limited():
    assert (
        printed("from convlstm.backend import blas; print(blas.hold_to_one_thread())", CONVLSTM_BLAS="none") == "False"
    )
