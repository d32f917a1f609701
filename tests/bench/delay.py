"""A longer way: frames between the Internet and the outer firewall are held for a while, in both directions.

The segment's bridge is cut in two and this process carries the frames across, so it needs no queueing discipline that a
kernel may lack. Good for a few thousand frames a second.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import names
from lab.commands import ip_batch
from lab.topology import Topology

SEGMENT, FAR_HALF, FAR_PEER = "outside", "outside-far", names.of_peer("outer_fw", "outside")
ETH_P_ALL, SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, PACKET_OUTGOING = 3, 263, 1, 1, 4
CLONE_NEWNET = 0x40000000


class _Membership(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_int),
        ("kind", ctypes.c_ushort),
        ("length", ctypes.c_ushort),
        ("address", ctypes.c_ubyte * 8),
    ]


def _sockets(bridges: tuple[str, str]) -> list[socket.socket]:
    """Open a packet socket on each bridge; runs in a thread of its own that has entered the wires' namespace."""
    opened: list[socket.socket] = []

    def enter_and_open() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{names.WIRES}").open("rb") as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        for bridge in bridges:
            opened.append(packet := socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
            packet.bind((bridge, ETH_P_ALL))
            member = _Membership(socket.if_nametoindex(bridge), PACKET_MR_PROMISC, 0)
            packet.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, bytes(member))
            packet.setblocking(False)

    worker = threading.Thread(target=enter_and_open, name="open packet sockets")
    worker.start()
    worker.join()
    if len(opened) != len(bridges):
        raise RuntimeError(f"cannot open packet sockets on {', '.join(bridges)}: see the error above")
    return opened


def _carry(near: socket.socket, far: socket.socket, seconds: float, stop: threading.Event) -> None:
    """Carry frames across, each `seconds` after it came, in order."""
    held: deque[tuple[float, socket.socket, bytes]] = deque()
    while not stop.is_set():
        pause = 0.05 if not held else min(0.05, max(0.0, held[0][0] - time.monotonic()))
        ready, _, _ = select.select([near, far], [], [], pause)
        for source in ready:
            frame, origin = source.recvfrom(65535)
            if origin[2] != PACKET_OUTGOING:
                held.append((time.monotonic() + seconds, far if source is near else near, frame))
        while held and held[0][0] <= time.monotonic():
            _, target, frame = held.popleft()
            target.send(frame)


@contextmanager
def path_delay(lab: Topology, milliseconds: int) -> Iterator[None]:
    """Hold frames between the Internet and the outer firewall for `milliseconds`, each way, while the block runs."""
    if SEGMENT not in lab.segments:
        raise RuntimeError(f"topology.yml has no segment {SEGMENT}")
    if milliseconds == 0:
        yield
        return
    ip_batch(
        names.WIRES,
        [
            f"link add {FAR_HALF} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link set dev {FAR_HALF} up",
            f"link set dev {FAR_PEER} master {FAR_HALF}",
        ],
    )
    stop = threading.Event()
    opened: list[socket.socket] = []
    carrier: threading.Thread | None = None
    try:
        opened = _sockets((SEGMENT, FAR_HALF))
        carrier = threading.Thread(target=_carry, args=(*opened, milliseconds / 1000, stop), name="carry frames")
        carrier.start()
        yield
    finally:
        stop.set()
        if carrier:
            carrier.join()
        for packet in opened:
            packet.close()
        ip_batch(names.WIRES, [f"link set dev {FAR_PEER} master {SEGMENT}", f"link del dev {FAR_HALF}"])
