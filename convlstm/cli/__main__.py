"""The command `convlstm`, and what it calls by each name."""

from __future__ import annotations

import sys
from importlib import import_module

# Imported when it is called for: none of them waits for what the others need.
COMMANDS = {
    "train": ("convlstm.cli.train", "train a model"),
    "evaluate": ("convlstm.cli.evaluate", "score trained models and draw their forecasts"),
    "forecast": ("convlstm.cli.forecast", "forecast what follows the newest frames of a folder, a file or a video"),
    "summary": ("convlstm.cli.summary", "print a model's layers, parameters, multiplications and memory"),
    "convert": ("convlstm.convert.__main__", "convert weights of OpenSTL, PredRNN or Keras"),
    "runs": ("convlstm.runs.__main__", "list the runs in a folder: status, best score, what differs"),
    "doctor": ("convlstm.doctor", "print which device and BLAS MLX uses here, and how fast they are"),
}


def main() -> None:
    """Runs the command that the first argument names; the others are its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: convlstm COMMAND ...\n")
        print("\n".join(f"  {command:10}{text}" for command, (_, text) in COMMANDS.items()))
        print("\nconvlstm COMMAND --help prints what each of them takes.")
        return
    if name not in COMMANDS:
        sys.exit(f"convlstm: there is no command '{name}'. Commands: {', '.join(COMMANDS)}.")
    sys.argv[:2] = [f"{sys.argv[0]} {name}"]
    sys.exit(import_module(COMMANDS[name][0]).main())


if __name__ == "__main__":
    main()
