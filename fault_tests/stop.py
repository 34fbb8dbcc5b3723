"""Requests to stop in every state of every command, which must end within seconds and keep what it has trained."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fault_tests.bench import BATCH, BATCHES, ONE_THREAD, STEPS, Bench, Ended, finish, step_of, wait_until_it_trains
from fault_tests.child import ROOT, Plan
from fault_tests.data import BLOCK, TIME
from fault_tests.faults import Try

import numpy as np

SECONDS = 10.0
"""Time within which a command must end."""

VARIANT, VALIDATED = "plain", 11  # variant, step of the first validation
REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class Stopped:
    """A command in a state.

    Attributes:
        process: The command.
        mark: File that shows that the state has been reached, or None if the time is random.
        trained: Steps that must be saved at the end, or None if the command does not train.
        blocked: True if nothing but the system's own action, a second request or the guard ends it.
    """

    process: subprocess.Popen[str]
    mark: Path | None = None
    trained: int | None = None
    blocked: bool = False


State = Callable[[Bench, np.random.Generator, Path], Stopped]


def stop(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of requests to stop in each state in turn."""
    states = list(STATES.items())
    for number in range(count):
        name, state = states[number % len(states)]
        signals = [REQUESTS[int(rng.integers(len(REQUESTS)))]]
        if rng.random() < 0.3:
            signals.append(REQUESTS[int(rng.integers(len(REQUESTS)))])
        run = bench.new()
        run.parent.mkdir(parents=True)
        stopped = state(bench, rng, run)
        ended, seconds = _stop(stopped, signals, rng)
        lost = _lost(bench, run, stopped, signals, ended, seconds)
        if lost:
            lost += f" (see '{run}')"
        else:
            bench.drop(run)
        yield Try(name, lost, f"{'+'.join(number.name for number in signals)}: {seconds:.1f} s")


def _stop(stopped: Stopped, signals: list[signal.Signals], rng: np.random.Generator) -> tuple[Ended, float]:
    """Sends the signals once the state has been reached, and returns the end and the seconds until then."""
    process = stopped.process
    if stopped.mark is not None:
        while not stopped.mark.exists() and process.poll() is None:
            time.sleep(0.02)
        _wait_until_idle(process)  # everything before has been done
    else:
        time.sleep(float(rng.uniform(0, 3)))
    since = time.monotonic()
    for number, signal_ in enumerate(signals):
        if number:
            time.sleep(0.7)
        process.send_signal(signal_)
    ended = finish(process)
    return ended, time.monotonic() - since


def _wait_until_idle(process: subprocess.Popen[str]) -> None:
    """Waits until a process has used no processor time for a while, or has ended."""
    used, since = "", time.monotonic()
    while process.poll() is None and time.monotonic() - since < 1:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if (now := " ".join(fields[11:13])) != used:
            used, since = now, time.monotonic()
        time.sleep(0.05)


def _lost(
    bench: Bench, run: Path, stopped: Stopped, signals: list[signal.Signals], ended: Ended, seconds: float
) -> str:
    if seconds > SECONDS:
        return f"it ended after {seconds:.1f} seconds"
    statuses = {0} | {status for number in signals for status in (128 + number, -number)}
    if ended.status not in statuses:
        return f"it ended with status {ended.status}: {ended.tail()}"
    if "Traceback" in ended.err and stopped.mark is not None:  # before its first line, Python itself prints one
        return f"a traceback: {ended.tail()}"
    if stopped.trained is None:
        return ""
    step = step_of(run) or 0
    if step < stopped.trained:
        return f"{stopped.trained} steps were trained, and {step} are saved"
    return bench.lost(VARIANT, run)


