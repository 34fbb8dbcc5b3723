"""The kernels give the same bits each time, on any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from convlstm.architectures.cascade import bands
from convlstm.ops import member_ranks, st_lstm
from convlstm.ops.activations import gated_halves, gelu, softmax
from convlstm.ops.band_processes import BandProcesses
from convlstm.ops.convolution import conv2d, grouped_conv2d
from convlstm.ops.cpu.library import library
from convlstm.ops.depthwise import depthwise_conv2d
from convlstm.ops.distribution import matched, near, rising
from convlstm.ops.gru_gates import gru_gates
from convlstm.ops.linear import linear
from convlstm.ops.norms import batch_norm, group_norm
from convlstm.ops.patch_kernels import filter_patches
from convlstm.ops.recurrence import unroll
from convlstm.ops.sampling import bilinear, drift, starts
from convlstm.ops.squares import sum_of_squares
from convlstm.ops.warp import warp_product
from tests.support.reference import normal
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


def results_of_other_kernels():
    """Returns values of all kernels outside the recurrence, and the gradients of those that have them."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return normal(rng, shape)

    def with_gradients(function, *arrays):
        values = function(*arrays)
        cotangents = [draw(*value.shape) for value in (values if isinstance(values, tuple) else (values,))]
        return values, mx.vjp(function, list(arrays), cotangents)[1]

    x, channels = draw(2, 40, 36, 18), draw(3, 18)
    yield with_gradients(linear, draw(700, 40), draw(60, 40), draw(60))
    yield with_gradients(depthwise_conv2d, x, draw(5, 5, 18))
    yield with_gradients(lambda x, w: grouped_conv2d(x, w, 3), x, draw(12, 3, 3, 6))
    yield with_gradients(lambda x, w: conv2d(x, w, (2, 2), (1, 1)), x, draw(8, 4, 4, 18))
    yield with_gradients(conv2d, x, draw(20, 5, 5, 18))
    yield with_gradients(lambda x, w: grouped_conv2d(x, w, 2), x, draw(24, 7, 7, 9))
    yield with_gradients(filter_patches, x, draw(2, 10, 9, 25))
    yield sum_of_squares(x)
    yield with_gradients(gelu, x)
    yield with_gradients(softmax, x)
    yield with_gradients(gated_halves, x)
    yield with_gradients(lambda x, b, w, s: group_norm(x, b, w, s, 3, "silu"), x, *channels)
    yield with_gradients(lambda x, w, s: batch_norm(x, w, s)[0], x, *channels[:2])
    yield with_gradients(lambda x, w: warp_product(x[:1], 3 * x[:1, ..., :4], w), x, draw(7, 36))
    yield with_gradients(bilinear, draw(4, 30, 40), 9 * mx.abs(draw(1, 50, 60)), 9 * mx.abs(draw(1, 50, 60)))
    h, state = (draw(2, 24, 20, 9) for _ in range(2))
    yield with_gradients(lambda *a: gru_gates(*a, "tanh"), draw(2, 24, 20, 27), draw(2, 24, 20, 27), h, *draw(2, 27))

    def step(x, h, c, *kernels):
        return st_lstm.step(x, h, c, h, st_lstm.prepare(*kernels), kernel_size=3)[:3]

    kernels = (draw(63, 3, 3, 5), draw(36, 3, 3, 9), draw(27, 3, 3, 9), draw(9, 3, 3, 18))
    yield with_gradients(step, draw(2, 24, 20, 5), h, state, *kernels)
    yield with_gradients(lambda z, a: st_lstm.gated(z, a, kernels=True), h, state)
    rank = member_ranks.ranks(draw(5, 3000))
    yield with_gradients(lambda members: member_ranks.ordered(members, rank), draw(5, 3000))
    yield with_gradients(lambda members: member_ranks.of_rank(members, rank), draw(5, 3000))
    yield rising(draw(4, 3000)), matched(draw(4, 3000), mx.abs(draw(4, 3000)), mx.arange(3000.0))
    yield near(draw(4, 60, 70), 2.0, 2, 4), drift(draw(4, 40, 50), starts(4, 40, 50), draw(40, 50, 2), draw(4, 2))
    weights, spectra = bands(40, 48, 4), mx.fft.rfft2(draw(2, 40, 48))
    given = {"deviations": mx.ones((2, 4)), "coefficients": mx.full((3, 4), 0.3), "amplitudes": mx.abs(spectra[0])}
    processes = BandProcesses(weights, 48, *spectra, **given, keys=mx.random.split(mx.random.key(7), 3))
    yield [processes.step() for _ in range(3)]


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
    """Returns a checksum of the bits of all kernels' results, for the processes of the test below."""
    checksum = hashlib.sha256()
    results = [*results_of_several_walks(), *results_of_other_kernels()]
    tree_map(lambda a: checksum.update(np.array(a).tobytes()), results)
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
