"""The name of this program, and command lines that start it, or another command of the project, in the same way."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# `sys.argv[0]` of a command, as __main__.py sets it. In a script it is the script's path.
_COMMAND = re.compile(r"convlstm (\w+)")


def program() -> str:
    """Returns the program's name in messages, such as `convlstm train` or `train.py`."""
    return Path(sys.argv[0]).name


def typed(verb: str) -> list[str]:
    """Returns the words that start a command of this project, such as `convlstm train` or `python train.py`."""
    if _COMMAND.fullmatch(sys.argv[0]):
        return ["convlstm", verb]
    script = Path(sys.argv[0]).with_name(f"{verb}.py")
    return ["python", str(script if script.exists() else script.name)]


def command(verb: str, /, *arguments: str, **values: Any) -> str:
    """Returns a command line for the shell, with values quoted for Hydra and everything quoted for the shell.

    Args:
        verb: The command, such as `train`.
        *arguments: Arguments as Hydra takes them.
        **values: Further values of the configuration, by key.
    """
    return shlex.join([*typed(verb), *arguments, *(assignment(key, value) for key, value in values.items())])


def assignment(key: str, value: Any) -> str:
    """Returns an argument that sets a key, with its value quoted for Hydra."""
    text = str(value)
    plain_text = re.fullmatch(r"[\w./~:@%+-]+", text, re.ASCII) is not None
    return f"{key}={text}" if plain_text else f'{key}="' + text.replace('"', '\\"') + '"'


def restart(arguments: Sequence[str]) -> list[str]:
    """Returns the command line of a process that runs this program with other arguments."""
    if name := _COMMAND.fullmatch(sys.argv[0]):
        # Python's options and the path of `convlstm`, or `-m convlstm.cli`, stand before the command's name.
        return [sys.executable, *sys.orig_argv[1 : sys.orig_argv.index(name[1]) + 1], *arguments]
    return [sys.executable, sys.argv[0], *arguments]
