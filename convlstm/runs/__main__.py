"""The runs in a folder side by side, from their files alone: `python -m convlstm.runs [FOLDER]`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from convlstm.runs.comparison import differences
from convlstm.runs.listing import SORTS, arranged, described, table
from convlstm.runs.summary import find, read


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table.

    Args:
        argv: The command line's arguments. Default: those of the process.

    Returns:
        Exit code: 0, or 1 where there are no runs.
    """
    parser = argparse.ArgumentParser(prog="python -m convlstm.runs", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="runs", type=Path, help="of the runs, at any depth (default: runs)"
    )
    parser.add_argument(
        "--sort",
        default="started",
        metavar="KEY",
        help=f"{', '.join(SORTS)} or a key of the configuration (default: started); best: the best run first",
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--json", action="store_true", help="a list of objects, with every value that differs")
    options = parser.parse_args(argv)
    try:
        runs = [read(folder) for folder in find(options.folder)]
    except OSError as error:
        print(f"python -m convlstm.runs: '{error.filename}': {error.strerror}.", file=sys.stderr)
        return 1
    if not runs:
        print(f"python -m convlstm.runs: there are no runs in '{options.folder}'.", file=sys.stderr)
        return 1
    if options.sort not in SORTS and not any(options.sort in run.config for run in runs):
        parser.error(f"--sort must be {', '.join(SORTS)} or a key of a run's configuration but got '{options.sort}'")
    runs = arranged(runs, options.sort, reverse=options.reverse)
    changes = differences([run.config for run in runs])
    if options.json:
        print(json.dumps(described(runs, changes), indent=2))
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(table(runs, changes, base=options.folder, width=width))
    return 0


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; Python would flush once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
