"""The home agent as a process: ARP on its home link, broadcasts and tunnels, all of it as the wires show it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.encapsulation import Echo, IPv4Packet, TunnelData, UdpDatagram
from mobileip.wire.encapsulation import checksum as internet_checksum
from mobileip.wire.extensions import Extension
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, types_of
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelReply, UdpTunnelRequest
from tests.integration.site import CN, HOME, MIPP_PUB, Site, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

HOME_AGENT, MIPP_PRIV, NEIGHBOUR, OPEN = "192.0.2.40", "192.0.2.10", "192.0.2.80", "198.51.100.10"
GUEST, GROUP = "192.0.2.90", "239.1.2.3"
DIRECT_SA = SecurityAssociation(4001, bytes.fromhex("a0b1c2d3e4f5061728394a5b6c7d8e9f"))
NODE_SA = SecurityAssociation(2001, bytes.fromhex("00112233445566778899aabbccddeeff"))

ARP, IPV4 = "0806", "0800"

_CAPTURE = """
import socket, sys, time
channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
channel.bind((sys.argv[1], 3))
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[3])
while (left := end - time.monotonic()) > 0:
    channel.settimeout(left)
    try:
        frame, address = channel.recvfrom(4096)
    except TimeoutError:
        break
    wanted = frame[12:14].hex() == sys.argv[2] or not sys.argv[2]
    if wanted and (address[2] != socket.PACKET_OUTGOING or sys.argv[4] == "both"):
        print(frame.hex(), flush=True)
