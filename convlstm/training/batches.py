"""Which batch a step trains on: a function of the step, so that a resumed run goes on where it was."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.distributed.ranks import ALONE, Ranks

import mlx.core as mx
import numpy as np

Arrays = dict[str, np.ndarray]


class DataError(RuntimeError):
    """The data failed while a batch was loaded.

    Attributes:
        split: The split that failed.
    """

    def __init__(self, text: str, split: str):
        super().__init__(text)
        self.split = split


class Batches:
    """The batches of a run.

    Args:
        data: Has `size(split)` and `stream(split, batch_size, seed=, epoch=, start=)`.
        batch_size: Sequences in a step.
        seed: Of the order of the data and of the steps' random keys.
        ranks: The processes that share every batch; the data's `stream` takes `rank=` and `ranks=` if there are others.
            Default: this one has all of it.

    Raises:
        ValueError: The data has fewer training sequences than a batch.
    """

    def __init__(self, data: Any, batch_size: int, seed: int = 0, *, ranks: Ranks = ALONE):
        size = data.size("train")
        if size < batch_size:
            raise ValueError(f"[Trainer] an epoch has {size} sequences, fewer than 'batch_size' ({batch_size}).")
        self.data, self.batch_size, self.seed, self.per_epoch = data, batch_size, seed, size // batch_size
        self.ranks = ranks

    def place(self, step: int) -> tuple[int, int]:
        """The epoch of the step after `step` steps, and the number of its batch in it."""
        return divmod(step, self.per_epoch)

    def key(self, step: int) -> mx.array:
        """The random key of the step after `step` steps."""
        seed = np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0]
        return mx.random.key(int(seed))

    def indices(self, step: int) -> list[int] | None:
        """The sequences of all ranks in the batch of the step after `step` steps, where the data can tell."""
        if not hasattr(self.data, "indices"):
            return None
        epoch, number = self.place(step)
        return [
            int(index) for index in self.data.indices("train", self.batch_size, number, seed=self.seed, epoch=epoch)
        ]

    def training(self, step: int) -> Iterator[Arrays]:
        """The batches from that of the step after `step` steps on, without end."""
        epoch, start = self.place(step)
        while True:
            yield from self._stream("train", self.batch_size, seed=self.seed, epoch=epoch, start=start)
            epoch, start = epoch + 1, 0

    def validation(self, size: int) -> Iterator[tuple[Arrays, int]]:
        """The batches that hold the first `size` sequences of the validation split, and how many of each are meant.

        Of n sequences in a batch, rank r of R has those from n r // R to n (r + 1) // R, so that none is left out.
        """
        rank, ranks = self.ranks.rank, self.ranks.size
        batch_size = -(-min(self.batch_size, size) // ranks) * ranks
        left, there = size, self.data.size("validation")
        for batch in self._stream("validation", batch_size):
            together = min(batch_size, there)
            take = min(left - together * rank // ranks, len(batch["inputs"]))
            if take > 0:
                yield batch, take
            left, there = left - together, there - together
            if left <= 0:
                return

    def whole(self, step: int, share: Arrays) -> Arrays:
        """The batch of the step after `step` steps, of which this rank has a share."""
        if self.ranks.size == 1:
            return share
        return next(Batches(self.data, self.batch_size, self.seed).training(step))

    def _stream(self, split: str, batch_size: int, **place: int) -> Iterator[Arrays]:
        place |= {} if self.ranks.size == 1 else {"rank": self.ranks.rank, "ranks": self.ranks.size}
        try:
            yield from self.data.stream(split, batch_size, **place)
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            where = f"({Path(line.filename).name}, line {line.lineno})"
            raise DataError(f"{type(error).__name__}: {error} {where}", split) from error
