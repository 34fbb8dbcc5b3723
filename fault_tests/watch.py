"""Runs of `forecast watch=true` beside everything that lands in a folder: each frame gets its forecast, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from fault_tests.bench import Bench
from fault_tests.faults import Try
from fault_tests.file_sources import built
from fault_tests.full_disk import can_mount, small_disk
from fault_tests.watch_frames import FORMATS, STEP, WAYS
from fault_tests.watch_session import FIRST, Session

import numpy as np

SESSION = 500
"""Frames that one watcher is given."""

LONG = 100
"""Frames of a session whose memory is judged."""

DISK, LOG_DISK = 64 << 20, 1 << 20
"""Bytes of the small disks for forecasts and for what the watcher prints."""

GROUPS = {
    "several at once": 3,
    "two in the wrong order": 2,
    "after a frame that never comes": 2,
    "rewritten": 1,
    "beside a file that loops": 1,
}
"""Further deliveries, and their frames."""

STAGES = {
    "on a full disk of the log": 8,
    "back with its folder": 1,
    "on a full disk of forecasts": 5,
    "while it does not run": 6,
}
"""Deliveries that come once in a session, and their frames."""


def watch(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of `count` frames that watchers were given, and of how the watchers ended."""
    sources, formats = built(bench.new().parent), list(FORMATS)
    for number, start in enumerate(range(0, count, SESSION)):
        folder = bench.new().parent
        with ExitStack() as stack:
            if can_mount():
                stack.enter_context(small_disk(folder / "out", DISK))
                stack.enter_context(small_disk(folder / "log", LOG_DISK))
            session = Session(folder, formats[number % len(formats)], sources, rng)
            try:
                yield from _results(session, min(SESSION, count - start))
            finally:
                session.kill()
                (folder / "out.txt").write_bytes((session.log / "out.txt").read_bytes())


def plan(rng: np.random.Generator, count: int, *, disks: bool) -> list[tuple[str, int]]:
    """Returns the kinds of deliveries of a session of `count` frames, and the number of frames of each.

    Args:
        rng: Source of the order.
        count: Frames of the session.
        disks: Fill disks.
    """
    kinds, stages = [("at once", 1)] * min(FIRST, count), list(STAGES.items()) if count > 3 * FIRST else []
    weights = dict.fromkeys(WAYS, 3.0) | dict.fromkeys(GROUPS, 3.0) | {"beside a file that loops": 0.4}
    names, shares = list(weights), np.array(list(weights.values())) / sum(weights.values())
    while (left := count - sum(size for _, size in kinds)) > 0:
        done = 1 - left / count
        if stages and done >= (len(STAGES) - len(stages) + 1) / (len(STAGES) + 1):
            name, size = stages.pop(0)
            if "disk" in name and not disks:
                continue
        else:
            name = names[int(rng.choice(len(names), p=shares))]
            size = GROUPS.get(name, 1)
        if size <= left:
            kinds.append((name, size))
    return kinds


def _results(session: Session, count: int) -> Iterator[Try]:
    """Delivers the frames of a session and yields the results."""
    end = np.datetime64("now", "m") - np.timedelta64(STEP, "m")
    moments = [end - np.timedelta64(STEP * (count - n - 1), "m") for n in range(count)]
    session.start(moments[0])
    kinds, wanted = dict[np.datetime64, str](), dict[np.datetime64, int]()
    for kind, size in plan(session.rng, count, disks=can_mount()):
        group = moments[len(kinds) : len(kinds) + size]
        kinds |= dict.fromkeys(group, kind)
        wanted |= session.bring(kind, group)
        if not session.lives():
            break
    wanted[moments[0]] = 0  # its file was not the most common kind yet
    session.written.wait({moment: wanted[moment] for moment in kinds if moment not in moments[1:2]}, 10.0)
    ended = session.end()
    for moment, kind in kinds.items():
        number = session.written.count(moment)
        # The model needs two frames, and the first may not have counted yet when the second came.
        allowed = {0, 1} if moment in moments[1:2] else {wanted[moment]}
        lost = f"{number} instead of {wanted[moment]} forecasts from {moment} (see '{session.folder}')"
        yield Try(f"{session.format}: {kind}", "" if number in allowed else lost)
    beside = ", ".join(f"{number} x {name}" for name, number in sorted(session.strays.items()))
    kind = f"{session.format}: SIGTERM while a file loops"
    yield Try(kind, ended, note=f"{count} frames beside {beside}", seconds=session.seconds)
    lost, note = session.unattended()
    yield Try(f"{session.format}: log, heartbeat, retention", lost and f"{lost} (see '{session.folder}')", note=note)
    if count >= LONG:
        session.usage.draw(session.folder / f"watch_{session.format}.png")
        note = f"{session.usage.summary()} (see '{_picture(session)}')"
        yield Try(f"{session.format}: memory and descriptors", session.usage.lost(), note=note)


def _picture(session: Session) -> Path:
    return session.folder / f"watch_{session.format}.png"
