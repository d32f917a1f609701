"""UDP checksums and addresses of registration messages (RFC 5944 3.1, 3.8.3.1), with real packets at each party."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from mobileip.wire.unreachable import udp_checksum
from tests.integration.site import HOME, MIPP_PUB, Site, running, until
from tests.integration.test_unreachable import request

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

OPEN, INET, INNER = "198.51.100.10", "198.51.100.1", "192.0.2.33"
HOME_AGENT, MIPP_PRIV, FOREIGN_AGENT = "192.0.2.40", "192.0.2.10", "198.51.100.100"

_SEND = """
import json, socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for packet, destination in json.load(sys.stdin):
    channel.sendto(bytes.fromhex(packet), (destination, 0))
"""

_CAPTURE = """
import socket, sys, time
channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
channel.settimeout(0.2)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    try:
        packet, (interface, protocol, *_) = channel.recvfrom(65535)
    except TimeoutError:
        continue
    if protocol == 0x0800 and packet[9] == 17 and 434 in (packet[20] << 8 | packet[21], packet[22] << 8 | packet[23]):
        print(packet.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as site:
        until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=f"a binding; {site.log('mn')[-2000:]}")
        yield site


def packet(source: str, destination: str, checksum: int | None, payload: bytes, source_port: int = 434) -> bytes:
    """An IP packet with a UDP datagram to port 434. `checksum` None: the right one."""
    if checksum is None:
        checksum = udp_checksum(IPv4Address(source), source_port, IPv4Address(destination), 434, payload)
    udp = struct.pack("!HHHH", source_port, 434, 8 + len(payload), checksum) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    return header + IPv4Address(source).packed + IPv4Address(destination).packed + udp


def send(site: Site, host: str, packets: list[tuple[bytes, str]]) -> None:
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{site.prefix}-{host}", sys.executable, "-c", _SEND],
        input=json.dumps([(each.hex(), destination) for each, destination in packets]),
        text=True, check=True, timeout=30,
    )  # fmt: skip


def seen_and_dropped(site: Site, host: str) -> int:
    """Datagrams that the daemon saw and could make nothing of."""
    drops = site.show(host, "drops")["daemon"]
    return sum(count for reason, count in drops.items() if reason.startswith(("malformed", "unexpected_message")))


def checksum_errors(site: Site, host: str) -> int:
    """The kernel's own count of datagrams with a wrong checksum."""
    names, values = [
        line.split() for line in site.run(host, "cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Udp:")
    ]
    return int(values[names.index("InCsumErrors")])


REQUEST, REPLY = 1, 3


def check(site: Site, host: str, sender: str, source: str, destination: str, kind: int) -> None:
    """A wrong checksum: nobody hears of the datagram. The right one, or none: the daemon sees it."""
    payload = bytes((kind, 0, 0))
    right = udp_checksum(IPv4Address(source), 434, IPv4Address(destination), 434, payload)
    before, errors = seen_and_dropped(site, host), checksum_errors(site, host)
    wrong = [packet(source, destination, right ^ bits, payload) for bits in (0x0001, 0x8000, 0x5555)]
    send(site, sender, [(each, destination) for each in wrong])
    until(lambda: checksum_errors(site, host) - errors == 3, what=f"checksum errors at {host}")
    assert seen_and_dropped(site, host) == before
    send(site, sender, [(packet(source, destination, given, payload), destination) for given in (None, 0)])
    until(lambda: seen_and_dropped(site, host) - before == 2, what=f"drops of {host}: {site.show(host, 'drops')}")


def test_request_with_a_wrong_checksum_reaches_no_agent_R5944_3_1_c_and_R5944_3_1_d_and_R5944_3_8_2_1_a(
    site: Site,
) -> None:
    check(site, "mipp", "inet", INET, MIPP_PUB, REQUEST)
    check(site, "ha", "inner", INNER, HOME_AGENT, REQUEST)


def test_reply_with_a_wrong_checksum_reaches_neither_proxy_nor_node_R5944_3_1_c_and_R5944_3_1_d_and_R5944_3_6_2_1_a(
    site: Site,
) -> None:
    check(site, "mipp", "inner", HOME_AGENT, MIPP_PRIV, REPLY)
    check(site, "mn", "inet", MIPP_PUB, OPEN, REPLY)