def _starting(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    return Stopped(bench.start(VARIANT, run), trained=0)


def _training(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    process = bench.start(VARIANT, run)
    wait_until_it_trains(process)
    return Stopped(process, trained=0)


def _loading(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    epoch, number = int(rng.integers(0, STEPS // BATCHES)), int(rng.integers(1, BATCHES))
    mark = run.parent / "mark"
    variables = {BLOCK: f"train:{epoch}:{number * BATCH}:", TIME: str(mark)}
    return Stopped(bench.start(VARIANT, run, variables=variables), mark, epoch * BATCHES + number)


def _validating(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    mark = run.parent / "mark"
    variables = {BLOCK: f"validation:0:{rng.integers(5)}:", TIME: str(mark)}
    return Stopped(bench.start(VARIANT, run, variables=variables), mark, VALIDATED)


def _writing(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    mark = run.parent / "mark"
    access = int(rng.integers(1, bench.reference(VARIANT).accesses))
    plan = Plan(str(run), block=access, mark=str(mark))
    return Stopped(bench.start(VARIANT, run, plan=plan), mark, 0, blocked=True)


def _compiling(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    mark, temporary = run.parent / "mark", run.parent / "tmp"
    temporary.mkdir()
    path = _compiler(run.parent, temporary, mark)
    variables = {"PATH": path, "TMPDIR": str(temporary), "CONVLSTM_KERNELS": "none"}
    return Stopped(bench.start(VARIANT, run, variables=variables), mark, 0)


def _compiler(folder: Path, temporary: Path, mark: Path) -> str:
    """Writes a compiler that never ends, except in the trial at the start, and returns the PATH that finds it."""
    compiler = folder / "bin" / "g++"
    compiler.parent.mkdir()
    trial = f'case "$*" in *--version*|*trial.cpp*) exec {shutil.which("g++")} "$@";; esac'
    compiler.write_text(f"#!/bin/sh\n{trial}\ntouch {mark}\nsleep 100000\n")
    compiler.chmod(0o755)
    return f"{compiler.parent}{os.pathsep}{os.environ['PATH']}"


def _evaluating(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    return Stopped(_evaluate(bench, run, Plan(str(run))))


def _evaluating_blocked(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    mark = run.parent / "mark"
    variables = {BLOCK: f"test:0:{rng.integers(5)}:", TIME: str(mark)}
    return Stopped(_evaluate(bench, run, Plan(str(run)), variables), mark, blocked=True)


def _evaluating_writing(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    mark = run.parent / "mark"
    return Stopped(_evaluate(bench, run, _blocked(rng, run, 6)), mark, blocked=True)


def _evaluate(bench: Bench, run: Path, plan: Plan, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    reference = bench.reference(VARIANT).folder
    arguments = ["trusted=[fault_tests]", f"ckpt={reference}", f"out={run}", "examples=[]"]
    return _command("evaluate.py", plan, arguments, variables)


def _forecasting_writing(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    np.save(run.parent / "frames.npy", rng.random((6, 16, 16), np.float32))
    arguments = [f"ckpt={bench.reference(VARIANT).folder}", f"input={run.parent / 'frames.npy'}", f"out={run}"]
    process = _command("forecast.py", _blocked(rng, run, 3), [*arguments, "horizon=2", "format=npy"])
    return Stopped(process, run.parent / "mark", blocked=True)


def _watching(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    from PIL import Image  # Matplotlib brings it

    frames = run.parent / "frames"
    frames.mkdir()
    for minute in range(0, 30, 5):
        pixels = rng.integers(0, 9, (16, 16), np.uint8)
        Image.fromarray(pixels).save(frames / f"20260601{minute:04d}.png")
    arguments = [f"ckpt={bench.reference(VARIANT).folder}", f"input={frames}", f"out={run}", "watch=true"]
    arguments += ["horizon=2", "format=npy", "reader={units: mm/h}"]
    process = _command("forecast.py", Plan(str(run)), arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if "watching " in line:
            break
    return Stopped(process)


def _converting(bench: Bench, rng: np.random.Generator, run: Path) -> Stopped:
    source = bench.folder / "weights.safetensors"
    if not source.exists():
        _write_weights(source)
    process = _command("convlstm/convert/__main__.py", _blocked(rng, run, 8), [str(source), str(run)])
    return Stopped(process, run.parent / "mark", blocked=True)


def _write_weights(path: Path) -> None:
    """Writes weights in OpenSTL's names, from a model of our own."""
    from convlstm.architectures.convlstm_stack import ConvLSTMStack
    from convlstm.convert.families import to_state_dict
    from convlstm.convert.sources import write_state_dict

    arguments = {"hidden_channels": [4], "kernel_size": 3, "patch_size": 4}
    description = {"_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack", **arguments}
    write_state_dict(path, to_state_dict(ConvLSTMStack(**arguments), description))  # type: ignore[arg-type]


def _blocked(rng: np.random.Generator, run: Path, accesses: int) -> Plan:
    """Returns the plan of a disk that no longer answers at one of the first accesses to a folder."""
    return Plan(str(run), block=int(rng.integers(1, 1 + accesses)), mark=str(run.parent / "mark"))


def _command(
    program: str, plan: Plan, arguments: list[str], variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    plan.program = program
    return subprocess.Popen(
        [sys.executable, "-m", "fault_tests.child", plan.as_json(), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **ONE_THREAD, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


STATES: dict[str, State] = {
    "starting": _starting,
    "training": _training,
    "loading, blocked": _loading,
    "validating, blocked": _validating,
    "writing, blocked": _writing,
    "compiling, blocked": _compiling,
    "evaluate": _evaluating,
    "evaluate loading, blocked": _evaluating_blocked,
    "evaluate writing, blocked": _evaluating_writing,
    "forecast writing, blocked": _forecasting_writing,
    "watching": _watching,
    "convert writing, blocked": _converting,
}
"""Each state by its name, a row of the table."""
