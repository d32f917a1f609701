"""Broadcasts of the home link all the way to a node outside (draft 5.7.1): home agent, proxy, VPN gateway, SA, node.

Wrapped by the home agent in a packet to the home address, and that in its tunnel: the proxy takes off the tunnel alone,
the gateway takes what is left for a packet to the node like any other, and the SA carries it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from mobileip.wire.encapsulation import IPv4Packet, UdpDatagram
from tests.integration.null_esp import INVERTED
from tests.integration.site import GATEWAY, HOME, MIPP_PUB, Site, running, until
from tests.integration.test_home_agent import (
    GROUP,
    HOME_AGENT,
    IPV4,
    MIPP_PRIV,
    NEIGHBOUR,
    OPEN,
    capture,
    inside,
    shout,
)

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]


@pytest.fixture(scope="module", params=[False, True], ids=["two boxes", "one box"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("broadcasts"), one_box=request.param) as site:
        until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=site.log("mn")[-2000:])
        settings = json.loads((site.directory / "ha.yml").read_text())
        assert "broadcast" not in settings
        site.reconfigure("ha", broadcast={"multicast_groups": [GROUP]})
        site.run("cnhome", "ip", "route", "replace", "224.0.0.0/4", "dev", "eth0")
        yield site


def test_the_node_gets_what_it_did_not_ask_for_not_at_all_R5944_4_3_a(site: Site) -> None:
    assert site.show("ha", "status")["broadcasts_to"] == 0
    assert until(lambda: site.ping() == 3)
    with capture(site, "mn", "eth0", IPV4, 1.0) as frames:
        shout(site, b"nobody asked")
    assert [frame for frame in frames if b"nobody asked" in frame] == []


@pytest.mark.parametrize("to", ["192.0.2.95", "255.255.255.255", GROUP])
def test_a_broadcast_reaches_the_node_through_proxy_gateway_and_sa_D_5_7_1_a_and_R5944_4_3_c(
    site: Site, to: str
) -> None:
    if not site.show("ha", "status")["broadcasts_to"]:
        site.reconfigure("mn", broadcasts=True)
    (row,) = until(lambda: [each for each in site.show("ha", "bindings") if each["broadcasts"]], 15.0)
    assert row["care_of_address"] == MIPP_PRIV
    assert until(lambda: site.ping() == 3)
    tunnelled = site.show("mipp", "counters")["kernel"]["packets"]["home_agent_to_gateway"]
    marker = b"who is there? " + to.encode()
    with (
        capture(site, "mn", "eth0", IPV4, 2.0) as outside,
        capture(site, "mn", "esp0", "", 2.0) as decrypted,
    ):
        shout(site, marker, to)
    # On the node's wire: the proxy's tunnel, in it the gateway's ESP, and nothing that is not in both.
    (frame,) = [frame for frame in outside if marker.translate(INVERTED) in frame]
    assert not [frame for frame in outside if marker in frame]
    outer = IPv4Packet.parse(frame[14:])
    esp = inside(outer)
    assert (str(outer.source), str(outer.destination), outer.protocol) == (MIPP_PUB, OPEN, 4)
    assert (str(esp.source), str(esp.destination), esp.protocol) == (GATEWAY, HOME, 50)
    # Out of the SA: the home agent's packet to the node, and in it the broadcast as it was on the link.
    (packet,) = [packet for packet in decrypted if marker in packet]
    wrapped = IPv4Packet.parse(packet)
    assert (str(wrapped.source), str(wrapped.destination), wrapped.protocol) == (HOME_AGENT, HOME, 4)
    heard = inside(wrapped)
    assert (str(heard.source), str(heard.destination), heard.ttl) == (NEIGHBOUR, to, 1)
    assert UdpDatagram.parse(heard.payload).payload == marker
    assert site.show("mipp", "counters")["kernel"]["packets"]["home_agent_to_gateway"] == tunnelled + 1
