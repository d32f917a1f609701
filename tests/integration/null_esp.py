"""An ESP tunnel without cryptography: IP protocol 50 with SPI and sequence number, and the inner packet, inverted.

Inverted, so that a capture tells what came clear from what the tunnel carried. Stands where strongSwan stands, so that
the daemons and the kernel's programs can be tried without it. Run in a network namespace: `null_esp.py TUN LOCAL PEER`.
For tests only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
INVERTED = bytes(range(255, -1, -1))


def main() -> None:
    """Carry packets between the TUN device and raw protocol 50 until killed."""
    name, local, peer = sys.argv[1:]
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
    raw.bind((local, 0))
    sequence = 0
    print("ready", flush=True)
    while True:
        for ready in select.select([tun, raw.fileno()], [], [])[0]:
            if ready == raw.fileno():
                packet, source = raw.recvfrom(65535)
                start = (packet[0] & 0x0F) * 4 + 8
                if source[0] == peer and len(packet) > start + 20:
                    os.write(tun, packet[start:].translate(INVERTED))
            else:
                inner = os.read(tun, 65535)
                sequence += 1
                if inner[0] >> 4 == 4:
                    with contextlib.suppress(OSError):  # between two networks there is no way out
                        raw.sendto(struct.pack("!II", 0x1000, sequence) + inner.translate(INVERTED), (peer, 0))


if __name__ == "__main__":
    main()
