"""Neighbours that change their MAC address, as a gateway does that another took over for: packets follow."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.integration.site import GATEWAY, HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

OPEN, GATEWAY_PRIVATE = "198.51.100.10", "192.0.2.20"
# What scapy does there is what a VRRP router does that has become the master (RFC 5798 6.4.1).
_ANNOUNCE = """
import logging, sys
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.arch import get_if_hwaddr
from scapy.layers.l2 import ARP, Ether
from scapy.sendrecv import sendp
interface, address = sys.argv[1:]
mac = get_if_hwaddr(interface)
frame = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac, psrc=address, pdst=address)
sendp(frame, iface=interface, verbose=False)
"""


@pytest.fixture(scope="module", params=["xdp-native", "tc"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("neighbours")) as site:
        for interface in ("pub", "priv"):
            for host, name in (("mipp", interface), ("wires", f"mipp-{interface}")):
                site.run(host, "ethtool", "-K", name, "gro", "on")  # gives a veth the queue that frames of XDP need
        file = site.directory / "mipp.yml"
        file.write_text(json.dumps({**json.loads(file.read_text()), "datapath": {"attach": request.param}}))
        site.mobileip("mipp", "load", str(file))
        until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=site.log("mn")[-2000:])
        assert until(lambda: site.ping() == 3)
        yield site


def take_over(site: Site, number: int) -> None:
    """The gateway's addresses are another box's from now on."""
    for interface in ("pub", "priv"):
        site.run(
            "gw", "ip", "link", "set", "dev", interface, "address", f"02:00:5e:00:{number:02x}:{len(interface):02x}"
        )


@pytest.mark.parametrize(("announced", "seconds"), [(True, 5.0), (False, 30.0)])
def test_a_gateway_that_changes_its_mac_is_followed(site: Site, announced: bool, seconds: float) -> None:
    assert site.ping() == 3
    take_over(site, number=2 + announced)
    if announced:
        for interface, address in (("pub", GATEWAY), ("priv", GATEWAY_PRIVATE)):
            site.run("gw", sys.executable, "-c", _ANNOUNCE, interface, address)
    until(lambda: site.ping(2) == 2, seconds, what=f"ping; drops {site.show('mipp', 'drops')}")
    assert site.ping(20) == 20