"""
_ASK = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
channel.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[7]))
channel.bind((sys.argv[1], int(sys.argv[2])))
channel.settimeout(3)
channel.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[3], int(sys.argv[5])))
if sys.argv[6] == "reply":
    try:
        data, peer = channel.recvfrom(4096)
        print(data.hex(), peer[0], peer[1])
    except TimeoutError:
        pass
"""
_RAW = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
channel.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 0))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Home agent and proxy run; the tests are the nodes."""
    site = Site(tmp_path_factory.mktemp("home-agent"))
    try:
        site.build()
        site.configure()
        written = site.directory / "ha.yml"
        configuration = json.loads(written.read_text())
        node = {"nai": "guest@example.org", "security_associations": [{"spi": 6001, "key": "mn-ha"}]}
        configuration["mobile_nodes"].append(node)
        configuration["home_links"][0]["pool"] = {"first": GUEST, "last": GUEST}
        configuration["broadcast"] = {"multicast_groups": [GROUP]}
        written.write_text(json.dumps({**configuration, "simultaneous": 2}))
        for host in ("ha", "mipp"):
            site.start(host)
        yield site
    finally:
        site.destroy()


@pytest.fixture(autouse=True)
def nobody_is_away(site: Site) -> Iterator[None]:
    yield
    deregister(site)
    site.run("cnhome", "ip", "neigh", "flush", "dev", "eth0")


_last = time.time()


def fresh() -> int:
    """An Identification above every one before."""
    global _last
    _last = max(time.time(), _last + 0.001)
    return from_unix(_last)


def request(care_of: str, flags: int = Flag.DECAPSULATES | Flag.REVERSE_TUNNEL, **changes: Any) -> RegistrationRequest:
    whole = RegistrationRequest(flags, 600, IPv4Address(HOME), IPv4Address(HOME_AGENT), IPv4Address(care_of), fresh())
    return replace(whole, **changes)


@dataclass
class Answer:
    """A reply, and where it came from."""

    message: RegistrationReply
    source: str
    port: int


def ask(
    site: Site,
    host: str,
    message: RegistrationRequest,
    association: SecurityAssociation = DIRECT_SA,
    source: tuple[str, int] = ("0.0.0.0", 434),
    to: str = HOME_AGENT,
) -> Answer:
    """Send a registration request from a host and wait for its reply."""
    payload = append(message.serialize(), association).hex()
    arguments = [source[0], str(source[1]), to, payload, "434", "reply", "64"]
    printed = site.run(host, sys.executable, "-c", _ASK, *arguments).stdout.split()
    assert printed, f"no reply; {site.show('ha', 'drops')} {site.log('ha')[-1000:]}"
    return Answer(parse_reply(bytes.fromhex(printed[0])), printed[1], int(printed[2]))


def register(site: Site, **changes: Any) -> RegistrationReply:
    """The node is at the host `cn`, with a care-of address of its own."""
    reply = ask(site, "cn", request(CN, **changes)).message
    assert reply.code == 0, reply
    return reply


def deregister(site: Site) -> RegistrationReply:
    """All bindings, from wherever."""
    return ask(site, "cn", request(HOME, lifetime=0)).message


def send_udp(site: Site, host: str, to: str, payload: bytes, ttl: int = 64) -> None:
    arguments = ["0.0.0.0", "4000", to, payload.hex(), "4001", "none", str(ttl)]
    site.run(host, sys.executable, "-c", _ASK, *arguments)


def send_raw(site: Site, host: str, packet: IPv4Packet) -> None:
    site.run(host, sys.executable, "-c", _RAW, str(packet.destination), packet.serialize().hex())


def mac(site: Site, host: str, interface: str) -> str:
    return site.run(host, "ip", "-br", "link", "show", "dev", interface).stdout.split()[2]


@contextmanager
def capture(
    site: Site, host: str, interface: str, ethertype: str, seconds: float, ways: str = "in"
) -> Iterator[list[bytes]]:
    """The frames that come in, or go both ways, in so many seconds; the list is filled when the block ends."""
    name = f"capture-{host}-{interface}"
    process = site.spawn(name, host, [sys.executable, "-c", _CAPTURE, interface, ethertype, str(seconds), ways])
    assert process.stdout is not None
    frames: list[bytes] = []
    try:
        assert process.stdout.readline() == b"ready\n", site.log(name)
        yield frames
        frames += [bytes.fromhex(line.decode()) for line in process.stdout]
    finally:
        site.kill(name)


@dataclass(frozen=True)
class Arp:
    """An ARP message in its frame."""

    ethernet_source: str
    operation: int
    sender_mac: str
    sender: str
    target: str

    @classmethod
    def parse(cls, frame: bytes) -> Arp:
        return cls(
            frame[6:12].hex(":"),
            frame[21],
            frame[22:28].hex(":"),
            str(IPv4Address(frame[28:32])),
            str(IPv4Address(frame[38:42])),
        )


def arp_in(frames: list[bytes]) -> list[Arp]:
    return [Arp.parse(frame) for frame in frames]


def announcements(frames: list[bytes], address: str = HOME) -> list[Arp]:
    """The gratuitous ones: sender and target are the same address."""
    return [arp for arp in arp_in(frames) if arp.sender == arp.target == address]


def who_has(site: Site, address: str) -> list[str]:
    """The MAC addresses that the home link gives for an address, asked by a neighbour there."""
    site.run("cnhome", "ip", "neigh", "flush", "dev", "eth0")
    with capture(site, "cnhome", "eth0", ARP, 1.0, "both") as frames:
        site.run("cnhome", "ping", "-q", "-c", "1", "-W", "1", address, check=False)
    asked = [arp for arp in arp_in(frames) if (arp.operation, arp.target) == (1, address)]
    assert asked, "the capture shows the question"
    return [
        arp.sender_mac
        for arp in arp_in(frames)
        if (arp.operation, arp.sender) == (2, address) and arp.target != address
    ]


def udp_payloads(frames: list[bytes], marker: bytes) -> list[IPv4Packet]:
    """The packets of frames that have `marker` in them."""
    return [IPv4Packet.parse(frame[14:]) for frame in frames if marker in frame]


def inside(packet: IPv4Packet) -> IPv4Packet:
    assert packet.protocol == 4, packet
    return IPv4Packet.parse(packet.payload)


def packets(site: Site, outcome: str) -> int:
    return int(site.show("ha", "counters")["kernel"]["packets"][outcome])


def kernel_drops(site: Site, reason: str) -> int:
    return int(site.show("ha", "drops")["kernel"].get(reason, 0))


# ARP on the home link


def test_arp_is_answered_for_a_node_while_it_is_away_and_for_nobody_else_R5944_4_6_a(site: Site) -> None:
    assert who_has(site, HOME) == [], "at home, as far as we know, and nobody is there"
    register(site)
    assert who_has(site, HOME) == [mac(site, "ha", "home")]
    assert who_has(site, "192.0.2.77") == []
    assert who_has(site, "192.0.2.65") == [mac(site, "ha", "home")], "the home agent's own address"
    deregister(site)
    assert who_has(site, HOME) == []


def test_leaving_is_announced_by_gratuitous_arp_R5944_4_6_b(site: Site) -> None:
    with capture(site, "cnhome", "eth0", ARP, 3.0) as frames:
        register(site)
    own = mac(site, "ha", "home")
    said = announcements(frames)
    assert {(arp.ethernet_source, arp.sender_mac) for arp in said} == {(own, own)}
    assert [arp.operation for arp in said] == [1, 2] * 3, "both forms, and again since one may get lost"
    site.run("cnhome", "ip", "neigh", "flush", "dev", "eth0")
    with capture(site, "cnhome", "eth0", ARP, 1.0) as frames:
        register(site)
        site.run("cnhome", "ping", "-q", "-c", "1", "-W", "1", HOME, check=False)
    assert any((arp.operation, arp.sender) == (2, HOME) for arp in arp_in(frames)), "an answer is seen"
    assert announcements(frames) == [], "a renewal is no news"


def test_expiry_ends_the_answers_without_a_reply_R5944_4_6_c_and_R5944_3_8_a(site: Site) -> None:
    with capture(site, "cn", "eth0", IPV4, 2.5) as frames:
        register(site, lifetime=1)
        assert who_has(site, HOME) == [mac(site, "ha", "home")]
        until(lambda: site.bindings("ha") == [], what="the end of the binding")
    assert who_has(site, HOME) == []
    replies = [frame for frame in frames if frame[23] == 17 and frame[34:36] == (434).to_bytes(2, "big")]
    assert sum(frame[26:30] == IPv4Address(HOME_AGENT).packed for frame in replies) == 1, "the one to the request"


def test_node_that_is_back_is_answered_on_the_link_and_announced_R5944_4_6_c_and_R5944_3_8_3_1_b(site: Site) -> None:
    register(site)
    site.move("home")
    try:
        node = mac(site, "mn", "eth0")
        with capture(site, "cnhome", "eth0", ARP, 3.0) as arp, capture(site, "cn", "eth0", IPV4, 3.0) as abroad:
            answer = ask(site, "mn", request(HOME, lifetime=0), source=(HOME, 434))
            send_udp(site, "cnhome", CN, b"to whom it is for")
        assert (answer.message.code, answer.message.lifetime, answer.source) == (0, 0, HOME_AGENT)
        said = announcements(arp)
        first = next(number for number, line in enumerate(said) if line.sender_mac == node)
        assert [line.operation for line in said[first:]] == [1, 2] * 3, "and no word of ours any more"
        own = mac(site, "ha", "home")
        assert {(line.ethernet_source, line.sender_mac) for line in said[first:]} == {(own, node)}
        assert udp_payloads(abroad, b"to whom it is for"), "what goes there is seen"
        assert not [frame for frame in abroad if IPv4Address(HOME_AGENT).packed == frame[26:30] and frame[23] == 4]
        assert who_has(site, HOME) == [node]
        # Were it only denied, as for an old Identification, the answer would come there as well.
        register(site)
        stale = ask(
            site, "mn", request(HOME, lifetime=0, identification=from_unix(time.time() - 60)), source=(HOME, 434)
        )
        assert stale.message.code == 133
    finally:
        site.move("open")


# Broadcasts


def shout(site: Site, marker: bytes, to: str = "192.0.2.95") -> None:
    """A broadcast on the home link that would not survive being forwarded."""
    send_udp(site, "cnhome", to, marker, ttl=1)


@pytest.mark.parametrize("to", ["192.0.2.95", "255.255.255.255"])
def test_broadcast_goes_straight_to_a_node_that_set_b_and_d_R5944_4_3_a_and_R5944_4_3_b(site: Site, to: str) -> None:
    register(site)
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        shout(site, b"nobody asked", to)
        send_udp(site, "cnhome", HOME, b"to the node")
    assert udp_payloads(frames, b"to the node"), "what is for the node goes there"
    assert udp_payloads(frames, b"nobody asked") == []
    register(site, flags=Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL)
    assert site.show("ha", "status")["broadcasts_to"] == 1
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        shout(site, b"who is there?", to)
    (packet,) = udp_payloads(frames, b"who is there?")
    assert (str(packet.source), str(packet.destination)) == (HOME_AGENT, CN)
    asked = inside(packet)
    assert (str(asked.source), str(asked.destination), asked.ttl) == (NEIGHBOUR, to, 1)
    assert UdpDatagram.parse(asked.payload).payload == b"who is there?"


def test_broadcast_reaches_a_node_outside_through_the_proxy_D_5_7_1_a_and_R5944_4_3_c(site: Site) -> None:
    """It is wrapped twice; the proxy takes off one header, and the gateway's link address gets what is inside."""
    site.move("open")
    flags = Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL
    parameter: tuple[Extension, ...] = (HomeAgentParameter(IPv4Address(HOME_AGENT)).extension(),)
    message = request(OPEN, flags, home_agent=IPv4Address(MIPP_PUB), extensions=parameter)
    answer = ask(site, "mn", message, NODE_SA, to=MIPP_PUB)
    assert answer.message.code in (0, 1), answer
    (row,) = site.show("ha", "bindings")
    assert (row["care_of_address"], site.show("ha", "status")["broadcasts_to"]) == (MIPP_PRIV, 1)
    with (
        capture(site, "mipp", "priv", IPV4, 1.5) as arriving,
        capture(site, "gw", "priv", IPV4, 1.5) as handed_over,
    ):
        shout(site, b"who is there?")
    doubly = next(p for p in udp_payloads(arriving, b"who is there?") if str(p.destination) == MIPP_PRIV)
    assert str(doubly.source) == HOME_AGENT
    middle = inside(doubly)
    assert (str(middle.source), str(middle.destination)) == (HOME_AGENT, HOME)
    asked = inside(middle)
    assert (str(asked.source), str(asked.destination), asked.ttl) == (NEIGHBOUR, "192.0.2.95", 1)
    (frame,) = [frame for frame in handed_over if b"who is there?" in frame]
    assert frame[:6].hex(":") == mac(site, "gw", "priv")
    assert frame[6:12].hex(":") == mac(site, "mipp", "priv")
    left = IPv4Packet.parse(frame[14:])
    assert (str(left.source), str(left.destination), left.protocol) == (HOME_AGENT, HOME, 4)
    assert left.payload == middle.payload, "the packet to the node is as it was but for its TTL"
    assert left.ttl == middle.ttl - 1


