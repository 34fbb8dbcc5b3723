"""The order of the axes of an array of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CHANNELS = (1, 3)
# The test set of Moving-MNIST, whose first axis is that of the frames.
_PUBLISHED, _PUBLISHED_FRAMES = "mnist_test_seq.npy", 20


@dataclass(frozen=True)
class Layout:
    """The order of the axes, such as NTHWC: clips, frames, height, width, channels. N and C may be absent."""

    order: str

    def sizes(self, shape: Sequence[int]) -> dict[str, int]:
        """Returns the size of each axis by its letter; 1 for an axis that is absent."""
        return {"N": 1, "C": 1} | {letter: int(size) for letter, size in zip(self.order, shape, strict=True)}

    @property
    def first(self) -> str:
        """The first axes that count clips or frames, such as NT of NTHWC."""
        return self.order[: len(self.order) - len(self.order.lstrip("NT"))]

    def frames(self, array: np.ndarray, clip: int, positions: Sequence[int]) -> np.ndarray:
        """Returns frames of a clip as (T, H, W, C)."""
        view = np.transpose(array, [self.order.index(letter) for letter in "NTHWC" if letter in self.order])
        taken = (view[clip] if "N" in self.order else view)[list(positions)]
        return np.ascontiguousarray(taken if "C" in self.order else taken[..., None])


def check_order(order: str | None) -> None:
    """Raises ValueError if an order is neither None nor one of the letters T, H, W and perhaps N and C, each once."""
    if order is None:
        return
    valid = isinstance(order, str) and len(set(order)) == len(order) and set("THW") <= set(order) <= set("NTHWC")
    if not valid:
        raise ValueError(
            "[VideoClips] 'order' must name the axes of the arrays by N (clips), T (frames), H, W and C (channels), "
            f"such as NTHW, TNHW or NTHWC, but got {order!r}."
        )


def layout_of(shape: Sequence[int], length: int, order: str | None, what: str) -> Layout:
    """Returns the order of the axes of an array, if its shape leaves no doubt.

    (T, H, W), (T, H, W, C), (N, T, H, W) and (N, T, H, W, C) are recognised, with C of 1 or 3; and (T, N, H, W, ...) if
    only that leaves enough frames for a sequence, or if the array is the published test set of Moving-MNIST, (20,
    10000, 64, 64), under its own name.

    Args:
        shape: Shape of the array.
        length: Frames that a sequence spans.
        order: The order, if the user has named it.
        what: Name of the array, for messages.

    Raises:
        ValueError: If the order has another number of axes, or the shape may mean several orders.
    """
    text = f"{what} is of {' x '.join(map(str, shape))}"
    if order is not None:
        if len(order) != len(shape):
            raise ValueError(f"[VideoClips] 'order' must name {len(shape)} axes, since {text}, but got {order!r}.")
        return _checked(Layout(order), shape, text)
    if len(shape) == 3:
        return Layout("THW")
    if len(shape) == 4 and shape[-1] in _CHANNELS:
        return Layout("THWC")
    first, second = shape[:2]
    if len(shape) == 4 and _PUBLISHED in what and first == _PUBLISHED_FRAMES:
        return Layout("TNHW")
    tail = "HW" if len(shape) == 4 else "HWC"
    if len(shape) == 5 and shape[-1] not in _CHANNELS and shape[2] in _CHANNELS:
        tail = "CHW"
    plain = len(shape) in (4, 5) and (len(shape) == 4 or tail == "CHW" or shape[-1] in _CHANNELS)
    if plain and second not in _CHANNELS:
        if second >= length and (first < length or first >= second):
            return Layout(f"NT{tail}")
        if first >= length > second:
            return Layout(f"TN{tail}")
    named = {"NTHW": "clips first", "TNHW": "frames first, as in mnist_test_seq.npy"}
    if len(shape) == 5:
        named = {"NTHWC": "clips first", "TNHWC": "frames first", "NTCHW": "channels before the rows"}
    ways = ", ".join(f"{letters} ({meaning})" for letters, meaning in named.items())
    raise ValueError(
        f"[VideoClips] {text}, which does not tell the order of its axes for sequences that span {length} frames. Name "
        f"it: data.order={ways}, or another order of N, T, H, W and C."
    )


def _checked(layout: Layout, shape: Sequence[int], text: str) -> Layout:
    if layout.sizes(shape)["C"] not in _CHANNELS:
        raise ValueError(
            f"[VideoClips] {text}, so with order={layout.order} a frame has {layout.sizes(shape)['C']} channels, but "
            "frames are grey (1) or red, green and blue (3). For other fields use data=radar_echo."
        )
    return layout
