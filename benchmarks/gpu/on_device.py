"""Runs a command of `convlstm` on a device: `python -m benchmarks.gpu.on_device gpu train KEY=VALUE ...`."""

from __future__ import annotations

import sys

from convlstm.cli.__main__ import start  # before mlx.core: it loads a fast BLAS

import mlx.core as mx


def main() -> None:
    device, command, *arguments = sys.argv[1:]
    mx.set_default_device(getattr(mx, device))
    sys.argv = [f"convlstm {command}", *arguments]
    start(command)


if __name__ == "__main__":
    main()
