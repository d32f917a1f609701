"""One box: proxy and VPN gateway on one host, with a veth pair between them; a node roams under a TCP stream.

The gateway's ESP is without cryptography, so what the captures are asked for is the headers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.site import CN, GATEWAY, HOME, MIPP_PUB, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

OPEN, FOREIGN_AGENT = "198.51.100.10", "198.51.100.100"
AT_HOME = "192.0.2.80"
"""A host on the home link: a mobility subnet, reached by clear packets of the gateway to the proxy."""

_ECHO = """
import socket
with socket.create_server(("192.0.2.50", 7)) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    while data := connection.recv(4096):
        connection.sendall(data)
"""
_STREAM = """
import socket, sys, time
with socket.create_connection(("192.0.2.50", 7), timeout=20, source_address=(sys.argv[1], 0)) as stream:
    answers, number = stream.makefile("rb"), 0
    print("ready", flush=True)
    while number < 2000:
        line = b"%d\\n" % number
        stream.sendall(line)
        if answers.readline() != line:
            break
        number += 1
        print(number, flush=True)
        time.sleep(0.02)
"""
_OUTSIDE = ("mipp-pub", "inet-open", "inet-fa")
"""Wires between the node's networks and the box."""


def registered(site: Site, care_of: str) -> None:
    until(lambda: site.bindings("mipp") == [(HOME, care_of)], what=f"{care_of}; {site.log('mn')[-2000:]}")


