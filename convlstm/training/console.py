"""The console of a training run: a progress bar with the speed, the loss and the remaining time."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

LONG = 30 * 60  # seconds; if more remain, the estimate says how to shorten the run
COMPILING = 2  # first steps, which compile, so they do not count for the speed
TIMED = 5  # steps after them whose time gives the estimate for the run
LINE_EVERY = 15  # seconds between lines if there is no terminal for a bar


class Console:
    """A display of a run's progress: a bar if the standard error is a terminal, otherwise a line from time to time.

    Args:
        step: Step at which the run starts.
        max_steps: Step at which it ends.
        batch_size: Number of sequences in a step.
        quiet: True to print nothing. Default: False.
    """

    def __init__(self, step: int, max_steps: int, batch_size: int, *, quiet: bool = False):
        self.quiet = quiet
        self.max_steps, self.batch_size = max_steps, batch_size
        self.times: list[float] = []
        self.last_line = time.perf_counter()
        self.bar = tqdm(
            total=max_steps,
            initial=step,
            desc="training",
            unit="step",
            mininterval=0.5,
            dynamic_ncols=True,
            disable=quiet or not sys.stderr.isatty(),
        )

    def advance(self, seconds: float) -> None:
        """Counts a step that took this time."""
        self.times.append(seconds)
        self.bar.update()

    def speed(self, steps: int) -> float:
        """Returns the sequences per second of the last steps, without those that compile if there are others."""
        steady = (self.times[COMPILING:] or self.times)[-steps:]
        return self.batch_size * len(steady) / sum(steady)

    def show(self, step: int, loss: float, speed: float) -> None:
        """Shows the loss and the speed beside the bar or, without a bar, in a line if the last one was a while ago."""
        self.bar.set_postfix_str(f"loss {loss:.4g}, {speed:.1f} seq/s", refresh=False)
        if self.bar.disable and time.perf_counter() - self.last_line > LINE_EVERY:
            left = duration((self.max_steps - step) * self.batch_size / speed)
            self.say(f"step {step} of {self.max_steps}: loss {loss:.4g}, {speed:.1f} seq/s, {left} left")

    def estimate(self, step: int) -> None:
        """Prints an estimate of the remaining time once, after enough steps."""
        if len(self.times) != COMPILING + TIMED:
            return
        seconds_each = sum(self.times[COMPILING:]) / TIMED
        steps = self.max_steps - step
        left = seconds_each * steps
        text = f"about {duration(seconds_each)} a step: {duration(left)} for the remaining {steps:,} steps"
        text += ", without validations"
        if left > LONG:
            text += (
                ". For a shorter run, use experiment=quickstart, a smaller trainer.max_steps, or a smaller model "
                "(model.hidden_channels). A run can be stopped with Ctrl-C and resumed at any time."
            )
        self.say(text)

    def say(self, text: str) -> None:
        """Prints a line, above the bar."""
        if self.quiet:
            return
        self.bar.write(text)
        sys.stdout.flush()
        self.last_line = time.perf_counter()

    def close(self) -> None:
        """Closes the bar and leaves it on the screen."""
        self.bar.close()


def duration(seconds: float) -> str:
    """Returns a time as text, in a suitable unit."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
