"""Functions for child processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path

from tests.support.dangerous_reader import do

import numpy as np


def count(number):
    for n in range(number):
        yield {"n": n, "squares": np.arange(n) ** 2}


def danger(deed):
    yield "begun"
    do(deed)
    yield "done"


def whole(value):
    yield value


def modules():
    yield sorted(sys.modules)


def surroundings():
    yield {
        "pid": os.getpid(),
        "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "terminal": [str(Path(f"/proc/self/fd/{n}").readlink()) for n in range(3)],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }


def no_message():
    yield [np.array([None])]


def slow(seconds, steps):
    for n in range(steps):
        time.sleep(seconds)
        yield n


def work(seconds):
    """Computes for some seconds of processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    yield os.getpid()
