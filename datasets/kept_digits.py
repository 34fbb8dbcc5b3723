"""The drawn digits in the user's cache folder: drawing them takes longer than all else at the start of a training."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from convlstm.datasets.folders import data_folder

import numpy as np

_DIGEST = hashlib.sha256().digest_size


def kept(fonts: Sequence[Path], count: int, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns drawn digits from the cache folder, or draws and keeps them there.

    They depend on the fonts, on the code that draws and on the libraries that it uses. A damaged file is replaced. If
    nothing can be kept, they are drawn each time.

    Args:
        fonts: The files of the fonts.
        count: Number of digits.
        draw: Returns the digits, (count, 28, 28), uint8.
    """
    facts = hashlib.sha256(Path(__file__).with_name("glyphs.py").read_bytes())
    for font in fonts:
        facts.update(f"{font.name} {np.__version__} {metadata.version('pillow')}".encode())
        facts.update(font.read_bytes())
    path = data_folder("digits") / f"{facts.hexdigest()[:32]}-{count}.bin"
    with suppress(OSError):
        data = path.read_bytes()
        pixels = memoryview(data)[_DIGEST:]
        if len(pixels) == count * 28 * 28 and hashlib.sha256(pixels).digest() == data[:_DIGEST]:
            return np.frombuffer(pixels, np.uint8).reshape(count, 28, 28)
    digits = np.ascontiguousarray(draw())
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(hashlib.sha256(digits.data).digest() + digits.tobytes())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return digits