def test_multicast_of_a_configured_group_goes_the_way_of_broadcasts_R5944_4_4_a(site: Site) -> None:
    register(site, flags=Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL)
    site.run("cnhome", "ip", "route", "replace", "224.0.0.0/4", "dev", "eth0")
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        shout(site, b"to the group", GROUP)
        shout(site, b"to another group", "239.1.2.4")
    (packet,) = udp_payloads(frames, b"to the group")
    assert (str(packet.source), str(inside(packet).destination)) == (HOME_AGENT, GROUP)
    assert udp_payloads(frames, b"to another group") == []
    assert GROUP in site.run("ha", "ip", "maddr", "show", "dev", "home").stdout, "switches are told"


def test_unfinished_checksum_of_a_broadcast_is_not_passed_on(site: Site) -> None:
    """Between hosts of one machine a transport checksum is left to a device that never comes."""
    register(site, flags=Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL)
    site.run("cnhome", "ethtool", "-K", "eth0", "tx", "on")
    try:
        with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
            shout(site, b"half a checksum")
    finally:
        site.run("cnhome", "ethtool", "-K", "eth0", "tx", "off")
    (packet,) = udp_payloads(frames, b"half a checksum")
    assert inside(packet).payload[6:8] == b"\0\0", "none, which UDP permits"


