"""Jobs of a sweep: each runs the same command, in a process and a folder of its own."""

from __future__ import annotations

import signal
import sys

from convlstm.cli.command_line import assignment, command, restart
from convlstm.cli.configuration import given_arguments
from convlstm.runs.sweeps import TABLE, Sweep

from hydra.core.hydra_config import HydraConfig


def run_job(sweep: Sweep) -> None:
    """Runs the job whose configuration Hydra has composed, in a process and a folder of its own."""
    job, typed = HydraConfig.get(), set(sys.argv)
    folder = sweep.folder / job.sweep.subdir
    folder_arguments = [assignment("output", folder.parent), assignment("name", folder.name)]
    varied = [change.lstrip("+").partition("=") for change in job.overrides.task if change not in typed]
    values = {key: value for key, _, value in varied}
    sweep.run(str(job.sweep.subdir), restart([*given_arguments("output", "name"), *folder_arguments]), values)


def finish(sweep: Sweep, config_name: str) -> bool:
    """Prints a sweep's results and returns True if every job has ended."""
    if sweep.stopped == signal.SIGHUP:
        return False  # the terminal is gone
    print(f"\n{sweep.report()}\n\nThe same as a table:  {sweep.folder / TABLE}")
    if sweep.code:
        # If the sweep runs again, a job that has ended says so and does nothing else.
        arguments = [a for a in sys.argv[1:] if not a.startswith(("resume=", "hydra.sweep.dir="))]
        again = command(config_name, *arguments, resume="auto", **{"hydra.sweep.dir": sweep.folder})
        print(f"To continue the jobs that did not end:  {again}")
    return sweep.code == 0
