"""Two boxes and one box, with strongSwan and kernel ESP: a node roams under a TCP stream, clear packets are refused.

The tests of a deployment follow one another on the same hosts. Each ends with `mn` outside and its SA as it was.
"""

from __future__ import annotations

import operator
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from roaming import report, wire
from roaming.__main__ import ROUTE
from roaming.session import Program, captures, conversation

from tests.interop.site import Site, running

pytestmark = pytest.mark.namespaces

HOME, OTHER_HOME, CN = "192.0.2.69", "192.0.2.70", "192.0.2.50"
FULL = 1300
"""Bytes of payload that a full segment has at least: nodes announce 1360, options included."""
PACE = ("--rate", "60000", "--interval", "0.05")
"""A block of 3,000 bytes at a time: full segments, few of them."""
STAY = 200_000
"""Bytes of the stream that each stay sees at least, each way."""
UNHEARD = 253
"""A protocol (RFC 3692) that no socket listens to: each that did would ask the SPD anew, and be counted."""
_REFUSED = ("XfrmInNoPols", "XfrmInTmplMismatch", "XfrmInPolBlock")
_FORGE = """
import socket, struct, sys
interface, to, source, destination = sys.argv[1:5]
protocol = int(sys.argv[5])
channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
channel.bind((interface, 0x0800))
frame = bytes.fromhex(to.replace(":", "")) + channel.getsockname()[4] + b"\\x08\\x00"
payload = struct.pack("!HHHH", 7, 7, 8, 0)
head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, protocol, 0)
head += socket.inet_aton(source) + socket.inet_aton(destination)
total = sum(struct.unpack("!10H", head))
total = (total & 0xffff) + (total >> 16)
head = head[:10] + struct.pack("!H", 0xffff ^ ((total & 0xffff) + (total >> 16))) + head[12:]
for _ in range(5):
    channel.send(frame + head + payload)
"""


@pytest.fixture(scope="module", params=["two_box", "one_box"])
def site(request: pytest.FixtureRequest, bpf_object: Path) -> Iterator[Site]:
    """One deployment after the other; their daemons' and charons' words stay in the guest's results."""
    files = Path(os.environ["SITE_FILES"]) / request.param
    logs = Path(os.environ["GUEST_RESULTS"]) / request.param
    with running(files, bpf_object.parent, logs, one_box=request.param == "one_box") as made:
        yield made


@pytest.fixture(scope="module")
def other(site: Site) -> str:
    """A second node, behind the NAT, with an SA."""
    site.start_node("mn2")
    site.ensure_at("mn2", "nat")
    site.wait_for_sa("mn2")
    return "mn2"


@dataclass(frozen=True)
class Stay:
    """Where the node was, from the move there to the move away, in Unix seconds."""

    network: str
    start: float
    end: float


@dataclass(frozen=True)
class Walk:
    """What came of a walk under a TCP stream."""

    stays: list[Stay]
    streams: dict[str, list[dict[str, Any]]]
    """What both ends have seen of the stream."""
    captures: dict[str, Path]
    outside: list[wire.Frame]
    """Between the Internet and the DMZ."""

    def during(self, stay: Stay) -> list[wire.Frame]:
        """What was outside then."""
        return list(wire.within(self.outside, stay.start, stay.end))


