"""A learned ensemble beside pysteps' STEPS on events: docs/verification.md is the protocol.

    python -m benchmarks.nowcast --ckpt nowcast --data FOLDER --python PYTHON --cache FOLDER --out FOLDER

All forecasts get the same frames and are scored on the same pixels, in mm/h as they were read. PYTHON is the
interpreter of an environment with pysteps 1.21; without it, STEPS is this project's. The sums of the opponents stay in
the cache, so another checkpoint is scored without running them. `--out` gets scores.json, scores.md and crps.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import nowcast_events as events
from benchmarks.nowcast_forecasts import Learned, Opponents
from benchmarks.nowcast_scores import Scores, mean, scores, tables
from benchmarks.nowcast_sums import Sums
from benchmarks.nowcast_tables import chart, markdown

import numpy as np
from tqdm import tqdm


def main() -> None:
    """Scores the events, prints the tables and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_event_options(parser)
    parser.add_argument("--starts", type=int, default=10, help="starts of an event, evenly from the first to the last")
    parser.add_argument("--cache", type=Path, help="folder in which the opponents' sums are kept")
    parser.add_argument("--out", type=Path, help="folder of scores.json, scores.md and crps.png")
    options = parser.parse_args()
    learned = Learned(options.ckpt, options.members)
    found: dict[str, Scores] = {}
    record: dict[str, dict] = {}
    with Opponents(options.members, options.python, options.cache) as opponents:
        for event in chosen(options):
            data = events.EventData(event, options.data, options.starts)
            sums: list[dict[str, Sums]] = []
            times: list[np.ndarray] = []
            for start in tqdm(data, desc=event.name, unit="start", leave=False):
                theirs, known = opponents.sums(data, start)
                sums.append(theirs | learned.sums(data, start, known))
                times.append(start.times[-data.leads :])
            found[event.name] = scores(sums, times, data.minutes, seed=len(found))
            record[event.name] = {
                **asdict(event),
                "minutes": data.minutes,
                "leads": data.leads,
                "pixel_km": data.pixel_km,
                "frame": list(data.size),
                "first_lead_of_starts": [str(frames[0]) for frames in times],
                "scores": found[event.name].record(),
                **tables(sums),
            }
    settings = {
        "nowcast": learned.label,
        "steps": "this project" if options.python is None else "pysteps",
        "members": options.members,
        "starts": options.starts,
    }
    average = mean(list(found.values()))
    text = markdown(found, average, settings)
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        everything = {"settings": settings, "events": record, "mean": average.record()}
        (options.out / "scores.json").write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
        (options.out / "scores.md").write_text(text)
        chart(found, average).savefig(options.out / "crps.png")


def add_event_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which events and forecasts are meant."""
    parser.add_argument("--ckpt", required=True, help="run or checkpoint of an ensemble, or nowcast")
    parser.add_argument("--python", help="interpreter of an environment with pysteps 1.21")
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--data", type=Path, default=Path(), help="folder below which the archives are")
    parser.add_argument("--events", type=Path, default=events.LIST, help="list of events in JSON")
    parser.add_argument("--split", choices=("choosing", "test"), default="choosing", help="events of the list to take")
    parser.add_argument("--event", action="append", help="name of an event of the list (default: all of the split)")
    parser.add_argument("--archive", action="append", help="radar files instead of the list, with the options below")
    parser.add_argument("--coarsen", type=int, default=1, help="side of the squares of pixels that are averaged")
    parser.add_argument("--step", type=float, help="minutes from frame to frame, a multiple of the archive's step")
    parser.add_argument("--size", type=int, help="side of the crop in pixels (default: the whole frame)")
    parser.add_argument("--rim", type=int, default=32, help="pixels at the border that are seen and not scored")
    parser.add_argument("--pixel-km", type=float, help="side of a pixel of the files, if they do not say it")


def chosen(options: argparse.Namespace) -> Sequence[events.Event]:
    """Returns the events that the options of `add_event_options` choose.

    Raises:
        SystemExit: There is no event of a name.
    """
    if options.archive is not None:
        own = {name: getattr(options, name) for name in ("coarsen", "step", "size", "rim", "pixel_km")}
        return [events.Event(Path(archive).name, archive, **own) for archive in options.archive]
    listed = {event.name: event for event in events.listed(options.events) if event.split == options.split}
    for name in options.event or ():
        if name not in listed:
            raise SystemExit(f"--event must be one of those for {options.split} but got {name!r}: {', '.join(listed)}.")
    return [listed[name] for name in options.event or listed]


if __name__ == "__main__":
    main()
