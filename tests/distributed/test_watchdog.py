import json
import queue
import socket
import threading
from contextlib import suppress

from convlstm.distributed import watchdog
from convlstm.distributed.watchdog import LOST, Watchdog, WatchError, say_and_exit

import pytest

BEAT = 0.05


class Pack:
    """Watchdogs of several ranks in one process; `ends` receives (rank, text, status)."""

    def __init__(self, size, *, silence=20.0, beats=None):
        self.ends = queue.Queue()
        self.dogs = [
            Watchdog(
                rank,
                size,
                "abcd"[:size],
                end=lambda text, status, rank=rank: self.ends.put((rank, text, status)),
                beat=BEAT if beats is None else beats[rank],
                silence=silence,
            )
            for rank in range(size)
        ]

    def meet(self, invitation=None, ranks=None):
        invitation = self.dogs[0].invitation([], True) if invitation is None else invitation
        self.errors = {}
        run(*(lambda dog=dog: self._meet(dog, invitation) for dog in (ranks or self.dogs)))
        return self

    def _meet(self, dog, invitation):
        try:
            dog.meet(invitation)
        except WatchError as error:
            self.errors[dog.rank] = str(error)

    def cut(self, rank):
        """Ends a rank as a killed process ends: without a message, with its connections closed."""
        self.dogs[rank]._ending = True
        for peer in self.dogs[rank]._peers.values():
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)

    def rest(self):
        return [self.ends.get() for _ in range(self.ends.qsize())]

    def next(self, count):
        return sorted(self.ends.get(timeout=30) for _ in range(count))


def run(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_ranks_that_have_done_their_work_leave_together():
    pack, gone = Pack(3).meet(), []
    early = [threading.Thread(target=lambda dog=dog: (dog.leave(), gone.append(dog.rank))) for dog in pack.dogs[1:]]
    for thread in early:
        thread.start()
        thread.join(10 * BEAT)
    assert gone == []
    run(pack.dogs[0].leave, *(thread.join for thread in early))
    assert sorted(gone) == [1, 2]
    assert pack.rest() == []


def test_a_rank_that_fails_ends_the_others_and_rank_0_says_why():
    pack = Pack(3).meet()
    run(lambda: pack.dogs[1].fail("broken"))
    assert pack.next(2) == [(0, "rank 1 (b): broken", 1), (2, "", 1)]


def test_rank_0_prints_its_own_failure():
    pack = Pack(3).meet()
    run(lambda: pack.dogs[0].fail("broken"))
    assert pack.next(2) == [(1, "", 1), (2, "", 1)]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_whose_connection_is_closed_is_lost(rank):
    pack = Pack(3).meet()
    for dog in pack.dogs:
        dog.advice = "Do this."
    pack.cut(rank)
    text = (
        f"rank {rank} of 3 ({'abc'[rank]}) ended without a message: it was killed, or its machine went down. Do this."
    )
    assert pack.next(2) == [(other, text, LOST) for other in range(3) if other != rank]


def test_a_rank_that_falls_silent_is_lost():
    pack = Pack(3, silence=1.0, beats=[BEAT, 1000.0, BEAT]).meet()
    text = "rank 1 of 3 (b) was silent for 1 seconds. This rank ends, too."
    assert [end for end in pack.next(2) if end[0] != 1] == [(0, text, LOST), (2, text, LOST)]


def test_a_machine_that_slept_does_not_lose_the_others(monkeypatch):
    pack = Pack(2).meet()
    clock, slept = watchdog.time.monotonic, threading.Event()
    times = queue.SimpleQueue()

    def later():
        times.put(None)
        return clock() + (3600 if slept.is_set() else 0)

    monkeypatch.setattr(watchdog.time, "monotonic", later)
    slept.set()
    while times.qsize() < 40:  # each turn of either watchdog looks at the clock
        threading.Event().wait(BEAT)
    run(*(dog.leave for dog in pack.dogs))
    assert pack.rest() == []


def test_a_file_is_finished_before_the_end():
    pack = Pack(2).meet()
    with pack.dogs[0].undisturbed():
        pack.cut(1)
        with pytest.raises(queue.Empty):
            pack.ends.get(timeout=20 * BEAT)
    assert [end[0] for end in pack.next(1)] == [0]


def test_a_connection_without_the_token_is_closed(monkeypatch):
    monkeypatch.setattr(watchdog, "ANSWERING", 0.5)
    pack = Pack(2)
    invitation = pack.dogs[0].invitation([], True)
    welcome = threading.Thread(target=pack._meet, args=(pack.dogs[0], invitation))
    pack.errors = {}
    welcome.start()
    for hello in ({"token": "guess", "rank": 1}, {"token": invitation["token"], "rank": 7}, ["no"], {}):
        with socket.create_connection(("127.0.0.1", invitation["port"]), timeout=10) as stranger:
            stranger.sendall(json.dumps(hello).encode() + b"\n")
            assert stranger.recv(100) == b""
    pack.meet(invitation, ranks=pack.dogs[1:])
    welcome.join(30)
    assert pack.errors == {}
    run(*(dog.leave for dog in pack.dogs))
    assert pack.rest() == []


def test_ranks_that_cannot_reach_each_other_raise_an_error(monkeypatch):
    monkeypatch.setattr(watchdog, "CONNECTING", 0.5)
    monkeypatch.setattr(watchdog, "ANSWERING", 0.2)
    pack = Pack(3)
    invitation = pack.dogs[0].invitation([], True)
    pack.meet(invitation | {"token": "another"}, ranks=pack.dogs[2:])
    assert "rank 2 (c) cannot reach rank 0 on port" in pack.errors[2]
    assert "another program answers). Open a port in the firewall of rank 0" in pack.errors[2]
    pack.meet(invitation, ranks=pack.dogs[:1])
    assert "rank 0 (a) was not reached within 0 seconds by rank 1 (b), 2 (c). Open a port" in pack.errors[0]
    pack.meet(invitation, ranks=pack.dogs[1:2])
    assert "127.0.0.1: [Errno" in pack.errors[1]


def test_the_port_of_rank_0_can_be_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(watchdog.ADDRESS, f"127.0.0.1:{port}")
        assert "cannot listen on port" in Pack(2).meet().errors[1]
    pack = Pack(2)
    invitation = pack.dogs[0].invitation(["nowhere.invalid"], False)
    assert (invitation["hosts"], invitation["port"]) == (["127.0.0.1"], port)
    pack.meet(invitation)
    assert pack.errors == {}
    run(*(dog.leave for dog in pack.dogs))


@pytest.mark.parametrize("place", ["here", ":80", "host:0", "host:port", "host:70000"])
def test_an_address_that_is_not_one(monkeypatch, place):
    monkeypatch.setenv(watchdog.ADDRESS, place)
    errors = Pack(2).meet().errors
    assert errors == dict.fromkeys((0, 1), f"[Ranks] CONVLSTM_WATCH must be HOST:PORT of rank 0 but got '{place}'.")


def test_ranks_on_other_machines_get_all_addresses():
    pack = Pack(2)
    invitation = pack.dogs[0].invitation(["10.0.0.1", "mac.local", "10.0.0.1"], False)
    assert invitation["hosts"] == ["10.0.0.1", "mac.local", "127.0.0.1"]
    pack.dogs[0]._server.close()


def test_the_process_ends_from_any_thread(monkeypatch, capsys):
    ends = []
    monkeypatch.setattr(watchdog.os, "_exit", ends.append)
    say_and_exit("why", 75)
    say_and_exit("", 1)
    assert ends == [75, 1]
    assert capsys.readouterr().err == "why\n"