@dataclass(frozen=True)
class Session:
    site: Site
    answered: dict[str, int]
    """Lines of the stream that came back, by where the node was."""
    frames: dict[str, list[tuple[list[str], list[str], list[str], list[str]]]]
    """By wire: IP protocols, sources, destinations (outermost first) and UDP ports of each packet."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    directory = tmp_path_factory.mktemp("one_box")
    with running(directory, one_box=True) as site:
        registered(site, OPEN)
        wires = [("wires", name) for name in _OUTSIDE] + [("mipp", "mip0"), ("wires", "mipp-priv")]
        for host, interface in wires:
            command = ["tcpdump", "-i", interface, "--immediate-mode", "-U", "-w", str(directory / interface), "ip"]
            site.spawn(f"capture-{interface}", host, command)
        for _, interface in wires:
            until(lambda: "listening on" in site.log(f"capture-{interface}"))  # noqa: B023 - called at once
        answered = _stream_while_moving(site)
        assert until(lambda: site.ping(to=AT_HOME) == 3, what=f"the home link; {site.show('mipp', 'drops')}")
        time.sleep(0.5)
        for _, interface in wires:
            capture = site.processes.pop(f"capture-{interface}")
            capture.send_signal(signal.SIGTERM)
            capture.wait(10)
            assert "0 packets dropped by kernel" in site.log(f"capture-{interface}")
        yield Session(site, answered, {interface: _read(directory / interface) for _, interface in wires})


def _stream_while_moving(site: Site) -> dict[str, int]:
    """Lines that came back at each place; the session was opened at the first."""
    echo = site.spawn("echo", "cn", [sys.executable, "-c", _ECHO])
    assert echo.stdout is not None
    assert echo.stdout.readline() == b"ready\n"
    stream = site.spawn("stream", "mn", [sys.executable, "-c", _STREAM, HOME])
    assert stream.stdout is not None
    assert stream.stdout.readline() == b"ready\n", site.log("stream")
    answered: dict[str, int] = {}
    for network, care_of in (("open", OPEN), ("fa", FOREIGN_AGENT), ("open", OPEN)):
        if site.where != network:
            site.move(network)
            registered(site, care_of)
        answered[f"{len(answered)} {network}"] = sum(bool(stream.stdout.readline()) for _ in range(50))
    stream.kill()
    stream.wait(10)
    del site.processes["stream"]
    return answered


def _read(capture: Path) -> list[tuple[list[str], list[str], list[str], list[str]]]:
    fields = ("ip.proto", "ip.src", "ip.dst", "udp.port")
    command = ["tshark", "-r", str(capture), "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"]
    command += [part for field in fields for part in ("-e", field)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    return [(one.split(","), two.split(","), three.split(","), four.split(",")) for one, two, three, four in rows]


def test_a_tcp_session_through_the_gateway_on_the_same_host_outlives_moves_D_1_4_e_and_D_4_a(session: Session) -> None:
    assert session.answered == {"0 open": 50, "1 fa": 50, "2 open": 50}
    packets = session.site.show("mipp", "counters")["kernel"]["packets"]
    rows = ("node_to_gateway", "gateway_to_node", "home_agent_to_gateway", "gateway_to_home_agent")
    assert {row: packets[row] for row in rows if packets[row] < 3} == {}


def test_outside_the_box_is_nothing_but_registrations_and_tunnels_of_mipp_pub_D_4_a(session: Session) -> None:
    for wire in _OUTSIDE:
        tunnelled = 0
        for protocols, sources, destinations, ports in session.frames[wire]:
            if (wire, protocols, destinations) == ("inet-open", ["1"], ["224.0.0.2"]):
                continue  # on its own link the node may ask for agents (RFC 5944 2.2)
            assert MIPP_PUB in (sources[0], destinations[0]), (wire, protocols, sources, destinations)
            if ports == ["434", "434"] and protocols == ["17"]:
                continue
            assert protocols == ["4", "50"], (wire, protocols, sources, destinations)
            assert {sources[1], destinations[1]} == {HOME, GATEWAY}
            tunnelled += 1
        assert tunnelled > 50, wire


def test_the_gateways_own_esp_enters_the_tunnel_from_the_wire_AMB_23(session: Session) -> None:
    seen = {
        (protocols[0], sources[0], destinations[0]) for protocols, sources, destinations, _ in session.frames["mip0"]
    }
    assert {("50", HOME, GATEWAY), ("50", GATEWAY, HOME)} <= seen, "ESP both ways"
    assert ("6", CN, HOME) in seen, "what the home agent tunnelled, for the SA to take"
    assert ("1", HOME, AT_HOME) in seen, "what the SA carried, for a mobility subnet"
    # Nothing else comes along here, and no tunnel: those end at the proxy.
    assert {protocol for protocol, _, _ in seen} == {"50", "6", "1"}
    assert all(HOME in ends for _, *ends in seen)


def test_inside_the_box_decrypts_and_takes_the_home_agents_tunnel_D_4_a(session: Session) -> None:
    seen = {(tuple(protocols), sources[-1], destinations[-1])
            for protocols, sources, destinations, _ in session.frames["mipp-priv"]}  # fmt: skip
    assert {(("6",), HOME, CN), (("4", "6"), CN, HOME), (("4", "1"), HOME, AT_HOME)} <= seen


def test_a_frame_from_the_segment_with_the_wires_address_is_not_the_gateways_D_4_a(session: Session) -> None:
    site = session.site
    registered(site, OPEN)
    mac = site.run("mipp", "ip", "-br", "link", "show", "dev", "pub").stdout.split()[2]

    def refused() -> int:
        return int(site.show("mipp", "drops")["kernel"].get("gateway_mac", 0))

    before = refused()
    forge = (
        "import sys\nfrom scapy.all import IP, Ether, Raw, sendp\n"
        "packet = IP(src='203.0.113.20', dst='192.0.2.69', proto=50) / Raw(bytes(40))\n"
        "sendp(Ether(src='02:4d:49:50:00:01', dst=sys.argv[1]) / packet, iface='dmz', count=5, verbose=False)\n"
    )
    site.run("inet", sys.executable, "-c", forge, mac)
    until(lambda: refused() == before + 5, what=str(site.show("mipp", "drops")))


def test_load_makes_the_wire_once_and_makes_it_right_again_D_4_a(session: Session) -> None:
    site = session.site
    file = str(site.directory / "mipp.yml")
    assert "already loaded, nothing changed" in site.mobileip("mipp", "load", file).stdout
    site.run("mipp", "ip", "link", "set", "mip0", "mtu", "1280")
    site.run("mipp", "sysctl", "-qw", "net.ipv4.conf.mip0.rp_filter=1")
    assert site.mobileip("mipp", "load", file).stdout.splitlines()[0] == "loaded"
    assert "already loaded" in site.mobileip("mipp", "load", file).stdout
    shown = site.run("mipp", "ip", "-d", "link", "show", "mip0").stdout
    assert "NOARP" in shown
    assert "mtu 1500" in shown
    assert site.run("mipp", "sysctl", "-n", "net.ipv4.conf.mip0.rp_filter").stdout == "2\n"
    # A site that has the strict filter for all: the wire is spared, or a home agent's packets would end here.
    site.run("mipp", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    registered(site, OPEN)
    assert site.ping() == 3


def test_unload_removes_the_wire_and_nobody_elses_D_4_a(session: Session) -> None:
    site = session.site
    file = str(site.directory / "mipp.yml")
    site.kill("mipp")
    site.mobileip("mipp", "unload", file)
    assert site.run("mipp", "ip", "link", "show", "mip0", check=False).returncode != 0
    site.run("mipp", "ip", "link", "add", "mip1", "type", "bridge")
    refused = site.mobileip("mipp", "load", file, check=False)
    assert refused.returncode == 1
    assert "interface mip1: is there and is not an end of the wire mip0 to mip1; expected a name" in refused.stderr
    assert site.mobileip("mipp", "unload", file, check=False).returncode == 1
    site.run("mipp", "ip", "link", "show", "mip1")
    site.run("mipp", "ip", "link", "del", "mip1")
    assert site.mobileip("mipp", "load", file).stdout.splitlines()[0] == "loaded"
    site.run("mipp", "ip", "route", "add", "default", "dev", "mip0", "table", "100")
    site.start("mipp")
    assert until(lambda: site.ping() == 3, what=f"ping; drops {site.show('mipp', 'drops')}")
