"""The console of a training run: a progress bar with the speed, the loss and the time that is left."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

LONG = 30 * 60  # seconds that are long for a first look
COMPILING = 2  # steps at the start that say nothing about the speed
TIMED = 5  # steps from which the time of the whole run is estimated
QUIET = 15  # seconds between lines where there is no terminal to draw a bar on


class Console:
    """Tells how a run goes: with a bar where the standard error is a terminal, else with a line now and then.

    Args:
        step: The step that the run starts from.
        max_steps: The step at which it ends.
        batch_size: Sequences in a step.
        quiet: Whether nothing is told at all. Default: False.
    """

    def __init__(self, step: int, max_steps: int, batch_size: int, *, quiet: bool = False):
        self.quiet = quiet
        self.max_steps, self.batch_size = max_steps, batch_size
        self.times: list[float] = []
        self.told = time.perf_counter()
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
        """Counts a step that took so long."""
        self.times.append(seconds)
        self.bar.update()

    def speed(self, steps: int) -> float:
        """Sequences per second over the last steps, the first ones left out where there are others: they compile."""
        steady = (self.times[COMPILING:] or self.times)[-steps:]
        return self.batch_size * len(steady) / sum(steady)

    def show(self, step: int, loss: float, speed: float) -> None:
        """Puts the loss and the speed beside the bar, or in a line of their own if the last one is a while ago."""
        self.bar.set_postfix_str(f"loss {loss:.4g}, {speed:.1f} seq/s", refresh=False)
        if self.bar.disable and time.perf_counter() - self.told > QUIET:
            left = duration((self.max_steps - step) * self.batch_size / speed)
            self.say(f"step {step} of {self.max_steps}: loss {loss:.4g}, {speed:.1f} seq/s, {left} left")

    def estimate(self, step: int) -> None:
        """Says how long the whole run will take, once there are enough steps to tell."""
        if len(self.times) != COMPILING + TIMED:
            return
        each = sum(self.times[COMPILING:]) / TIMED
        steps = self.max_steps - step
        left = each * steps
        text = f"about {duration(each)} a step: {duration(left)} for the {steps:,} steps to go, validations aside"
        if left > LONG:
            text += (
                ". Shorter: experiment=quickstart, a smaller trainer.max_steps, or a smaller model "
                "(model.hidden_channels). It can be stopped with Ctrl-C and resumed at any time."
            )
        self.say(text)

    def say(self, text: str) -> None:
        """Prints a line, above the bar."""
        if self.quiet:
            return
        self.bar.write(text)
        sys.stdout.flush()
        self.told = time.perf_counter()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self.bar.close()


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
