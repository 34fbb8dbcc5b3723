"""An archive of radar files as one series of frames in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets.frame_cache import FrameCache
from convlstm.datasets.index import Entry, Store, find_files, read_files
from convlstm.datasets.measure import cleaned
from convlstm.datasets.readers import FORMATS, Reader, ReadError, first_bytes, make
from convlstm.datasets.series import Problems, Series, assemble, first_of
from convlstm.datasets.transforms import rain_rate

import numpy as np

_KNOWN_FRAMES = 64


class Archive:
    """A folder of radar files, one file, or a Zarr store, as frames in the order of time.

    At first every file is read once; what was found is stored outside the archive, and files are read again only
    where they are new or changed. Files and frames that make no sense are left out, with one warning for each kind
    of problem; a pixel that makes no sense (infinite, negative rain) counts as missing. Reflectivity becomes rain
    rate by Z = a R^b.

    Args:
        path: Folder, with all folders in it, or file.
        format: A key of :data:`convlstm.datasets.readers.FORMATS`, or ``"auto"``: that of most files. Default: ``"auto"``.
        options: Options of the reader. Default: none.
        cache: Folder of the stored indexes. Default: ``$CONVLSTM_DATA/index``, or ``convlstm/index`` in the user's
            cache folder.
        cache_bytes: Most bytes of decoded frames to keep, or a :class:`FrameCache` to share. Default: 512 MiB.
        progress: Show a bar while files are read for the index. Default: ``True``.
        zr: ``(a, b)`` of the Z-R relation. Default: ``(200.0, 1.6)``.

    Attributes:
        name: Of the folder or file.
        times: datetime64[s] of (F,), UTC, rising within each event.
        event: int of (F,): frames of different events never make one sequence.
        step: Minutes between frames, the most common difference; NaN for a single frame.
        grid: As in the files.
        units: Of the frames: ``"mm/h"`` or ``"raw"``.
        format: Of the files.
        missing: (F,) share of pixels without a value.
        wet: (F,) share of the known pixels with 0.1 mm/h or more; with more than 0 for raw values.
        wet_blocks: (F, rows, columns) uint16, the share of wet pixels in each block of
            :func:`convlstm.datasets.measure.blocks_of`, in 1/65535.
        files: Paths of the files in use.
        problems: (file, reason) for all that was left out.
        fingerprint: Hex digest of the names and sizes of the files and the times of the frames.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If an argument is refused, or there is no frame that can be used.
        MissingLibraryError: If the format's library is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str = "auto",
        options: Mapping[str, Any] | None = None,
        cache: str | Path | None = None,
        cache_bytes: int | FrameCache = 512 << 20,
        progress: bool = True,
        zr: Sequence[float] = (200.0, 1.6),
    ):
        root = Path(path).expanduser()
        if not root.exists():
            raise FileNotFoundError(f"[Archive] there is nothing at {root}. Check the path.")
        self._root = root.resolve()
        self.name = self._root.name
        self._zr = _relation(zr)
        self._problems = Problems(self.name)
        if not isinstance(cache_bytes, FrameCache):
            cache_bytes = FrameCache(check_whole("Archive", "cache_bytes", cache_bytes, 0, None))
        self._cache = cache_bytes

        self._named, self._readers = format != "auto", _readers(format, options or {})
        store = Store(cache, [str(self._root), format, sorted((options or {}).items()), self._zr])
        entries, stored, changed = self._index(store, progress)
        series = assemble(entries, self._problems)
        if series is None:
            raise ValueError(
                f"[Archive] no file in {root} can be used: {first_of(self._problems.all())}. Check the files, or name "
                "their format and its options."
            )
        self._series: Series = series
        self.times, self.event, self.step = series.times, series.event, series.step
        self.missing, self.wet, self.wet_blocks = series.missing, series.wet, series.blocks
        self.grid, self.fingerprint = series.grid, series.fingerprint
        self.units = "raw" if self.grid.units == "raw" else "mm/h"
        if changed or str(stored.get("known_of")) != self.fingerprint:
            self._known = self._count_known()
            store.save(entries, {"known": self._known, "known_of": np.array(self.fingerprint)})
        else:
            self._known = stored["known"]
        self._problems.warn()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def files(self) -> list[Path]:
        return [self._paths[name] for name in self._series.names]

    @property
    def problems(self) -> list[tuple[str, str]]:
        return self._problems.all()

    def file(self, index: int) -> str:
        """Name of the file of frame ``index``, from the archive's folder on."""
        return self._series.names[self._series.file[index]]

    def frame(self, index: int, coarsen: int = 1) -> np.ndarray:
        """Frame ``index``: (H, W) float32 in :attr:`units`, NaN where missing. It is shared: do not write to it.

        With ``coarsen`` k it is (H // k, W // k), the means of the known pixels of squares of k x k, missing where
        fewer than half are known. What is beyond a multiple of k, in the south and the east, is cut off.

        Raises:
            ReadError: If the file cannot be read any more, or has become another one.
        """
        key = (self.fingerprint, index, coarsen)
        frame = self._cache.get(key)
        if frame is None:
            path = self._paths[self.file(index)]
            try:
                raw = self._reader.read(path, int(self._series.position[index]))
            except OSError as error:
                raise ReadError(f"[Archive] {path} cannot be read any more ({error}).") from error
            if raw.shape != tuple(self.grid.shape):
                raise ReadError(
                    f"[Archive] {path} has a frame of {raw.shape} where there was one of {self.grid.shape}."
                )
            frame = cleaned(raw, self.grid.units)
            frame = coarse(rain_rate(frame, *self._zr) if self.grid.units == "dBZ" else frame, coarsen)
            frame.flags.writeable = False
            self._cache.put(key, frame)
        return frame

    def known(self, coarsen: int = 1) -> np.ndarray:
        """How often each pixel is known, from up to 64 frames evenly over the archive: (H, W) whole numbers.

        With ``coarsen``, sums over the squares that :meth:`frame` takes means of.
        """
        height, width = (side // coarsen for side in self.grid.shape)
        squares = self._known[: height * coarsen, : width * coarsen].reshape(height, coarsen, width, coarsen)
        return squares.sum((1, 3), dtype=np.int32)

    def describe(self) -> dict:
        """What the archive is, as a record for JSON."""
        grid = self.grid
        return {
            "format": self.format,
            "frames": len(self),
            "first": str(self.times.min()),
            "last": str(self.times.max()),
            "step_minutes": self.step,
            "grid": list(grid.shape),
            "pixel_size": None if grid.pixel_size is None else list(grid.pixel_size),
            "pixel_units": grid.pixel_units,
            "projection": grid.projection,
            "missing_share": round(float(self.missing.mean(dtype=np.float64)), 6),
            "wet_share": round(float(self.wet.mean(dtype=np.float64)), 6),
            "problems": self._problems.counts(),
            "sha256": self.fingerprint,
        }

    def _index(self, store: Store, progress: bool) -> tuple[dict[str, Entry], dict[str, np.ndarray], bool]:
        """The entries of the files of the archive's format, what else is stored, and whether files were read."""
        before, stored = store.load()
        indexes = store.folder.resolve()
        self._paths: dict[str, Path] = {}
        entries: dict[str, Entry] = {}
        for path in find_files(self._root, self._readers):
            if indexes in path.parents:
                continue
            name = path.relative_to(self._root).as_posix() if path != self._root else path.name
            try:
                entry = Entry.of(path)
            except OSError as error:  # a link that leads nowhere
                self._problems.note("damaged", name, str(error))
                continue
            if name in before and before[name].same_file(entry):
                entry = before[name]
            else:
                entry.format = _format(path, self._readers)
            self._paths[name], entries[name] = path, entry
        self._choose(entries)
        ours = {name: entry for name, entry in entries.items() if entry.format == self.format}
        new = {self._paths[name]: entry for name, entry in ours.items() if entry.grid is None}
        try:
            for _ in read_files(new, self._reader, self._zr, progress=progress, name=self.name):
                pass
        except BaseException:
            # What has been read is not read again when the user comes back.
            store.save(ours, {})
            raise
        readable = {name for name, entry in ours.items() if entry.grid is not None}
        changed = before.keys() != readable or any(entry.grid is not None for entry in new.values())
        return ours, stored, changed

    def _choose(self, entries: Mapping[str, Entry]) -> None:
        """Settle on the format of most files and note the others."""
        if self._named and not any(entry.format for entry in entries.values()):
            # A format that was named is taken at its word: its reader will say what is wrong.
            for entry in entries.values():
                entry.format = self._readers[0].format
        counts = Counter(entry.format for entry in entries.values() if entry.format)
        if not counts:
            found = (
                f"none of the {len(entries)} files there, such as {next(iter(entries))}, is"
                if entries
                else "no file is"
            )
            all_looked_for = self._named or len(self._readers) == len(FORMATS)
            refused = "" if all_looked_for else " Others refuse the 'reader' options."
            raise ValueError(
                f"[Archive] {self._root}: {found} of a format that is looked for: "
                f"{', '.join(reader.format for reader in self._readers)}. Check the path, or name the format and its "
                f"options.{refused}"
            )
        (self.format, most), *others = counts.most_common()
        if others and others[0][1] == most:
            raise ValueError(
                f"[Archive] {self._root} has as many files of the format {others[0][0]!r} as of {self.format!r} "
                f"({most}). Name the one to read."
            )
        self._reader = next(reader for reader in self._readers if reader.format == self.format)
        endings = {Path(name).suffix.lower() for name, entry in entries.items() if entry.format == self.format}
        for name, entry in entries.items():
            if entry.format not in ("", self.format):
                self._problems.note("format", name, entry.format)
            elif not entry.format and Path(name).suffix.lower() in endings:
                self._problems.note("damaged", name, f"not recognised as {self.format}; it may be cut off")

    def _count_known(self) -> np.ndarray:
        counts = np.zeros(self.grid.shape, np.uint16)
        for index in np.linspace(0, len(self) - 1, min(len(self), _KNOWN_FRAMES)).round().astype(int).tolist():
            # Many radars miss nothing: their frames need not be decoded again.
            counts += True if self.missing[index] == 0 else ~np.isnan(self.frame(index))
        return counts


def _readers(format: str, options: Mapping[str, Any]) -> list[Reader]:
    """The readers to try, each with the options; of ``"auto"`` those that have all of these options."""
    if format != "auto":
        return [make(format, **options)]
    readers = []
    for name in FORMATS:
        try:
            readers.append(make(name, **options))
        except ValueError as error:
            refused = error
    if not readers:
        raise ValueError(
            f"[Archive] 'options' {dict(options)} fit no format ({refused}). Name the format that they are for."
        )
    return readers


def _format(path: Path, readers: Sequence[Reader]) -> str:
    """The format of a file, or nothing."""
    head = first_bytes(path)
    found = () if head is None else (reader.format for reader in readers if reader.recognises(path, head))
    return next(iter(found), "")


def coarse(frame: np.ndarray, k: int) -> np.ndarray:
    """Means of the known pixels of squares of k x k, (H, W) -> (H // k, W // k); see :meth:`Archive.frame`."""
    if k == 1:
        return frame
    height, width = (side // k for side in frame.shape)
    squares = frame[: height * k, : width * k].reshape(height, k, width, k)
    count = np.count_nonzero(~np.isnan(squares), axis=(1, 3))
    total = np.nansum(squares, axis=(1, 3), dtype=np.float32)
    return np.where(2 * count >= k * k, total / np.maximum(count, 1).astype(np.float32), np.float32(np.nan))


def _relation(value: Sequence[float]) -> tuple[float, float]:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or not all(isinstance(n, Real) and not isinstance(n, bool) and n > 0 for n in numbers):
        raise ValueError(f"[Archive] 'zr' must be two positive numbers (a, b) of Z = a R^b but got {value!r}.")
    return float(numbers[0]), float(numbers[1])
