"""Clips: sequences of frames from videos, stacks and folders of pictures, which have no times."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

from convlstm.arguments import check_flags, check_whole
from convlstm.backend.child_pool import Hold
from convlstm.datasets import arguments
from convlstm.datasets.array_cache import ArrayCache
from convlstm.datasets.clips.finding import KINDS, find_sources
from convlstm.datasets.clips.fitting import FITS, coloured, fitted
from convlstm.datasets.clips.index import facts_of
from convlstm.datasets.clips.layouts import check_order
from convlstm.datasets.clips.sources import Clip, Facts, Source, Stack
from convlstm.datasets.clips.splitting import KTH, Assignment, by_names, by_person, by_shares
from convlstm.datasets.clips.windows import Drawing, windows_by_clips, windows_by_time
from convlstm.datasets.sequence_dataset import SPLITS, SequenceDataset

import numpy as np

_NAMED = 5


class VideoClips(SequenceDataset):
    """Sequences from clips: videos, `.npy` and `.npz` stacks, or folders of pictures.

    A sequence has `input_frames + target_frames` frames of one clip, each `step` frames after the one before. Clips may
    differ in length, and in size if `frame_size` is given. Validation and test have clips of their own; a single clip
    is split in time. A training sequence is a function of `(seed, epoch, index)`, a sequence of validation or test of
    its index alone.

    All clips are read once, at the first start; their lengths, sizes and digests are stored. Clips that are damaged or
    too short are left out, with one warning.

    Args:
        path: A folder, whose subfolders are searched too, a video, or a stack. It must be given.
        kind: `"videos"`, `"pictures"` (each folder of pictures is a clip) or `"stacks"`; `"auto"`: the only one that is
            there. Default: `"auto"`.
        order: Order of the axes of stacks by the letters N (clips), T (frames), H, W and C (channels), such as
            `"TNHW"`. Default: by their shapes, if these leave no doubt.
        channels: 1 for grey, 3 for red, green and blue. Default: 1.
        white: Value of stacks that becomes 1. Default: 255 for 8 bits, 1 for floats and booleans; required for others.
        frame_size: Side of the frames in pixels, or `(H, W)`; None for that of the clips. Default: None.
        fit: How clips are brought to `frame_size`, see `convlstm.datasets.clips.fitting.fitted`. Default: `"crop"`.
        multiple: Number that must divide the sides if `frame_size` is None: frames are cut to them. Default: 4.
        input_frames: Frames of `inputs`. Default: 10.
        target_frames: Frames of `targets`. Default: 10.
        step: Frames of the clip from one frame of a sequence to the next. Default: 1.
        stride: Frames from the start of one sequence to the next. Default: 1 for training, and the length of a sequence
            for validation and test.
        split: Shares of the clips for train, validation and test; or `"kth"`: persons 1 to 15, person 16, and persons
            17 to 25, by the names of KTH's files. Default: (0.8, 0.1, 0.1).
        split_by: `"clips"`; or `"time"`: every clip is cut into three parts. Default: clips, time if there is only one.
        group: Regular expression of the part of a name that clips of one group share, which are never split, such as
            `"person\\d+"`. Default: none.
        validation_clips: Names or patterns of the clips for validation, such as `["valid/*"]`. Default: by `split`.
        test_clips: The same for test. Default: by `split`.
        augment: Flip training sequences from left to right at random. Default: False.
        train_sequences: Training sequences in an epoch. Default: all.
        validation_sequences: Most validation sequences, evenly over the split. Default: all.
        test_sequences: Most test sequences, evenly over the split. Default: all.
        index: Folder of the stored indexes. Default: `$CONVLSTM_DATA/index`, or `convlstm/index` in the user's cache.
        cache_bytes: Bytes of frames to keep in memory. Default: 512 MiB.
        prefetch: Batches made ahead. Default: 4.
        threads: Background threads that make them. Default: 1.
        progress: Show a bar while clips are read for the first time. Default: True.

    Attributes:
        frame_shape: `(H, W, C)`.
        clips: The clips.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If an argument is out of its range, or there are no clips that can be used.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        kind: str = "auto",
        order: str | None = None,
        channels: int = 1,
        white: float | None = None,
        frame_size: int | Sequence[int] | None = None,
        fit: str = "crop",
        multiple: int = 4,
        input_frames: int = 10,
        target_frames: int = 10,
        step: int = 1,
        stride: int | None = None,
        split: Sequence[float] | str = (0.8, 0.1, 0.1),
        split_by: str | None = None,
        group: str | None = None,
        validation_clips: str | Sequence[str] | None = None,
        test_clips: str | Sequence[str] | None = None,
        augment: bool = False,
        train_sequences: int | None = None,
        validation_sequences: int | None = None,
        test_sequences: int | None = None,
        index: str | None = None,
        cache_bytes: int = 512 << 20,
        prefetch: int = 4,
        threads: int = 1,
        progress: bool = True,
    ):
        super().__init__(
            "VideoClips", input_frames=input_frames, target_frames=target_frames, prefetch=prefetch, threads=threads
        )
        _check_choice("kind", kind, ("auto", *KINDS))
        _check_choice("fit", fit, FITS)
        _check_choice("split_by", split_by, (None, "clips", "time"))
        check_order(order)
        if channels not in (1, 3):
            raise ValueError(f"[VideoClips] 'channels' must be 1 (grey) or 3 (colour) but got {channels!r}.")
        if white is not None:
            white = arguments.number("VideoClips", "white", white, 1e-6, 1e12)
        size = None if frame_size is None else arguments.sides("VideoClips", "frame_size", frame_size)
        multiple = check_whole("VideoClips", "multiple", multiple, 1, None)
        self._step = check_whole("VideoClips", "step", step, 1, None)
        self._span = (self.input_frames + self.target_frames - 1) * self._step + 1
        strides = dict.fromkeys(SPLITS, self._span) | {"train": 1}
        if stride is not None:
            strides = dict.fromkeys(SPLITS, check_whole("VideoClips", "stride", stride, 1, 1 << 53))
        check_flags("VideoClips", augment=augment, progress=progress)
        self._augment, self._channels, self._fit = augment, channels, fit
        wanted = {"train": train_sequences, "validation": validation_sequences, "test": test_sequences}
        for name, most in wanted.items():
            if most is not None:
                check_whole("VideoClips", f"{name}_sequences", most, 1, arguments.MOST_SEQUENCES)
        self._cache = ArrayCache(check_whole("VideoClips", "cache_bytes", cache_bytes, 0, None), least=1)
        folder = None if index is None else arguments.path("VideoClips", "index", index)
        chosen = {
            name: arguments.texts("VideoClips", f"{name}_clips", value)
            for name, value in (("validation", validation_clips), ("test", test_clips))
            if value is not None
        }

        if path is None:
            raise ValueError(
                "[VideoClips] 'path' must name a folder of clips, a video or a stack of frames: data.path=PATH."
            )
        self._path = arguments.path("VideoClips", "path", path)
        self._readers = Hold()  # the processes that decode videos
        sources, left_out = find_sources(
            self._path, kind=kind, channels=channels, order=order, white=white, length=self._span
        )
        found = facts_of(sources, self._path, folder=folder, progress=progress)
        self.clips, problems = self._usable(sources, found)
        left_out += problems
        if not self.clips:
            raise ValueError(
                f"[VideoClips] {self._path} has no clip that can be used: {_some(left_out)}. A sequence spans "
                f"{self._span} frames (input_frames, target_frames, step)."
            )
        if left_out:
            warnings.warn(f"[VideoClips] left out of {self._path}: {_some(left_out)}.", stacklevel=2)
        self._eight_bits = all(clip.source.eight_bits for clip in self.clips)
        self.frame_shape = (*self._frame_size(size, multiple), channels)

        shares = arguments.split_shares("VideoClips", (0.8, 0.1, 0.1) if split == KTH else split)  # type: ignore[arg-type]
        if split_by is None:
            split_by = "time" if len(self.clips) == 1 and not chosen and split != KTH else "clips"
        elif split_by == "time" and (chosen or group is not None or split == KTH):
            raise ValueError(
                "[VideoClips] 'split_by' is time, so every clip has a part in each split. Leave out 'group', "
                "'validation_clips' and 'test_clips', and give 'split' as shares; or set split_by=clips."
            )
        if split_by == "time":
            self._windows = windows_by_time(self.clips, shares, self._span, strides)
        else:
            assigned = self._assigned(split, shares, group, chosen)
            self._windows = windows_by_clips(self.clips, assigned, self._span, strides)
        self._split_record = {"split": split if split == KTH else list(shares.values()), "split_by": split_by, **chosen}
        self._check_windows(shares, split, chosen)
        height, width, _ = self.frame_shape
        sizes = [clip.facts.frames * height * width * channels * (1 if self._eight_bits else 4) for clip in self.clips]
        self._drawing = Drawing(self._windows["train"], sizes)
        for name in ("validation", "test"):
            most, windows = wanted[name], self._windows[name]
            if most is not None and most < len(windows):
                self._windows[name] = windows[np.linspace(0, len(windows) - 1, most).round().astype(int)]
        self._sizes = {name: len(windows) for name, windows in self._windows.items()}
        self._sizes["train"] = (train_sequences or self._sizes["train"]) if self._sizes["train"] else 0
        self._strides = strides

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`: `inputs` (T_in, H, W, C) and `targets`, a function of the arguments.

        They are uint8, or float32 in [0, 1] if a stack does not hold 8-bit values. `seed` and `epoch` matter to
        training sequences only.

        Raises:
            ReadError: If the clip can no longer be read.
        """
        key = self._key(split, index, seed, epoch)
        number, start = self._drawing.window(*key) if split == "train" else self._windows[split][index].tolist()
        frames = self._frames(self.clips[number], range(start, start + self._span, self._step))
        if self._augment and split == "train" and np.random.default_rng([*key, 1]).integers(2):
            frames = frames[:, :, ::-1]
        return {"inputs": frames[: self.input_frames], "targets": frames[self.input_frames :]}

    def describe(self) -> dict[str, Any]:
        """Returns a record of the clips and the sequences for JSON."""
        clips = {name: len(np.unique(windows[:, 0])) for name, windows in self._windows.items()}
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(f"{clip.name} {clip.facts.frames} {clip.facts.runs} {clip.facts.sha256}\n".encode())
        for windows in self._windows.values():
            digest.update(np.ascontiguousarray(windows).tobytes())
        return {
            "name": "video",
            "clips": clips,
            "sequences": dict(self._sizes),
            "frame_shape": list(self.frame_shape),
            "fit": self._fit,
            "white": self._white(),
            "input_frames": self.input_frames,
            "target_frames": self.target_frames,
            "step": self._step,
            "stride": dict(self._strides),
            **self._split_record,
            "augment": self._augment,
            "data_sha256": digest.hexdigest(),
        }

    def _frames(self, clip: Clip, positions: range) -> np.ndarray:
        source = clip.source
        if source.kept == "clip":
            every = range(clip.facts.frames)
            return self._cache.get((clip.name, "all"), lambda: self._prepared(source, clip.number, every))[positions]
        if not source.kept:
            return self._prepared(source, clip.number, positions)
        return np.stack(
            [
                self._cache.get((clip.name, n), lambda n=n: self._prepared(source, clip.number, [n]))[0]  # type: ignore[misc]
                for n in positions
            ]
        )

    def _prepared(self, source: Source, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames with the wanted channels, size and type."""
        frames = coloured(source.frames(clip, positions), self._channels)
        frames = fitted(frames, self.frame_shape[:2], self._fit)
        if not self._eight_bits and frames.dtype == np.uint8:
            frames = frames.astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(frames)

    def _usable(self, sources: Sequence[Source], found: Sequence[Facts]) -> tuple[list[Clip], list[str]]:
        """Returns the clips that have a sequence, and the reasons why others are left out."""
        clips: list[Clip] = []
        left_out: list[str] = []
        short: list[str] = []
        for source, facts in zip(sources, found, strict=True):
            if facts.problem:
                left_out.append(facts.problem)
            if isinstance(source, Stack):
                _check_values(source, facts)
            longest = max((b - a for a, b in facts.runs), default=0)
            if longest < self._span:
                short += [f"{source.name} ({longest})"] if facts.runs else []
                continue
            count = source.layout.sizes(source.member.shape)["N"] if isinstance(source, Stack) else 1
            names = [source.name] if count == 1 else [f"{source.name}#{n}" for n in range(count)]
            clips += [Clip(name, source, n, facts) for n, name in enumerate(names)]
        if short:
            left_out.append(f"clips with fewer than {self._span} frames: {_some(short)}")
        return clips, left_out

    def _frame_size(self, size: tuple[int, int] | None, multiple: int) -> tuple[int, int]:
        shapes = {(clip.facts.height, clip.facts.width): clip.name for clip in self.clips}
        listed = _some([f"{name} {height}x{width}" for (height, width), name in shapes.items()])
        if size is None:
            if len(shapes) > 1:
                raise ValueError(
                    f"[VideoClips] the clips differ in size: {listed}. Set the size to bring them to: "
                    "data.frame_size=64 or data.frame_size=[HEIGHT,WIDTH]."
                )
            ((height, width),) = shapes
            self._fit = "cut"
            size = (height - height % multiple, width - width % multiple)
            if min(size) == 0:
                raise ValueError(f"[VideoClips] frames of {listed} cannot be cut to a 'multiple' of {multiple}.")
        elif self._fit == "cut" and any(height < size[0] or width < size[1] for height, width in shapes):
            raise ValueError(
                f"[VideoClips] 'frame_size' must be at most that of the clips, {listed}, for fit=cut, but got "
                f"{size[0]}x{size[1]}. Use fit=crop or a smaller one."
            )
        return size

    def _assigned(
        self, split: Any, shares: dict[str, float], group: str | None, chosen: dict[str, list[str]]
    ) -> Assignment:
        names = [clip.name for clip in self.clips]
        if split == KTH:
            if chosen or group is not None:
                raise ValueError(
                    "[VideoClips] 'split' is kth, which has groups and clips of its own. Leave out 'group', "
                    "'validation_clips' and 'test_clips', or give 'split' as shares."
                )
            return by_person(names)
        return by_names(names, chosen, shares, group) if chosen else by_shares(names, shares, group)

    def _check_windows(self, shares: dict[str, float], split: Any, chosen: dict[str, list[str]]) -> None:
        for name in SPLITS:
            asked = split == KTH or name in chosen or shares[name] > 0
            if asked and len(self._windows[name]) == 0:
                raise ValueError(
                    f"[VideoClips] {name} has no sequence of {self._span} frames. Use fewer input_frames or "
                    f"target_frames, a larger share in 'split', other '{name}_clips', or longer clips; the longest has "
                    f"{max(clip.facts.frames for clip in self.clips)} frames."
                )

    def _white(self) -> float:
        stacks = [clip.source for clip in self.clips if isinstance(clip.source, Stack)]
        return stacks[0].scale if stacks else 255.0


def _check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        words = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise ValueError(f"[VideoClips] '{name}' must be one of {words} but got {value!r}.")


def _check_values(stack: Stack, facts: Facts) -> None:
    """Raises ValueError if values of a stack are missing, negative or above white: they would be lost."""
    if stack.eight_bits or facts.problem:
        return
    if not (math.isfinite(facts.low) and math.isfinite(facts.high)):
        raise ValueError(
            f"[VideoClips] {stack.name} has values that are missing or infinite. Clips must have all pixels; fields "
            "with missing values are read by data=radar_echo."
        )
    if facts.low < 0 or facts.high > stack.scale:
        raise ValueError(
            f"[VideoClips] {stack.name} has values from {facts.low:g} to {facts.high:g}, but they must lie between 0 "
            f"and white, {stack.scale:g}. Name the value that is white: data.white={max(facts.high, 1):g}. Fields with "
            "negative values are read by data=radar_echo."
        )


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more
