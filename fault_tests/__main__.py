"""Tests runs, readers and watchers under faults: `python -m fault_tests --help`, `make faults ARGS='kill=9'`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fault_tests.attacks import attacks
from fault_tests.bench import Bench
from fault_tests.damage import damage
from fault_tests.damaged_files import damaged_files
from fault_tests.drops import drops
from fault_tests.faults import Fault
from fault_tests.full_disk import full_disk, in_namespace
from fault_tests.growth import growth
from fault_tests.killed_commands import convert, forecast
from fault_tests.kills import kill
from fault_tests.loader import loader
from fault_tests.power_cut import power_cut
from fault_tests.ranks import rank
from fault_tests.sleep import sleep
from fault_tests.slow_disk import slow_disk
from fault_tests.stop import stop
from fault_tests.together import evaluate, load
from fault_tests.watch import watch

import numpy as np
from tqdm import tqdm

FAULTS: dict[str, tuple[Fault, int]] = {
    "kill": (kill, 40),
    "power_cut": (power_cut, 20),
    "full_disk": (full_disk, 20),
    "damage": (damage, 30),
    "loader": (loader, 12),
    "slow_disk": (slow_disk, 6),
    "sleep": (sleep, 3),
    "rank": (rank, 4),
    "stop": (stop, 36),
    "load": (load, 200),
    "evaluate": (evaluate, 4),
    "convert": (convert, 10),
    "forecast": (forecast, 10),
    "growth": (growth, 4000),
    "attacks": (attacks, 1000),
    "drops": (drops, 40_000),
    "damaged_files": (damaged_files, 500),
    "watch": (watch, 60),
}
"""Each kind of fault and its default number of tries."""


@dataclass
class Count:
    """A row of the table."""

    tried: int = 0
    lost: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def words(self) -> str:
        """Returns the number of each outcome and the longest time, "" for none."""
        words = [f"{name} {number}" for name, number in sorted(self.outcomes.items())]
        words += [f"slowest {self.slowest:.1f} s"] if self.slowest else []
        return f"  {', '.join(words)}" if words else ""


def table(counts: dict[tuple[str, str], Count]) -> str:
    """Returns the table of faults tried, survived and lost, by kind and in total."""
    total = Count(sum(c.tried for c in counts.values()), sum(c.lost for c in counts.values()))
    rows = [(f"{fault}: {kind}", count) for (fault, kind), count in sorted(counts.items())]
    rows.append(("all", total))
    width = max(len(name) for name, _ in rows)
    lines = [f"{'fault':{width}}  tried  survived  lost"]
    lines += [f"{name:{width}}  {c.tried:5}  {c.tried - c.lost:8}  {c.lost:4}{c.words()}" for name, c in rows]
    return "\n".join(lines)


def parse(words: Iterable[str]) -> dict[str, int]:
    """Returns the number of tries of each fault, from words of the form `FAULT` or `FAULT=NUMBER`.

    Raises:
        ValueError: There is no such fault, or the number is not allowed.
    """
    counts = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in FAULTS:
            raise ValueError(f"there is no fault '{name}'. Choose from: {', '.join(FAULTS)}")
        if number and not (number.isdigit() and int(number) > 0):
            raise ValueError(f"the tries of '{name}' must be a whole number of at least 1 but got {number!r}.")
        counts[name] = int(number) if number else FAULTS[name][1]
    return counts or {name: number for name, (_, number) in FAULTS.items()}


def run(bench: Bench, counts: dict[str, int], seed: int) -> int:
    """Tries the faults, prints the table, and returns the number of tries that lost something."""
    rows: dict[tuple[str, str], Count] = {}
    notes: list[str] = []
    start = time.perf_counter()
    bar = tqdm(total=sum(counts.values()), unit="fault", disable=None)
    try:
        for number, (name, count) in enumerate(counts.items()):
            bar.set_description_str(name)
            for one in FAULTS[name][0](bench, np.random.default_rng([seed, number]), count):
                row = rows.setdefault((name, one.kind), Count())
                row.tried += 1
                row.slowest = max(row.slowest, one.seconds)
                if one.outcome:
                    row.outcomes[one.outcome] += 1
                if one.lost:
                    row.lost += 1
                    print(f"lost: {name}: {one.kind}: {one.lost}", flush=True)
                if one.note:
                    notes.append(f"{name}: {one.kind}: {one.note}")
                bar.update()
    finally:  # Ctrl-C also prints the tries so far
        bar.close()
        print(table(rows))
        for note in notes:
            print(f"note: {note}")
        print(f"{time.perf_counter() - start:.0f} seconds, seed {seed}")
    return sum(count.lost for count in rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fault_tests", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT[=NUMBER]", help=f"one of {', '.join(FAULTS)} (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument(
        "--out", type=Path, help="folder of the runs (default: a temporary one); runs that lost something stay"
    )
    parser.add_argument("--files", type=Path, help="folder whose files damaged_files also takes (default: none)")
    options = parser.parse_args()
    # What started this may ignore them, as nohup and a shell's `&` do, and then so would the programs it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        counts = parse(options.faults)
        if {"full_disk", "watch"} & set(counts):
            in_namespace()
        folder = options.out or Path(tempfile.mkdtemp(prefix="fault-tests-"))
        bench = Bench(folder, options.files)
        # The list of the user's own runs stays as it is.
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
    except ValueError as error:
        parser.error(str(error))
    lost = run(bench, counts, options.seed)
    if lost:
        print(f"The runs that lost something are in '{folder}'.")
        sys.exit(1)
    if options.out is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
