"""A watchdog that ends a rank when another one has ended.

When ranks exchange gradients, MLX waits for a lost rank, with some backends forever. So every rank has a TCP connection
to rank 0, with a heartbeat every two seconds, and a thread that watches it. If a process ends, its system closes the
connection; if a machine loses power or its cable, the heartbeats stop.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from convlstm.backend.terminal import printable

BEAT = 2.0  # seconds between heartbeats
SILENCE = 30.0  # seconds without a heartbeat after which a rank is lost
ANSWERING = 5.0  # seconds that the other side of a new connection has to identify itself
CONNECTING = 30.0  # seconds that all ranks have to reach rank 0
CLOSING = 3.0  # seconds that the others have to read the last message
WRITING = 20.0  # seconds that a rank has to finish writing files
ADDRESS = "CONVLSTM_WATCH"  # environment variable with HOST:PORT of rank 0
ADVICE = f"Open a port in the firewall of rank 0 and give it to all ranks: mlx.launch --env {ADDRESS}=HOST:PORT ..."
LOST = 75
"""Exit status of a rank that ends because another one was lost: a temporary failure in sysexits.h."""


class WatchError(RuntimeError):
    """The ranks cannot reach each other."""


def say_and_exit(text: str, status: int) -> NoReturn:
    """Prints a text and ends the process, from any thread, even if the main thread waits for something."""
    if text:
        with suppress(OSError, ValueError):
            print(printable(text), file=sys.stderr, flush=True)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


class Watchdog:
    """A thread that watches the other ranks.

    The ranks meet in two steps: rank 0 calls `invitation()`, whose result the caller gives to all ranks, and then all
    ranks call `meet(invitation)`.

    Args:
        rank: This rank.
        size: Number of ranks.
        names: Name of each rank, for messages.
        end: Called as `end(text, status)` in the watchdog's thread when another rank is lost. Default: print the text
            on the standard error and end the process.
        beat: Seconds between heartbeats. Default: 2.
        silence: Seconds without a heartbeat after which a rank is lost. Default: 30.

    Attributes:
        advice: End of the message that a rank was lost.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        names: Sequence[str],
        *,
        end: Callable[[str, int], Any] = say_and_exit,
        beat: float = BEAT,
        silence: float = SILENCE,
    ):
        self.rank, self.size, self.names, self.end = rank, size, list(names), end
        self.beat, self.silence = beat, silence
        self.advice = "This rank ends, too."
        self._peers: dict[int, _Peer] = {}
        self._server: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._ending = False
        self._writing = threading.RLock()
        self._left = threading.Condition()

    def invitation(self, hosts: Sequence[str], local: bool) -> dict[str, Any]:
        """Opens a port on rank 0: any free one, or the one in CONVLSTM_WATCH=HOST:PORT.

        Args:
            hosts: Names and addresses at which the other ranks may reach this machine, the likeliest first.
            local: True if all ranks run on this machine.

        Returns:
            The argument of `meet` for every rank. If the port cannot be opened, `meet` raises an error on all ranks.
        """
        host, port = "127.0.0.1" if local else "", 0
        if address := os.environ.get(ADDRESS):
            name, _, number = address.rpartition(":")
            if not name or not number.isdigit() or not 0 < int(number) < 65536:
                return {"error": f"[Ranks] {ADDRESS} must be HOST:PORT of rank 0 but got {address!r}."}
            host, port, hosts, local = "", int(number), [name], False
        dual = not local and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        try:
            self._server = socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=self.size)
        except OSError as error:
            return {"error": f"[Ranks] rank 0 cannot listen on port {port}: {error}. Give a free one in {ADDRESS}."}
        hosts = ["127.0.0.1"] if local else [*dict.fromkeys((*hosts, "127.0.0.1"))]
        return {"hosts": hosts, "port": self._server.getsockname()[1], "token": secrets.token_hex(16)}

    def meet(self, invitation: Mapping[str, Any]) -> None:
        """Connects the ranks and starts to watch.

        Raises:
            WatchError: Rank 0 could not open its port, or not all ranks connected in time.
        """
        if "error" in invitation:
            raise WatchError(invitation["error"])
        if self._server is None:
            self._peers = {0: self._connect(invitation)}
        else:
            with self._server:
                self._peers = self._accept_all(self._server, invitation["token"])
        for peer in self._peers.values():
            peer.socket.settimeout(self.silence)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Keeps the watchdog from ending the process in a `with` block that writes files, for up to 20 seconds."""
        with self._writing:
            yield

    def leave(self) -> None:
        """Tells the others that this rank has finished its work, and waits until they have, too."""
        self._send({"left": True})
        with self._left:
            self._left.wait_for(lambda: all(peer.left for peer in self._peers.values()))
        self._close()

    def fail(self, text: str) -> None:
        """Tells the others why this rank ends, which ends them, too; rank 0 prints the text."""
        self._ending = True
        self._send({"failed": text})
        self._close()

    def _close(self) -> None:
        """Closes the connections after the others have read everything; closing earlier may lose messages."""
        self._ending = True
        for peer in self._peers.values():
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_WR)
        if self._thread is not None:
            self._thread.join(2 * CLOSING)

    def _connect(self, invitation: Mapping[str, Any]) -> _Peer:
        """Returns a connection to rank 0."""
        problem, deadline = "", time.monotonic() + CONNECTING
        while time.monotonic() < deadline:
            for host in invitation["hosts"]:
                try:
                    connection = socket.create_connection((host, invitation["port"]), timeout=ANSWERING)
                except OSError as error:
                    problem = f"{host}: {error}"
                    continue
                peer = _Peer(connection)
                with suppress(OSError):
                    peer.send({"token": invitation["token"], "rank": self.rank})
                    if any("token" in message for message in peer.wait(ANSWERING)):
                        return peer
                problem = f"{host}: another program answers"
                connection.close()
            time.sleep(0.2)
        raise WatchError(
            f"[Ranks] rank {self.rank} ({self.names[self.rank]}) cannot reach rank 0 on port {invitation['port']} "
            f"({problem}). {ADVICE}"
        )

    def _accept_all(self, server: socket.socket, token: str) -> dict[int, _Peer]:
        """Returns the connections of all other ranks. Other programs do not know the token and are refused."""
        peers: dict[int, _Peer] = {}
        deadline = time.monotonic() + CONNECTING
        while len(peers) < self.size - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = ", ".join(f"{r} ({self.names[r]})" for r in range(1, self.size) if r not in peers)
                for peer in peers.values():
                    peer.socket.close()
                raise WatchError(
                    f"[Ranks] rank 0 ({self.names[0]}) was not reached within {CONNECTING:.0f} seconds by rank "
                    f"{missing}. {ADVICE}"
                ) from None
            peer = _Peer(connection)
            hello = next(iter(peer.wait(ANSWERING)), {})
            rank = hello.get("rank")
            invited = isinstance(hello.get("token"), str) and secrets.compare_digest(hello["token"], token)
            if invited and isinstance(rank, int) and 0 < rank < self.size and rank not in peers:
                peer.send({"token": True})
                peers[rank] = peer
            else:
                connection.close()
        return peers

    def _send(self, message: Mapping[str, Any], but: int | None = None) -> None:
        for rank, peer in self._peers.items():
            if rank != but:
                with suppress(OSError):
                    peer.send(message)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            last_beat = last_turn = time.monotonic()
            for rank, peer in self._peers.items():
                peer.last_heard = last_turn
                selector.register(peer.socket, selectors.EVENT_READ, rank)
            deadline = None
            while deadline is None or (selector.get_map() and time.monotonic() < deadline):
                events = selector.select(self.beat / 4)
                now = time.monotonic()
                if now - last_turn > self.silence / 2:
                    # This process itself was asleep or had no processor time, so it may have missed heartbeats.
                    for peer in self._peers.values():
                        peer.last_heard = now
                last_turn = now
                for key, _ in events:
                    self._read(key.data, now)
                    if self._peers[key.data].closed:
                        selector.unregister(key.fileobj)
                if self._ending:
                    deadline = deadline or now + CLOSING
                    continue
                if now - last_beat >= self.beat:
                    self._send({"beat": True})
                    last_beat = now
                for rank, peer in self._peers.items():
                    if not peer.left and now - peer.last_heard > self.silence:
                        self._lose(rank, f"was silent for {self.silence:.0f} seconds")
        for peer in self._peers.values():
            peer.socket.close()

    def _read(self, rank: int, now: float) -> None:
        peer = self._peers[rank]
        messages = peer.read()
        peer.last_heard = now
        for message in messages:
            if "left" in message:
                peer.left = True
            elif "failed" in message:
                text = f"rank {rank} ({self.names[rank]}): {message['failed']}"
                self._send({"failed": message["failed"]}, but=rank)
                self._finish(text if self.rank == 0 else "", 1)
            elif "lost" in message:
                self._finish(f"{message['lost']}. {self.advice}", LOST)
        if peer.closed and not peer.left:
            self._lose(rank, "ended without a message: it was killed, or its machine went down")
        with self._left:
            self._left.notify_all()

    def _lose(self, rank: int, reason: str) -> None:
        """Ends this rank, and tells the others, because a rank was lost."""
        if self._ending:  # the others close their side because this rank leaves
            return
        text = f"rank {rank} of {self.size} ({self.names[rank]}) {reason}"
        self._send({"lost": text}, but=rank)
        self._finish(f"{text}. {self.advice}", LOST)

    def _finish(self, text: str, status: int) -> None:
        """Ends the process once, after files that are being written are complete."""
        if self._ending:
            return
        self._ending = True
        acquired = self._writing.acquire(timeout=WRITING)
        self.end(text, status)
        if acquired:
            self._writing.release()


class _Peer:
    """A connection for JSON objects, one in each line."""

    def __init__(self, connection: socket.socket):
        self.socket, self.last_heard = connection, time.monotonic()
        self.left = self.closed = False
        self._rest = b""
        self._lock = threading.Lock()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict[str, Any]]:
        """Returns the messages that have arrived."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        self.closed = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = []
        for line in lines:
            with suppress(ValueError):
                message = json.loads(line)
                messages += [message] if isinstance(message, dict) else []
        return messages

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Returns the first messages, or an empty list if none arrives in time."""
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0 and not self.closed and len(self._rest) < 4096:
            self.socket.settimeout(remaining)
            if messages := self.read():
                return messages
        return []
