"""The kernels give the same bits each time, on any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from convlstm.ops.cpu.library import library
from convlstm.ops.recurrence import unroll
from tests.support.walks import arguments, drawn, same, steps, value_and_gradients

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

pytestmark = pytest.mark.usefixtures("kernels")


def results_of_several_walks():
    """Returns values and gradients of calls that take every path through the kernels."""
    rng = np.random.default_rng(0)
    for kernel_size, inputs, recompute in (
        (3, "driven", False),
        (5, "driven", True),
        (3, "undriven", True),
        (5, "projected", False),
    ):
        for grid in ((7, 9), (40, 36), (48, 50)):  # few, more and many tiles per step
            given = arguments(rng, kernel_size, grid, "channel", inputs, L=4, C=5, O=9)
            yield value_and_gradients(unroll, given, drawn(rng, given, 4), recompute=recompute, **steps(given, 4))


def test_the_same_call_gives_the_same_bits_whatever_else_runs():
    expected = list(results_of_several_walks())
    mx.eval(expected)
    stop, matrix = threading.Event(), np.ones((300, 300))

    def load():
        while not stop.is_set():
            matrix @ matrix

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(2):
            same(list(results_of_several_walks()), expected, 0)
    finally:
        stop.set()
        thread.join()


def digest():
    """Returns a checksum of the bits of `results_of_several_walks`, for the processes of the test below."""
    checksum = hashlib.sha256()
    tree_map(lambda a: checksum.update(np.array(a).tobytes()), list(results_of_several_walks()))
    return f"{library().threads} {checksum.hexdigest()}"


def test_the_number_of_threads_does_not_change_a_bit():
    tests = Path(__file__).resolve().parent
    code = "import test_bits; print(test_bits.digest())"
    digests = {}
    for threads in ("1", "2", "3"):
        path = os.pathsep.join(map(str, (tests, tests.parent)))
        environment = {**os.environ, "CONVLSTM_THREADS": threads, "MKL_NUM_THREADS": "1", "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        count, digests[threads] = done.stdout.split()
        assert count == threads
    assert len(set(digests.values())) == 1
