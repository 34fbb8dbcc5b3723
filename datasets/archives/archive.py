"""An archive of radar files as one series of frames in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.backend.child_pool import Hold
from convlstm.datasets import arguments
from convlstm.datasets.archives.files import Problem, RadarFiles, coarse
from convlstm.datasets.archives.index import Entry, Store
from convlstm.datasets.archives.kept_frames import KeptFrames
from convlstm.datasets.archives.scan import scan
from convlstm.datasets.archives.series import Problems, Series, assemble, first_of
from convlstm.datasets.array_cache import ArrayCache
from convlstm.datasets.readers import FORMATS
from convlstm.datasets.readers.errors import printable
from convlstm.datasets.video import is_video

import numpy as np

_COUNTED_FRAMES = 64


class Archive:
    """A folder of radar files, a single file, or a Zarr store, as frames in the order of time.

    The first time, every file is read once. Its times and statistics are stored outside the archive, and only new or
    changed files are read again. Files and frames that make no sense are left out, with one warning for each kind of
    problem; a pixel that makes no sense (infinite, negative rain) counts as missing. Reflectivity becomes rain rate by
    Z = a R^b.

    Args:
        path: Folder, with all its subfolders, or file.
        format: A key of `convlstm.datasets.readers.FORMATS`, or `"auto"`: the most common format of the files.
            Default: `"auto"`.
        options: Options of the reader. Default: none.
        cache: Folder of the stored indexes. Default: `$CONVLSTM_DATA/index`, or `convlstm/index` in the user's cache
            folder.
        cache_bytes: Bytes of decoded frames to keep, or an `ArrayCache` to share. Default: 512 MiB.
        progress: Show a bar while files are read for the index. Default: True.
        zr: `(a, b)` of the Z-R relation. Default: (200.0, 1.6).

    Attributes:
        name: Name of the folder or file.
        times: datetime64[s] of (F,), UTC, rising within each event.
        event: int of (F,): frames of different events never form one sequence.
        step: Minutes between frames, the most common difference; NaN for a single frame.
        grid: Grid of the files.
        fields: Fields of the frames, in physical units: rain rates also for files of reflectivity.
        units: Treatment of a single field: `"mm/h"` for rain, else `"raw"`.
        format: Format of the files.
        zr: `(a, b)` of the Z-R relation.
        missing: (F,) share of pixels without a value.
        wet: (F,) share of the known pixels with 0.1 mm/h or more; for raw values with more than 0.
        wet_blocks: (F, rows, columns) uint16, the share of wet pixels in each block of
            `convlstm.datasets.archives.frame_statistics.blocks_of`, in 1/65535.
        files: Paths of the files in use.
        problems: (file, reason) for everything that was left out.
        fingerprint: Hex digest of the names and sizes of the files and the times of the frames.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If an argument is refused, or there is no usable frame.
        MissingLibraryError: If the format's library is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str = "auto",
        options: Mapping[str, Any] | None = None,
        cache: str | Path | None = None,
        cache_bytes: int | ArrayCache = 512 << 20,
        progress: bool = True,
        zr: Sequence[float] = (200.0, 1.6),
    ):
        self._root = arguments.path("Archive", "path", path).resolve()
        self._files = RadarFiles("Archive", self._root, format, options, zr)
        self.name, self.zr = self._root.name, self._files.zr
        self._problems = Problems(self.name)
        if not isinstance(cache_bytes, ArrayCache):
            cache_bytes = ArrayCache(check_whole("Archive", "cache_bytes", cache_bytes, 0, None))
        self._cache = cache_bytes

        folder = None if cache is None else arguments.path("Archive", "cache", cache)
        store = Store(folder, [str(self._root), format, sorted((options or {}).items()), self.zr])
        kept = KeptFrames(self._files, self._cache.room)
        with Hold():
            entries, stored, changed = self._index(store, kept, progress)
        series = assemble(entries, self._problems)
        if series is None:
            raise ValueError(
                f"[Archive] no file in {self._root} can be used: {first_of(self._problems.all())}. Check the files, or "
                "name their format and its options."
            )
        self._series: Series = series
        self.times, self.event, self.step = series.times, series.event, series.step
        self.missing, self.wet, self.wet_blocks = series.missing, series.wet, series.blocks
        self.grid, self.fingerprint = series.grid, series.fingerprint
        self.fields = tuple(field.physical for field in self.grid.fields)
        self.units, self.format = self.grid.physical_units, self._files.format
        self._keep(kept)
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
    def problems(self) -> list[Problem]:
        return self._problems.all()

    def file(self, index: int) -> str:
        """Returns the name of the file of frame `index`, relative to the archive's folder."""
        return self._series.names[self._series.file[index]]

    def frame(self, index: int, coarsen: int = 1) -> np.ndarray:
        """Returns frame `index`: (H, W), or (H, W, C) for several fields, float32 in the units of `fields`.

        Missing pixels are NaN. The array is shared and read-only.

        With `coarsen` k it is (H // k, W // k), the means of the known pixels of squares of k x k, missing if fewer
        than half of a square are known. Rows in the south and columns in the east that fill no square are cut off.

        Raises:
            ReadError: If the file can no longer be read, or its frames have changed in shape.
        """

        def load() -> np.ndarray:
            if coarsen > 1 and (whole := self._cache.find(self._key(index, 1))) is not None:
                return coarse(whole, coarsen)
            return self._files.frame(*self._place(index), self.grid, coarsen)

        return self._cache.get(self._key(index, coarsen), load)

    def known(self, coarsen: int = 1) -> np.ndarray:
        """Returns in how many of up to 64 frames, evenly over the archive, each pixel is known: (H, W) whole numbers.

        With `coarsen` it returns sums over the squares of `frame`.
        """
        height, width = (side // coarsen for side in self.grid.shape)
        squares = self._known[: height * coarsen, : width * coarsen].reshape(height, coarsen, width, coarsen)
        return squares.sum((1, 3), dtype=np.int32)

    def describe(self) -> dict:
        """Returns a record of the archive for JSON."""
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
            "projection": grid.map,
            "fields": [field.describe() for field in self.fields],
            "missing_share": round(float(self.missing.mean(dtype=np.float64)), 6),
            "wet_share": round(float(self.wet.mean(dtype=np.float64)), 6),
            "problems": self._problems.counts(),
            "sha256": self.fingerprint,
        }

    def _index(
        self, store: Store, kept: KeptFrames, progress: bool
    ) -> tuple[dict[str, Entry], dict[str, np.ndarray], bool]:
        """Returns the entries of the archive's files, the other stored arrays, and True if files were read."""
        before, stored = store.load()
        indexes = store.folder.resolve()
        self._paths: dict[str, Path] = {}
        entries: dict[str, Entry] = {}
        for path in self._files.find():
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
            self._paths[name], entries[name] = path, entry
        usual = Counter(entry.format for entry in before.values()).most_common(1)
        new = {self._paths[name]: entry for name, entry in entries.items() if entry.grid is None}
        try:
            self._scan(new, usual[0][0] if usual else "", kept, progress)
            format = self._choose_format(entries)
            entries = {name: entry for name, entry in entries.items() if entry.format == format}
            # Those of the format, if another one had been expected.
            unread = [self._paths[name] for name, entry in entries.items() if entry.grid is None and not entry.problem]
            self._scan({path: new[path] for path in unread}, format, kept, progress)
        except BaseException:
            # Files that have been read are not read again when the user comes back.
            store.save(entries, {})
            raise
        readable = {name for name, entry in entries.items() if entry.grid is not None}
        changed = before.keys() != readable or any(entry.grid is not None for entry in new.values())
        return entries, stored, changed

    def _scan(self, entries: Mapping[Path, Entry], format: str, kept: KeptFrames, progress: bool) -> None:
        scan(entries, self._files.readers, self.zr, kept, format=format, progress=progress, name=self.name)

    def _choose_format(self, entries: Mapping[str, Entry]) -> str:
        """Sets the format to the most common one and notes the files of other formats."""
        files = self._files
        if files.named and not any(entry.format for entry in entries.values()):
            # If the format is named, its reader explains what is wrong with the files.
            for entry in entries.values():
                entry.format = entry.format if entry.problem else files.readers[0].format
        counts = Counter(entry.format for entry in entries.values() if entry.format)
        if not counts:
            raise ValueError(self._no_format(entries))
        (format, most), *others = counts.most_common()
        if others and others[0][1] == most:
            raise ValueError(
                f"[Archive] {self._root} has as many files of the format {others[0][0]!r} as of {format!r} ({most}). "
                "Name the one to read."
            )
        files.choose(format)
        endings = {Path(name).suffix.lower() for name, entry in entries.items() if entry.format == format}
        for name, entry in entries.items():
            if entry.format not in ("", format):
                self._problems.note("format", name, entry.format)
            elif not entry.format and (entry.problem or Path(name).suffix.lower() in endings):
                self._problems.note("damaged", name, entry.problem or files.reason_of(self._paths[name]))
        return format

    def _no_format(self, entries: Mapping[str, Entry]) -> str:
        problem, names = next((entry.problem for entry in entries.values() if entry.problem), ""), list(entries)
        if problem:
            return f"[Archive] no file in {self._root} can be used: {problem}"
        formats = [reader.format for reader in self._files.readers]
        files = f"none of the {len(names)} files, such as {printable(names[0])}, is" if names else "no file is"
        text = f"[Archive] {self._root}: {files} of a known format ({', '.join(formats)}). Check the path, or name the "
        text += "format and its options."
        if names and is_video(names[0]):
            text += " Videos are clips without times: data=video data.path=PATH."
        if not self._files.named and len(formats) < len(FORMATS):
            text += " Other formats do not have the 'reader' options"
            text += f", or refuse them: {self._files.refused[-1]}" if self._files.refused else "."
        return text

    def _key(self, index: int, coarsen: int) -> tuple[Path, str, int, int]:
        return self._root, self.fingerprint, index, coarsen

    def _place(self, index: int) -> tuple[Path, int]:
        """Returns the file of frame `index` and the frame's position in it."""
        return self._paths[self.file(index)], int(self._series.position[index])

    def _keep(self, kept: KeptFrames) -> None:
        """Puts the frames that have been decoded for the index into the cache."""
        for index in range(len(self) if kept else 0):
            if (frame := kept.get(*self._place(index))) is not None:
                self._cache.put(self._key(index, 1), frame)

    def _count_known(self) -> np.ndarray:
        counts = np.zeros(self.grid.shape, np.uint16)
        for index in np.linspace(0, len(self) - 1, min(len(self), _COUNTED_FRAMES)).round().astype(int).tolist():
            # Many radars miss nothing.
            if self.missing[index] == 0:
                counts += 1
                continue
            pixels = ~np.isnan(self.frame(index))
            counts += pixels if pixels.ndim == 2 else pixels.all(-1)
        return counts
