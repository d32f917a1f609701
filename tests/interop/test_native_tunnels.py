"""The kernel's own tunnel devices are the proxy's peers on both legs, with the kernel's ESP inside."""

from __future__ import annotations

import platform
import re

import pytest

from mobileip.forwarding.entries import Encapsulation
from tests.interop.ground import (
    CARE_OF,
    CN,
    DEVICE,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    OFFICE,
    STREAM,
    VPNGW_PUB,
    Ground,
)

pytestmark = pytest.mark.namespaces

ROWS = ("node_to_gateway", "gateway_to_node", "home_agent_to_gateway", "gateway_to_home_agent")


@pytest.fixture(params=[(kind, end) for kind in DEVICE for end in ("node", "fa")], ids=lambda way: "-".join(way))
def way(request: pytest.FixtureRequest, site: Ground) -> tuple[Encapsulation, str]:
    """The site with ESP in that tunnel."""
    encapsulation, end = request.param
    site.tunnel(encapsulation, end=end)
    site.agent_device(encapsulation)
    site.protect()
    return encapsulation, end


def test_the_kernel_is_the_oldest_that_the_programs_are_made_for() -> None:
    assert platform.release().startswith("6.1.")


def test_ping_through_the_kernels_tunnels_and_esp(site: Ground, way: tuple[Encapsulation, str]) -> None:
    before = site.tables().counters()
    encapsulation, end = way
    with site.captured("internet", "dmz") as outside, site.captured("agent", "core") as inside:
        assert site.ping(CN) == 3, site.tables().counters()
    after = site.tables().counters()
    assert all(after.packets[row] - before.packets[row] >= 3 for row in ROWS), after.packets
    assert after.drops == before.drops
    care_of = CARE_OF if end == "node" else FOREIGN_AGENT
    tunnels = {"ipip": "IPIP", "gre": "GRE"}[DEVICE[encapsulation].split()[0]]
    there = [line for line in outside if f"{care_of} > {MIPP_PUB}" in line]
    back = [line for line in outside if f"{MIPP_PUB} > {care_of}" in line]
    for lines, ends in ((there, f"{HOME} > {VPNGW_PUB}: ESP"), (back, f"{VPNGW_PUB} > {HOME}: ESP")):
        assert len(lines) == 3, outside
        assert all(f"proto {tunnels}" in line and ends in line for line in lines), lines
    # The home agent's tunnel, both ways, and what it carried.
    assert any(f"{HOME_AGENT} > {MIPP_PRIV}" in line and f"{CN} > {HOME}" in line for line in inside), inside
    assert any(f"{MIPP_PRIV} > {HOME_AGENT}" in line and f"{HOME} > {CN}" in line for line in inside), inside


@pytest.mark.parametrize("reverse", [False, True], ids=["from-node", "to-node"])
@pytest.mark.parametrize(("server", "address"), [("cn", CN), ("office", OFFICE)])
def test_tcp_with_full_segments(
    site: Ground, way: tuple[Encapsulation, str], server: str, address: str, reverse: bool
) -> None:
    with site.captured("internet", "dmz", 300) as outside:
        stream = site.stream(server, address, reverse=reverse)
    assert stream.received >= STREAM, site.tables().counters()
    lengths = [int(found) for line in outside for found in re.findall(r"^IP .*?length (\d+)\)", line)]
    # Full: not another cipher block fits.
    assert 1500 - 16 < max(lengths) <= 1500, sorted(set(lengths))
