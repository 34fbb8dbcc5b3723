"""Streams of batches that are dropped before their end: at every point of reading, and at the end of a process."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from convlstm.datasets import prefetch
from convlstm.datasets.stream import BatchStream, batches
from fault_tests.bench import Bench
from fault_tests.child import ROOT
from fault_tests.faults import Try

import numpy as np

PART = 20_000
"""Streams that one process drops."""

LIMIT = 600.0  # seconds for one process, which usually needs 20
LEFT = 5  # streams that a process still reads when it ends
WAYS = ("dropped", "closed", "in a cycle", "in another thread", "by an error in the loop")


class _LoadError(Exception):
    pass


def drops(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of processes that drop `count` streams and then end while others are still read."""
    sizes = [PART] * (count // PART) + ([count % PART] if count % PART else [])
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        parts = [pool.submit(_part, int(rng.integers(1 << 31)), size) for size in sizes]
        for part in as_completed(parts):
            ways, lost = part.result()
            yield from (Try(way) for way in ways)
            if lost:
                yield Try("process", lost)


def _part(seed: int, size: int) -> tuple[list[str], str]:
    """Returns how each stream of a process was dropped, and the fault of the process, if any."""
    line = [sys.executable, "-m", "fault_tests.drops", str(seed), str(size)]
    try:
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return [], f"'{' '.join(line[1:])}' hangs: no end within {LIMIT:g} seconds"
    ways = [WAYS[int(number)] for number in done.stdout.strip()] if done.stdout.strip().isdigit() else []
    if done.returncode != 0 or len(ways) != size or done.stderr:
        text = " | ".join(done.stderr.strip().splitlines()[-3:])
        return ways, f"'{' '.join(line[1:])}' ended with status {done.returncode} after {len(ways)} drops: {text}"
    return ways, ""


def stream_of(rng: random.Random) -> tuple[BatchStream, int]:
    """Returns a stream with random sizes, whose loader may be slow or fail, and the number of batches to read."""
    size, threads, ahead = rng.randint(1, 12), rng.randint(1, 4), rng.randint(1, 6)
    fails, slow, pixels = rng.randint(0, size * 3), rng.random() < 0.2, np.zeros(4, np.float32)

    def load(index: int) -> dict[str, np.ndarray]:
        if index == fails:
            raise _LoadError
        if slow:
            time.sleep(0.0003)
        return {"pixels": pixels, "mask": pixels > 0}

    stream = batches(size, load, rng.randint(1, size), prefetch=ahead, threads=threads, drop_last=False)
    return stream, rng.randint(0, len(stream) + 1)  # one more than there are


def read(stream: BatchStream, number: int) -> None:
    """Reads some batches of a stream, or as many as there are."""
    try:
        for _ in range(number):
            next(stream)
    except (StopIteration, _LoadError):
        pass


def drop(rng: random.Random) -> int:
    """Reads a stream in part and drops it in one of `WAYS`, whose number it returns."""
    stream, number = stream_of(rng)
    read(stream, number)
    way = rng.choices(range(len(WAYS)), (60, 20, 10, 5, 5))[0]
    if way == 1:
        stream.close()
    elif way == 2:
        cycle: list[object] = [stream]
        cycle.append(cycle)
    elif way == 3:
        last = [stream]
        thread = threading.Thread(target=last.clear)
        del stream
        thread.start()
        thread.join()
    elif way == 4:
        try:
            for _ in stream:
                raise _LoadError
        except _LoadError:
            pass
    return way


def main(seed: int, size: int) -> None:
    """Drops streams, prints how, and ends the process while further streams are read and one loader is blocked."""
    rng = random.Random(seed)
    ways = [drop(rng) for _ in range(size)]
    gc.collect()
    deadline = time.monotonic() + 60
    while threading.active_count() > 1 and time.monotonic() < deadline:  # calls that have begun come to their end
        time.sleep(0.01)
    gc.collect()
    if threading.active_count() > 1:
        raise SystemExit(f"{threading.active_count() - 1} threads are left")
    if len(prefetch._ALL):
        raise SystemExit(f"the states of {len(prefetch._ALL)} streams are left")
    left = [stream_of(rng) for _ in range(LEFT)]
    for stream, number in left:
        read(stream, number)
    blocked = batches(9, lambda index: {"never": threading.Event().wait()}, 1)  # type: ignore[dict-item]
    print("".join(map(str, ways)), flush=True)
    assert len(blocked)  # it is there until the end


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
