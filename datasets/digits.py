"""Images of digits: MNIST's, from a folder or downloaded into it, or those of `convlstm.datasets.glyphs`."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import math
import os
import queue
import struct
import threading
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

from convlstm.datasets import arguments
from convlstm.datasets.folders import data_folder
from convlstm.datasets.glyphs import draw_digits
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np
from tqdm import tqdm

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
TRAIN_FILE = "train-images-idx3-ubyte"
TEST_FILE = "t10k-images-idx3-ubyte"
MD5 = {
    TRAIN_FILE + ".gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    TEST_FILE + ".gz": "9fb629c4189551a2d022fa330f9573f3",
    TRAIN_FILE: "6bbc9ace898e44ae57da46a324031adb",
    TEST_FILE: "2646ac647ad5339dbf082846283269ea",
}
SOURCES = ("auto", "mnist", "builtin")

# Seconds without a byte before the next mirror is tried: a mirror that has answered may still be slow.
_STALL = 20.0


class Digits(NamedTuple):
    """Images of digits, (N, 28, 28), uint8, white on black."""

    train: np.ndarray
    test: np.ndarray
    source: str = "custom"

    def sha256(self) -> str:
        """Returns the hex digest of all pixels, the training digits first."""
        digest = hashlib.sha256(np.ascontiguousarray(self.train).data)
        digest.update(np.ascontiguousarray(self.test).data)
        return digest.hexdigest()


def load_digits(
    source: str = "auto",
    root: str | Path | None = None,
    *,
    mirrors: str | Iterable[str] = MIRRORS,
    timeout: float = 2.0,
) -> Digits:
    """Returns training and test digits.

    Args:
        source: `"mnist"`: the files in `root`, downloaded there if they are missing. `"builtin"`: digits drawn from
            fonts. `"auto"`: MNIST if it is in `root` or can be downloaded, else built-in digits, with a warning.
            Default: `"auto"`.
        root: Folder of the MNIST files. Default: `$CONVLSTM_DATA/mnist`, or `convlstm/mnist` in the user's cache
            folder.
        mirrors: Addresses of the folders to download from, tried in turn; none to stay offline. Default: `MIRRORS`.
        timeout: Seconds to wait for a mirror's answer. Default: 2.0.

    Raises:
        ValueError: If `source` is unknown, or a file in `root` is not the original one.
        FileNotFoundError: If `source` is `"mnist"` and MNIST can be neither found nor downloaded.
    """
    if source not in SOURCES:
        raise ValueError(f"[MovingMNIST] 'digits' must be one of {', '.join(SOURCES)} but got {source!r}.")
    if source == "builtin":
        return Digits(*draw_digits(), "builtin")
    root = data_folder("mnist") if root is None else arguments.path("MovingMNIST", "root", root)
    arguments.number("MovingMNIST", "timeout", timeout, 0, 1e6)
    try:
        train, test = mnist_files(root, mirrors=mirrors, timeout=timeout)
    except FileNotFoundError as error:
        if source == "mnist":
            raise
        warnings.warn(f"{error} Built-in digits drawn from fonts are used instead.", stacklevel=3)
        return Digits(*draw_digits(), "builtin")
    return Digits(read_idx(train), read_idx(test), "mnist")


def mnist_files(root: Path, *, mirrors: str | Iterable[str] = MIRRORS, timeout: float = 2.0) -> list[Path]:
    """Returns the paths of MNIST's training and test images, with verified checksums; see `load_digits`."""
    mirrors = arguments.texts("MovingMNIST", "mirrors", mirrors)
    paths = []
    for name in (TRAIN_FILE, TEST_FILE):
        present = [path for path in (root / f"{name}.gz", root / name) if path.is_file()]
        if present:
            _verify(present[0])
            paths.append(present[0])
        else:
            paths.append(download(f"{name}.gz", root, MD5[f"{name}.gz"], mirrors=mirrors, timeout=timeout))
    return paths


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != MD5[path.name]:
        raise ValueError(
            f"[MovingMNIST] {path} ({path.stat().st_size} bytes) is damaged or not MNIST's: expected md5 "
            f"{MD5[path.name]} but found {digest.hexdigest()}. Delete the file so that it is downloaded again, or set "
            "data.root to another folder."
        )


