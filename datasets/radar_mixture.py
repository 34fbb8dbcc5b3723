"""Several radar data sets in one: archives that differ in step, pixel size and units, each with its own weight."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from convlstm.arguments import check_mapping, check_number, check_whole
from convlstm.datasets import arguments
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.sequence_dataset import SPLITS, SequenceDataset

import numpy as np

# Arguments of a part that are not those of `RadarEcho`.
_OWN = ("weight", "splits", "pixel_km")
# Arguments that all parts have in common.
_COMMON = ("input_frames", "target_frames", "frame_size", "transform", "thresholds", "prefetch", "threads")


class RadarMixture(SequenceDataset):
    """Sequences of several parts, each a `convlstm.datasets.radar_echo.RadarEcho` with options of its own.

    A training sequence comes from a part that is drawn in proportion to its weight, and is then one of that part's
    training sequences: it is a function of `(seed, epoch, index)`. The sequences of validation and test are those of
    all parts, one part after the other. With each sequence come the minutes between its frames and the side of its
    pixels.

    With a `margin`, pixels near the border of the targets count as missing. The model sees them in the inputs, so rain
    can move into the area that counts.

    Args:
        parts: Arguments of `RadarEcho` by name of the part, and of its own: `weight`, its share of the training
            sequences relative to the others (default 1); `splits`, a list of the splits that it is for (default: all
            for which it has sequences); `pixel_km`, the side of a pixel in km before `coarsen`, for archives that do
            not say it.
        shared: Arguments of `RadarEcho` for all parts, unless a part has them itself. Default: none.
        input_frames: Frames of `inputs`. Default: 5.
        target_frames: Frames of `targets`. Default: 12.
        frame_size: Side of a crop in pixels, or `(H, W)`. Default: 128.
        margin: Width in pixels of the border that does not count. Default: 0.
        train_sequences: Training sequences in an epoch. Default: 2000.
        transform: Transform to [0, 1] and back. Default: that of `RadarEcho` for mm/h.
        thresholds: Thresholds of scores in physical units. Default: likewise.
        prefetch: Batches made ahead. Default: 4.
        threads: Background threads that make them. Default: 1.

    Attributes:
        parts: The parts by name.
        frame_shape, units, thresholds, transform: As in `RadarEcho`.
        frame_interval, pixel_km: Minutes from frame to frame and side of a pixel in km if they are the same in all
            parts, else None.

    Raises:
        FileNotFoundError: If nothing exists at an archive's path.
        ValueError: If an argument is out of its range, or a part has other units or no sequences for a split.
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, Mapping[str, Any]],
        shared: Mapping[str, Any] | None = None,
        input_frames: int = 5,
        target_frames: int = 12,
        frame_size: int | list[int] = 128,
        margin: int = 0,
        train_sequences: int = 2000,
        transform: Any = None,
        thresholds: Any = None,
        prefetch: int = 4,
        threads: int = 1,
    ):
        owner = "RadarMixture"
        super().__init__(
            owner, input_frames=input_frames, target_frames=target_frames, prefetch=prefetch, threads=threads
        )
        check_mapping(owner, "parts", parts)
        if not parts:
            raise ValueError(f"[{owner}] 'parts' must have at least one part but is empty.")
        for name, part in parts.items():
            check_mapping(owner, f"parts.{name}", part)
        shared = arguments.options(owner, "shared", shared)
        for name, options in (("shared", shared), *parts.items()):
            if given := [key for key in _COMMON if key in options]:
                raise ValueError(
                    f"[{owner}] '{name}' must not have '{given[0]}', which is one for all: give it beside 'parts'."
                )
            known = [key for key in inspect.signature(RadarEcho).parameters if key not in _COMMON]
            known += [] if name == "shared" else _OWN
            if unknown := [key for key in options if key not in known]:
                raise ValueError(f"[{owner}] '{name}' has no '{unknown[0]}' but {', '.join(known)}.")
        height, width = arguments.sides(owner, "frame_size", frame_size)
        self.margin = check_whole(owner, "margin", margin, 0, (min(height, width) - 1) // 2)
        common = {
            "input_frames": input_frames,
            "target_frames": target_frames,
            "frame_size": [height, width],
            "transform": transform,
            "thresholds": thresholds,
        }
        self.parts = {
            name: RadarEcho(**{**shared, **{k: v for k, v in part.items() if k not in _OWN}, **common})
            for name, part in parts.items()
        }
        self._facts = {
            name: self._facts_of(name, part.get("pixel_km"), {**shared, **part}.get("coarsen", 1))
            for name, part in parts.items()
        }
        first = next(iter(self.parts.values()))
        for name, data in self.parts.items():
            if data.units != first.units:
                raise ValueError(
                    f"[{owner}] the parts must have the same units, but '{name}' is in {data.units} and "
                    f"'{next(iter(parts))}' in {first.units}. Set the reader's 'units', or leave one out."
                )
        self.frame_shape, self.units, self.thresholds = first.frame_shape, first.units, first.thresholds
        self.transform = first.transform
        steps, sides = (set(values) for values in zip(*self._facts.values(), strict=True))
        self.frame_interval = steps.pop() if len(steps) == 1 else None
        self.pixel_km = sides.pop() if len(sides) == 1 else None
        self._of_split = {split: self._parts_of(split, parts) for split in SPLITS}
        self._weights = self._checked_weights(parts)
        count = check_whole(owner, "train_sequences", train_sequences, 1, arguments.MOST_SEQUENCES)
        self._sizes = {split: sum(self.parts[n].size(split) for n in self._of_split[split]) for split in SPLITS}
        self._sizes["train"] = count if self._weights else 0

    def sample(
        self, split: str, index: int, *, seed: int = 0, epoch: int = 0, truth: bool = False
    ) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`, a function of the arguments.

        It is as in `RadarEcho`, and has `minutes` and `pixel_km`, float32 numbers.
        """
        name, key = self._place(split, index, seed, epoch)
        arrays = self.parts[name].sample(split, key[2], seed=key[0], epoch=key[1], truth=truth)
        if self.margin:
            inside = np.zeros(self.frame_shape, bool)
            inside[self.margin : -self.margin, self.margin : -self.margin] = True
            arrays["mask"] = arrays["mask"] & inside
            if truth:
                arrays["truth"] = np.where(inside, arrays["truth"], np.float32(np.nan))
        minutes, pixel_km = self._facts[name]
        return arrays | {"minutes": np.array(minutes, np.float32), "pixel_km": np.array(pixel_km, np.float32)}

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Returns values on the model's scale, of any shape, in `units`."""
        return self.transform.inverse(np.asarray(x))

    def times(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray | None:
        """Returns the times (UTC) of a sequence's frames, datetime64[s] of (T_in + T_out,); None for synthetic ones."""
        name, key = self._place(split, index, seed, epoch)
        return self.parts[name].times(split, key[2], seed=key[0], epoch=key[1])

    def part(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> str:
        """Returns the name of the part that a sequence is from."""
        return self._place(split, index, seed, epoch)[0]

    def describe(self) -> dict:
        """Returns a record of the parts and their sequences for JSON."""
        records = {name: part.describe() for name, part in self.parts.items()}
        archives = {
            f"{name}: {archive}": about
            for name, record in records.items()
            for archive, about in record.get("archives", {}).items()
        }
        return {
            "name": "radar_mixture",
            "archives": archives,
            "parts": {
                name: record
                | {"minutes": self._facts[name][0], "pixel_km": self._facts[name][1]}
                | {"weight": self._weights.get(name, 0.0)}
                | {"splits": [split for split in SPLITS if name in self._of_split[split]]}
                for name, record in records.items()
            },
            "sequences": dict(self._sizes),
            "frame_shape": list(self.frame_shape),
            "input_frames": self.input_frames,
            "target_frames": self.target_frames,
            "margin": self.margin,
            "frame_interval": self.frame_interval,
            "pixel_km": self.pixel_km,
            "units": self.units,
            "transform": self.transform.describe(),
            "thresholds": list(self.thresholds),
        }

    def _place(self, split: str, index: int, seed: int, epoch: int) -> tuple[str, tuple[int, int, int]]:
        """Returns the part of a sequence, and its seed, epoch and index there."""
        seed, epoch, index = self._key(split, index, seed, epoch)
        names = self._of_split[split]
        if split != "train":
            for name in names:
                if index < self.parts[name].size(split):
                    return name, (0, 0, index)
                index -= self.parts[name].size(split)
        rng = np.random.default_rng([3, seed, epoch, index])
        shares = np.cumsum(list(self._weights.values()))
        name = list(self._weights)[
            min(int(np.searchsorted(shares, rng.random() * shares[-1], "right")), len(shares) - 1)
        ]
        # The part draws window and crop by the seed; the turn makes sequences of one epoch differ from each other.
        return name, (int(rng.integers(1 << 32)), epoch, int(rng.integers(self.parts[name].size("train"))))

    def _facts_of(self, name: str, given: Any, coarsen: int) -> tuple[float, float]:
        """Returns the minutes from frame to frame, and the side of a pixel in km."""
        data = self.parts[name]
        pixel_km = data.pixel_km
        if given is not None:
            pixel_km = check_number("RadarMixture", f"parts.{name}.pixel_km", given, above=0) * coarsen
        if pixel_km is None or not np.isfinite(data.frame_interval):
            raise ValueError(
                f"[RadarMixture] the archive of '{name}' does not say the side of its pixels in km: give it by "
                f"parts.{name}.pixel_km=NUMBER."
                if pixel_km is None
                else f"[RadarMixture] the frames of '{name}' have no step: set the reader's 'step_minutes'."
            )
        return float(data.frame_interval), float(pixel_km)

    def _parts_of(self, split: str, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
        chosen = []
        for name, part in parts.items():
            wanted = part.get("splits")
            if wanted is None:
                chosen += [name] if self.parts[name].size(split) else []
                continue
            if not isinstance(wanted, list | tuple) or not wanted or not set(wanted) <= set(SPLITS):
                raise ValueError(
                    f"[RadarMixture] 'parts.{name}.splits' must be a list of {', '.join(SPLITS)} but got {wanted!r}."
                )
            if split in wanted and not self.parts[name].size(split):
                raise ValueError(
                    f"[RadarMixture] '{name}' has no sequences for {split}, which its 'splits' name. Give them a share "
                    f"in parts.{name}.split."
                )
            chosen += [name] if split in wanted else []
        return chosen

    def _checked_weights(self, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        weights = {}
        for name, part in parts.items():
            weight = check_number("RadarMixture", f"parts.{name}.weight", part.get("weight", 1.0), 0)
            if weight > 0 and name in self._of_split["train"]:
                weights[name] = weight
        return weights