def test_storm_on_the_home_link_is_rationed(site: Site) -> None:
    register(site, flags=Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL)
    storm = (
        "import socket, time\nchannel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "for _ in range(300): channel.sendto(b'storm', ('192.0.2.95', 4001)); time.sleep(0.001)\n"
    )
    before, since = counters(site), time.monotonic()
    site.run("cnhome", sys.executable, "-c", storm)
    until(lambda: sum(counters(site).values()) - sum(before.values()) >= 300, what=f"300 of {counters(site)}")
    sent, withheld = (counters(site)[name] - before[name] for name in before)
    assert 50 <= sent <= 51 + 50 * (time.monotonic() - since), "a burst of 50, and 50 a second"
    assert sent + withheld == 300
    assert site.show("ha", "drops")["daemon"]["broadcast_rate_limited"] >= withheld > 0


def counters(site: Site) -> dict[str, int]:
    daemon = site.show("ha", "counters")["daemon"]
    return {name: daemon.get(name, 0) for name in ("broadcast_tunnelled", "broadcast_rate_limited")}


# Requests and tunnels


@pytest.mark.parametrize("to", ["192.0.2.95", "255.255.255.255"])
def test_request_by_broadcast_is_answered_with_our_address_R5944_3_8_3_2_c(site: Site, to: str) -> None:
    answer = ask(site, "cnhome", request(NEIGHBOUR, home_agent=IPv4Address(to)), source=("0.0.0.0", 5434), to=to)
    assert (answer.message.code, str(answer.message.home_agent), answer.source) == (136, HOME_AGENT, HOME_AGENT)


