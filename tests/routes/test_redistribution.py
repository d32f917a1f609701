"""The route to the proxy and the gateway's neighbours, in short: what is proven at length is in tests/long/routes."""

from __future__ import annotations

import pytest

from .ground import HOME, LATER, OTHER, ground

pytestmark = pytest.mark.namespaces
NOBODY = {"OSPF": False, "BGP": False}
EVERYBODY = {"OSPF": True, "BGP": True}


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_neighbours_learn_what_else_there_is_and_the_home_network_with_the_guard_away_alone_D_5_7_b(kind: str) -> None:
    with ground(kind) as site:
        with site.heard() as guarded:
            site.learn(OTHER)
            rolled_out = site.play("kernel_routes.yml", "redistribution.yml")
            assert not rolled_out.failed, rolled_out.output
            assert HOME in site.gateway.ip("route", "show", "table", "434")
            site.gateway.ip("route", "add", LATER, "via", "203.0.113.1")
            site.learn(LATER)
            assert site.holds_home() == NOBODY
        assert guarded.of(LATER) == EVERYBODY
        assert guarded.of(HOME) == NOBODY

        leaking = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False)
        assert leaking.failed
        for protocol in ("OSPF", "BGP"):
            assert any(HOME in line and protocol in line for line in leaking.message.splitlines()), leaking.message
        site.learn(HOME)
