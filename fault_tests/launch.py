"""The command line that starts a program with several ranks on this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path


def launch_line(ranks: int, *program: str) -> list[str]:
    """Returns the command that runs a Python program as several ranks."""
    launcher = Path(sys.executable).with_name("mlx.launch")
    return [str(launcher), "-n", str(ranks), "-p", str(_free_ports(ranks)), "--", sys.executable, *program]


def _free_ports(count: int) -> int:
    """Returns the first of `count` consecutive ports that nobody uses."""
    for first in range(20000 + os.getpid() % 5000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("[launch_line] there are no free ports for the ranks.")
