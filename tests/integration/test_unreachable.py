"""The home agent cannot be reached: real ICMP errors of real kernels, and what the node is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter, MessageString
from tests.integration.site import HOME, MIPP_PUB, Site, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

CARE_OF, HOME_AGENT, MIPP_PRIV = "198.51.100.1", "192.0.2.40", "192.0.2.10"
NODE_SA = (2001, "00112233445566778899aabbccddeeff")

_ASK = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.bind((sys.argv[1], 434))
channel.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[2], 434))
channel.settimeout(6)
print(channel.recv(4096).hex())
"""

_SHORT_ERRORS = '''
"""An old router: answers each request with an ICMP error that quotes nothing behind the UDP header (RFC 792)."""
import socket
from mobileip.wire.encapsulation import checksum
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind(("core", 0x0800))
wire.settimeout(20)
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ready", flush=True)
while True:
    packet = wire.recv(4096)
    if packet[9] == 17 and packet[22:24] == b"\\x01\\xb2":
        body = bytes(4) + packet[:28]
        message = b"\\x03\\x01" + checksum(b"\\x03\\x01\\0\\0" + body).to_bytes(2, "big") + body
        icmp.sendto(message, (socket.inet_ntoa(packet[12:16]), 0))
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Proxy and home agent; the node is this test, at the open network's router."""
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        site.build()
        site.configure()
        reconfigure(site, '"pending": {"max_per_node": 64}')  # each refusal leaves one for 7 s
        site.start("ha")
        site.start("mipp")
        yield site
    finally:
        site.destroy()


def reconfigure(site: Site, more: str) -> None:
    """Add a section to the proxy's file."""
    file = site.directory / "mipp.yml"
    file.write_text(f"{file.read_text()[:-1]}, {more}}}")


def request(care_of_address: str, agent: str, association: tuple[int, str]) -> bytes:
    """A registration request of HOME, under the SPI and key of an association with the agent."""
    message = RegistrationRequest(
        Flag.DECAPSULATES | Flag.REVERSE_TUNNEL,
        300,
        IPv4Address(HOME),
        IPv4Address(agent),
        IPv4Address(care_of_address),
        from_unix(time.time()),
        (HomeAgentParameter(IPv4Address(HOME_AGENT)).extension(),),
    )
    return append(message.serialize(), SecurityAssociation(association[0], bytes.fromhex(association[1])))


def register(site: Site) -> RegistrationReply:
    """Register at the proxy; its reply."""
    payload = request(CARE_OF, MIPP_PUB, NODE_SA).hex()
    return parse_reply(bytes.fromhex(site.run("inet", sys.executable, "-c", _ASK, CARE_OF, MIPP_PUB, payload).stdout))


def reason(reply: RegistrationReply) -> str:
    extension = find(reply.extensions, ExtensionType.MESSAGE_STRING)
    assert extension is not None
    return MessageString.of(extension).text


def nft(site: Site, text: str) -> None:
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{site.prefix}-inner", "nft", "-f", "-"],
        input=text, text=True, check=True, timeout=10,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("net-unreachable", "ICMP 3/0"),
        ("host-unreachable", "ICMP 3/1"),
        ("prot-unreachable", "ICMP 3/2"),
        ("port-unreachable", "ICMP 3/3"),
        ("net-prohibited", "ICMP 3/9"),
        ("host-prohibited", "ICMP 3/10"),
        ("admin-prohibited", "ICMP 3/13"),
    ],
)
def test_router_that_refuses_is_reported_to_the_node_D_2_6_7_a_and_D_2_4_1_c(site: Site, kind: str, said: str) -> None:
    rule = f"ip daddr {HOME_AGENT} udp dport 434 reject with icmp type {kind}"
    nft(site, f"table ip refuse {{\n chain forward {{\n  type filter hook forward priority 0;\n  {rule}\n }}\n}}\n")
    try:
        reply = register(site)
    finally:
        nft(site, "delete table ip refuse\n")
    assert reply.code == 202
    assert said in reason(reply)
    assert site.bindings("mipp") == []


def test_home_agent_whose_daemon_is_down_is_reported_and_registers_again_when_it_is_up_D_2_6_7_a(site: Site) -> None:
    site.kill("ha")
    try:
        reply = register(site)
    finally:
        site.start("ha")
    assert (reply.code, reason(reply)) == (202, f"home agent {HOME_AGENT}: ICMP 3/3 port unreachable")
    assert register(site).code in (0, 1)
    assert site.bindings("mipp") == [(HOME, CARE_OF)]
    assert site.show("mipp", "drops")["daemon"]["home_agent_unreachable"] >= 1


def test_error_that_quotes_only_the_udp_header_is_found_by_port_and_checksum_AMB_14(site: Site) -> None:
    rule = f"ip daddr {HOME_AGENT} udp dport 434 drop"
    nft(site, f"table ip refuse {{\n chain forward {{\n  type filter hook postrouting priority 0;\n  {rule}\n }}\n}}\n")
    script = site.directory / "old_router.py"
    script.write_text(_SHORT_ERRORS.replace('("core", 0x0800)', '("dmz", 0x0800)'))
    try:
        with site.spawn("old_router", "inner", [sys.executable, str(script)]) as router:
            assert router.stdout is not None
            assert router.stdout.readline() == b"ready\n"
            reply = register(site)
            router.kill()
    finally:
        site.processes.pop("old_router", None)
        nft(site, "delete table ip refuse\n")
    assert (reply.code, reason(reply)) == (202, f"home agent {HOME_AGENT}: ICMP 3/1 host unreachable")


def test_replies_come_back_to_the_port_that_asked_and_port_434_alone_will_do_AMB_14(site: Site) -> None:
    assert register(site).code in (0, 1)
    file = site.directory / "mipp.yml"
    text = file.read_text()
    only_434 = f"ip saddr {MIPP_PRIV} udp sport != 434 drop"
    nft(site, f"table ip narrow {{\n chain forward {{\n  type filter hook forward priority 0;\n  {only_434}\n }}\n}}\n")
    site.kill("mipp")
    try:
        reconfigure(site, '"haleg": {"source_ports": 0}')
        site.start("mipp")
        assert register(site).code in (0, 1)
    finally:
        nft(site, "delete table ip narrow\n")
        file.write_text(text)
        site.kill("mipp")
        site.start("mipp")
    until(lambda: site.bindings("mipp") == [(HOME, CARE_OF)], what=site.log("mipp")[-1000:])
