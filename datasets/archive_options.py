"""The options of data sets that read archives: their checks, and the sequences that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.arguments import check_flags, check_whole
from convlstm.backend.child_pool import Hold
from convlstm.datasets import arguments
from convlstm.datasets.archive_sequences import ArchiveSequences
from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.array_cache import ArrayCache
from convlstm.datasets.sequence_dataset import SPLITS


class ArchiveOptions:
    """The options that data sets of archives share, checked.

    `convlstm.datasets.radar_echo.RadarEcho` describes them.

    Args:
        owner: Class of the data set, for messages.

    Attributes:
        step: Minutes from frame to frame, or None.
        coarsen: Side in pixels of the squares that become one pixel.
        crop: Height and width of a crop, or None.
        sizes: Number of sequences wanted by split, or None for all.

    Raises:
        ValueError: If an option is out of its range, or two do not go together.
    """

    def __init__(
        self,
        owner: str,
        *,
        archive: str | Sequence[str] | None,
        validation_archive: str | Sequence[str] | None,
        test_archive: str | Sequence[str] | None,
        format: str,
        reader: Mapping[str, Any] | None,
        split: Sequence[float],
        split_dates: Sequence[str] | None,
        stride: int,
        step: float | None,
        frame_size: int | Sequence[int] | None,
        multiple: int,
        coarsen: int,
        least_known: float,
        wet_sampling: float,
        train_sequences: int | None,
        validation_sequences: int | None,
        test_sequences: int | None,
        zr: Sequence[float],
        index: str | None,
        cache_bytes: int,
        progress: bool,
    ):
        check_flags(owner, progress=progress)
        self._owner, self._cache_bytes = owner, check_whole(owner, "cache_bytes", cache_bytes, 0, None)
        self.coarsen = check_whole(owner, "coarsen", coarsen, 1, None)
        self.step = None if step is None else arguments.minutes(owner, "step", step)
        self.crop = None if frame_size is None else arguments.sides(owner, "frame_size", frame_size)
        self.sizes = {"train": train_sequences, "validation": validation_sequences, "test": test_sequences}
        for name, size in self.sizes.items():
            if size is not None:
                check_whole(owner, f"{name}_sequences", size, 1, arguments.MOST_SEQUENCES)
        self._sampling: dict[str, Any] = {
            "shares": arguments.split_shares(owner, split),
            "dates": None if split_dates is None else arguments.split_dates(owner, split_dates),
            "stride": check_whole(owner, "stride", stride, 1, 1 << 53),
            "multiple": check_whole(owner, "multiple", multiple, 1, None),
            "least_known": arguments.number(owner, "least_known", least_known, 0, 1),
            "wet_sampling": arguments.number(owner, "wet_sampling", wet_sampling, 0, 1),
        }
        self._reading: dict[str, Any] = {
            "format": format,
            "options": arguments.options(owner, "reader", reader),
            "cache": None if index is None else arguments.path(owner, "index", index),
            "zr": zr,
            "progress": progress,
        }
        given = {"archive": archive, "validation_archive": validation_archive, "test_archive": test_archive}
        self._paths = {name: arguments.paths(owner, name, value) for name, value in given.items() if value is not None}
        if split_dates is not None and set(self._paths) != {"archive"}:
            raise ValueError(
                f"[{owner}] 'split_dates' are for an 'archive' that all splits share. Give one, without "
                "'validation_archive' and 'test_archive', or leave 'split_dates' out."
            )
        if self._paths and archive is None:
            raise ValueError(
                f"[{owner}] '{next(iter(self._paths))}' needs an 'archive' to train on. To use all of an archive for "
                "one split, name it as 'archive' with a 'split' such as [0, 0, 1]."
            )

    def sequences(self, length: int) -> ArchiveSequences:
        """Returns the sequences of `length` frames of the archives, which are indexed if they are new."""
        cache = ArrayCache(self._cache_bytes)
        with Hold():  # the processes that read one archive read the next one, too
            archives = {
                split: [Archive(path, **self._reading, cache_bytes=cache) for path in self._paths[name]]
                for split, name in zip(SPLITS, ("archive", "validation_archive", "test_archive"), strict=True)
                if name in self._paths
            }
        return ArchiveSequences(
            self._owner,
            archives,
            **self._sampling,
            length=length,
            step=self.step,
            frame_size=self.crop,
            coarsen=self.coarsen,
            sizes=self.sizes,
        )
