"""Attacks with files, names and folders of strangers: nothing runs, nothing of another file is shown, and each ends."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from fault_tests.attacks import archives, beside_frames, folders, resumed, runs, weights
from fault_tests.attacks.stage import Attack, Stage, Templates
from fault_tests.bench import Bench
from fault_tests.faults import Try

import numpy as np


def listed() -> list[Attack]:
    """Returns every attack whose libraries are installed, and which this user can carry out."""
    return [
        *weights.attacks(),
        *archives.attacks(),
        *beside_frames.attacks(),
        *runs.attacks(),
        *resumed.attacks(),
        *folders.attacks(),
    ]


def attacks(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of `count` different attacks, or of all if there are fewer, in a random order."""
    every = listed()
    chosen = [every[number] for number in rng.permutation(len(every))[:count]]
    templates = Templates(bench.new().parent)
    stopped = threading.Event()

    def one(attack: Attack) -> Try | None:
        if stopped.is_set():
            return None
        stage = Stage(bench.new().parent, templates)
        lost, outcome, seconds = stage.perform(attack)
        if not lost:
            shutil.rmtree(stage.folder, ignore_errors=True)
        return Try(attack.kind, lost and f"{attack.name}: {lost} (see '{stage.folder}')", "", outcome, seconds)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            yield from (result for result in pool.map(one, chosen) if result is not None)
        finally:
            stopped.set()
