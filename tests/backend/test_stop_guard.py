"""The guard that ends a process at a second request to stop, or if the first one is not obeyed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

from convlstm.backend import stop_guard

import pytest

PROGRAM = """
import ctypes, signal, subprocess, sys, time
from convlstm.backend import stop_guard
from convlstm.backend.signals import stop_requests

def block():
    # Locks a mutex twice, which no signal interrupts, as a disk that no longer answers.
    mutex, library = ctypes.create_string_buffer(128), ctypes.CDLL(None)
    print("ready", flush=True)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

stop_guard.PATIENCE = {patience}
with stop_guard.guarded("program"):
    stop_guard.saved("Step 7 is saved.")
    {code}
"""


def started(code, patience=1000.0):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(code=code, patience=patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process):
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_request_ends_a_process_that_waits_in_foreign_code(first, second):
    process = started("with stop_requests(): block()")
    process.send_signal(first)
    time.sleep(stop_guard.SAME + 0.2)
    assert process.poll() is None
    process.send_signal(second)
    assert ended(process) == (
        128 + second,
        "",
        f"\nprogram: ended at once by another {second.name}. Step 7 is saved.\n",
    )


def test_ctrl_c_ends_a_process_without_a_handler_of_its_own():
    process = started("block()", patience=0.5)
    time.sleep(0.5)  # the line after that which says that it is ready
    process.send_signal(signal.SIGINT)
    status, _, err = ended(process)
    assert (status, "waiting for a disk or for data" in err) == (130, True)


def test_a_request_that_is_delivered_twice_counts_once():
    code = "with stop_requests() as received: print('ready', flush=True); time.sleep(1.5)"
    process = started(code + "; time.sleep(0.5); print(received)")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert ended(process) == (0, "[2]\n", "")


def test_a_request_that_is_not_obeyed_ends_the_process_after_a_while():
    process = started("with stop_requests(): block()", patience=1.0)
    since = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status, _, err = ended(process)
    assert (status, time.monotonic() - since >= 1) == (143, True)
    assert err == "\nprogram: ended by SIGTERM, after 1 seconds of waiting for a disk or for data. Step 7 is saved.\n"


@pytest.mark.parametrize(
    "code",
    [
        "with stop_guard.computing(): print('ready', flush=True); time.sleep(2)",
        "print('ready', flush=True); [(time.sleep(0.2), stop_guard.alive()) for _ in range(10)]",
    ],
)
def test_neither_a_computation_nor_slow_progress_is_cut_short(code):
    process = started(f"with stop_requests() as received: exec({code!r}); print(received)", patience=1.0)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "[15]\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed in /proc")
def test_a_compiler_that_hangs_is_ended():
    line = ["sh", "-c", "sleep 1000; echo", "g++"]
    code = f"with stop_requests(): print('ready', flush=True); print(subprocess.run({line}).returncode)"
    process = started(code)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "-9\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed in /proc")
def test_no_compiler_outlives_the_process():
    code = f"subprocess.Popen({['sh', '-c', 'sleep 1000; echo', 'g++']}); block()"
    process = started(f"with stop_requests(): {code}", patience=0.5)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143  # the pipes of its output have been closed


def test_there_is_one_guard_and_only_in_the_main_thread():
    states = []

    def work():
        with stop_guard.guarded("program"):
            states.append(stop_guard.active())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    former = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(former)
    with stop_guard.guarded("program"):
        with stop_guard.guarded("another"):
            states.append(stop_guard.active())
        states.append(stop_guard.active())
    assert [*states, stop_guard.active()] == [False, True, True, False]
    assert signal.set_wakeup_fd(former) == former
