"""One TCP connection that carries a numbered byte stream both ways, and notices every byte that is missing.

Runs on the hosts of a deployment with nothing but Python: `serve` on the correspondent, `connect` on the mobile node.
Standard input is the leash: when it closes, the program stops writing, waits for the peer's end and prints a summary.
Each line of output is one JSON object; times are Unix seconds.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import threading
import time
from typing import TextIO

WORD = struct.Struct("!Q")
"""The stream is a sequence of 64-bit words, each holding its own index."""

DRAIN_SECONDS = 20.0


def words(start: int, count: int) -> bytes:
    """Return `count` words of the stream from word index `start`."""
    return struct.pack(f"!{count}Q", *range(start, start + count))


class Reader:
    """Follows the peer's stream; counts the bytes that were skipped or are not what they must be."""

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self._expected = 0
        self._rest = b""

    def take(self, data: bytes) -> int:
        """Check `data`, the next bytes of the stream; return how many bytes turned out missing."""
        self.received += len(data)
        data = self._rest + data
        whole = len(data) - len(data) % WORD.size
        self._rest = data[whole:]
        before = self.lost
        for (value,) in WORD.iter_unpack(data[:whole]):
            if value != self._expected:
                self.lost += abs(value - self._expected) * WORD.size
                self._expected = value
            self._expected += 1
        return self.lost - before


def emit(**fields: object) -> None:
    """Print one event as a JSON line, at once."""
    print(json.dumps(fields), flush=True)


class Writer(threading.Thread):
    """Writes the stream at a steady pace until told to stop; then closes its direction."""

    def __init__(self, connection: socket.socket, rate: int, interval: float) -> None:
        super().__init__(name="writer", daemon=True)
        self._connection = connection
        self._interval = interval
        self._words = max(1, int(rate * self._interval) // WORD.size)
        self._ending = threading.Event()
        self.sent = 0
        self.error: str | None = None

    def run(self) -> None:
        """Send a block every interval; a blocked connection delays the stream, it never skips."""
        index = 0
        try:
            while not self._ending.wait(self._interval):
                self._connection.sendall(words(index, self._words))
                index += self._words
                self.sent += self._words * WORD.size
            self._connection.shutdown(socket.SHUT_WR)
        except OSError as exc:
            self.error = str(exc)

    def finish(self) -> None:
        """Ask the thread to send what it has begun and to close its direction."""
        self._ending.set()


def converse(connection: socket.socket, rate: int, interval: float) -> None:
    """Stream both ways until standard input closes and the peer has ended its stream; then print the summary."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    local, peer = connection.getsockname()[:2], connection.getpeername()[:2]
    emit(event="established", t=time.time(), local=list(local), peer=list(peer))
    reader, writer = Reader(), Writer(connection, rate, interval)
    writer.start()
    leash: list[TextIO] = [sys.stdin]
    deadline: float | None = None
    closed, error = False, None
    while not closed and (deadline is None or time.monotonic() < deadline):
        waited_for: list[socket.socket | TextIO] = [connection, *leash]
        ready, _, _ = select.select(waited_for, [], [], 0.2)
        if leash and sys.stdin in ready and not sys.stdin.readline():
            leash, deadline = [], time.monotonic() + DRAIN_SECONDS
            writer.finish()
        if connection in ready:
            try:
                data = connection.recv(65536)
            except OSError as exc:
                error = str(exc)
                break
            if not data:
                closed = True
                break
            missing = reader.take(data)
            emit(event="data", t=time.time(), received=reader.received, missing=missing)
    writer.finish()
    writer.join(DRAIN_SECONDS)
    emit(
        event="summary",
        t=time.time(),
        sent=writer.sent,
        received=reader.received,
        lost=reader.lost,
        closed_in_order=closed and writer.error is None and error is None,
        error=error or writer.error,
        local=list(local),
        peer=list(peer),
    )


def main() -> None:
    """Run one end of the stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["serve", "connect"])
    parser.add_argument("--address", default="", help="serve: address to listen on; connect: address of the server")
    parser.add_argument("--source", default="", help="connect: own address")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--rate", type=int, default=100_000, help="bytes a second in each direction")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between writes")
    arguments = parser.parse_args()
    if arguments.mode == "serve":
        with socket.create_server((arguments.address, arguments.port)) as listener:
            listener.settimeout(60)
            emit(event="listening", t=time.time())
            connection, _ = listener.accept()
    else:
        connection = socket.create_connection(
            (arguments.address, arguments.port), timeout=20, source_address=(arguments.source, 0)
        )
    connection.settimeout(None)
    with connection:
        converse(connection, arguments.rate, arguments.interval)


if __name__ == "__main__":
    main()
