"""The end of a program whose output nobody reads any more."""

from __future__ import annotations

import os
import select
import sys


def end_if_nobody_reads(error: BaseException) -> None:
    """Ends the program silently if an error says that nobody reads its output any more, such as `head` after ten lines.

    The exit status is 141, the shell's status for SIGPIPE.
    """
    if not isinstance(error, BrokenPipeError):
        return
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in output.poll(0)):  # else it was another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(141)
