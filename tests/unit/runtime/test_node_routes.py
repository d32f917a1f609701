"""Which of the host's routes packets to the VPN gateways take."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from mobileip.runtime.node_routes import ways_to
from mobileip.runtime.rtnetlink import PROTOCOL, Route

GATEWAY, OTHER = IPv4Address("203.0.113.20"), IPv4Address("192.0.2.7")
ROUTER, BETTER = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")


def route(destination: str, gateway: IPv4Address | None, metric: int = 0) -> Route:
    return Route(IPv4Network(destination), gateway, 2, metric, 16)


def test_the_longest_prefix_and_then_the_least_metric_lead_to_a_gateway() -> None:
    routes = [route("0.0.0.0/0", ROUTER, 100), route("203.0.113.0/24", BETTER, 10), route("203.0.113.0/24", ROUTER, 20)]
    alone = IPv4Network((GATEWAY, 32))
    assert ways_to([GATEWAY], routes) == [Route(alone, BETTER, 2, 0, PROTOCOL)]
    assert ways_to([GATEWAY], [route("203.0.113.0/26", None)]) == [Route(alone, None, 2, 0, PROTOCOL)]


def test_no_route_is_made_up_for_a_gateway_that_none_leads_to() -> None:
    assert ways_to([GATEWAY, OTHER], [route("192.0.2.0/27", None)]) == [
        Route(IPv4Network((OTHER, 32)), None, 2, 0, PROTOCOL)
    ]
