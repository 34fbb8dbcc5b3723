"""Python processes that run code of this package and never code of the working folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[2])


def command(code: str, *arguments: str) -> list[str]:
    """Returns the command line of a Python process that finds this package and the same libraries as this process.

    `python -m MODULE` and `python -c CODE` search the working folder first, so a `ctypes.py` there would run.

    Args:
        code: Python code to run.
        arguments: The process's `sys.argv[1:]`.
    """
    working_folder = Path.cwd().resolve()
    folders = [Path(entry).absolute() for entry in sys.path if entry]  # "" stands for the working folder
    # The working folder counts only if the package itself lies there.
    safe = [str(folder) for folder in folders if folder.resolve() != working_folder]
    path = json.dumps([*safe, *([_PACKAGE] if _PACKAGE not in safe else [])])
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {path}\n{code}", *arguments]
