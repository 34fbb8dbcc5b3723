"""Lists the runs in a folder side by side, from their files alone: `convlstm runs [FOLDER]`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from convlstm.backend.program_frame import framed
from convlstm.runs.comparison import differing_keys
from convlstm.runs.listing import SORT_KEYS, arranged, described, table
from convlstm.runs.summary import find, read


@framed("convlstm runs")
def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table of runs.

    Args:
        argv: Arguments of the command line. Default: those of the process.

    Returns:
        Exit status: 0, or 1 if there are no runs or the folder cannot be read.
    """
    parser = argparse.ArgumentParser(prog="convlstm runs", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="runs", type=Path, help="folder of the runs, at any depth (default: runs)"
    )
    parser.add_argument(
        "--sort",
        default="started",
        metavar="KEY",
        help=f"{', '.join(SORT_KEYS)} or a key of the configuration (default: started); best: the best run first",
    )
    parser.add_argument("--reverse", action="store_true", help="reverse the order")
    parser.add_argument("--wide", action="store_true", help="print all columns, however wide the table becomes")
    parser.add_argument("--json", action="store_true", help="print a list of objects, with every value that differs")
    options = parser.parse_args(argv)
    try:
        runs = [read(folder) for folder in find(options.folder)]
    except OSError as error:
        print(f"{parser.prog}: '{error.filename}': {error.strerror}.", file=sys.stderr)
        return 1
    if not runs:
        print(f"{parser.prog}: there are no runs in '{options.folder}'.", file=sys.stderr)
        return 1
    if options.sort not in SORT_KEYS and not any(options.sort in run.config for run in runs):
        parser.error(
            f"--sort must be {', '.join(SORT_KEYS)} or a key of a run's configuration but got '{options.sort}'"
        )
    runs = arranged(runs, options.sort, reverse=options.reverse)
    keys = differing_keys([run.config for run in runs])
    if options.json:
        print(json.dumps(described(runs, keys), indent=2))
        return 0
    width = None if options.wide else shutil.get_terminal_size().columns  # 80 without a terminal
    print(table(runs, keys, base=options.folder, width=width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
