"""The hand-over between two boxes: by layer 2, over the segments that they share."""

from __future__ import annotations

import json
from ipaddress import IPv4Interface

from roaming import wire
from roaming.lab_hosts import LabHosts

from tests.scenario.conftest import Roamed


def test_gateway_sends_what_it_encrypted_for_a_node_to_its_neighbour_mipp_pub_D_4_2_1_a_and_D_4_2_1_c_and_D_5_7_a(
    roamed: Roamed, hosts: LabHosts
) -> None:
    home, gateway, mipp_pub = hosts.home_address("mn"), hosts.address("vpngw", "pub"), hosts.address("mipp", "pub")
    # As strongSwan sends it: with the mark that keeps userspace ESP out of its own TUN.
    route_of_esp = ["ip", "-json", "route", "get", home, "from", gateway, "mark", "0x42"]
    (route,) = json.loads(hosts.run("vpngw", route_of_esp).stdout)
    assert (route["gateway"], route["dev"]) == (mipp_pub, "pub")
    networks = {
        host: {
            str(IPv4Interface(f"{address['local']}/{address['prefixlen']}").network)
            for link in json.loads(hosts.run(host, ["ip", "-json", "-4", "address", "show", port]).stdout)
            for address in link["addr_info"]
        }
        for host, port in (("mipp", "pub"), ("vpngw", "pub"))
    }
    assert networks["mipp"] == networks["vpngw"] == {hosts.network("dmz_public")}
    # No router between them: what one sends the other is addressed to it on the wire, for every network visited.
    proxy_mac, gateway_mac = hosts.mac("mipp", "pub"), hosts.mac("vpngw", "pub")
    for network in ("open", "nat", "fa"):
        frames = list(wire.within(roamed.analysis.frames["dmz_public"], *roamed.stay(network)))
        bare = [frame for frame in frames if frame.protocols == (wire.ESP,) and set(frame.outer) == {home, gateway}]
        assert {(frame.outer[0], frame.eth_source, frame.eth_destination) for frame in bare} == {
            (gateway, gateway_mac, proxy_mac),
            (home, proxy_mac, gateway_mac),
        }


def test_home_agent_tunnels_to_mipp_priv_and_proxy_hands_over_by_layer_2_figure_5_4_D_4_2_1_b_and_D_5_7_c(
    roamed: Roamed, hosts: LabHosts
) -> None:
    correspondent, home = hosts.address("cn", "eth0"), hosts.home_address("mn")
    agent, proxy = hosts.address("ha", "core"), hosts.address("mipp", "priv")
    frames = list(wire.within(roamed.analysis.frames["dmz_private"], *roamed.stay("open")))
    tunnelled = [f for f in frames if f.sources == (agent, correspondent) and f.destinations == (proxy, home)]
    assert tunnelled
    handed = [f for f in frames if f.sources == (correspondent,) and f.destinations == (home,)]
    assert handed
    assert {f.eth_source for f in handed} == {hosts.mac("mipp", "priv")}
    assert {f.eth_destination for f in handed} == {hosts.mac("vpngw", "priv")}


def test_clear_packets_in_the_dmz_go_only_from_gateway_to_proxy_with_a_bound_home_source(
    roamed: Roamed, hosts: LabHosts
) -> None:
    home, gateway = hosts.home_address("mn"), hosts.address("vpngw", "pub")
    for frame in roamed.analysis.frames["dmz_public"]:
        clear = home in frame.outer and gateway not in frame.outer
        if clear:
            assert frame.sources[0] == home
            assert frame.eth_source == hosts.mac("vpngw", "pub")
            assert frame.eth_destination == hosts.mac("mipp", "pub")
