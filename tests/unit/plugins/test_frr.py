"""What FRR's answers mean. `recorded/frr-*` holds what vtysh printed on gateways that announced the route."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.frr import (
    parse_configuration,
    parse_external,
    parse_routes,
    read,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import (
    Ask,
    DaemonError,
    Held,
    NextHop,
    Question,
    Reading,
)

RECORDED = Path(__file__).parent / "recorded"
FILES = {
    "show daemons": "daemons.txt",
    "show running-config": "running-config.txt",
    "show ip route 192.0.2.64/27 longer-prefixes json": "routes.json",
    "show bgp ipv4 unicast 192.0.2.64/27 longer-prefixes json": "bgp.json",
    "show ip ospf database external self-originate json": "ospf-external.json",
    "show ip ospf database nssa-external self-originate json": "ospf-nssa.json",
}
QUESTION = Question((IPv4Network("192.0.2.64/27"),), "203.0.113.10", "pub", 434, 143)
ROUTE = Held("192.0.2.64/27", (NextHop("203.0.113.10", "pub"),), "kernel")
# FRR 10.3, `show ip ospf database nssa-external self-originate json`.
NSSA = {
    "routerId": "192.0.2.20",
    "nssaExternalLinkStates": {
        "areas": {
            "0.0.0.0": [],
            "0.0.0.5": [
                {
                    "lsaAge": 6,
                    "lsaType": "NSSA-LSA",
                    "linkStateId": "192.0.2.95",
                    "advertisingRouter": "192.0.2.20",
                    "networkMask": 27,
                    "nssaForwardAddress": "203.0.113.10",
                },
            ],
        }
    },
}


def answers(state: str, **instead: str) -> Ask:
    """FRR as it was recorded in a state, but for the files named."""

    def ask(command: str) -> str:
        name = FILES[command]
        return instead.get(name.split(".")[0].replace("-", "_"), (RECORDED / state / name).read_text(encoding="utf-8"))

    return ask


def leaks(reading: Reading) -> list[tuple[str, str, str]]:
    return [(leak.protocol, leak.route, leak.line) for leak in reading.leaks]


@pytest.mark.parametrize("release", ["8.4", "10.3"])
def test_a_kernel_route_to_the_proxy_is_told_with_the_lines_that_hand_it_on(release: str) -> None:
    route = "192.0.2.64/27 via 203.0.113.10 dev pub"
    reading = read(answers(f"frr-{release}-kernel"), "FRR", replace(QUESTION, table=435))
    assert leaks(reading) == [
        ("BGP", route, "router bgp 64512: redistribute kernel"),
        ("OSPF", route, "router ospf: redistribute kernel"),
    ]
    assert reading.suspects == (route,)
    assert reading.protocols == ("BGP", "OSPF")
    assert "`ip route del 192.0.2.64/27 via 203.0.113.10`" in reading.leaks[0].remedy


def test_withdrawn_advertisements_are_announced_no_longer() -> None:
    assert read(answers("frr-8.4-withdrawn"), "FRR", QUESTION) == Reading("FRR", protocols=("BGP", "OSPF"))


def test_an_imported_table_is_told_by_its_line_and_by_who_announces_it() -> None:
    reading = read(answers("frr-8.4-imported"), "FRR", replace(QUESTION, table=200))
    assert leaks(reading) == [
        ("", "", "ip import-table 200"),
        ("BGP", "192.0.2.64/27 via 203.0.113.10 dev pub", "router bgp 64512: network 192.0.2.64/27"),
        ("OSPF", "192.0.2.64/27 via 203.0.113.10 dev pub", "router ospf: redistribute table 200 route-map OUT"),
    ]
    assert str(reading.leaks[0]) == (
        "FRR: `ip import-table 200` reads table 200, where the route to the proxy is kept private; expected: no "
        "neighbour learns the way to the proxy (draft 5.7). Remove the line, or give the role another table "
        "(vpn_gateway_route_table), above 252 and read by no daemon."
    )


def test_bgp_of_frr_10_takes_any_table_directly_and_zebra_does_not_show_it() -> None:
    reading = read(answers("frr-10.3-kernel", routes="{}\n", ospf_external="{}"), "FRR", QUESTION)
    line = "router bgp 64512: redistribute table-direct 434"
    assert leaks(reading) == [("", "", line), ("BGP", "192.0.2.64/27 via 203.0.113.10", line)]


def test_what_the_roll_out_takes_away_is_not_held_against_the_daemon() -> None:
    question = replace(QUESTION, table=435, planned=True, moving=frozenset({"192.0.2.64/27"}))
    assert read(answers("frr-10.3-kernel"), "FRR", question).leaks == ()


def test_without_the_guard_the_lines_that_will_announce_are_told_before() -> None:
    question = replace(QUESTION, leak_guard=False, planned=True)
    reading = read(answers("frr-8.4-withdrawn"), "FRR", question)
    assert [str(leak).split(";")[0] for leak in reading.leaks] == [
        "FRR: BGP would announce 192.0.2.64/27, by `router bgp 64512: redistribute kernel`",
        "FRR: OSPF would announce 192.0.2.64/27, by `router ospf: redistribute kernel`",
    ]


def test_the_sites_own_route_inwards_is_no_leak_and_is_told_beside() -> None:
    question = replace(QUESTION, via="203.0.113.99", table=435)
    reading = read(answers("frr-10.3-kernel"), "FRR", question)
    assert (reading.leaks, reading.suspects) == ((), ())
    assert reading.others == ("BGP: 192.0.2.64/27", "OSPF: 192.0.2.64/27")


def test_a_protocol_that_is_not_asked_is_judged_by_its_line() -> None:
    lines = (
        "\nfrr version 8.4.4\nrouter rip\n redistribute kernel route-map OUT\nrouter eigrp 1\n redistribute static\n"
    )
    reading = read(answers("frr-8.4-kernel", running_config=lines), "FRR", QUESTION)
    assert [(leak.protocol, leak.line) for leak in reading.leaks] == [
        ("RIP", "router rip: redistribute kernel route-map OUT")
    ]


def test_only_what_zebra_has_chosen_counts() -> None:
    hop = {"ip": "203.0.113.10", "interfaceName": "pub"}
    entries = [{"protocol": "ospf", "selected": True, "nexthops": []}, {"protocol": "kernel", "nexthops": [hop]}]
    assert list(parse_routes({"192.0.2.64/27": entries})) == [Held("192.0.2.64/27", (), "ospf")]


def test_host_bits_of_a_link_state_id_are_no_part_of_the_prefix() -> None:
    assert list(parse_external(NSSA)) == ["192.0.2.64/27"]


def test_lines_of_other_vrfs_and_of_ipv6_are_left_out() -> None:
    found = parse_configuration((RECORDED / "frr-8.4-imported/running-config.txt").read_text(encoding="utf-8"))
    assert [(way.protocol, way.source, way.filtered) for way in found.redistributions] == [
        ("bgp", "network 192.0.2.64/27", False),
        ("bgp", "kernel", False),
        ("bgp", "static", False),
        ("ospf", "static", False),
        ("ospf", "table 200", True),
    ]
    lines = "router ospf vrf red\n redistribute kernel\nexit\nrouter isis one\n redistribute ipv6 kernel level-2\n"
    assert parse_configuration("\nfrr version 10.3\n" + lines).redistributions == ()


@pytest.mark.parametrize(
    ("file", "said", "complaint"),
    [
        ("running_config", "Building configuration...\n\nCurrent configuration:\n!\nend\n", "expected FRR's version"),
        ("routes", "% Unknown command\n", "expected JSON"),
        ("ospf_external", "ospfd is not running\n", "expected JSON"),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_no_silence(file: str, said: str, complaint: str) -> None:
    with pytest.raises(DaemonError, match=complaint):
        read(answers("frr-8.4-kernel", **{file: said}), "FRR", QUESTION)
