"""The split of clips into training, validation and test. A clip, or a group of clips, is never in two of them."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Mapping, Sequence

from convlstm.datasets.sequence_dataset import SPLITS

import numpy as np

KTH = "kth"
"""Name of the split of KTH by its 25 persons."""

_KTH_PERSON = r"person(\d\d)_"
# Training, validation and test. Authors train on persons 1 to 16 and test on 17 to 25; the validation is one of the 16.
_KTH_PERSONS = (range(1, 16), range(16, 17), range(17, 26))

Assignment = dict[str, list[int]]
"""Numbers of clips by split."""


def by_person(names: Sequence[str]) -> Assignment:
    """Returns the split of KTH: persons 1 to 15, person 16, and persons 17 to 25.

    Raises:
        ValueError: If a name does not contain its person, such as `person01_`.
    """
    persons = [int(person) for person in group_names(names, _KTH_PERSON, "split=kth")]
    split = {
        name: [n for n, person in enumerate(persons) if person in of_split]
        for name, of_split in zip(SPLITS, _KTH_PERSONS, strict=True)
    }
    if sum(map(len, split.values())) < len(names):
        others = sorted({person for person in persons if not 1 <= person <= 25})
        raise ValueError(f"[VideoClips] 'split' is kth, whose persons are 1 to 25, but there are clips of {others}.")
    return split


def by_shares(names: Sequence[str], shares: Mapping[str, float], group: str | None) -> Assignment:
    """Returns a split of clips, or of groups of clips, in proportion to shares.

    The order is drawn from the names alone, so it is the same on every machine, and a clip more moves few others.

    Args:
        names: Names of the clips.
        shares: Shares of the splits; 0 for a split that is not wanted.
        group: Regular expression of the part of a name that clips of one group have in common. None: no groups.

    Raises:
        ValueError: If there are fewer clips or groups than splits, or a name has no group.
    """
    of_clip = list(names) if group is None else group_names(names, group, "group")
    groups = sorted(set(of_clip), key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    wanted = {split: share for split, share in shares.items() if share > 0}
    if len(groups) < len(wanted):
        what = "clip" if group is None else "group"
        raise ValueError(
            f"[VideoClips] {len(groups)} {what}{'s' * (len(groups) != 1)} cannot be split into {', '.join(wanted)}, "
            "since each has clips of its own. Use more clips, fewer splits (a share of 0 in 'split'), or "
            "split_by=time, which cuts every clip into a part for each split."
        )
    ends = np.rint(np.cumsum(list(wanted.values())) / sum(wanted.values()) * len(groups)).astype(int)
    # Each split has at least one group.
    place = np.arange(len(wanted))
    ends = np.maximum.accumulate(ends - place) + place
    ends = np.clip(ends, place + 1, len(groups) - place[::-1])
    split_of: dict[str, str] = {}
    start = 0
    for split, end in zip(wanted, ends.tolist(), strict=True):
        split_of |= dict.fromkeys(groups[start:end], split)
        start = end
    return {split: [n for n, name in enumerate(of_clip) if split_of[name] == split] for split in SPLITS}


def by_names(
    names: Sequence[str], chosen: Mapping[str, Sequence[str]], shares: Mapping[str, float], group: str | None
) -> Assignment:
    """Returns a split in which validation and test have the clips that are named; training has the others.

    Args:
        names: Names of the clips.
        chosen: Names or patterns, such as `"test/*"`, for validation, test or both. A split that is not there gets its
            share of the other clips.
        shares: As for `by_shares`.
        group: As for `by_shares`, for a split that is not there.

    Raises:
        ValueError: If a name or a pattern fits no clip, if a clip belongs to both splits, or if none is left.
    """
    taken: dict[int, str] = {}
    for split, patterns in chosen.items():
        for pattern in patterns:
            fitting = [n for n, name in enumerate(names) if name == pattern or fnmatch.fnmatchcase(name, pattern)]
            if not fitting:
                some = ", ".join(names[:3])
                raise ValueError(
                    f"[VideoClips] '{split}_clips' names {pattern!r}, but no clip has such a name. Clips are {some}..."
                )
            for n in fitting:
                if taken.setdefault(n, split) != split:
                    raise ValueError(
                        f"[VideoClips] the clip {names[n]} is named for both validation and test. Name it for one."
                    )
    rest = [n for n in range(len(names)) if n not in taken]
    if not rest and shares["train"] > 0:
        raise ValueError(
            "[VideoClips] 'validation_clips' and 'test_clips' name all clips, and none is left to train on."
        )
    others = {split: 0.0 if split in chosen else share for split, share in shares.items()}
    of_rest = by_shares([names[n] for n in rest], others, group) if rest else {split: [] for split in SPLITS}
    named = {split: [n for n, owner in taken.items() if owner == split] for split in SPLITS}
    return {split: sorted([*named[split], *(rest[n] for n in of_rest[split])]) for split in SPLITS}


def group_names(names: Sequence[str], pattern: str, key: str) -> list[str]:
    """Returns the part of each name that a regular expression finds: its first group, or all that it matches."""
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"[VideoClips] '{key}' must be a regular expression but got {pattern!r}.") from error
    found = []
    for name in names:
        match = expression.search(name)
        if match is None:
            raise ValueError(
                f"[VideoClips] '{key}' needs {pattern!r} in the name of every clip, but {name} has no such part."
            )
        found.append(match.group(1) if match.groups() else match.group())
    return [part or "" for part in found]
