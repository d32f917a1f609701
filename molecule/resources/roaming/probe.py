"""A steady stream of numbered UDP datagrams and their echoes: what an application sees of a move.

`echo` runs on the correspondent, `send` on the mobile node, with nothing but Python; or the other way round, so that
what each of them receives shows the outage of one direction alone. Standard input is the leash.
`send` prints one JSON line a reply: its number, when it was sent and when the echo came back (Unix seconds).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import struct
import sys
import time

DATAGRAM = struct.Struct("!Qd")
"""Number and time of sending (Unix seconds)."""

DRAIN_SECONDS = 1.0


def emit(**fields: object) -> None:
    """Print one event as a JSON line, at once."""
    print(json.dumps(fields), flush=True)


def echo(address: str, port: int, tell: bool) -> None:
    """Send every datagram back to where it came from until standard input closes; `tell` prints each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        emit(event="listening", t=time.time())
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if server in ready:
                payload, peer = server.recvfrom(2048)
                with contextlib.suppress(OSError):  # no way back, while this end is the one that moves
                    server.sendto(payload, peer)
                if tell and len(payload) == DATAGRAM.size:
                    number, sent_at = DATAGRAM.unpack(payload)
                    emit(event="arrived", number=number, sent=sent_at, t=time.time())
            if sys.stdin in ready and not sys.stdin.readline():
                return


def send(address: str, port: int, source: str, interval: float) -> None:
    """Send a datagram every `interval` seconds, print each echo, and a summary when standard input closes."""
    number = received = unsendable = 0
    stop_at: float | None = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.setblocking(False)
        due = time.monotonic()
        while stop_at is None or time.monotonic() < stop_at:
            pause = max(0.0, due - time.monotonic())
            inputs = [client] if stop_at is not None else [client, sys.stdin]
            ready, _, _ = select.select(inputs, [], [], pause)
            if client in ready:
                try:
                    payload = client.recv(2048)
                except OSError:
                    payload = b""  # an ICMP error of an earlier datagram: the gap in the replies tells the story
                if len(payload) == DATAGRAM.size:
                    answered, sent_at = DATAGRAM.unpack(payload)
                    received += 1
                    emit(event="reply", number=answered, sent=sent_at, t=time.time())
            if sys.stdin in ready and not sys.stdin.readline():
                stop_at = time.monotonic() + DRAIN_SECONDS
            if stop_at is None and time.monotonic() >= due:
                try:
                    client.sendto(DATAGRAM.pack(number, time.time()), (address, port))
                except OSError:
                    unsendable += 1  # no route for an instant, while the address changes
                number += 1
                due = max(due + interval, time.monotonic() - 10 * interval)
    emit(event="summary", t=time.time(), sent=number, received=received, unsendable=unsendable)


def main() -> None:
    """Run one end of the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["echo", "send"])
    parser.add_argument("--address", default="", help="echo: address to listen on; send: address of the echo server")
    parser.add_argument("--source", default="", help="send: own address")
    parser.add_argument("--port", type=int, default=5002)
    parser.add_argument("--tell", action="store_true", help="echo: print each datagram: number, when it was sent")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between datagrams")
    arguments = parser.parse_args()
    if arguments.mode == "echo":
        echo(arguments.address, arguments.port, arguments.tell)
    else:
        send(arguments.address, arguments.port, arguments.source, arguments.interval)


if __name__ == "__main__":
    main()
