"""A visitor on the foreign agent's link: real datagrams to the real daemon, real packets through its programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from mobileip.wire.agent_discovery import ALL_SYSTEMS, AgentFlags, parse_advertisement
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import ENCAPSULATING_DELIVERY, MessageString
from mobileip.wire.unreachable import udp_checksum
from tests.forwarding.frames import ICMP, IPIP, UDP, ip, udp
from tests.integration.site import HOME, MIPP_PUB, Site, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

AGENT, CARE_OF, HOME_AGENT = "198.51.100.129", "198.51.100.100", "198.51.100.97"
GROUP, STRANGER = "224.0.0.251", "192.0.2.77"
NODE_SA = SecurityAssociation(2001, b"node and its own")

_ASK = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
channel.bind((sys.argv[1], 434))
channel.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[2], 434))
channel.settimeout(4)
print(channel.recv(4096).hex())
"""

_SEND_RAW = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[3]))
channel.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
channel.bind((sys.argv[1], 0))
channel.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[2], 0))
"""

_HOME_AGENT = '''
"""Accepts everything; its authenticator is for the node to check, and there is none here."""
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.bind((sys.argv[1], 434))
channel.settimeout(60)
print("ready", flush=True)
while True:
    request, source = channel.recvfrom(4096)
    reply = b"\\x03\\x00" + request[2:12] + request[16:24] + b"\\x20\\x14" + bytes(20)
    channel.sendto(reply, source)
'''

_WATCH = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind((sys.argv[1], 0x0800))
wire.settimeout(20)
print("ready", flush=True)
while True:
    packet = wire.recv(4096)
    if packet[9] in map(int, sys.argv[2:]):
        print(packet.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A foreign agent; the node and its home agent are this test. At MIPP-Pub nobody listens."""
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        site.build()
        site.configure()
        site.start("fa")
        site.move("fa")
        site.run("mn", "tc", "qdisc", "del", "dev", "eth0", "clsact")  # a node without a daemon may send nothing else
        site.run("mn", "ip", "route", "replace", AGENT, "dev", "eth0", "src", HOME)
        yield site
    finally:
        site.destroy()


def request(home_agent: str, *behind: bytes) -> bytes:
    message = RegistrationRequest(
        Flag.REVERSE_TUNNEL,
        300,
        IPv4Address(HOME),
        IPv4Address(home_agent),
        IPv4Address(CARE_OF),
        from_unix(time.time()),
    )
    return append(message.serialize(), NODE_SA) + b"".join(behind)


def register(site: Site, payload: bytes) -> RegistrationReply:
    answer = site.run("mn", sys.executable, "-c", _ASK, HOME, AGENT, payload.hex())
    return parse_reply(bytes.fromhex(answer.stdout))


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def watching(site: Site, host: str, interface: str, *protocols: int) -> subprocess.Popen[bytes]:
    """Prints each IP packet of these protocols, as hex digits."""
    program = [sys.executable, "-c", _WATCH, interface, *map(str, protocols)]
    process = site.spawn(f"watch-{host}", host, program)
    assert first_line(process) == "ready"
    return process


def test_advertisements_go_out_with_ttl_1_to_all_systems_R5944_2_1_a(site: Site) -> None:
    packet = bytes.fromhex(first_line(watching(site, "mn", "eth0", ICMP)))
    assert (packet[8], packet[12:16], packet[16:20]) == (1, IPv4Address(AGENT).packed, ALL_SYSTEMS.packed)
    advertisement = parse_advertisement(packet[20:])
    assert advertisement is not None
    assert advertisement.flags & AgentFlags.FOREIGN_AGENT
    assert advertisement.care_of_addresses == (IPv4Address(CARE_OF),)


