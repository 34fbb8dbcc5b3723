"""Sequences of small radar archives, and what tests read of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.sequence_dataset import SPLITS
from tests.support.radar_archives import OPTIONS, Stack, time_of

import numpy as np


def opened(path: Path | str, **settings: Any) -> RadarEcho:
    """Returns the data of an archive: sequences of 2 and 3 frames, unless `settings` say otherwise."""
    return RadarEcho(**{"archive": str(path), "input_frames": 2, "target_frames": 3, "progress": False, **settings})


def data_of(folder: Path, *, options: dict[str, Any] | None = OPTIONS, **settings: Any) -> RadarEcho:
    """Returns the data of an archive of pictures, without the warnings about its problems."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return opened(folder, reader=options, target_frames=1, **settings)


def checked_batches(data: RadarEcho) -> list[dict[str, np.ndarray]]:
    """Returns all batches of all splits, and checks that no missing value reaches the model or the loss."""
    batches = [batch for split in SPLITS for batch in data.stream(split, 1)]
    assert batches
    for batch in batches:
        for name in ("inputs", "targets"):
            assert np.isfinite(batch[name]).all()
            assert batch[name].min() >= 0
            assert batch[name].max() <= 1
        assert batch["mask"].dtype == bool
        assert (batch["targets"][~batch["mask"]] == 0).all()
    return batches


def values_of(path: Path) -> np.ndarray:
    """Returns the values in a file of `Stack`, (F, H, W)."""
    return Stack()._arrays(path)["values"]


def frames(sample: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the inputs and the targets of a sample as one sequence, (T, H, W)."""
    return np.concatenate([sample["inputs"], sample["targets"]])[..., 0]


def starts(data: RadarEcho, split: str, **settings: Any) -> list[int]:
    """Returns the number of the first frame of each sequence, of an archive with a frame every 5 minutes."""
    first = [data.times(split, index, **settings)[0] for index in range(data.size(split))]
    return [int((time - time_of(0)) / np.timedelta64(5, "m")) for time in first]


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Returns True if two samples or batches have the same arrays."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)
