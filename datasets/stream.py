"""One epoch of batches from a function that loads a sample: seeded order, shares of ranks, ordered prefetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convlstm.arguments import check_whole
from convlstm.datasets.prefetch import Prefetch

import mlx.data as dx
import numpy as np

# Types that mlx-data carries, and bool, which travels as uint8.
_CARRIED = tuple(np.dtype(name) for name in ("bool", "uint8", "int8", "int32", "int64", "float32", "float64"))


def count_batches(size: int, batch_size: int, *, drop_last: bool = True) -> int:
    """Returns the number of batches in one epoch of `batches`; without `drop_last` a last, partial batch counts."""
    return size // batch_size if drop_last else -(-size // batch_size)


def _order(size: int, shuffle: bool, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size) if shuffle else np.arange(size)


def batch_indices(
    size: int, batch_size: int, number: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0
) -> list[int]:
    """Returns the samples of all ranks in batch `number` of `batches` with the same arguments."""
    return _order(size, shuffle, seed, epoch)[number * batch_size : (number + 1) * batch_size].tolist()


def batches(
    size: int,
    load: Callable[[int], Mapping[str, np.ndarray]],
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
    drop_last: bool = True,
    prefetch: int = 4,
    threads: int = 2,
) -> BatchStream:
    """Returns one epoch of batches over `size` samples, loaded ahead in background threads.

    Batch `k` is a function of `(seed, epoch, k)`: `threads`, `prefetch`, `start` and `ranks` do not change its samples.
    Concatenated along the first axis, in the order of the ranks, the batches `k` of all ranks are the batch `k` of a
    single rank: of `n` samples, rank `r` of `R` has those from `n r // R` to `n (r + 1) // R`.

    Args:
        size: Number of samples in the data set.
        load: Maps a sample's index in `[0, size)` to a dict of arrays, with the same keys, shapes and dtypes for every
            sample. It runs in background threads, several at a time if `threads` is above 1, so it must not draw from
            shared random state. Its exceptions reach the loop over the batches.
        batch_size: Samples in one step of all ranks together, a multiple of `ranks`.
        shuffle: Take the samples in an order drawn from `(seed, epoch)` instead of 0, 1, 2, ... Default: False.
        seed: Seed of the order. Default: 0.
        epoch: Number of the epoch; each epoch has its own order. Default: 0.
        start: Number of the first batch to yield. To resume after `k` batches, start at `k`. Default: 0.
        rank: Number of the share of each batch to load. Default: 0.
        ranks: Number of shares. Default: 1.
        drop_last: Leave out a last, partial batch, so that all batches have one size on every rank. Otherwise it is
            kept whole: some ranks have one sample more than others, and ranks without a sample get no last batch.
            Default: True.
        prefetch: Batches loaded ahead. Default: 4.
        threads: Background threads. Default: 2.

    Returns:
        A `BatchStream` of dicts: the samples' arrays stacked along a new first axis.

    Raises:
        ValueError: If an argument is out of its range, or the epoch would have no batch.
    """
    size = check_whole("batches", "size", size, 1, None)
    batch_size = check_whole("batches", "batch_size", batch_size, 1, None)
    ranks = check_whole("batches", "ranks", ranks, 1, None)
    rank = check_whole("batches", "rank", rank, 0, None)
    seed = check_whole("batches", "seed", seed, 0, None)
    epoch = check_whole("batches", "epoch", epoch, 0, None)
    start = check_whole("batches", "start", start, 0, None)
    prefetch = check_whole("batches", "prefetch", prefetch, 1, None)
    threads = check_whole("batches", "threads", threads, 1, None)
    if rank >= ranks:
        raise ValueError(f"[batches] 'rank' must be below 'ranks' ({ranks}) but got {rank}.")
    if batch_size % ranks != 0:
        raise ValueError(
            f"[batches] 'batch_size' counts the samples of all ranks and must be a multiple of 'ranks' ({ranks}) but "
            f"got {batch_size}."
        )
    total = count_batches(size, batch_size, drop_last=drop_last)
    if total == 0:
        raise ValueError(
            f"[batches] 'batch_size' must leave at least one batch but got {batch_size} for {size} samples. Use "
            "smaller batches or more samples."
        )
    if start > total:
        raise ValueError(f"[batches] 'start' must be at most the epoch's number of batches ({total}) but got {start}.")

    order = _order(size, shuffle, seed, epoch)

    def share(number: int) -> np.ndarray:
        together = order[number * batch_size : (number + 1) * batch_size]
        return together[len(together) * rank // ranks : len(together) * (rank + 1) // ranks]

    def load_batch(number: int) -> dict[str, np.ndarray]:
        samples = [load(int(index)) for index in share(number)]
        return {key: _stack(key, [sample[key] for sample in samples]) for key in samples[0]}

    # A rank may have no sample of the last batch.
    end = total if len(share(total - 1)) else total - 1
    return BatchStream(load_batch, range(start, end), prefetch=prefetch, threads=threads)


def _stack(key: str, arrays: list[np.ndarray]) -> np.ndarray:
    stacked = np.ascontiguousarray(np.stack(arrays))
    if stacked.dtype not in _CARRIED:
        raise TypeError(
            f"[batches] 'load' returned '{key}' of dtype {stacked.dtype}, which mlx-data cannot carry. Cast it to "
            f"one of {', '.join(map(str, _CARRIED))}."
        )
    return stacked


class BatchStream:
    """An iterator over batches, dicts of numpy arrays: an `mlx.data` stream over a `Prefetch` of batches.

    The threads that load ahead are our own, not mlx-data's: its pool of threads, 0.1.0, can wait for ever when a stream
    is dropped before its end. Here nothing waits for a thread: neither `close`, nor dropping the iterator (after
    `break`), nor the end of the process. For mlx-data's stream this holds since it owns no thread: only its `prefetch`s
    make a pool, and a stream over an iterable calls it in the thread that asks for a batch, so that its destructor
    only lets go of the iterable. For our threads see `convlstm.datasets.prefetch.Prefetch`. An exception of the loader
    is raised unchanged at its batch, with its traceback.

    It can be iterated once. `len()` is the total number of batches that it yields.

    Args:
        load_batch: Maps a batch's number to its arrays; runs in background threads.
        numbers: Numbers of the batches.
        prefetch: Batches loaded ahead.
        threads: Background threads.
    """

    def __init__(
        self, load_batch: Callable[[int], dict[str, np.ndarray]], numbers: range, *, prefetch: int, threads: int
    ):
        self._batches = loaded = Prefetch(load_batch, numbers, ahead=prefetch, threads=threads)
        # mlx-data carries no booleans. They travel as uint8, without a copy.
        self._booleans = booleans = set[str]()

        def carried(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            booleans.update(key for key, array in batch.items() if array.dtype == bool)
            return {key: array.view(np.uint8) if key in booleans else array for key, array in batch.items()}

        self._stream = dx.stream_python_iterable(lambda: map(carried, loaded))  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._stream)
        return {key: array.view(bool) if key in self._booleans else array for key, array in batch.items()}

    def close(self) -> None:
        """Stops loading. Nothing more is yielded. A load that has begun ends by itself. It may be called twice."""
        self._batches.close()