def test_port_unreachable_of_the_home_agents_host_is_told_to_the_node_R5944_3_7_3_a(site: Site) -> None:
    reply = register(site, request(MIPP_PUB))
    assert reply.code == 82
    reason = find(reply.extensions, ExtensionType.MESSAGE_STRING)
    assert reason is not None
    assert MessageString.of(reason).text == "ICMP 3/3 port unreachable"
    (waiting,) = site.show("fa", "pending")  # a reply would still count
    assert (waiting["home_address"], waiting["home_agent"]) == (HOME, MIPP_PUB)


def test_request_with_a_wrong_checksum_is_discarded_in_silence_R5944_3_7_2_1_a_and_R5944_3_1_c(site: Site) -> None:
    until(lambda: site.show("fa", "pending") == [], 12, "nothing waits")
    payload = request(MIPP_PUB)
    home, agent = IPv4Address(HOME), IPv4Address(AGENT)
    right = udp_checksum(home, 434, agent, 434, payload)
    for check, is_heard in ((right ^ 0x0101, False), (right, True)):
        datagram = udp(434, 434, payload, check)
        site.run("mn", sys.executable, "-c", _SEND_RAW, HOME, AGENT, str(UDP), datagram.hex())
        if is_heard:
            until(lambda: site.show("fa", "pending"), 5, "the sound one is relayed")
        else:
            time.sleep(0.3)  # nothing to wait for: it must not come
            assert site.show("fa", "pending") == []


def test_encapsulating_delivery_carries_a_multicast_into_the_reverse_tunnel_R3024_3_3_b_and_R3024_5_1_2_a(
    site: Site,
) -> None:
    agent = site.spawn("home-agent", "inet", [sys.executable, "-c", _HOME_AGENT, HOME_AGENT])
    assert first_line(agent) == "ready"
    reply = register(site, request(HOME_AGENT, ENCAPSULATING_DELIVERY.serialize()))
    assert reply.code == 0
    (visitor,) = site.show("fa", "bindings")
    assert (visitor["home_address"], visitor["encapsulating_delivery"], visitor["reverse_tunnel"]) == (HOME, True, True)
    watch = watching(site, "inet", "fa", IPIP)
    inner = ip(IPv4Address(HOME), IPv4Address(GROUP), UDP, udp(5353, 5353, b"who is there?"), identification=7)
    site.run("mn", sys.executable, "-c", _SEND_RAW, HOME, AGENT, "4", inner.hex())
    packet = bytes.fromhex(first_line(watch))
    assert (packet[12:16], packet[16:20]) == (IPv4Address(CARE_OF).packed, IPv4Address(HOME_AGENT).packed)
    assert packet[20:] == ip(
        IPv4Address(HOME), IPv4Address(GROUP), UDP, udp(5353, 5353, b"who is there?"), identification=7, ttl=63
    )
    assert site.show("fa", "counters")["kernel"]["packets"]["visitor_to_home_agent"] >= 1


def test_tunnelled_packet_for_no_visitor_goes_nowhere_and_nobody_hears_R5944_4_2_2_a_and_R5944_4_2_2_b(
    site: Site,
) -> None:
    """Behind the visit of the test before: a packet for the visitor, which comes last, shows that the way is open."""
    assert [row["home_address"] for row in site.show("fa", "bindings")] == [HOME]
    node, sender = watching(site, "mn", "eth0", UDP), watching(site, "inet", "fa", ICMP)
    for home in (STRANGER, HOME):
        inner = ip(IPv4Address(MIPP_PUB), IPv4Address(home), UDP, udp(5000, 5001, home.encode()))
        site.run("inet", sys.executable, "-c", _SEND_RAW, HOME_AGENT, CARE_OF, "4", inner.hex())
    arrived = bytes.fromhex(first_line(node))
    assert (arrived[16:20], arrived[28:]) == (IPv4Address(HOME).packed, HOME.encode())
    assert site.show("fa", "drops")["kernel"] == {"no_binding": 1}
    # The first ICMP message that comes back is the answer to this echo: none was about the stranger.
    site.run("inet", "ping", "-q", "-c", "1", "-W", "2", CARE_OF)
    assert bytes.fromhex(first_line(sender))[20] == 0
