"""Results computed ahead: their order, their errors, and that nothing ever waits for a thread."""

from __future__ import annotations

import gc
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

from convlstm.datasets.prefetch import Prefetch
from convlstm.datasets.stream import batches
from tests.support.project import PROJECT

import numpy as np
import pytest


class Corrupt(Exception):
    pass


@pytest.fixture
def blocked():
    """A function that returns for numbers below 2 and then blocks until the test ends."""
    release = threading.Event()

    def function(number):
        if number >= 2:
            release.wait(60)
        return number

    yield function
    release.set()


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def ended():
    """Returns True once all background threads have ended."""
    deadline = time.monotonic() + 5
    while workers() and time.monotonic() < deadline:
        time.sleep(0.001)
    return not workers()


def run(code, **options):
    """Starts a script in which every load from the third on blocks."""
    head = """
        import atexit, signal, sys, threading, time
        from convlstm.datasets.stream import batches
        def load(index):
            if index > 1:
                print("blocked", flush=True)
                threading.Event().wait()
            return {"index": index}
        stream = batches(100, load, 1, prefetch=3, threads=2)
        next(stream)
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=PROJECT,
        env={"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(("ahead", "threads"), [(1, 1), (3, 2), (2, 5), (100, 4)])
def test_results_come_in_order(ahead, threads):
    def function(number):
        time.sleep(0.001 * (number * 7 % 3))
        return number * number

    results = Prefetch(function, range(5, 60), ahead=ahead, threads=threads)
    assert len(results) == 55
    assert list(results) == [number * number for number in range(5, 60)]
    assert list(results) == []
    assert ended()


def test_no_numbers():
    assert list(Prefetch(str, range(0), ahead=2, threads=2)) == []


def test_it_computes_as_far_ahead_as_it_is_told():
    calls = []
    results = Prefetch(lambda number: calls.append(number) or number, range(50), ahead=3, threads=1)
    for taken in range(4):
        deadline = time.monotonic() + 5
        while len(calls) < 3 + taken and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert calls == list(range(3 + taken))
        assert next(results) == taken


def test_an_error_is_raised_at_its_number():
    def function(number):
        if number % 5 == 4:
            raise Corrupt(number)
        time.sleep(0.002)
        return number

    results = Prefetch(function, range(50), ahead=20, threads=3)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(Corrupt, match="4") as caught:
        next(results)
    assert caught.traceback[-1].name == "function"
    assert list(results) == []
    assert ended()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_errors_that_end_programs_reach_the_consumer(kind):
    def function(number):
        raise kind

    with pytest.raises(kind):
        next(Prefetch(function, range(3), ahead=1, threads=1))


def test_stop_iteration_of_the_function_does_not_end_the_loop_silently():
    def function(number):
        return next(iter(range(number)))

    with pytest.raises(RuntimeError, match="the function of number 0 raised StopIteration"):
        list(Prefetch(function, range(3), ahead=1, threads=1))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(batches(3, function, 1))


@pytest.mark.parametrize("leave", ["close", "drop", "cycle"])
def test_leaving_does_not_wait_for_a_call_that_blocks(blocked, leave):
    before = time.monotonic()
    results = Prefetch(blocked, range(50), ahead=4, threads=2)
    assert [next(results), next(results)] == [0, 1]
    if leave == "close":
        results.close()
        assert list(results) == []
    elif leave == "cycle":
        results.itself = results
        del results
        gc.collect()
    else:
        del results
    assert time.monotonic() - before < 2


def test_closing_wakes_a_consumer_that_waits(blocked):
    results = Prefetch(blocked, range(50), ahead=4, threads=2)
    threading.Timer(0.1, results.close).start()
    assert list(results) == [0, 1]


def test_a_signal_interrupts_the_wait_and_the_next_call_goes_on(blocked):
    class Alarm(Exception):
        pass

    def ring(number, frame):
        raise Alarm

    release = threading.Event()

    def function(number):
        release.wait(60)
        return number

    stream = batches(6, lambda index: {"index": function(index)}, 2, prefetch=2)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Alarm):
                next(stream)
    finally:
        signal.signal(signal.SIGALRM, before)
    release.set()
    assert [batch["index"].tolist() for batch in stream] == [[0, 1], [2, 3], [4, 5]]


def test_a_dropped_stream_is_freed():
    array = np.zeros(1000)
    results = Prefetch(lambda number: array, range(50), ahead=4, threads=2)
    stream = batches(50, lambda index: {"x": array}, 5)
    next(results)
    next(stream)
    loader, reader = weakref.ref(results), weakref.ref(stream._batches)
    del results, stream
    assert loader() is None
    assert reader() is None
    assert ended()


def test_thousands_of_streams_are_dropped_at_every_point():
    """Includes errors, slow loads, streams in cycles that the garbage collector drops, and streams read to the end."""
    rng = random.Random(0)
    x = np.zeros(4, np.float32)
    for number in range(5000):
        size = rng.randint(1, 12)
        fails, slow = rng.randrange(3 * size), rng.random() < 0.2

        def load(index, fails=fails, slow=slow):
            if index == fails:
                raise Corrupt
            if slow:
                time.sleep(0.0003)
            return {"x": x, "mask": x > 0}

        stream = batches(
            size, load, rng.randint(1, size), prefetch=rng.randint(1, 6), threads=rng.randint(1, 4), drop_last=False
        )
        try:
            for _ in range(rng.randrange(len(stream) + 2)):
                next(stream)
        except (Corrupt, StopIteration):
            pass
        if number % 10 == 0:
            stream.itself = stream
        if number % 7 == 0:
            stream.close()
        del stream
    gc.collect()
    assert ended()


@pytest.mark.parametrize("leave", ["del stream", "stream.close()", "pass", "sys.exit(0)"])
def test_the_process_ends_while_loads_block(leave):
    before = time.monotonic()
    process = run(leave)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        ("signal.SIG_DFL", -signal.SIGTERM),
        ("signal.default_int_handler", -signal.SIGINT),
        ("lambda *_: sys.exit(7)", 7),
    ],
)
def test_sigterm_ends_a_process_that_waits_for_a_load(handler, status):
    process = run(f"signal.signal(signal.SIGTERM, {handler})\nprint('waits', flush=True)\nfor _ in stream: pass")
    lines = {process.stdout.readline() for _ in range(3)}
    assert lines == {"blocked\n", "waits\n"}
    time.sleep(0.1)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == status


def test_python_grants_running_calls_a_moment_when_it_ends():
    """A thread that is stopped inside foreign C++ code would abort the process."""
    code = """
        from convlstm.datasets.prefetch import Prefetch
        def function(number):
            time.sleep(0.3)
            print("ended", flush=True)
        left = Prefetch(function, range(9), ahead=9, threads=1)
    """
    out, errors = run(code).communicate(timeout=30)
    assert (out.split().count("ended"), errors) == (1, "")
