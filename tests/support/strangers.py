"""Checkpoints as a stranger could write them, and a watch over what a process does with them."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from convlstm.backend.jit import prepare
from convlstm.checkpoints import CheckpointError, UntrustedTargetError, seal
from convlstm.runs.record import code

import matplotlib.font_manager
import pytest
import yaml

DESCRIPTION = {
    "_target_": "convlstm.models.EncoderForecaster",
    "hidden_channels": [2],
    "kernel_size": 3,
    "patch_size": 2,
    "peepholes": True,
}
DATA = {
    "_target_": "convlstm.datasets.moving_mnist.MovingMNIST",
    "digits": "builtin",
    "frame_size": 16,
    "digit_size": 8,
    "num_digits": 1,
    "input_frames": 2,
    "target_frames": 2,
    "train_sequences": 4,
    "validation_sequences": 2,
    "test_sequences": 2,
}
# Forbidden acts. Opening files is examined more closely.
ACTS: tuple[str, ...] = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
    "pty.spawn",
)
ACTS += (
    "pickle.find_class",
    "marshal.loads",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "webbrowser.open",
)
ACTS += ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "shutil.rmtree")


class Watch:
    """A record of the interpreter's acts, through `sys.addaudithook`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.secret: Path | None = None

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.secret is None:
            return
        if event in ACTS:
            # Python caches compiled modules.
            if event == "marshal.loads" or "__pycache__" in str(arguments):
                return
            self.seen.append(f"{event} {arguments}")
        elif event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if str(self.secret) in str(path) or (writes and "__pycache__" not in str(path)):
                self.seen.append(f"open {path}")
        elif event == "import" and arguments[0].partition(".")[0] in ("marker", "pickle_marker"):
            self.seen.append(f"import {arguments[0]}")


WATCH = Watch()
sys.addaudithook(WATCH)  # an audit hook cannot be removed


def watched(secret, attempt):
    """Returns the result of an attempt, which may do nothing that is forbidden."""
    WATCH.seen, WATCH.secret = [], secret
    try:
        return attempt()
    finally:
        WATCH.secret = None
        assert WATCH.seen == [], WATCH.seen


def refused(secret, attempt, match, kind=(CheckpointError, UntrustedTargetError)):
    """Checks that an attempt ends with such an error and does nothing that is forbidden."""
    with pytest.raises(kind, match=match):
        watched(secret, attempt)


def describe(last, **changes):
    """Writes another configuration with matching checksums, as a stranger can."""
    config = {"model": DESCRIPTION, "data": DATA}
    (last / "config.yaml").write_text(yaml.safe_dump(config | changes))
    seal(last)


def seen(monkeypatch, secret, attempt):
    """Returns the result of a command, and its acts that touch the secret folder, the network, programs or pickles."""
    code(), platform.processor(), matplotlib.font_manager.fontManager  # they ask git, uname and fc-list once
    prepare()  # asks g++ once
    WATCH.seen, WATCH.secret = [], secret
    try:
        result = attempt()
    finally:
        WATCH.secret = None
    acts = [act for act in WATCH.seen if str(secret) in act or not act.startswith(("open ", "os.mkdir", "os.re"))]
    return result, acts
