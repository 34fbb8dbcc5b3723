"""A program that reads files by the functions that users call: requests and results are lines of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from convlstm.backend.child_pool import Hold
from convlstm.convert.__main__ import main as convert
from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.files import Problem
from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.datasets.digits import Digits, read_idx
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.video import read_stack, read_video

import numpy as np

MOST_FRAMES = 12
"""Frames to read of a file: damaged headers may promise very many."""

Request = dict[str, Any]
"""`door`: a key of `DOORS`; `path`; `name` of the damaged file; `options`; `number`, which chooses among ways."""


class WrongError(Exception):
    """A file was read, but the result is none that the function may return."""


def _check(array: np.ndarray, shape: tuple[int, ...], dtype: str = "float32", *, missing: bool = False) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise WrongError(f"{array.dtype} of {array.shape} instead of {dtype} of {shape}")
    if np.isinf(array).any() or (not missing and np.isnan(array).any()):
        raise WrongError("values that are not finite")


def _archive(request: Request) -> str:
    """Reads the frames of an archive. Returns the problems of the file, "" for none."""
    path, options = Path(request["path"]), request["options"]
    if request["number"] % 3 == 0:
        newest = NewestFrames(path, options=options)
        _, problems = newest.look()
        if len(newest.times) and newest.grid is not None:
            window, more = newest.window(3, 5.0, until=newest.times[-1])
            problems += more
            _check(window.frames, (3, *newest.grid.shape), missing=True)
        return _named(problems, request["name"])
    with tempfile.TemporaryDirectory() as index:
        archive = Archive(path, options=options, cache=index, progress=False)
        for number in range(min(len(archive), MOST_FRAMES)):
            frame = archive.frame(number)
            _check(frame, archive.grid.shape, missing=True)
            if archive.units == "mm/h" and (frame < 0).any():
                raise WrongError("negative rain")
        return _named(archive.problems, request["name"])


def _named(problems: list[Problem], name: str) -> str:
    """Returns the problem of a file, "" for none. Problems name it alone or below the archive's folder."""
    return next((str(problem) for problem in problems if name.endswith(problem.name)), "")


def _video(request: Request) -> str:
    channels = (1, 3)[request["number"] % 2]
    frames = read_video(request["path"], channels)
    _check(frames, (*frames.shape[:3], channels))
    if frames.min(initial=0) < 0 or frames.max(initial=0) > 255.001:
        raise WrongError(f"values from {frames.min()} to {frames.max()}")
    return ""


def _stack(request: Request) -> str:
    frames = read_stack(request["path"])
    if frames.ndim != 4 or frames.dtype != np.float32:
        raise WrongError(f"{frames.dtype} of {frames.shape}")
    return ""


def _digits(request: Request) -> str:
    images = read_idx(Path(request["path"]))
    if images.ndim != 3:
        raise WrongError(f"images of {images.shape}")
    _check(images, images.shape, "uint8")
    return ""


def _sequences(request: Request) -> str:
    blots = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    with patch("convlstm.datasets.moving_mnist.load_digits", lambda *_, **__: Digits(blots, blots)):
        data = MovingMNIST(root=request["path"], digits="auto", test_sequences=3)
        for index in range(data.size("test")):
            _check(data.sample("test", index)["inputs"], (10, 64, 64, 1))
    return ""


def _weights(request: Request) -> str:
    with tempfile.TemporaryDirectory() as folder:
        bare = request["path"].endswith(".weights.h5")
        settings = ["--padding=same", "--activation=tanh", "--recurrent-activation=sigmoid"] if bare else []
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
            status = convert([request["path"], f"{folder}/run", *settings])
        if status == 0:
            return ""
        if left := [path.name for path in Path(folder).iterdir()]:
            raise WrongError(f"a refused conversion left {left}")
        raise ValueError(err.getvalue().strip())


DOORS: dict[str, Callable[[Request], str]] = {
    "archive": _archive,
    "video": _video,
    "stack": _stack,
    "digits": _digits,
    "sequences": _sequences,
    "weights": _weights,
}
"""Functions that read a file and return its problems, or raise ValueError if they refuse it."""


def answer(request: Request) -> dict[str, str]:
    """Returns the outcome of a request, 'read', 'refused', 'left out' or 'lost', and the text that explains it."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            problem = DOORS[request["door"]](request)
    except ValueError as error:
        text = str(error)
        if type(error).__module__.split(".")[0] not in ("builtins", "convlstm"):
            return {"outcome": "lost", "text": f"a foreign error: {traceback.format_exc()}"}
        named = Path(request["name"]).name in text or Path(request["path"]).name in text
        if not named or "Traceback" in text:
            return {"outcome": "lost", "text": f"a message without the file's name: {text}"}
        return {"outcome": "refused", "text": text}
    except Exception:
        return {"outcome": "lost", "text": traceback.format_exc()}
    foreign = [w for w in caught if not str(w.message).startswith("[")]
    if foreign:
        return {"outcome": "lost", "text": f"a foreign warning: {foreign[0].category.__name__}: {foreign[0].message}"}
    return {"outcome": "left out" if problem else "read", "text": problem}


def main() -> None:
    """Answers requests until standard input ends. Libraries that print to standard output do not disturb."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with Hold():  # starting a process for every file would take most of the time
        for line in sys.stdin:
            results.write(json.dumps(answer(json.loads(line))) + "\n")
            results.flush()


if __name__ == "__main__":
    main()