def download(name: str, root: Path, md5: str, *, mirrors: Iterable[str], timeout: float = 2.0) -> Path:
    """Downloads `name` into the folder `root` from the first of `mirrors` that has it, and returns its path.

    The file appears in `root` only when it is complete and has the right md5.

    Raises:
        FileNotFoundError: If no mirror gave the file, or `root` cannot be written to. The message has the reason.
    """
    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + name
        try:
            with _open(url, timeout) as answer:
                _save(answer, root / name, md5)
            return root / name
        except _Unwritable as error:
            raise FileNotFoundError(
                f"[MovingMNIST] {name} is not in {root} and cannot be written there ({error}). Set data.root to a "
                "folder that has the file or can be written to, or set data.digits=builtin."
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error}")
    raise FileNotFoundError(
        f"[MovingMNIST] {name} is not in {root} and was not downloaded "
        f"({'; '.join(reasons) or 'there is no mirror to try'}). Put the file there, set data.root to a folder that "
        "has it, or set data.digits=builtin."
    )


class _Unwritable(Exception):
    pass


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """Returns the open answer of `url`, or raises an exception within `timeout` seconds.

    A socket's own time limit covers neither the look-up of the name nor a host with many dead addresses. So a thread
    waits for the answer, and is abandoned if it is late.
    """
    answers: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def connect():
        try:
            answers.put(urllib.request.urlopen(url, timeout=_STALL))
        except urllib.error.HTTPError as error:
            error.close()
            answers.put(error)
        except Exception as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _save(answer: http.client.HTTPResponse, path: Path, md5: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    length = int(answer.headers.get("Content-Length", 0))
    digest = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb")
    except OSError as error:
        raise _Unwritable(error) from error
    try:
        # No bar if the output is not a terminal.
        with file, tqdm(total=length or None, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            while block := answer.read(1 << 16):
                digest.update(block)
                file.write(block)
                bar.update(len(block))
        if digest.hexdigest() != md5:
            size = part.stat().st_size
            raise ValueError(
                f"ended after {size} of {length} bytes"
                if size < length
                else f"expected md5 {md5} but found {digest.hexdigest()}"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_idx(path: str | Path) -> np.ndarray:
    """Returns the uint8 array in an IDX file, the format of MNIST's files, gzipped or not.

    Raises:
        ValueError: If the file is not an IDX file of bytes, its length does not match its header, or it is too large
            for the memory.
    """
    path = Path(path)
    try:
        with open_plain(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _idx(path, gzip.GzipFile(fileobj=file) if packed else file)  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"[read_idx] {path} is a damaged gzip file ({error}). Download it again.") from error
    except UnreadableError as error:
        raise ValueError(f"[read_idx] {path} {error}.") from error


def _idx(path: Path, file: IO[bytes]) -> np.ndarray:
    # Two zeros, the code of unsigned bytes, the number of dimensions; then each dimension, big-endian.
    head = file.read(4)
    sides = file.read(4 * head[3]) if len(head) == 4 else b""
    if head[:3] != b"\x00\x00\x08" or len(head) < 4 or len(sides) < 4 * head[3]:
        raise ValueError(f"[read_idx] {path} must be an IDX file of unsigned bytes but starts with {head.hex()}.")
    shape = struct.unpack(f">{head[3]}I", sides)
    size = math.prod(shape)
    check_bytes(f"images of {shape}", size)
    values = np.frombuffer(file.read(size + 1), np.uint8)
    if values.size != size:
        held = "more" if values.size > size else values.size
        raise ValueError(f"[read_idx] {path} must hold {size} values for {shape} but has {held}.")
    return values.reshape(shape)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Returns images (N, H, W), uint8, as (N, size, size), by cubic interpolation that averages if they shrink."""
    if images.shape[1:] == (size, size):
        return images
    rows, columns = (_cubic(side, size) for side in images.shape[1:])
    resized = np.empty((len(images), size, size), np.uint8)
    for i in range(0, len(images), 1024):
        values = rows @ images[i : i + 1024].astype(np.float32) @ columns.T
        resized[i : i + 1024] = np.clip(values + 0.5, 0, 255)
    return resized


def _cubic(source: int, target: int) -> np.ndarray:
    """Returns the weights (target, source) of Keys' cubic convolution, a = -1/2, with wider support to shrink."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    t = np.abs(np.arange(source) - centres[:, None]) / scale
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
