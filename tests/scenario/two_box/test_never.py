"""What the proxy never does (draft section 3), on both of its wires over the roaming session, and asked outright.

Absence rests on the same captures that show its registrations, its tunnels, its hand-overs, its ARP for itself.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures

from tests.scenario.conftest import Roamed

SIDES = {"pub": "dmz_public", "priv": "dmz_private"}
# Whose neighbour asks on each side of the proxy.
NEIGHBOURS = {"pub": ("outer_fw", "dmz"), "priv": ("inner_fw", "dmz")}
NODES = ("mn", "mn2")

ASK_WHO_HAS = """
import socket, sys
interface, sender, *targets = sys.argv[1:]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
    channel.bind((interface, 0x0806))
    mac = channel.getsockname()[4]
    for target in targets:
        channel.send(bytes.fromhex("ffffffffffff") + mac + bytes.fromhex("08060001080006040001") + mac
                     + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))
"""


def shown(capture: Path, display_filter: str, *fields: str) -> list[list[str]]:
    """Return what tshark shows of these fields of the frames that the filter selects."""
    words = [word for name in fields for word in ("-e", name)]
    command = ["tshark", "-n", "-r", str(capture), "-Y", display_filter, "-T", "fields", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 2), done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def sent_by_proxy(roamed: Roamed, hosts: LabHosts, side: str) -> list[wire.Frame]:
    """What left the proxy on this side in the whole session."""
    mac = hosts.mac("mipp", side)
    return [frame for frame in roamed.analysis.frames[SIDES[side]] if frame.eth_source == mac]


def nodes(hosts: LabHosts) -> set[str]:
    return {hosts.home_address(node) for node in NODES}


def kind_of(frame: wire.Frame, hosts: LabHosts) -> str:
    """What a frame that the proxy sent is to it; the addresses and whatever is odd where it is none of these."""
    public, private = hosts.address("mipp", "pub"), hosts.address("mipp", "priv")
    agent, homes = hosts.address("ha", "core"), nodes(hosts)
    source, destination = frame.outer
    if frame.registration == wire.REQUEST and (source, destination) == (private, agent):
        return "request to the home agent"
    if frame.registration == wire.REPLY and source == public:
        return "reply to who asked"
    if source == public and frame.encapsulation != "none" and frame.destinations[-1] in homes:
        return "tunnelled to a node"
    if source == private and destination == agent and frame.protocols[0] == wire.IP_IN_IP:
        return "tunnelled to the home agent"
    gateway = {hosts.mac("vpngw", port) for port in ("pub", "priv")}
    if frame.eth_destination in gateway and homes & {source, destination}:
        return "handed over to the gateway"
    return f"{frame.stack} {frame.sources} {frame.destinations} {frame.mip_types}"


def test_no_agent_advertisement_and_no_solicitation_leave_the_proxy_D_3_a_and_D_3_e(
    roamed: Roamed, hosts: LabHosts
) -> None:
    for side, segment in SIDES.items():
        capture = roamed.recording.captures[segment]
        assert shown(capture, f"mip.type && eth.src == {hosts.mac('mipp', side)}", "mip.type"), "it spoke here"
        discovery = "(icmp.type == 9 || icmp.type == 10)"
        assert shown(capture, f"{discovery} && eth.src == {hosts.mac('mipp', side)}", "icmp.type") == []
    # The same filter finds what the foreign agent and its visitors say on their link.
    assert shown(roamed.recording.captures["fa_link"], "icmp.type == 9 || icmp.type == 10", "icmp.type")


@pytest.mark.parametrize("side", SIDES)
def test_no_arp_of_the_proxys_speaks_for_a_node_D_3_b_and_D_3_c(
    roamed: Roamed, hosts: LabHosts, tmp_path: Path, side: str
) -> None:
    own, mac, segment = hosts.address("mipp", side), hosts.mac("mipp", side), SIDES[side]
    hosts.ensure_at("mn", "open")
    host, interface = NEIGHBOURS[side]
    with captures(hosts, (segment,), tmp_path) as files:
        asked = [*sorted(nodes(hosts)), own]
        hosts.run(host, ["python3", "-c", ASK_WHO_HAS, interface, hosts.address(host, interface), *asked])
        time.sleep(1)
    fields = ("eth.src", "arp.opcode", "arp.src.proto_ipv4", "arp.dst.proto_ipv4")
    arp = shown(files[segment], "arp", *fields)
    assert {target for source, _, _, target in arp if source == hosts.mac(host, interface)} >= set(asked)
    assert any(source == mac and opcode == "2" and sender == own for source, opcode, sender, _ in arp)
    arp += shown(roamed.recording.captures[segment], "arp", *fields)
    assert {sender for source, _, sender, _ in arp if source == mac} == {own}
    assert [line for line in arp if line[0] == mac and line[2] == line[3] and line[2] in nodes(hosts)] == []


def test_proxy_tells_nobody_where_a_node_is_and_optimises_no_route_D_3_d(roamed: Roamed, hosts: LabHosts) -> None:
    kinds = Counter(kind_of(frame, hosts) for side in SIDES for frame in sent_by_proxy(roamed, hosts, side))
    needed = {
        *("request to the home agent", "reply to who asked"),
        *("tunnelled to a node", "handed over to the gateway"),
    }
    assert needed <= kinds.keys() <= needed | {"tunnelled to the home agent"}, kinds


def test_every_request_to_a_home_agent_is_one_that_a_node_sent_before_D_3_f_and_D_3_g_and_D_3_h(
    roamed: Roamed, hosts: LabHosts
) -> None:
    own = {hosts.mac("mipp", side) for side in SIDES}
    asked: dict[tuple[str, str], float] = {}
    for segment in SIDES.values():
        for frame in roamed.analysis.frames[segment]:
            if frame.registration == wire.REQUEST and frame.eth_source not in own:
                asked.setdefault((frame.home_address, frame.identification), frame.time)
    relayed = [frame for frame in sent_by_proxy(roamed, hosts, "priv") if frame.registration == wire.REQUEST]
    outside = [move for move in roamed.recording.moves if move.target != "home"]
    assert len(relayed) >= len(outside)
    for frame in relayed:
        assert asked[frame.home_address, frame.identification] <= frame.time
    identifications = Counter((frame.home_address, frame.identification) for frame in relayed)
    assert set(identifications.values()) == {1}, "none is repeated or renewed"
    # A move makes the proxy say nothing before the node has registered from where it is now.
    home = hosts.home_address("mn")
    for move in outside:
        first = min(frame.time for frame in relayed if frame.home_address == home and frame.time >= move.started)
        told = min(when for (node, _), when in asked.items() if node == home and when >= move.started)
        assert told <= first
