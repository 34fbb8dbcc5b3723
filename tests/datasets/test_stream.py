import os
import subprocess
import sys
import textwrap
import threading
import time
from itertools import chain, zip_longest

from convlstm.datasets.stream import batch_indices, batches, count_batches
from tests.support.project import PROJECT

import numpy as np
import pytest


def load(index):
    return {"x": np.full((2, 3), index, np.float32), "index": index}


def slow_load(index):
    time.sleep(0.002 * (index * 7 % 3))
    return load(index)


def indices(stream):
    return [batch["index"].tolist() for batch in stream]


def run(code):
    """Runs a script that can use `batches` and `np`. A script that hangs fails the test."""
    head = "import sys, time\nimport numpy as np\nfrom convlstm.datasets.stream import batches\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_batches_stack_the_samples_in_order():
    got = list(batches(7, load, 3))
    assert [batch["index"].tolist() for batch in got] == [[0, 1, 2], [3, 4, 5]]
    assert got[1]["x"].shape == (3, 2, 3)
    assert got[1]["x"].dtype == np.float32
    np.testing.assert_array_equal(got[1]["x"][:, 0, 0], [3, 4, 5])


def test_drop_last_decides_on_the_partial_batch():
    assert indices(batches(7, load, 3, drop_last=False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert indices(batches(6, load, 3, drop_last=False)) == [[0, 1, 2], [3, 4, 5]]


def test_shuffle_is_another_permutation_for_each_seed_and_epoch():
    def order(**arguments):
        return [i for batch in indices(batches(60, load, 6, shuffle=True, **arguments)) for i in batch]

    first = order(seed=3, epoch=2)
    assert sorted(first) == list(range(60))
    assert first != list(range(60))
    assert order(seed=3, epoch=2) == first
    assert order(seed=4, epoch=2) != first
    assert order(seed=3, epoch=3) != first
    assert order(seed=2, epoch=3) != first


def test_without_shuffle_seed_and_epoch_do_not_matter():
    assert indices(batches(6, load, 2, seed=5, epoch=9)) == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("order", [{}, {"shuffle": True, "seed": 3, "epoch": 2}])
def test_batch_indices_are_those_of_the_batches(order):
    stream = indices(batches(11, load, 4, drop_last=False, **order))
    assert [batch_indices(11, 4, number, **order) for number in range(3)] == stream


@pytest.mark.parametrize(("prefetch", "threads"), [(1, 1), (2, 4), (8, 3), (100, 2)])
def test_prefetch_and_threads_do_not_change_the_batches(prefetch, threads):
    got = indices(batches(60, slow_load, 4, shuffle=True, seed=1, prefetch=prefetch, threads=threads))
    assert got == indices(batches(60, load, 4, shuffle=True, seed=1, prefetch=1, threads=1))


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_start_skips_batches(start):
    arguments = {"shuffle": True, "seed": 1, "epoch": 2, "drop_last": False}
    stream = batches(23, load, 5, start=start, **arguments)
    assert len(stream) == 5 - start
    assert indices(stream) == indices(batches(23, load, 5, **arguments))[start:]


@pytest.mark.parametrize("size", [29, 31, 12])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_every_batch_completely(size, drop_last):
    arguments = {"shuffle": True, "seed": 1, "drop_last": drop_last}
    shares = [indices(batches(size, load, 6, rank=rank, ranks=3, **arguments)) for rank in range(3)]
    whole = indices(batches(size, load, 6, **arguments))
    assert [list(chain(*parts)) for parts in zip_longest(*shares, fillvalue=[])] == whole
    lengths = [[len(part) for part in parts] for parts in zip_longest(*shares, fillvalue=[])]
    assert all(max(n) - min(n) <= 1 for n in lengths)
    assert not drop_last or lengths == [[2, 2, 2]] * len(whole)


def test_a_rank_may_have_no_sample_of_a_partial_batch():
    shares = [indices(batches(13, load, 6, rank=rank, ranks=3, drop_last=False)) for rank in range(3)]
    assert shares == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11], [12]]]
    assert indices(batches(13, load, 6, rank=0, ranks=3, start=2, drop_last=False)) == []
    assert indices(batches(13, load, 6, rank=0, ranks=3, start=3, drop_last=False)) == []


def test_count_batches_is_the_length_of_the_stream():
    for size in range(6, 20):
        for drop_last in (True, False):
            stream = batches(size, load, 6, drop_last=drop_last)
            assert count_batches(size, 6, drop_last=drop_last) == len(stream) == len(list(stream))


def test_every_sample_is_loaded_once_when_the_prefetch_exceeds_the_epoch():
    loaded = []
    list(batches(12, lambda index: loaded.append(index) or load(index), 4, prefetch=50))
    assert sorted(loaded) == list(range(12))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    (batch,) = batches(2, lambda index: {"x": np.array([index, 1, 0]).astype(dtype)}, 2)
    assert batch["x"].dtype == dtype
    np.testing.assert_array_equal(batch["x"], np.array([[0, 1, 0], [1, 1, 0]]).astype(dtype))