def reverse_tunnelled(source: str, home: str = HOME, to: str = NEIGHBOUR) -> IPv4Packet:
    """A packet of the node inside the tunnel."""
    inner = IPv4Packet(IPv4Address(home), IPv4Address(to), 17, UdpDatagram(7, 7, b"hijack?").serialize())
    return IPv4Packet(IPv4Address(source), IPv4Address(HOME_AGENT), 4, inner.serialize())


def test_only_the_bound_care_of_address_speaks_R3024_4_3_2_a_and_R3024_4_3_2_b_and_R3024_4_3_1_c_and_R5944_4_2_3_d(
    site: Site,
) -> None:
    register(site)
    by_udp = UdpDatagram(434, 434, TunnelData(4, reverse_tunnelled(CN).payload).serialize()).serialize()
    attempts: list[tuple[str, IPv4Packet, str | None]] = [
        ("cn", reverse_tunnelled(CN), None),
        ("inner", reverse_tunnelled("192.0.2.33"), "care_of_mismatch"),
        ("cn", reverse_tunnelled(CN, home="192.0.2.70"), "no_binding"),
        ("cn", replace(reverse_tunnelled(CN), protocol=17, payload=by_udp), "encapsulation_mismatch"),
    ]
    for host, packet, reason in attempts:
        before = kernel_drops(site, reason) if reason else packets(site, "node_to_home_agent")
        with capture(site, "cnhome", "eth0", IPV4, 0.7) as frames:
            send_raw(site, host, packet)
            send_udp(site, "cn", NEIGHBOUR, b"in clear")
        assert udp_payloads(frames, b"in clear"), "what comes there is seen"
        arrived = udp_payloads(frames, b"hijack?")
        assert len(arrived) == (reason is None), f"{reason}: {arrived}"
        if reason:
            assert kernel_drops(site, reason) == before + 1
        else:
            assert (str(arrived[0].source), str(arrived[0].destination)) == (HOME, NEIGHBOUR)
            assert packets(site, "node_to_home_agent") == before + 1
    deregister(site)
    before = kernel_drops(site, "no_binding")
    with capture(site, "cnhome", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", reverse_tunnelled(CN))
        send_udp(site, "cn", NEIGHBOUR, b"in clear")
    assert udp_payloads(frames, b"in clear"), "what comes there is seen"
    assert udp_payloads(frames, b"hijack?") == [], "nor does it after the binding has ended"
    assert kernel_drops(site, "no_binding") == before + 1


def tunnelled_echo(port: int) -> IPv4Packet:
    """A keepalive (RFC 3519 4.9): the node pings its home agent in the UDP tunnel."""
    echo = IPv4Packet(IPv4Address(HOME), IPv4Address(HOME_AGENT), 1, Echo(7, 1, b"alive?").serialize())
    datagram = UdpDatagram(port, 434, TunnelData(4, echo.serialize()).serialize())
    return IPv4Packet(IPv4Address(CN), IPv4Address(HOME_AGENT), 17, datagram.serialize())


def behind_nat(site: Site, **flags: bool) -> RegistrationReply:
    """A node with a private care-of address, whose NAT is the host `cn` and gave it port 40000."""
    asked = UdpTunnelRequest(**flags).extension()
    answer = ask(site, "cn", request("10.9.8.7", extensions=(asked,)), source=("0.0.0.0", 40000))
    assert answer.message.code == 0
    return answer.message


def tunnel_data(frames: list[bytes], marker: bytes, port: int) -> list[IPv4Packet]:
    """What the home agent sent to the node's port in UDP, taken out of the tunnel."""
    found = []
    for packet in udp_payloads(frames, marker):
        if packet.protocol == 17 and str(packet.source) == HOME_AGENT:
            datagram = UdpDatagram.parse(packet.payload)
            assert (datagram.source_port, datagram.destination_port) == (434, port)
            found.append(IPv4Packet.parse(TunnelData.parse(datagram.payload).payload))
    return found


def test_node_behind_an_inside_nat_has_a_udp_tunnel_D_2_6_1_g_and_R3519_4_9_b_and_R3519_4_2_a_and_R3519_4_3_a(
    site: Site,
) -> None:
    reply = behind_nat(site)
    assert types_of(reply.extensions)[0] == 44
    assert UdpTunnelReply.of(reply.extensions[0]) == UdpTunnelReply(0, False, 110)
    assert reply.lifetime == 60
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        send_raw(site, "cn", tunnelled_echo(40000))
        send_udp(site, "cnhome", HOME, b"to the node")
    (pong,) = tunnel_data(frames, b"alive?", 40000)
    assert (str(pong.source), str(pong.destination), Echo.parse(pong.payload).reply) == (HOME_AGENT, HOME, True)
    (data,) = tunnel_data(frames, b"to the node", 40000)
    assert (str(data.source), str(data.destination)) == (NEIGHBOUR, HOME)
    before = kernel_drops(site, "port_mismatch")
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", tunnelled_echo(40001))
        send_udp(site, "cnhome", HOME, b"to the old port")
    assert len(tunnel_data(frames, b"to the old port", 40000)) == 1
    assert tunnel_data(frames, b"alive?", 40001) == [], "a mapping moves by a request only"
    assert kernel_drops(site, "port_mismatch") == before + 1


@pytest.mark.parametrize("next_header", [47, 55])
def test_tunnel_data_of_another_kind_than_agreed_is_dropped_R3519_3_3_b(site: Site, next_header: int) -> None:
    behind_nat(site)
    other = tunnelled_echo(40000)
    payload = bytearray(other.payload)
    payload[9] = next_header
    before = sum(site.show("ha", "drops")["kernel"].values())
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", replace(other, payload=bytes(payload)))
        send_udp(site, "cnhome", HOME, b"to the node")
    assert len(tunnel_data(frames, b"to the node", 40000)) == 1
    assert udp_payloads(frames, b"alive?") == []
    assert sum(site.show("ha", "drops")["kernel"].values()) == before + 1


def test_each_care_of_address_gets_a_copy_from_our_address_R5944_4_2_3_b_and_R5944_4_2_3_a_and_R5944_4_1_a(
    site: Site,
) -> None:
    register(site)
    router = "192.0.2.33"
    flags = Flag.SIMULTANEOUS | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL
    assert ask(site, "inner", request(router, flags)).message.code == 0
    assert {row["care_of_address"] for row in site.show("ha", "bindings")} == {CN, router}
    with capture(site, "cn", "eth0", IPV4, 1.0) as first, capture(site, "inner", "core", IPV4, 1.0) as second:
        send_udp(site, "cnhome", HOME, b"to both")
    for frames, care_of in ((first, CN), (second, router)):
        (packet,) = udp_payloads(frames, b"to both")
        assert (str(packet.source), str(packet.destination)) == (HOME_AGENT, care_of)
        assert (str(inside(packet).source), str(inside(packet).destination)) == (NEIGHBOUR, HOME)


def test_node_known_by_its_nai_gets_an_address_and_packets_for_it_R5944_3_8_3_2_e(site: Site) -> None:
    name = Extension(131, b"guest@example.org")
    key = SecurityAssociation(6001, DIRECT_SA.key)
    anonymous = request(CN, home_address=IPv4Address(0), home_agent=IPv4Address(0), extensions=(name,))
    answer = ask(site, "cn", anonymous, key)
    assert (answer.message.code, str(answer.message.home_address)) == (0, GUEST)
    assert str(answer.message.home_agent) == HOME_AGENT
    assert answer.message.extensions[0] == name
    (row,) = site.show("ha", "bindings")
    assert (row["nai"], row["home_address"]) == ("guest@example.org", GUEST)
    assert who_has(site, GUEST) == [mac(site, "ha", "home")]
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_udp(site, "cnhome", GUEST, b"to the guest")
    (packet,) = udp_payloads(frames, b"to the guest")
    assert str(inside(packet).destination) == GUEST
    over = request(GUEST, home_address=IPv4Address(GUEST), lifetime=0, extensions=(name,))
    assert ask(site, "cn", over, key).message.code == 0
    assert site.bindings("ha") == []


# UDP


def bare_request(checksum: int | None) -> IPv4Packet:
    """A request with this UDP checksum; None: the right one."""
    payload = append(request(CN).serialize(), DIRECT_SA)
    datagram = UdpDatagram(5434, 434, payload).serialize()
    source, destination = IPv4Address(CN), IPv4Address(HOME_AGENT)
    if checksum is None:
        checksum = udp_checksum(source, destination, datagram)
    datagram = datagram[:6] + checksum.to_bytes(2, "big") + datagram[8:]
    return IPv4Packet(source, destination, 17, datagram)


def udp_checksum(source: IPv4Address, destination: IPv4Address, datagram: bytes) -> int:
    """RFC 768: over the pseudo-header and the datagram; 0 if the datagram holds its own right one."""
    return internet_checksum(source.packed + destination.packed + struct.pack("!BBH", 0, 17, len(datagram)) + datagram)


def replies_in(frames: list[bytes]) -> list[IPv4Packet]:
    packets = [IPv4Packet.parse(frame[14:]) for frame in frames]
    return [packet for packet in packets if packet.protocol == 17 and str(packet.source) == HOME_AGENT]


@pytest.mark.parametrize("checksum", [None, 0])
def test_request_with_a_right_checksum_or_none_is_answered_with_one_R5944_3_1_d_and_R5944_3_1_b_and_R5944_3_8_3_1_a(
    site: Site, checksum: int | None
) -> None:
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", bare_request(checksum))
    (reply,) = replies_in(frames)
    assert site.bindings("ha") == [(HOME, CN)]
    datagram = UdpDatagram.parse(reply.payload)
    assert (str(reply.destination), datagram.source_port, datagram.destination_port) == (CN, 434, 5434)
    assert reply.payload[6:8] != b"\0\0"
    assert udp_checksum(reply.source, reply.destination, reply.payload) == 0


def test_registrations_are_for_port_434_R5944_3_1_a(site: Site) -> None:
    right = bare_request(0)
    wrong = replace(right, payload=right.payload[:2] + (435).to_bytes(2, "big") + right.payload[4:])
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        send_raw(site, "cn", wrong)
        time.sleep(0.3)
        assert site.bindings("ha") == []
        send_raw(site, "cn", right)
    assert len(replies_in(frames)) == 1, "to the second"
    assert site.bindings("ha") == [(HOME, CN)]


def test_request_with_a_wrong_checksum_is_dropped_in_silence_R5944_3_1_c_and_R5944_3_8_2_1_a(site: Site) -> None:
    wrong = bare_request(0xDEAD)
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        send_raw(site, "cn", wrong)
        time.sleep(0.3)
        assert site.bindings("ha") == []
        answered = register(site).identification
    assert [parse_reply(UdpDatagram.parse(reply.payload).payload).identification for reply in replies_in(frames)] == [
        answered
    ]


def test_half_bound_node_is_reached_after_its_first_keepalive_R3519_4_6_c_and_R3519_4_10_a(site: Site) -> None:
    behind_nat(site, through_foreign_agent=True)
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_udp(site, "cnhome", HOME, b"too early")
        send_udp(site, "cnhome", CN, b"to whom it is for")
    assert udp_payloads(frames, b"to whom it is for"), "what goes there is seen"
    assert udp_payloads(frames, b"too early") == []
    with capture(site, "cn", "eth0", IPV4, 1.0) as frames:
        send_raw(site, "cn", tunnelled_echo(50505))
        until(lambda: packets(site, "keepalive_answered"), what="an answer")
        send_udp(site, "cnhome", HOME, b"in time")
    assert len(tunnel_data(frames, b"alive?", 50505)) == 1
    assert len(tunnel_data(frames, b"in time", 50505)) == 1
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", tunnelled_echo(50506))
        send_udp(site, "cnhome", HOME, b"as before")
    assert len(tunnel_data(frames, b"as before", 50505)) == 1
    assert tunnel_data(frames, b"alive?", 50506) == [], "it moves once"


def test_packet_to_the_node_from_its_own_care_of_address_is_dropped_R5944_4_2_3_c(site: Site) -> None:
    register(site)
    inner = IPv4Packet(IPv4Address(CN), IPv4Address(HOME), 17, UdpDatagram(7, 7, b"round and round").serialize())
    loop = IPv4Packet(IPv4Address(CN), IPv4Address(HOME), 4, inner.serialize())
    before = kernel_drops(site, "tunnel_loop")
    with capture(site, "cn", "eth0", IPV4, 0.7) as frames:
        send_raw(site, "cn", loop)
    assert kernel_drops(site, "tunnel_loop") == before + 1
    came_back = [p for p in udp_payloads(frames, b"round and round") if str(p.source) == HOME_AGENT]
    assert (len(udp_payloads(frames, b"round and round")), came_back) == (1, [])