def test_message_with_a_wrong_checksum_does_not_reach_the_foreign_agent_R5944_3_1_c_and_R5944_3_1_d_and_R5944_3_7_2_1_a(
    site: Site,
) -> None:
    check(site, "fa", "inet", INET, FOREIGN_AGENT, REQUEST)
    check(site, "fa", "inet", MIPP_PUB, FOREIGN_AGENT, REPLY)


def test_datagram_without_checksum_is_discarded_where_so_configured_R5944_3_1_d(site: Site) -> None:
    file = site.directory / "mipp.yml"
    text = file.read_text()
    payload = b"\x01\0\0"
    site.kill("mipp")
    try:
        file.write_text(text[:-1] + ', "udp": {"zero_checksum": "discard"}}')
        site.start("mipp")
        for sender, source, destination in (("inet", INET, MIPP_PUB), ("inner", HOME_AGENT, MIPP_PRIV)):
            before = seen_and_dropped(site, "mipp")
            kind = payload if destination == MIPP_PUB else b"\x03\0\0"
            packets = [packet(source, destination, given, kind) for given in (0, 0, None)]
            send(site, sender, [(each, destination) for each in packets])
            until(lambda: seen_and_dropped(site, "mipp") > before, what=f"drops {site.show('mipp', 'drops')}")  # noqa: B023
            assert seen_and_dropped(site, "mipp") == before + 1
    finally:
        file.write_text(text)
        site.kill("mipp")
        site.start("mipp")


def test_all_parties_send_right_checksums_R5944_3_1_a_and_R5944_3_1_b(site: Site) -> None:
    """A node that comes through the foreign agent: all four parties say something on the wires of three hosts."""
    seen: list[bytes] = []
    captures = [
        site.spawn(f"capture-{host}", host, [sys.executable, "-c", _CAPTURE, "6"]) for host in ("inet", "inner", "fa")
    ]
    for capture in captures:
        assert capture.stdout is not None
        assert capture.stdout.readline() == b"ready\n"
    site.move("fa")
    until(lambda: site.bindings("mipp") == [(HOME, FOREIGN_AGENT)], what=f"a binding; {site.log('mn')[-2000:]}")
    for number, capture in enumerate(captures):
        assert capture.stdout is not None
        seen += [bytes.fromhex(line.decode()) for line in capture.stdout.read().splitlines()]
        site.processes.pop(f"capture-{('inet', 'inner', 'fa')[number]}")
        capture.wait(10)
    site.move("open")
    until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=f"a binding; {site.log('mn')[-2000:]}")
    talkers = set()
    for each in seen:
        source, destination = IPv4Address(each[12:16]), IPv4Address(each[16:20])
        source_port, destination_port, length, checksum = struct.unpack_from("!HHHH", each, 20)
        payload = each[28 : 20 + length]
        if payload[0] in (1, 3):
            talkers.add((str(source), payload[0]))
            assert checksum != 0
            assert checksum == udp_checksum(source, source_port, destination, destination_port, payload)
            assert (destination_port == 434) if payload[0] == 1 else (source_port == 434)
    assert {(HOME, 1), (FOREIGN_AGENT, 1), (MIPP_PRIV, 1), (HOME_AGENT, 3), (MIPP_PUB, 3)} <= talkers, talkers


_ASK = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.bind((sys.argv[1], int(sys.argv[3])))
channel.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[2], 434))
channel.settimeout(6)
payload, source = channel.recvfrom(4096)
print(payload[:2].hex(), *source)
"""


@pytest.mark.parametrize("port", [434, 5434])
def test_reply_comes_from_where_the_request_went_to_where_it_came_from_R5944_3_8_3_1_a(site: Site, port: int) -> None:
    for host, source, agent, association in (
        ("inet", INET, MIPP_PUB, (2001, "00112233445566778899aabbccddeeff")),
        ("inner", INNER, HOME_AGENT, (4001, "a0b1c2d3e4f5061728394a5b6c7d8e9f")),
    ):
        payload = request(source, agent, association)
        said = site.run(host, sys.executable, "-c", _ASK, source, agent, str(port), payload.hex()).stdout.split()
        assert said[0].startswith("03")
        assert said[1:] == [agent, "434"]