def test_samples_need_not_be_contiguous():
    array = np.arange(24).reshape(2, 3, 4)
    (batch,) = batches(2, lambda index: {"x": array.T[::2]}, 2)
    np.testing.assert_array_equal(batch["x"][1], array.T[::2])


def test_a_dtype_that_cannot_be_carried_is_named():
    with pytest.raises(TypeError, match=r"returned 'x' of dtype float16, which mlx-data cannot carry. Cast it to"):
        next(batches(2, lambda index: {"x": np.zeros(3, np.float16)}, 2))


def test_samples_of_different_shapes_are_an_error_not_padding():
    with pytest.raises(ValueError, match=r"same shape"):
        next(batches(2, lambda index: {"x": np.zeros(index + 1)}, 2))


def test_an_exception_of_the_loader_is_raised_at_its_batch():
    class Corrupt(Exception):
        pass

    def fail(index):
        if index == 9:
            raise Corrupt("file 9 ends early")
        return load(index)

    stream = batches(40, fail, 4, prefetch=8, threads=2)
    assert [next(stream)["index"][0], next(stream)["index"][0]] == [0, 4]
    with pytest.raises(Corrupt, match=r"file 9 ends early") as caught:
        next(stream)
    assert caught.traceback[-1].name == "fail"
    assert list(stream) == []


def test_a_stream_is_iterated_once():
    stream = batches(6, load, 2)
    assert len(list(stream)) == 3
    assert list(stream) == []
    assert len(stream) == 3


def stops(stop):
    """Returns True if `stop` ends the loading of a long stream that has started."""
    loaded = []

    def count(index):
        loaded.append(index)
        time.sleep(0.001)
        return load(index)

    streams = [batches(100000, count, 1, prefetch=64, threads=2)]
    next(streams[0])
    stop(streams)
    time.sleep(0.05)  # the loads that have begun end
    before = len(loaded)
    time.sleep(0.05)
    return before < 200 and len(loaded) == before


def test_close_stops_the_loading():
    assert stops(lambda streams: streams[0].close())


def test_dropping_the_iterator_stops_the_loading():
    assert stops(lambda streams: streams.clear())


def test_nothing_is_yielded_after_close():
    stream = batches(40, load, 4)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []


def test_a_loader_may_close_its_own_stream():
    ready, holder = threading.Event(), []

    def close(index):
        if index == 8:
            ready.wait(5)
            holder[0].close()
        return load(index)

    holder.append(batches(400, close, 4, threads=2))
    ready.set()
    assert len(list(holder[0])) < 100


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_of_the_loader_ends_the_process_normally(threads):
    done = run(f"""
        def load(index):
            time.sleep(0.002)
            if index == 21:
                raise ValueError("file 21 is corrupt")
            return {{"x": np.zeros((64, 64))}}
        for batch in batches(2000, load, 4, prefetch=8, threads={threads}):
            pass
    """)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("ValueError: file 21 is corrupt")
    assert "terminate" not in done.stderr


@pytest.mark.parametrize(
    ("leave", "code", "last"),
    [
        ("break", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise RuntimeError('loss is NaN')", 1, "RuntimeError: loss is NaN"),
        ("globals().update(kept=sys.exc_info); break", 0, ""),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_leaving_the_loop_early_ends_the_process_normally(leave, code, last, held):
    done = run(f"""
        def load(index):
            time.sleep(0.002)
            return {{"x": np.zeros((64, 64))}}
        stream = [batches(2000, load, 4, prefetch=8, threads=3)]
        for number, batch in enumerate(stream[0] if {held} else stream.pop()):
            if number == 3:
                {leave}
    """)
    assert (done.returncode, done.stderr.strip().splitlines()[-1:]) == (code, [last] if last else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, r"\[batches\] 'size' must be a whole number of at least 1 but got 0"),
        ({"batch_size": 0}, "'batch_size' must be a whole number of at least 1 but got 0"),
        ({"batch_size": 2.5}, "'batch_size' must be a whole number of at least 1 but got 2.5"),
        ({"batch_size": 11}, "'batch_size' must leave at least one batch but got 11 for 10 samples"),
        ({"ranks": 0}, "'ranks' must be a whole number of at least 1 but got 0"),
        ({"ranks": 3}, r"must be a multiple of 'ranks' \(3\) but got 4"),
        ({"ranks": 2, "rank": 2}, r"'rank' must be below 'ranks' \(2\) but got 2"),
        ({"rank": -1}, "'rank' must be a whole number of at least 0 but got -1"),
        ({"seed": -1}, "'seed' must be a whole number of at least 0 but got -1"),
        ({"epoch": -1}, "'epoch' must be a whole number of at least 0 but got -1"),
        ({"start": -1}, "'start' must be a whole number of at least 0 but got -1"),
        ({"start": 3}, r"'start' must be at most the epoch's number of batches \(2\) but got 3"),
        ({"prefetch": 0}, "'prefetch' must be a whole number of at least 1 but got 0"),
        ({"threads": True}, "'threads' must be a whole number of at least 1 but got True"),
    ],
)
def test_errors(change, message):
    arguments = {"size": 10, "load": load, "batch_size": 4, **change}
    with pytest.raises(ValueError, match=message):
        batches(**arguments)
