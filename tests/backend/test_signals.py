"""Requests to stop."""

import os
import signal

from convlstm.backend import signals
from convlstm.backend.signals import STOPS, stop_requests

import pytest


@pytest.mark.parametrize("number", STOPS)
def test_a_request_is_collected_and_the_former_handler_comes_back(number):
    former = signal.getsignal(number)
    with stop_requests() as received:
        os.kill(os.getpid(), number)
        assert received == [number]
        assert signal.getsignal(number) is not former
    assert signal.getsignal(number) is former


def test_a_second_interrupt_acts_at_once():
    with stop_requests() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGTERM]


def test_a_hangup_is_ignored_if_the_program_is_to_survive_it():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert received == []
    finally:
        signal.signal(signal.SIGHUP, former)


def test_nothing_is_written_to_a_closed_terminal(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(signals, "terminals", lambda: [writing])
    with stop_requests():
        os.write(writing, b"before")
        os.kill(os.getpid(), signal.SIGHUP)
        os.write(writing, b"after")
    os.close(writing)
    assert os.read(reading, 100) == b"before"
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_terminals_are_found():
    assert set(signals.terminals()) <= {1, 2}
