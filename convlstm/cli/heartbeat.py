"""Signs of life of a program that runs unattended: a small file, and messages to systemd."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from convlstm.backend import files

# Seconds between two signs of life.
_PAUSE = 1.0


class Heartbeat:
    """A JSON file that is replaced at least once a second while the program works, and messages to systemd.

    If the environment names systemd's socket (`Type=notify`), it is told that the program is ready, what it does, and
    that it is alive (`WatchdogSec=`).

    Args:
        path: The file. Default: none.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.facts: dict[str, Any] = {}
        self._next, self._said, self._ready = 0.0, False, False
        self._socket = os.environ.get("NOTIFY_SOCKET", "")

    def beat(self, state: str, **facts: Any) -> None:
        """Gives a sign of life, unless there was one of the same state a moment ago.

        Args:
            state: What the program does: "waiting" for input, "watching" or "ended".
            **facts: What has changed, for the file.
        """
        same, now = state == self.facts.get("state"), time.monotonic()
        self.facts |= {"state": state} | facts
        if same and now < self._next:
            return
        self._next = now + _PAUSE
        self._write()
        self._notify(state)

    def _write(self) -> None:
        if self.path is None:
            return
        moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with files.replacing(self.path) as temporary:
                temporary.write_text(json.dumps({"time": moment, "process": os.getpid()} | self.facts, indent=2) + "\n")
            self._said = False
        except OSError as error:
            if not self._said:
                print(f"no heartbeat {error}")
            self._said = True

    def _notify(self, state: str) -> None:
        if not self._socket:
            return
        lines = ["WATCHDOG=1", f"STATUS={state}, {self.facts.get('forecasts', 0)} forecasts"]
        lines += ["STOPPING=1"] if state == "ended" else [] if self._ready else ["READY=1"]
        self._ready = True
        address = f"\0{self._socket[1:]}" if self._socket.startswith("@") else self._socket
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto("\n".join(lines).encode(), address)
