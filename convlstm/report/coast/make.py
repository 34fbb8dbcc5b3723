"""Makes `coast.npz`, the coast and the borders that maps show.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python -m convlstm.report.coast.make package/countries-10m.json

The package world-atlas (ISC licence) has Natural Earth's countries at 1:10 million, version 4.1, as TopoJSON, in which
neighbours share their lines. Natural Earth is in the public domain.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from convlstm.report.coast import UNIT

import numpy as np

# Lines may leave the original by so many degrees of latitude, 0.9 km.
_TOLERANCE = 0.008
# Rings shorter than this, in degrees of latitude, are islets that no map shows.
_ISLET = 0.03
# Degrees between neighbours that one step of 16 bits can say.
_LONGEST = 32000 * UNIT


def main(source: str, target: str | None = None) -> None:
    """Reads TopoJSON of countries, and writes its lines to a file, by default that of the package."""
    path = Path(__file__).with_name("coast.npz") if target is None else Path(target)
    topology = json.loads(Path(source).read_text(encoding="utf-8"))
    scale, origin = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    users: Counter[int] = Counter()
    for country in topology["objects"]["countries"]["geometries"]:
        users.update({arc if arc >= 0 else ~arc for arc in _arcs(country.get("arcs", []))})
    lines, borders = [], []
    for number, steps in enumerate(topology["arcs"]):
        line = np.cumsum(steps, axis=0) * scale + origin
        line[:, 0] = np.unwrap(line[:, 0], period=360)  # Fiji lies on both sides of 180 degrees
        line = _simplified(line)
        whole = np.round(line / UNIT).astype(np.int32)
        whole = whole[np.insert((np.diff(whole, axis=0) != 0).any(axis=1), 0, True)]
        if len(whole) > 1 and users[number]:
            lines.append(whole)
            borders.append(users[number] > 1)
    steps = np.concatenate([np.diff(line, axis=0) for line in lines])
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError(
            f"[make] a line has a step of {np.abs(steps).max() * UNIT:g} degrees, which 16 bits cannot hold."
        )
    np.savez_compressed(
        path,
        starts=np.stack([line[0] for line in lines]).astype(np.int32),
        counts=np.array([len(line) for line in lines], np.int32),
        borders=np.array(borders),
        dx=steps[:, 0].astype(np.int16),
        dy=steps[:, 1].astype(np.int16),
    )
    print(f"{len(lines)} lines of {len(steps) + len(lines)} points in {path.stat().st_size / 1000:.0f} kB")


def _arcs(nested: Any) -> list[int]:
    """Returns the numbers of the arcs in a geometry."""
    return [nested] if isinstance(nested, int) else [arc for part in nested for arc in _arcs(part)]


def _simplified(line: np.ndarray) -> np.ndarray:
    """Returns a line (N, 2) of degrees without the points that it can do without (Douglas and Peucker, 1973)."""
    flat = line * [np.cos(np.radians(line[:, 1].mean())), 1]
    closed = (line[0] == line[-1]).all()
    if closed and np.linalg.norm(np.diff(flat, axis=0), axis=1).sum() < _ISLET:
        return line[:1]
    kept = np.zeros(len(line), bool)
    kept[[0, -1]] = True
    pieces = [(0, len(line) - 1)]
    while pieces:
        first, last = pieces.pop()
        if last - first < 2:
            continue
        inner, (start, end) = flat[first + 1 : last], flat[[first, last]]
        along = end - start
        share = np.clip((inner - start) @ along / max(along @ along, 1e-12), 0, 1)
        away = np.linalg.norm(inner - start - share[:, None] * along, axis=1)
        farthest = int(away.argmax())
        if away[farthest] > _TOLERANCE or np.abs(line[last] - line[first]).max() > _LONGEST:
            middle = first + 1 + farthest
            kept[middle] = True
            pieces += [(first, middle), (middle, last)]
    return line[kept]


if __name__ == "__main__":
    main(*sys.argv[1:])
