"""The clips of a folder or of a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from convlstm.datasets.clips.layouts import layout_of
from convlstm.datasets.clips.sources import PICTURES, Pictures, Source, Stack, Video, natural
from convlstm.datasets.readers.errors import printable
from convlstm.datasets.readers.numpy_arrays import Member, array_of, members
from convlstm.datasets.video import is_video

KINDS = ("videos", "pictures", "stacks")

_STACKS = (".npy", ".npz")
# Files that often lie beside clips and say something about them.
_NOTES = (".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".pdf", ".html", ".srt", ".ini", ".db")
_SKIPPED_FOLDERS = ("__MACOSX", "@eaDir")


def find_sources(
    path: Path, *, kind: str, channels: int, order: str | None, white: float | None, length: int
) -> tuple[list[Source], list[str]]:
    """Returns the sources of clips in the order of their names, and the reasons why others are left out.

    Args:
        path: A video, a stack, or a folder, whose subfolders are searched too.
        kind: One of `KINDS`, or `"auto"`: the only one that is there.
        channels: Channels of the frames.
        order: The order of the axes of stacks, or None.
        white: Value of stacks that becomes 1, or None.
        length: Frames that a sequence spans.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If there are no clips, or clips of several kinds.
    """
    if not path.exists():
        raise FileNotFoundError(f"[VideoClips] {path} does not exist. Check the path: data.path=...")
    files = [path] if path.is_file() else list(_files(path))
    by_kind: dict[str, list[Path]] = {name: [] for name in KINDS}
    others: Counter[str] = Counter()
    for file in files:
        ending = file.suffix.lower()
        if is_video(file):
            by_kind["videos"].append(file)
        elif ending in PICTURES:
            by_kind["pictures"].append(file)
        elif ending in _STACKS:
            by_kind["stacks"].append(file)
        elif ending not in _NOTES:
            others[ending or file.name] += 1
    chosen = _kind(path, kind, by_kind, others)
    root = path.parent if path.is_file() else path
    left_out: list[str] = []
    if others:
        left_out.append(f"files of another kind: {_listed(others)}")
    sources: list[Source] = []
    if chosen == "videos":
        sources += (Video(file, _name(file, root), channels) for file in by_kind[chosen])
    elif chosen == "pictures":
        folders: dict[Path, list[str]] = {}
        for file in by_kind[chosen]:
            folders.setdefault(file.parent, []).append(file.name)
        for folder, names in folders.items():
            sources.append(Pictures(folder, _name(folder, root), tuple(sorted(names, key=natural)), channels))
    else:
        for file in by_kind[chosen]:
            try:
                arrays = _arrays(file)
            except Exception as error:  # NumPy raises errors of many kinds for a damaged header
                left_out.append(f"{file} cannot be read ({error}); it may be damaged")
                continue
            for member in arrays:
                name = _name(file, root) if len(arrays) == 1 else f"{_name(file, root)}/{member.name}"
                layout = layout_of(member.shape, length, order, f"the array {name}")
                sources.append(Stack(file, name, member, layout, white))
    return sorted(sources, key=lambda source: natural(source.name)), left_out


def _kind(path: Path, kind: str, by_kind: dict[str, list[Path]], others: Counter[str]) -> str:
    filled = [name for name in KINDS if by_kind[name]]
    counts = ", ".join(f"{len(by_kind[name])} {name}" for name in filled)
    if kind != "auto":
        if not by_kind[kind]:
            raise ValueError(
                f"[VideoClips] {path} has no {kind}, the 'kind' that is asked for, but {counts or 'none'}."
            )
        return kind
    if len(filled) > 1:
        raise ValueError(f"[VideoClips] {path} has {counts}. Name the kind of the clips: data.kind={filled[0]}.")
    if not filled:
        rest = f", only {_listed(others)}" if others else ""
        raise ValueError(
            f"[VideoClips] {path} has no clips{rest}. Clips are videos (MP4, AVI, GIF, MOV), .npy or .npz stacks of "
            "frames, or folders of PNG or JPG pictures. Convert others: ffmpeg -i clip.XYZ clip.mp4"
        )
    return filled[0]


def _files(folder: Path) -> Iterator[Path]:
    """Yields the files of a folder and of its subfolders, except hidden ones."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        stat = Path(root).stat()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        if (stat.st_dev, stat.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _arrays(file: Path) -> Sequence[Member]:
    """Returns the arrays of numbers with at least three axes."""
    found = [array_of(file)] if file.suffix.lower() == ".npy" else list(members(file).values())
    arrays = [member for member in found if len(member.shape) >= 3 and member.dtype.kind in "iufb"]
    if not arrays:
        shapes = ", ".join(f"{member.dtype} of {member.shape}" for member in found[:3])
        raise ValueError(f"it has no frames (T, H, W), only {shapes or 'no arrays'}")
    return arrays


def _name(path: Path, root: Path) -> str:
    return printable(path.name if path == root else path.relative_to(root).as_posix())


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {printable(ending)}" for ending, count in counts.most_common(5))
