"""The index of clips: their lengths and sizes, stored, and read again only for sources that have changed."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from convlstm.datasets.clips.sources import Facts, Source
from convlstm.datasets.folders import data_folder
from convlstm.datasets.readers.plain_files import open_plain

from tqdm import tqdm

# Stored indexes of another version are ignored. Raise the number if the meaning of a fact changes.
_VERSION = 1
# Seconds before the bar is shown.
_DELAY = 1.0


def facts_of(sources: Sequence[Source], path: Path, *, folder: Path | None, progress: bool) -> list[Facts]:
    """Returns the content of sources, from the stored index if they have not changed.

    Args:
        sources: The sources.
        path: Path of the data set.
        folder: Folder of the indexes. None: `$CONVLSTM_DATA/index`, or `convlstm/index` in the user's cache folder.
        progress: Show a bar with the rate and the time left while sources are read.
    """
    folder = data_folder("index") if folder is None else folder
    file = folder / f"clips_{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:24]}.json"
    stored, keys = _load(file), [_key(source) for source in sources]
    known = [None if key is None else stored.get(key) for key in keys]
    new = [n for n, facts in enumerate(known) if facts is None]
    bar = tqdm(new, unit="clip", desc=f"indexing {path.name}", disable=not progress, delay=_DELAY, leave=False)
    try:
        for n in bar:
            known[n] = sources[n].facts()
    finally:  # also after Ctrl-C, so that the next start goes on here
        if new:
            # A source that could not be read is tried again: a library may be there, or a disk be faster, next time.
            _save(file, {key: facts for key, facts in zip(keys, known, strict=True) if key and facts and facts.runs})
    return [facts for facts in known if facts is not None]


def _key(source: Source) -> str | None:
    """Returns a text that changes if a source is changed or read in another way; None if it cannot be examined."""
    try:
        layout = getattr(source, "layout", None)
        kind = [type(source).__name__, source.eight_bits, None if layout is None else layout.order]
        return json.dumps([source.name, *kind, *source.stamp()])
    except OSError:
        return None


def _load(file: Path) -> dict[str, Facts]:
    try:
        with open_plain(file) as opened:
            content = json.load(opened)
        if content["version"] != _VERSION:
            return {}
        names = {one.name for one in fields(Facts)}
        return {
            key: Facts(**facts | {"runs": tuple(map(tuple, facts["runs"]))})
            for key, facts in content["sources"].items()
            if set(facts) == names
        }
    except Exception:  # missing, cut off or of another program: the index is made again
        return {}


def _save(file: Path, sources: dict[str, Facts]) -> None:
    partial = file.with_name(f"{file.stem}.{os.getpid()}.part")
    content = {"version": _VERSION, "sources": {key: asdict(facts) for key, facts in sources.items()}}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        warnings.warn(
            f"[VideoClips] the index cannot be stored in {file.parent} ({error.strerror}), so all clips are read at "
            "every start. Set CONVLSTM_DATA to a folder that can be written to.",
            stacklevel=2,
        )