@pytest.fixture(scope="module")
def walk(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Once around: home, open, behind a NAT, behind a foreign agent, open, home, open."""
    directory, stays = tmp_path_factory.mktemp("walk"), []
    site.start_node("mn")
    site.ensure_at("mn", ROUTE[0])
    with (
        captures(site, ("outside", "dmz_private"), directory) as files,
        conversation(site, directory, ("mn", HOME), ("cn", CN), pace=PACE) as ends,
    ):
        for network in ROUTE[1:]:
            start = time.time()
            site.ensure_at("mn", network)
            _carry_more(site, ends)
            stays.append(Stay(network, start, time.time()))
            print(f"{network}: {stays[-1].end - start:.1f} s", flush=True)
    streams = {name: end.events() for name, end in ends.items()}
    return Walk(stays, streams, files, wire.read(files["outside"]))


def _carry_more(site: Site, ends: Mapping[str, Program]) -> None:
    """Wait until the stream has brought as much as a stay is to see, to either end."""

    def received() -> list[int]:
        return [max(event.get("received", 0) for event in end.events()) for end in ends.values()]

    wanted = [bytes_ + STAY for bytes_ in received()]
    site.wait_until("the stream goes on", lambda: all(map(operator.ge, received(), wanted)), 90)


def spis(site: Site, host: str) -> set[str]:
    """Of all ESP states that the kernel of a host has."""
    return set(re.findall(r"proto esp spi (0x\w+)", site.run(host, ["ip", "xfrm", "state"]).stdout))


def refused(site: Site, host: str) -> int:
    """Packets that the SPD of a host has refused."""
    lines = site.shell(host, "cat /proc/net/xfrm_stat").splitlines()
    return sum(int(value) for name, value in map(str.split, lines) if name in _REFUSED)


def guarded(site: Site) -> int:
    """Packets that the gateway's guard has dropped."""
    said = site.run("vpngw", ["nft", "list", "chain", "inet", "mobileip_gateway", "refuse"]).stdout
    found = re.search(r"counter packets (\d+)", said)
    assert found is not None, said
    return int(found.group(1))


def turned_away(site: Site) -> int:
    """Clear packets that gateway or proxy has dropped, whoever of them."""
    proxy = int(site.ask("mipp", "drops")["kernel"].get("gateway_mac", 0))
    return refused(site, "vpngw") + guarded(site) + proxy + site.firewall_drops("mipp")


def forge(site: Site, host: str, interface: str, mac: str, source: str, destination: str, protocol: int = 17) -> None:
    """Send five clear packets from a host's interface to a MAC address, whatever its routes say. UDP by default."""
    site.run(host, ["python3", "-c", _FORGE, interface, mac, source, destination, str(protocol)])


def ping(site: Site, host: str, source: str, to: str) -> int:
    """Echo replies of five requests."""
    said = site.run(host, ["ping", "-q", "-c", "5", "-i", "0.2", "-W", "5", "-I", source, to], check=False).stdout
    found = re.search(r"(\d+) received", said)
    return int(found.group(1)) if found else 0


def test_a_tcp_stream_through_kernel_esp_outlives_all_moves_D_1_3_a_and_D_1_4_e(walk: Walk) -> None:
    assert report.session_verdict(walk.streams) == ""
    seen = []
    for stay in (stay for stay in walk.stays if stay.network != "home"):
        esp = [frame.encapsulation for frame in walk.during(stay) if frame.is_esp]
        assert len(esp) > 50, stay
        # The last: some of the network before may have been on their way.
        seen.append((stay.network, esp[-1]))
    assert seen == [
        ("open", "ip-in-ip"),
        ("nat", "mip-udp"),
        ("fa", "ip-in-ip"),
        ("open", "ip-in-ip"),
        ("open", "ip-in-ip"),
    ]


def test_its_segments_are_full_both_ways(walk: Walk) -> None:
    # Between gateway and intranet: what comes out of the SA, and what is for it.
    fields = ("-T", "fields", "-E", "occurrence=l", "-e", "ip.src", "-e", "tcp.len")
    lines = subprocess.run(
        ["tshark", "-n", "-r", str(walk.captures["dmz_private"]), "-Y", "tcp.port == 5010", *fields],
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout.splitlines()  # fmt: skip
    longest = {HOME: 0, CN: 0}
    for line in lines:
        source, length = line.split("\t")
        longest[source] = max(longest[source], int(length))
    assert min(longest.values()) >= FULL, longest


def test_ike_sets_the_sa_up_in_the_first_move_and_says_nothing_after_D_5_1_c_and_D_1_3_b(walk: Walk) -> None:
    first, *others = ([frame for frame in walk.during(stay) if frame.ike] for stay in walk.stays)
    assert len(first) >= 4, "IKE_SA_INIT and IKE_AUTH, a request and a response each"
    assert others == [[]] * 5


def test_one_sa_with_the_same_spis_from_the_first_move_to_the_last_D_1_3_b(site: Site, walk: Walk) -> None:
    seen = {int(frame.spi, 16) for frame in walk.outside if frame.is_esp}
    assert len(seen) == 2, "one SPI a direction"
    assert seen == {int(spi, 16) for spi in spis(site, "mn")}


def test_at_home_packets_go_in_clear_past_the_parked_sa(site: Site, walk: Walk, tmp_path: Path) -> None:
    before = spis(site, "mn")
    site.ensure_at("mn", "home")
    site.wait_until("the SA is parked", lambda: site.location("mn")["sa"] == "parked", 60)
    with captures(site, ("home",), tmp_path) as files:
        assert ping(site, "mn", HOME, CN) == 5
    seen = [frame.protocols for frame in wire.read(files["home"]) if HOME in frame.sources and CN in frame.destinations]
    assert seen == [(1,)] * 5
    assert spis(site, "mn") == before
    site.ensure_at("mn", "open")
    assert ping(site, "mn", HOME, CN) == 5
    assert spis(site, "mn") == before


def test_the_gateway_refuses_clear_packets_of_a_node_on_either_side(site: Site, walk: Walk) -> None:
    before = refused(site, "vpngw")
    forge(site, "inner_fw", "dmz", site.mac(site.gateway, "priv"), HOME, CN)
    assert refused(site, "vpngw") == before + 5
    # Of a node without an SA, too, for which there is no policy: the guard. In one box the proxy sees them first.
    for source in (HOME, "192.0.2.90"):
        before = turned_away(site)
        forge(site, "outer_fw", "dmz", site.mac(site.gateway, "pub"), source, CN)
        assert turned_away(site) == before + 5


def test_the_nodes_spd_refuses_clear_packets_where_no_program_looks_at_them(site: Site, walk: Walk) -> None:
    site.ensure_at("mn", "fa")
    before = refused(site, "mn")
    forge(site, "fa", "link", site.mac("mn", "eth0"), CN, HOME, UNHEARD)
    assert refused(site, "mn") == before + 5
    site.ensure_at("mn", "open")

    def dropped() -> int:
        return int(site.ask("mn", "drops")["kernel"].get("clear_outside", 0))

    programs = dropped()
    forge(site, "internet", "open", site.mac("mn", "eth0"), CN, HOME, UNHEARD)
    assert (refused(site, "mn"), dropped()) == (before + 5, programs + 5)


def test_two_nodes_outside_speak_from_sa_to_sa_and_pass_no_home_agent(
    site: Site, walk: Walk, other: str, tmp_path: Path
) -> None:
    ends = ("mn", HOME), (other, OTHER_HOME)
    with captures(site, ("dmz_public", "dmz_private"), tmp_path) as files:
        assert ping(site, "mn", HOME, OTHER_HOME) == 5
        with conversation(site, tmp_path, *ends) as programs:
            for program in programs.values():
                program.wait_for("data", 30)
    streams = {name: program.events() for name, program in programs.items()}
    assert report.session_verdict(streams) == ""
    frames = {segment: wire.read(file) for segment, file in files.items()}
    assert any(frame.is_esp for frame in frames["dmz_public"])
    both = {HOME, OTHER_HOME}
    for segment in frames.values():
        assert [frame for frame in segment if both <= {*frame.sources, *frame.destinations}] == []


def test_what_is_handed_over_for_a_registered_node_without_an_sa_goes_nowhere(
    site: Site, walk: Walk, other: str, tmp_path: Path
) -> None:
    site.end(other, "charon")
    # It says goodbye.
    site.wait_until(
        "its SA is gone", lambda: not site.run("vpngw", ["swanctl", "--list-sas", "--ike", "mn2"]).stdout, 30
    )
    before = guarded(site)
    with captures(site, ("dmz_private", "dmz_public", "outside"), tmp_path) as files:
        assert ping(site, "cn", CN, OTHER_HOME) == 0
        assert ping(site, "cn", CN, HOME) == 5, "the way is open for a node that has one"
    assert guarded(site) == before + 5
    private = [frame for frame in wire.read(files["dmz_private"]) if OTHER_HOME in frame.destinations]
    assert len(private) >= 5, "the home agent has tunnelled them to the proxy"
    for segment in ("dmz_public", "outside"):
        frames = wire.read(files[segment])
        assert any(frame.is_esp for frame in frames), f"{segment} is seen"
        assert [frame for frame in frames if {CN, OTHER_HOME} <= {*frame.sources, *frame.destinations}] == [], segment
