"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

from convlstm.backend import precompiled_header
from convlstm.backend.blas import hold_to_one_thread  # before mlx.core, so that the tests run with a fast BLAS
from convlstm.distributed.launch import share_processor
from convlstm.ops.algorithm import on_cpu
from convlstm.ops.cpu.library import available
from tests.support.browser import chromium
from tests.support.kept_processes import kept_processes
from tests.support.project import PROJECT

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# As train.py does: tests compare bits.
hold_to_one_thread()

# Processes of pytest-xdist share the cores, as ranks do. The threads of a kernel wait for each other without sleep, so
# that more threads than cores make small kernels ten times as slow. test_bits.py compares numbers of threads.
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    share_processor(processes)

# The same examples in every run. `pytest --hypothesis-profile=long` tries ten times as many, others each time.
settings.register_profile(
    "suite", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("suite"), derandomize=False, max_examples=1000, print_blob=True)
settings.load_profile("suite")

# What started the tests may ignore these, as nohup and a shell's `&` do, and then so would the programs they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The tests compile hundreds of functions.
header = precompiled_header.start()

# Kernels that the package lacks are built here, once. Where they cannot be, the warning is given here, and not in
# whichever test is first.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    KERNELS = on_cpu() and available() is not None
if header:
    header.join()


@pytest.fixture(autouse=True)
def handlers_of_signals() -> Iterator[None]:
    """Keeps what a test does to the handlers of signals, such as a command's end at Ctrl-C, from those after it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, former, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def without_compilation() -> Iterator[None]:
    """Keeps MLX from compiling, which would be most of the time, also in programs. Training is tested with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_DISABLE_COMPILE", "1")
        mx.disable_compile()
        yield
        mx.enable_compile()


@pytest.fixture(scope="module")
def readers_stay() -> Iterator[None]:
    """Lets the tests of a file share the processes that read their files."""
    with kept_processes():
        yield


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory) -> Iterator[None]:
    """Keeps the tests' runs from the list of those that this user has trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Spares commands in this process the first of Hydra's two compositions, which looks for a `hydra.mode` of files.

    Ours have none. Commands that tests start as programs do it as for a user.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None, raising=False)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for each test, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def kernels() -> None:
    """Skips the test where there are no kernels for the CPU."""
    if not KERNELS:
        pytest.skip("no kernels of convlstm.ops.cpu here: they need Linux, MLX on the CPU, and g++")


@pytest.fixture
def kernels_for_winograd(request) -> None:
    """Skips a test with a parameter 'winograd' if the CPU has no kernels."""
    if hasattr(request.node, "callspec") and "winograd" in request.node.callspec.params.values():
        request.getfixturevalue("kernels")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """Folder of the four original MNIST files, in CONVLSTM_DATA or in the data folder beside the checkout."""
    data = Path(os.environ.get("CONVLSTM_DATA", PROJECT.parent / "shared" / "data")).expanduser()
    for root in (data / "mnist", data):
        if any(root.glob("train-images-idx3-ubyte*")):
            return root
    pytest.skip(f"no MNIST files in {data}: set CONVLSTM_DATA to a folder that has mnist/train-images-idx3-ubyte.gz")


@pytest.fixture(scope="session")
def radar_root() -> Path:
    """Folder of the real radar events: in CONVLSTM_DATA or beside it, else in the data folder beside the checkout."""
    data = Path(os.environ.get("CONVLSTM_DATA", PROJECT.parent / "shared" / "data")).expanduser()
    for root in (data / "radar", data.parent / "radar"):
        if (root / "knmi_20100826").is_dir():
            return root
    pytest.skip(f"no radar events in {data}: set CONVLSTM_DATA to a folder that has radar/knmi_20100826")


@pytest.fixture(scope="module")
def driver():
    """A Chromium without a window, for modules that call `tests.support.browser.skip_without_browser`."""
    with chromium() as driver:
        yield driver
