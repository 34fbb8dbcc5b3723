"""The frame of every command: it composes the configuration, runs the command and ends with a message if that fails."""

from __future__ import annotations

import os
import sys
import typing
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from convlstm.backend import precompiled_header, stop_guard
from convlstm.backend.jit import prepare_at_first_use
from convlstm.backend.program_frame import end_if_nobody_reads, framed
from convlstm.backend.terminal import printable
from convlstm.cli.command_line import program
from convlstm.cli.configuration import (
    CONFIGS,
    Note,
    add_working_folder,
    check_groups,
    options_first,
    own_configs,
    quoted,
    update_names,
)
from convlstm.cli.error_wording import with_sections
from convlstm.cli.errors import USER_ERRORS, message, unknown_name
from convlstm.cli.replaced_classes import open_new_keys
from convlstm.cli.sweep_jobs import finish, run_job
from convlstm.runs.sweeps import MESSAGE, Sweep

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


def run(
    config_name: str,
    main: Callable[[DictConfig], None],
    *,
    open_sections: tuple[str, ...] = (),
    sweeps: bool = False,
) -> None:
    """Calls `main` with the configuration that the command line composes.

    An error that the user can correct ends the program with a message and exit status 1, Ctrl-C with status 130.

    Args:
        config_name: File in configs/.
        main: Function to call.
        open_sections: Sections that take any key, as with Hydra's `++`. Default: none.
        sweeps: If True, `-m` runs each job in a process of its own; `output` and `name` are its folder. Default: False.
    """
    # The process that only starts the jobs of a sweep passes signals on to them.
    with framed(program(), guard=False):
        _run(config_name, main, open_sections=open_sections, sweeps=sweeps)


def _run(config_name: str, main: Callable[[DictConfig], None], *, open_sections: tuple[str, ...], sweeps: bool) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints exceptions and exits
    sys.argv = [f"++{a}" if a.startswith(tuple(f"{name}." for name in open_sections)) else a for a in sys.argv]
    sys.argv[1:] = options_first([quoted(a) for a in sys.argv[1:]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # a reader of a pipe sees how far the program is

    sweep: Sweep | None = None

    def guarded(config: DictConfig) -> None:
        nonlocal sweep
        if sweeps and HydraConfig.get().mode == RunMode.MULTIRUN:
            if sweep is None:
                sweep = Sweep(Path(HydraConfig.get().sweep.dir))
                update_names(config)  # shows the notes once; the jobs do not repeat them
            return run_job(sweep)
        try:
            update_names(config)
            with stop_guard.guarded(program()):
                # Others than training compile less than the header takes.
                prepare_at_first_use(*([precompiled_header.start] if config_name == "train" else []))
                return main(config)
        except USER_ERRORS as error:
            end_if_nobody_reads(error)
            fail(with_sections(config_name, message(error, OmegaConf.to_container(config))))
        except Exception as error:
            leave_message(f"{type(error).__name__}: {error}")
            raise

    guarded.__name__ = config_name
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, config_name)
            if MESSAGE in os.environ:
                warnings.simplefilter("ignore", Note)  # the sweep has shown it
            check_groups()
            add_working_folder()
            sys.argv[1:] = open_new_keys(config_name, sys.argv[1:])
            if folder := own_configs():
                warnings.warn(f"configurations also come from '{folder}'.", Note, stacklevel=2)
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(guarded)()
    except USER_ERRORS as error:
        end_if_nobody_reads(error)
        fail(unknown_name(config_name, str(error)) or message(error))
    if sweep is not None and not finish(sweep, config_name):
        sys.exit(sweep.code)


def _show_warning(
    config_name: str,
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: typing.TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning or a note as a line, in place of `warnings.showwarning`."""
    text = with_sections(config_name, printable(str(message)))
    print(f"{'note' if category is Note else 'warning':12}{text}", file=sys.stderr)


def fail(text: str, status: int = 1) -> typing.NoReturn:
    """Ends the program with a message and an exit status, 1 if none is given."""
    leave_message(text)
    if status == 1:
        sys.exit(f"{program()}: {printable(text)}")
    print(f"{program()}: {printable(text)}", file=sys.stderr)
    sys.exit(status)


def leave_message(text: str) -> None:
    """Writes the program's last message to the file that a sweep has named for it, if the program is a sweep's job."""
    if MESSAGE in os.environ:
        Path(os.environ[MESSAGE]).write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Creates a folder before anything is computed for it, or raises OSError if it cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))
