"""The batches of a run. The batch of a step depends on the step alone, so a resumed run continues exactly."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.backend.signals import interruptible
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


def check_validation(data: Any) -> None:
    """Raises ValueError if the data have no validation sequences, which every run needs at its last step."""
    if data.size("validation") == 0:
        raise ValueError(
            "[Trainer] the data have no validation sequences, by which the best checkpoint is chosen. Give them "
            "some: a share of the split above 0, files for validation, or a part for validation."
        )


class Batches:
    """The batches of a run.

    Args:
        data: Has `size(split)` and `stream(split, batch_size, seed=, epoch=, start=)`.
        batch_size: Number of sequences in a step.
        seed: Seed of the order of the data and of the steps' random keys. Default: 0.
        ranks: The processes that share every batch. If there are several, the data's `stream` takes `rank=` and
            `ranks=`, too. Default: only this one.

    Raises:
        ValueError: The data have no training sequences, or fewer than a batch.
    """

    def __init__(self, data: Any, batch_size: int, seed: int = 0, *, ranks: Ranks = ALONE):
        size = data.size("train")
        if size == 0:
            raise ValueError(
                "[Trainer] the data have no training sequences. Give them some: a share of the split above 0, files "
                "for training, or a part for training."
            )
        if size < batch_size:
            raise ValueError(
                f"[Trainer] an epoch has {size} sequences, fewer than 'batch_size' ({batch_size}). Make "
                f"'batch_size' at most {size}, or give the data more: a larger share of the split, more files, or "
                "sequences with fewer frames."
            )
        self.data, self.batch_size, self.seed, self.per_epoch = data, batch_size, seed, size // batch_size
        self.ranks = ranks

    def position(self, step: int) -> tuple[int, int]:
        """Returns the epoch, and the number of the batch in that epoch, of the step that follows `step` steps."""
        return divmod(step, self.per_epoch)

    def key(self, step: int) -> mx.array:
        """Returns the random key of the step that follows `step` steps."""
        seed = np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0]
        return mx.random.key(int(seed))

    def indices(self, step: int) -> list[int] | None:
        """Returns the sequences of the batch of all ranks that follows `step` steps; None if the data cannot tell."""
        if not hasattr(self.data, "indices"):
            return None
        epoch, number = self.position(step)
        return [
            int(index) for index in self.data.indices("train", self.batch_size, number, seed=self.seed, epoch=epoch)
        ]

    def training(self, step: int) -> Iterator[Arrays]:
        """Yields the training batches that follow `step` steps, without end.

        Raises:
            DataError: The data failed.
            StopRequested: A request to stop came while a batch was loaded.
        """
        epoch, start = self.position(step)
        while True:
            yield from self._stream("train", self.batch_size, seed=self.seed, epoch=epoch, start=start)
            epoch, start = epoch + 1, 0

    def validation(self, size: int) -> Iterator[tuple[Arrays, int]]:
        """Yields batches of the validation split, each with the number of its first sequences that count.

        Over all batches and ranks, these are the first `size` sequences of the split. Rank r of R has the sequences
        from n r // R to n (r + 1) // R of a batch of n.

        Raises:
            DataError: The data failed.
            StopRequested: A request to stop came before a batch, or while it was loaded.
        """
        rank, ranks = self.ranks.rank, self.ranks.size
        batch_size = -(-min(self.batch_size, size) // ranks) * ranks
        left, available = size, self.data.size("validation")
        for batch in self._stream("validation", batch_size):
            batch_total = min(batch_size, available)
            take = min(left - batch_total * rank // ranks, len(batch["inputs"]))
            if take > 0:
                yield batch, take
            left, available = left - batch_total, available - batch_total
            if left <= 0:
                return

    def whole(self, step: int, share: Arrays) -> Arrays:
        """Returns the batch of all ranks that follows `step` steps, given this rank's share of it."""
        if self.ranks.size == 1:
            return share
        return next(Batches(self.data, self.batch_size, self.seed).training(step))

    def _stream(self, split: str, batch_size: int, **position: int) -> Iterator[Arrays]:
        position |= {} if self.ranks.size == 1 else {"rank": self.ranks.rank, "ranks": self.ranks.size}
        stream: Iterator[Arrays] | None = None
        try:
            while True:
                # Data may wait for a disk that no longer answers.
                with interruptible():
                    stream = iter(self.data.stream(split, batch_size, **position)) if stream is None else stream
                    batch = next(stream, None)
                if batch is None:
                    return
                yield batch
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            source = f"({Path(frame.filename).name}, line {frame.lineno})"
            raise DataError(f"{type(error).__name__}: {error} {source}", split) from error
