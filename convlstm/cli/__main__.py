"""The command `convlstm`. Its first argument names a command, which gets the other arguments."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import convlstm
from convlstm.backend import stop_guard
from convlstm.backend.program_frame import end_interrupted, framed

# Module and description of each command. A module is imported when its command is called, so that no command waits for
# the libraries of another one.
COMMANDS = {
    "train": ("convlstm.cli.train", "train a model"),
    "evaluate": ("convlstm.cli.evaluate", "score trained models and draw their forecasts"),
    "forecast": ("convlstm.cli.forecast", "forecast what follows the newest frames of a folder, a file or a video"),
    "summary": ("convlstm.cli.summary", "print the layers, parameters, multiplications and memory of a model"),
    "convert": ("convlstm.convert.__main__", "convert weights of OpenSTL, PredRNN or Keras"),
    "export": ("convlstm.export.__main__", "write a model for PyTorch, or as a function of MLX for other languages"),
    "push": ("convlstm.publish.__main__", "publish a checkpoint on the Hugging Face hub"),
    "runs": ("convlstm.runs.__main__", "list the runs in a folder: status, best score, differences"),
    "doctor": ("convlstm.doctor", "print which device and BLAS MLX uses here, and how fast they are"),
}

# Arguments that name radar data, and the module that reads them in a process of its own.
_ARCHIVE = re.compile(r"\+*(data\.(validation_|test_)?archive|input)=")
_READING = "convlstm.datasets.archives.scan_file"


def main() -> None:
    """Runs the command that the first argument names, and ends the program. An unknown command has exit status 2."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        # command_line.py reads the program's name from here.
        sys.argv[:2] = [f"convlstm {name}"]
        start(name)
    with framed("convlstm"):
        sys.exit(_help(name))


def start(name: str) -> NoReturn:
    """Runs a command with the arguments of this process, and ends the program."""
    program = Path(sys.argv[0]).name
    try:
        if any(map(_ARCHIVE.match, sys.argv[1:])) and not {"-m", "--multirun"} & set(sys.argv):
            from convlstm.backend.child_pool import start_ahead  # brings NumPy

            # It imports its libraries while this process imports others and composes the configuration.
            start_ahead(_READING)
        status = import_module(COMMANDS[name][0]).main() or 0
        stop_guard.leave()
        sys.exit(status)
    except KeyboardInterrupt:  # while libraries are loaded
        end_interrupted(program)


def _help(name: str) -> int:
    """Prints the help, the version, or that there is no such command, and returns the exit status."""
    if name in ("-h", "--help"):
        print("usage: convlstm COMMAND ...\n")
        print("\n".join(f"  {command:10}{text}" for command, (_, text) in COMMANDS.items()))
        print("\n`convlstm COMMAND --help` prints the arguments of a command.")
        return 0
    if name == "--version":
        print(f"convlstm {convlstm.__version__}")
        return 0
    from convlstm.cli.error_wording import suggestion  # brings Hydra

    text = f"convlstm: there is no command '{name}'.{suggestion(name, COMMANDS)}\nCommands: {', '.join(COMMANDS)}"
    print(text, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
