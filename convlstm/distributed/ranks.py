"""Ranks: processes that train together, each with a share of every batch, and keep the same weights.

`mlx.launch` starts them. This is the only module that uses `mx.distributed`, with which they exchange arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from convlstm.distributed.launch import compile_apart, host_addresses, launched, share_processor
from convlstm.distributed.watchdog import LOST, Watchdog, say_and_exit

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

JOINING = 120.0  # seconds within which all ranks must start
GROUP = 2**23  # values to exchange at once: 32 MB of float32
VERDICT = 2.0  # seconds to wait for the watchdog, which knows why an exchange failed and ends the process
ORDERLY = (None, 0, 129, 130, 143)  # exit statuses with which all ranks end together


class RanksError(RuntimeError):
    """The ranks could not be connected, or differ from each other."""


class Ranks:
    """The processes that train together.

    They are a context manager. A rank that leaves the `with` block with an exception, or is killed in it, ends the
    others within a minute. Ranks that leave it without one wait for each other.

    All ranks must call the methods, except `undisturbed`, in the same order.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        main: True for rank 0, the only one that writes and prints.
    """

    def __init__(self, group: mx.distributed.Group | None = None, watchdog: Watchdog | None = None):
        self._group, self._watchdog = group, watchdog
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()
        self.main = self.rank == 0

    @classmethod
    def join(cls) -> Ranks:
        """Returns the ranks that `mlx.launch` or `mpirun` has started, or `ALONE` if there is only this process.

        Raises:
            RanksError: The ranks could not be connected.
            WatchError: The ranks cannot reach each other.
        """
        if not launched():
            return ALONE
        with _deadline(JOINING):
            try:
                group = mx.distributed.init(strict=True)
            except (RuntimeError, ValueError) as error:
                raise RanksError(
                    f"[Ranks] the ranks could not be connected: {error}. Start them with mlx.launch, or unset "
                    "MLX_RANK to train with one process."
                ) from error
            if group.size() == 1:
                return ALONE
            ranks = cls(group)
            processes = ranks.gather({"host": socket.gethostname(), "machine": uuid.getnode(), "process": os.getpid()})
            names = [f"{process['host']}, process {process['process']}" for process in processes]
            machines = [(process["host"], process["machine"]) for process in processes]
            local = len(set(machines)) == 1
            share_processor(machines.count(machines[ranks.rank]))
            compile_apart(machines[: ranks.rank].count(machines[ranks.rank]))
            watchdog = Watchdog(ranks.rank, ranks.size, names)
            watchdog.meet(ranks.share(watchdog.invitation(host_addresses(), local) if ranks.main else None))
            ranks._watchdog = watchdog
        return ranks

    def sum(self, tree: Any) -> Any:
        """Returns the sum over the ranks of each array in a tree, with the same bits on every rank.

        It can be part of a compiled function.

        Args:
            tree: An array or a tree of arrays, with the same shapes and types on every rank.
        """
        if self.size == 1:
            return tree
        named: Any = tree_flatten(tree)
        summed: list[mx.array] = []
        for group in _groups([array for _, array in named]):
            ends = np.cumsum([array.size for array in group])[:-1].tolist()
            together = mx.distributed.all_sum(mx.concatenate([a.reshape(-1) for a in group]), group=self._group)
            parts = mx.split(together, ends) if ends else [together]
            summed += [part.reshape(array.shape) for array, part in zip(group, parts, strict=True)]
        leaves = iter(summed)
        return tree_map(lambda array: next(leaves), tree)

    def mean(self, tree: Any) -> Any:
        """Returns the mean over the ranks of each array in a tree, with the same bits on every rank.

        It can be part of a compiled function.

        Args:
            tree: An array or a tree of arrays, with the same shapes on every rank.
        """
        if self.size == 1:
            return tree
        share = 1 / self.size
        return self.sum(tree_map(lambda array: array * share, tree))

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all ranks in order. They are bytes or values that JSON can hold; floats stay exact."""
        if self.size == 1:
            return [value]
        binary = isinstance(value, bytes)
        data = np.frombuffer(value if binary else json.dumps(value).encode(), np.uint8)
        lengths = np.array(self._all_gather(mx.array([len(data)], mx.int32)))
        # At least one byte, since MLX cannot exchange an empty array.
        padded = np.zeros(max(1, lengths.max()), np.uint8)
        padded[: len(data)] = data
        rows = np.array(self._all_gather(mx.array(padded))).reshape(self.size, -1)
        texts = [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]
        return texts if binary else [json.loads(text) for text in texts]

    def _all_gather(self, array: mx.array) -> mx.array:
        gathered = mx.distributed.all_gather(array, group=self._group)
        mx.eval(gathered)
        return gathered

    def share(self, value: Any) -> Any:
        """Returns rank 0's value, which JSON must be able to hold. The values of other ranks are ignored."""
        return self.gather(value if self.main else None)[0]

    def share_arrays(self, arrays: dict[str, mx.array] | None) -> dict[str, mx.array] | None:
        """Returns rank 0's arrays by name, bit for bit, or None if rank 0 gives None."""
        if self.size == 1:
            return arrays
        descriptions = self.share(None if arrays is None else {n: [a.shape, _type(a)] for n, a in arrays.items()})
        if descriptions is None:
            return None
        result = {}
        for name, (shape, type_name) in descriptions.items():
            dtype: mx.Dtype = mx.bool_ if type_name == "bool" else getattr(mx, type_name)
            if self.main and arrays is not None:
                bits = mx.view(arrays[name].reshape(-1), mx.uint8)
            else:
                bits = mx.zeros((int(np.prod(shape)) * dtype.size,), mx.uint8)
            # Adding zeros to bytes changes none of their bits.
            result[name] = mx.view(self.sum(bits) if bits.size else bits, dtype).reshape(shape)
            mx.eval(result[name])
        return result

    def any(self, *flags: bool) -> list[bool]:
        """Returns True for each flag that is set on at least one rank, False for the others."""
        if self.size == 1:
            return [bool(flag) for flag in flags]
        return [count > 0 for count in np.array(self.sum(mx.array(flags, mx.int32))).tolist()]

    def check_same(self, name: str, value: str) -> None:
        """Checks that all ranks have the same text, such as a `digest`.

        Args:
            name: Name of the text, for the message.
            value: This rank's text.

        Raises:
            RanksError: Ranks differ from rank 0; the message names them.
        """
        values = self.gather(value)
        others = [str(rank) for rank, other in enumerate(values) if other != values[0]]
        if others:
            raise RanksError(
                f"[Ranks] {name} must be the same on every rank, but rank 0 has {values[0]} and rank "
                f"{', '.join(others)} {values[int(others[0])]}. Give all ranks the same project, versions, "
                "configuration and data, and resume from the last checkpoint."
            )

    def advise(self, text: str) -> None:
        """Sets the advice at the end of the message that a rank was lost."""
        if self._watchdog is not None:
            self._watchdog.advice = text

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Keeps the loss of another rank from ending this one in a `with` block that writes files."""
        if self._watchdog is None:
            yield
            return
        with self._watchdog.undisturbed():
            yield

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watchdog is None:
            return
        causes = list(_chain(error))
        if error is None or all(isinstance(e, SystemExit) and e.code in ORDERLY for e in causes):
            self._watchdog.leave()
            # The launcher takes a status other than 0 for a failure, and would end ranks that are still leaving.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return
        if any(type(e) is RuntimeError for e in causes):
            time.sleep(VERDICT)
        text, status = _reason(error)
        # The reason is printed first, since the launcher ends this process as soon as one of the others has ended.
        if isinstance(error, Exception):
            traceback.print_exception(error)
        elif self.main and not (isinstance(error, SystemExit) and isinstance(error.code, int)):
            print(text, file=sys.stderr, flush=True)
        self._watchdog.fail(text)
        raise SystemExit(status) from None


ALONE = Ranks()
"""The ranks of a single process, which exchanges nothing."""


def digest(*trees: Any) -> str:
    """Returns a short text that differs if any name, type, shape or bit in trees of arrays differs."""
    checksum = hashlib.sha256()
    for tree in trees:
        named: Any = tree_flatten(tree)
        for name, array in sorted(named, key=lambda item: item[0]):
            bits = mx.view(array.reshape(-1), mx.uint8) if array.size else array
            checksum.update(f"{name} {_type(array)} {tuple(array.shape)}".encode() + np.array(bits).tobytes())
    return checksum.hexdigest()[:16]


def _type(array: mx.array) -> str:
    return str(array.dtype).rpartition(".")[2]


def _groups(arrays: list[mx.array]) -> Iterator[list[mx.array]]:
    """Yields the arrays in order, in groups of one type and about 32 MB."""
    group: list[mx.array] = []
    for array in arrays:
        if group and (array.dtype != group[0].dtype or sum(a.size for a in group) >= GROUP):
            yield group
            group = []
        group.append(array)
    if group:
        yield group


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Ends the process if a `with` block takes longer, since it may wait for a rank that never started."""
    text = f"[Ranks] not all ranks started within {seconds:.0f} seconds. Find out why the others did not start."
    timer = threading.Timer(seconds, say_and_exit, (text, LOST))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> tuple[str, int]:
    """Returns the message of a rank's end, and its exit status."""
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        return error.code, 1
    if isinstance(error, SystemExit) and error.code not in ORDERLY:
        return f"ended with status {error.code}", 1
    if isinstance(error, SystemExit):
        return "interrupted", 130
    return ("interrupted", 130) if isinstance(error, KeyboardInterrupt) else (f"{type(error).__name__}: {error}", 1)
