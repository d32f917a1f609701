"""Which route is the forbidden one, what the module is asked, and what it says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import (
    DaemonError,
    Held,
    NextHop,
    Question,
    Reading,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.routing_daemons import Daemon, Process
from ansible_collections.mobileip.vpn.plugins.modules import redistribution

HOME = IPv4Network("192.0.2.64/27")
TWO_BOXES = Question((HOME,), "203.0.113.10", "pub", 434, 143)
ONE_BOX = replace(TWO_BOXES, via="", interface="mip0")
PARAMETERS: dict[str, Any] = {
    "home_networks": ["192.0.2.64/27"], "via": "203.0.113.10", "interface": "pub", "table": 434, "protocol": 143,
    "leak_guard": False, "planned": True,
}  # fmt: skip
FRR = Daemon("frr", "", Process(7, "zebra", ()))
BIRD = Daemon("bird", "", Process(8, "bird", ()))


def held(*hops: NextHop, number: int | None = None) -> Held:
    return Held(str(HOME), hops, "kernel", number=number)


@pytest.mark.parametrize(
    ("question", "route", "forbidden"),
    [
        (TWO_BOXES, held(NextHop("203.0.113.10", "pub")), True),
        (TWO_BOXES, held(NextHop("203.0.113.1", "pub"), NextHop("203.0.113.10", "pub")), True),
        (TWO_BOXES, held(NextHop("192.0.2.1", "priv")), False),
        (TWO_BOXES, held(NextHop("", "pub")), False),
        (TWO_BOXES, held(number=143), True),
        (TWO_BOXES, held(), False),
        (ONE_BOX, held(NextHop("", "mip0")), True),
        (ONE_BOX, held(NextHop("192.0.2.1", "priv")), False),
    ],
)
def test_the_forbidden_route_is_known_by_where_it_leads(question: Question, route: Held, forbidden: bool) -> None:
    assert question.leads_to_proxy(route) is forbidden


def test_a_route_that_the_roll_out_moves_counts_after_it_and_not_before() -> None:
    route = held(NextHop("203.0.113.10", "pub"))
    before = replace(TWO_BOXES, planned=True, moving=frozenset({str(HOME)}))
    assert not before.concerns(route)
    assert replace(before, planned=False).concerns(route)
    assert replace(before, moving=frozenset()).concerns(route)


def test_home_networks_are_asked_about_once_each_and_in_order() -> None:
    given = {**PARAMETERS, "home_networks": ["192.0.2.96/27", "192.0.2.64/27", "192.0.2.96/27"]}
    networks = redistribution.question_of(given).home_networks
    assert networks == (HOME, IPv4Network("192.0.2.96/27"))


@pytest.mark.parametrize(
    ("networks", "complaint"), [([], "home_networks: is empty"), (["192.0.2.65/27"], "has host bits set; expected")]
)
def test_home_networks_that_are_none_are_an_error(networks: list[str], complaint: str) -> None:
    with pytest.raises(DaemonError, match=complaint):
        redistribution.question_of({**PARAMETERS, "home_networks": networks})


def test_who_is_asked() -> None:
    assert redistribution.choose([BIRD, FRR], None) == [BIRD, FRR]
    assert redistribution.choose([BIRD, FRR], ["frr"]) == [FRR]
    assert redistribution.choose([BIRD, FRR], []) == []
    with pytest.raises(DaemonError, match=r"daemons: frr does not run here \(running: BIRD\); expected it to"):
        redistribution.choose([BIRD], ["frr"])


@pytest.mark.parametrize(
    ("readings", "not_asked", "named", "said"),
    [
        ([], [], False, "Neither FRR nor BIRD runs here: nothing to ask."),
        ([], ["FRR"], True, "daemons is empty: none was asked. Not asked: FRR."),
        (
            [Reading("FRR", protocols=("BGP", "OSPF")), Reading("BIRD")],
            ["gobgpd"],
            False,
            "No neighbour learns the way to the proxy. FRR was asked about BGP, OSPF; BIRD was asked about no "
            "protocol. Not asked: gobgpd.",
        ),
    ],
)
def test_what_is_said_where_nothing_leaks(
    readings: list[Reading], not_asked: list[str], named: bool, said: str
) -> None:
    assert redistribution.sentence(readings, not_asked, named) == said
