"""The fault test of dropped streams drops in every way, and sees a process that fails or hangs."""

from __future__ import annotations

import random
import sys

from fault_tests import drops
from fault_tests.bench import Bench

import numpy as np


def test_streams_are_dropped_in_every_way(tmp_path):
    tries = list(drops.drops(Bench(tmp_path), np.random.default_rng(0), 300))
    assert [one.lost for one in tries if one.lost] == []
    assert len(tries) == 300
    assert {one.kind for one in tries} == set(drops.WAYS)


def test_streams_are_left_at_every_point():
    rng = random.Random(0)
    points = {(len(stream), number) for stream, number in (drops.stream_of(rng) for _ in range(3000))}
    assert {(length, number) for length in range(1, 7) for number in range(length + 2)} <= points


def test_a_process_that_fails_or_hangs_is_lost(monkeypatch):
    ways, lost = drops._part(0, 3)
    assert (len(ways), lost) == (3, "")
    with monkeypatch.context() as patched:
        patched.setattr(drops, "LIMIT", 0.001)
        assert "hangs" in drops._part(0, 1)[1]
    monkeypatch.setattr(drops.sys, "executable", "/bin/false" if sys.platform == "linux" else "/usr/bin/false")
    assert "ended with status 1 after 0 drops" in drops._part(0, 1)[1]
