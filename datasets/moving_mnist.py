"""Moving-MNIST: digits that move over a frame and bounce off its edges (Srivastava et al., 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from convlstm.arguments import check_whole
from convlstm.backend.memory import check_memory
from convlstm.datasets import arguments
from convlstm.datasets.digits import MIRRORS, Digits, load_digits, resize
from convlstm.datasets.folders import data_folder
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.numpy_arrays import Member, array_of, read_blocks
from convlstm.datasets.sequence_dataset import SPLITS, SequenceDataset

import numpy as np

_TEST_SEQUENCES_FILE = "mnist_test_seq.npy"


class MovingMNIST(SequenceDataset):
    """Sequences of digits that move in straight lines and bounce off the edges of the frame.

    A training sequence is a function of `(seed, epoch, index)`, so every epoch is new and needs no storage; a sequence
    of validation or test is a function of its index alone. Each sequence draws for each digit an image, a start `p` in
    the unit square, an angle `a` and a speed `v`. Then for every frame and each axis

        p = p + v (sin a, cos a);   p < 0 or p > 1: back to the edge, and that velocity flips
        pixel = int(p (H - digit_size, W - digit_size))

    Digits are combined by maximum. Validation uses the last of the training digits, which training does not use; test
    uses the test digits. If `root` has the published test file `mnist_test_seq.npy`, and the arguments describe its
    sequences (64 x 64, two digits of 28, step 0.1, at most 20 frames, digits other than built-in), these are the test
    sequences.

    Args:
        root: Folder of the MNIST files. Default: `$CONVLSTM_DATA/mnist`, or `convlstm/mnist` in the user's cache.
        digits: `"mnist"`, `"builtin"` (drawn from fonts) or `"auto"`: MNIST if it is in `root` or can be downloaded
            there, else built-in digits, with a warning. Or `convlstm.datasets.digits.Digits` of your own images.
            Default: `"auto"`.
        mirrors: Addresses of the folders to download MNIST from, tried in turn; an empty list stays offline.
            Default: those of `convlstm.datasets.digits.MIRRORS`.
        timeout: Seconds to wait for a mirror's answer. Default: 2.0.
        frame_size: Side of the frame in pixels, or `(H, W)`. Default: 64.
        digit_size: Side of a digit's square in pixels; images of another size are resampled. Default: 28.
        num_digits: Digits in a sequence. Default: 2.
        step: Distance per frame as a share of the free square, in [0, 1]; or `(low, high)`, from which each digit draws
            its own. Default: 0.1.
        input_frames: Frames of `inputs`. Default: 10.
        target_frames: Frames of `targets`. Default: 10.
        train_sequences: Training sequences in an epoch. Default: 10000.
        validation_sequences: Validation sequences. Default: 1000.
        test_sequences: Test sequences; at most those in the published file if it is used. Default: 10000.
        dtype: `"float32"` for values in [0, 1], or `"uint8"` for 0 to 255. Default: `"float32"`.
        prefetch: Batches made ahead. Default: 4.
        threads: Background threads that make them. More than one gains nothing, as Python runs one at a time.
            Default: 1.

    Raises:
        ValueError: If an argument is out of its range or a file in `root` is damaged.
        FileNotFoundError: If `digits` is `"mnist"` and MNIST can be neither found nor downloaded.
    """

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        digits: str | Digits = "auto",
        mirrors: str | Iterable[str] = MIRRORS,
        timeout: float = 2.0,
        frame_size: int | Sequence[int] = 64,
        digit_size: int = 28,
        num_digits: int = 2,
        step: float | Sequence[float] = 0.1,
        input_frames: int = 10,
        target_frames: int = 10,
        train_sequences: int = 10000,
        validation_sequences: int = 1000,
        test_sequences: int = 10000,
        dtype: str = "float32",
        prefetch: int = 4,
        threads: int = 1,
    ):
        super().__init__(
            "MovingMNIST", input_frames=input_frames, target_frames=target_frames, prefetch=prefetch, threads=threads
        )
        height, width = arguments.sides("MovingMNIST", "frame_size", frame_size)
        digit_size = check_whole("MovingMNIST", "digit_size", digit_size, 1, None)
        if digit_size > min(height, width):
            raise ValueError(
                f"[MovingMNIST] 'digit_size' must be at most the frame's smaller side ({min(height, width)}) but got "
                f"{digit_size}. Use smaller digits or a larger 'frame_size'."
            )
        if dtype not in ("float32", "uint8"):
            raise ValueError(f"[MovingMNIST] 'dtype' must be 'float32' or 'uint8' but got {dtype!r}.")
        self.frame_shape = (height, width, 1)
        self._frames = self.input_frames + self.target_frames
        self._digit_size = digit_size
        self._num_digits = check_whole("MovingMNIST", "num_digits", num_digits, 1, 1000)
        self._step = arguments.number_range("MovingMNIST", "step", step, 0, 1)
        self._dtype = np.dtype(dtype)
        sizes = {"train": train_sequences, "validation": validation_sequences, "test": test_sequences}
        self._sizes = {
            split: check_whole("MovingMNIST", f"{split}_sequences", size, 1, arguments.MOST_SEQUENCES)
            for split, size in sizes.items()
        }
        check_memory(
            "MovingMNIST",
            "a sequence of 'input_frames' and 'target_frames' of 'frame_size'",
            self._frames * height * width * self._dtype.itemsize,
        )

        images = digits if isinstance(digits, Digits) else load_digits(digits, root, mirrors=mirrors, timeout=timeout)
        for name, array in (("train", images.train), ("test", images.test)):
            if array.ndim != 3 or array.dtype != np.uint8 or len(array) < 2:
                raise ValueError(
                    f"[MovingMNIST] 'digits' must be uint8 images (N, height, width), at least 2, but its {name} "
                    f"images are {array.dtype} of {array.shape}."
                )
        check_memory(
            "MovingMNIST", "all images at 'digit_size'", (len(images.train) + len(images.test)) * digit_size**2
        )
        # 5000 of MNIST, as is customary, or a tenth of another set.
        held_out = 5000 if len(images.train) == 60000 else max(1, len(images.train) // 10)
        self._images = {
            "train": resize(images.train[:-held_out], digit_size),
            "validation": resize(images.train[-held_out:], digit_size),
            "test": resize(images.test, digit_size),
        }
        self._record = {"digits": images.source, "digits_sha256": images.sha256()}

        self._published: Member | None = None
        folder = data_folder("mnist") if root is None else arguments.path("MovingMNIST", "root", root)
        path = folder / _TEST_SEQUENCES_FILE
        wanted = (height, width, digit_size, self._num_digits, self._step) == (64, 64, 28, 2, (0.1, 0.1))
        if wanted and self._frames <= 20 and digits in ("auto", "mnist") and path.is_file():
            self._published, self._path = _open_published(path), path
            self._sizes["test"] = min(self._sizes["test"], self._published.shape[1])

    def sample(self, split: str, index: int, *, seed: int = 0, epoch: int = 0) -> dict[str, np.ndarray]:
        """Returns sequence `index` of `split`: `inputs` (T, H, W, 1) and `targets`, a function of the arguments.

        `seed` and `epoch` matter to training sequences only.
        """
        key = self._key(split, index, seed, epoch)
        if split == "test" and self._published is not None:
            frames = self._scaled(self._published_frames(key[-1]))
        else:
            frames = self._generate(split, key)
        frames = frames[..., None]
        return {"inputs": frames[: self.input_frames], "targets": frames[self.input_frames :]}

    def describe(self) -> dict:
        """Returns a record of the sequences for JSON."""
        return {
            "name": "moving_mnist",
            **self._record,
            "digit_images": {split: len(images) for split, images in self._images.items()},
            "sequences": dict(self._sizes),
            "test": "generated" if self._published is None else _TEST_SEQUENCES_FILE,
            "frame_shape": list(self.frame_shape),
            "digit_size": self._digit_size,
            "num_digits": self._num_digits,
            "step": list(self._step),
            "input_frames": self.input_frames,
            "target_frames": self.target_frames,
        }

    def _published_frames(self, index: int) -> np.ndarray:
        # Read, not mapped into memory: a mapped file that somebody shortens ends the whole process.
        assert self._published is not None
        try:
            return read_blocks(self._path, self._published, [(t, index) for t in range(self._frames)])
        except (OSError, UnreadableError) as error:
            raise ValueError(f"[MovingMNIST] {self._path} cannot be read any more ({error}).") from error

    def _generate(self, split: str, key: tuple[int, int, int]) -> np.ndarray:
        rng = np.random.default_rng([SPLITS.index(split), *key])
        height, width, _ = self.frame_shape
        size, images = self._digit_size, self._images[split]
        low, high = self._step
        frames = np.zeros((self._frames, height, width), self._dtype)
        chosen = rng.integers(len(images), size=self._num_digits)
        for image, (y, x, turn, share) in zip(chosen, rng.random((self._num_digits, 4)).tolist(), strict=True):
            digit = self._scaled(images[image])
            angle, speed = 2 * math.pi * turn, low + (high - low) * share
            tops = bounce(y, speed * math.sin(angle), self._frames, height - size)
            lefts = bounce(x, speed * math.cos(angle), self._frames, width - size)
            for frame, top, left in zip(frames, tops, lefts, strict=True):
                window = frame[top : top + size, left : left + size]
                np.maximum(window, digit, out=window)
        return frames

    def _scaled(self, images: np.ndarray) -> np.ndarray:
        if self._dtype == np.uint8:
            return np.array(images)
        return np.divide(images, np.float32(255), dtype=np.float32)


def bounce(position: float, velocity: float, frames: int, free: int) -> list[int]:
    """Returns the position of a digit along one axis in pixels, from 0 to `free`, for each frame.

    Every frame adds `velocity` to `position`. A digit that reaches the edge of [0, 1] stops there, and its velocity
    flips: the rest of its step is lost, not reflected.
    """
    pixels = []
    for _ in range(frames):
        position += velocity
        if position <= 0.0:
            position, velocity = 0.0, -velocity
        elif position >= 1.0:
            position, velocity = 1.0, -velocity
        pixels.append(int(position * free))
    return pixels


def _open_published(path: Path) -> Member:
    try:
        sequences = array_of(path)
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        raise ValueError(
            f"[MovingMNIST] {path} cannot be read ({error}). Delete it or set data.root to another folder."
        ) from error
    shape = sequences.shape
    if len(shape) != 4 or (shape[0], *shape[2:]) != (20, 64, 64) or shape[1] == 0 or sequences.dtype != np.uint8:
        raise ValueError(
            f"[MovingMNIST] {path} must be a uint8 array of (20, N, 64, 64) but is {sequences.dtype} of {shape}. "
            "Delete it or set data.root to another folder."
        )
    if sequences.fortran:
        raise ValueError(f"[MovingMNIST] {path} must be in the order of C. Save it with numpy.ascontiguousarray.")
    return sequences
