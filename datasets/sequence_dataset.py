"""The base class of the data sets: sequences in three splits, each of which is one stream of batches."""

from __future__ import annotations

from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets.arguments import MOST_FRAMES
from convlstm.datasets.columns import Columns
from convlstm.datasets.stream import BatchStream, batch_indices, batches

import numpy as np

SPLITS = ("train", "validation", "test")


class SequenceDataset:
    """Sequences of frames in three splits: `"train"`, `"validation"` and `"test"`.

    A training sequence is a function of `(seed, epoch, index)`, a sequence of validation or test of its index alone. A
    subclass sets `frame_shape` and `_sizes`, the number of sequences by split, and defines `sample`.

    Args:
        owner: Name of the subclass, for messages.
        input_frames: Frames of `inputs`.
        target_frames: Frames of `targets`.
        prefetch: Batches made ahead.
        threads: Background threads that make them.

    Attributes:
        frame_shape: `(H, W, C)` of inputs.
        target_channels: Numbers of the input channels that the targets have; None if the targets have all of them.
    """

    frame_shape: tuple[int, int, int]
    target_channels: list[int] | None = None
    _sizes: dict[str, int]

    def __init__(self, owner: str, *, input_frames: int, target_frames: int, prefetch: int, threads: int):
        self._owner = owner
        self.input_frames = check_whole(owner, "input_frames", input_frames, 1, MOST_FRAMES)
        self.target_frames = check_whole(owner, "target_frames", target_frames, 1, MOST_FRAMES)
        self._prefetch = check_whole(owner, "prefetch", prefetch, 1, 1000)
        self._threads = check_whole(owner, "threads", threads, 1, 1000)

    def size(self, split: str) -> int:
        """Returns the number of sequences in an epoch of `split`."""
        if split not in SPLITS:
            raise ValueError(f"[{self._owner}] 'split' must be one of {', '.join(SPLITS)} but got {split!r}.")
        return self._sizes[split]

    @property
    def columns(self) -> Columns | None:
        """The columns of the frames in those of the files; None if the frames come from no files with a grid."""
        return getattr(getattr(self, "_sequences", None), "columns", None)

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`. `seed` and `epoch` matter to training sequences only."""
        raise NotImplementedError

    def stream(
        self,
        split: str,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
        truth: bool = False,
    ) -> BatchStream:
        """Returns one epoch of batches of `split`, from batch number `start`; see `convlstm.datasets.stream.batches`.

        A batch is a dict with the arrays of `sample` stacked along a new first axis: `inputs` (N, input_frames, H, W,
        C), `targets` (N, target_frames, H, W, C), and masks if the data can be missing. The last, partial batch is
        dropped for training and kept otherwise. With `truth`, which needs frames that stand for physical values,
        batches also have `truth`, the targets in these units as they were read.
        """
        self._check_filled(split)
        if truth and not hasattr(self, "physical"):
            raise ValueError(f"[{self._owner}] 'truth' must be False: the frames stand for no physical values.")
        options: dict[str, Any] = {"truth": True} if truth else {}
        return batches(
            self.size(split),
            lambda index: self.sample(split, index, seed=seed, epoch=epoch, **options),
            batch_size,
            seed=seed,
            epoch=epoch,
            start=start,
            rank=rank,
            ranks=ranks,
            drop_last=split == "train",
            prefetch=self._prefetch,
            threads=self._threads,
        )

    def indices(self, split: str, batch_size: int, number: int, *, seed: int = 0, epoch: int = 0) -> list[int]:
        """Returns the sequences in batch `number` of `stream`, each an `index` of `sample`."""
        return batch_indices(self.size(split), batch_size, number, seed=seed, epoch=epoch)

    def _key(self, split: str, index: int, seed: int, epoch: int) -> tuple[int, int, int]:
        """Returns `(seed, epoch, index)` of a sequence; seed and epoch are 0 for validation and test."""
        index = check_whole(self._owner, "index", index, 0, None)
        seed = check_whole(self._owner, "seed", seed, 0, None)
        epoch = check_whole(self._owner, "epoch", epoch, 0, None)
        self._check_filled(split)
        if index >= self.size(split):
            raise ValueError(
                f"[{self._owner}] 'index' must be below the size of {split!r} ({self.size(split)}) but got {index}."
            )
        return (seed, epoch, index) if split == "train" else (0, 0, index)

    def _check_filled(self, split: str) -> None:
        if self.size(split) == 0:
            raise ValueError(
                f"[{self._owner}] there are no sequences of {split!r}. Give it a share in 'split', or data of its own."
            )
