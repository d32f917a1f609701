"""What the neighbours of a gateway learn, by OSPF and BGP, and what the role says of it: with FRR and with BIRD."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.routes.ground import (
    BIRD_GATEWAY,
    FRR_GATEWAY,
    GATEWAY,
    HOME,
    LATER,
    MIPP_PUB,
    OTHER,
    Ground,
    beside,
    ground,
    until,
)

pytestmark = [pytest.mark.namespaces, pytest.mark.timeout(600)]
NOBODY = {"OSPF": False, "BGP": False}
EVERYBODY = {"OSPF": True, "BGP": True}
REMOVE = {
    "mobileip.vpn.gateway_routes": {
        "home_networks": [HOME],
        "via": MIPP_PUB,
        "interface": "pub",
        "source": GATEWAY["vpn_gateway_pub_address"],
        "state": "absent",
    }
}
CONFIGURATIONS = {"frr": FRR_GATEWAY, "bird": BIRD_GATEWAY}


@pytest.fixture(scope="module", params=["frr", "bird"])
def shared(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with ground(request.param) as site:
        yield site


@pytest.fixture
def site(shared: Ground) -> Iterator[Ground]:
    """The gateway on its usual configuration, with its neighbour, and without a route to a home network."""
    shared.learn(OTHER)
    yield shared
    shared.clear()
    if shared.gateway.configuration != CONFIGURATIONS[shared.gateway.kind]:
        shared.gateway.reconfigure(CONFIGURATIONS[shared.gateway.kind])
    shared.forget(HOME)


def configured(site: Ground, **changes: str) -> None:
    """Have the gateway run on its configuration with a text of its own kind added or put in another's place."""
    change = changes[site.gateway.kind]
    old, _, new = change.rpartition(" => ")
    base = CONFIGURATIONS[site.gateway.kind]
    assert old in base
    site.gateway.reconfigure(base.replace(old, new) if old else base + new)
    site.learn(OTHER)


def test_never_while_it_is_laid_laid_again_booted_and_removed_D_5_7_b(site: Ground) -> None:
    with site.heard() as announced:
        first = site.play("redistribution.yml", "kernel_routes.yml", "redistribution.yml")
        assert (first.failed, first.changed) == (False, 1), first.output
        second = site.play("kernel_routes.yml", "redistribution.yml")
        assert (second.failed, second.changed) == (False, 0), second.output

        site.gateway.stop()
        site.clear()
        site.gateway.start()
        site.lay_as_at_boot()
        site.learn(OTHER)
        assert site.holds_home() == NOBODY
        assert HOME in site.gateway.ip("route", "show", "table", "434")
        assert site.play("kernel_routes.yml", "redistribution.yml").changed == 0

        site.gateway.ip("route", "add", LATER, "via", "203.0.113.1")
        site.learn(LATER)
        assert site.holds_home() == NOBODY
        removed = site.play(REMOVE, "redistribution.yml")
        assert (removed.failed, removed.changed) == (False, 1), removed.output
        site.gateway.ip("route", "del", LATER)
        site.forget(LATER)
        assert site.holds_home() == NOBODY
    assert announced.of(LATER) == EVERYBODY
    assert announced.of(HOME) == NOBODY


def test_without_the_guard_they_learn_it_and_the_play_fails_until_it_is_back_D_5_7_b(site: Ground) -> None:
    with site.heard() as announced:
        open_gate = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False)
        site.learn(HOME)
    assert announced.of(HOME) == EVERYBODY
    assert open_gate.failed
    for protocol in ("OSPF", "BGP"):
        (line,) = (line for line in open_gate.message.splitlines() if protocol in line)
        assert f"announces {HOME} via {MIPP_PUB} dev pub" in line
        assert "Set leak_guard" in line
    assert ("redistribute kernel" if site.gateway.kind == "frr" else "protocol kernel main {") in open_gate.message

    before = site.play("redistribution.yml", __vpn_gateway_planned=True)
    assert not before.failed, "what the roll-out takes away does not stop it"
    back = site.play("kernel_routes.yml")
    assert back.changed == 1
    site.forget(HOME)
    assert not site.play("redistribution.yml").failed


def test_the_preflight_tells_who_would_announce_it_without_the_guard(site: Ground) -> None:
    before = site.play(
        "redistribution.yml", "kernel_routes.yml", __vpn_gateway_planned=True, vpn_gateway_leak_guard=False
    )
    assert before.failed
    assert {protocol for protocol in ("OSPF", "BGP") if f"{protocol}" in before.message} == {"OSPF", "BGP"}
    assert f"would announce {HOME}" in before.message
    assert HOME not in site.gateway.ip("route", "show", "table", "main")


def test_a_daemon_that_reads_the_private_table_is_named_with_its_line_before_and_after(site: Ground) -> None:
    table = {"frr": 200, "bird": 434}[site.gateway.kind]
    configured(
        site,
        frr="ip import-table 200\nrouter ospf\n redistribute table 200\nexit\n"
        "router bgp 64512\n address-family ipv4 unicast\n  redistribute table 200\n exit-address-family\nexit\n",
        bird="protocol device => ipv4 table aside;\nprotocol kernel ours {\n  learn;\n  kernel table 434;\n"
        "  scan time 1;\n  ipv4 { table aside; import all; export none; };\n}\n"
        "protocol pipe between { table master4; peer table aside; import all; export none; }\nprotocol device",
    )
    line = {"frr": "`ip import-table 200` reads table 200", "bird": "kernel table 434;` reads table 434"}
    before = site.play("redistribution.yml", __vpn_gateway_planned=True, vpn_gateway_route_table=table)
    assert before.failed
    assert line[site.gateway.kind] in before.message
    assert "vpn_gateway_route_table" in before.message
    assert not site.play("redistribution.yml", __vpn_gateway_planned=True, vpn_gateway_route_table=435).failed

    after = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_route_table=table)
    site.learn(HOME)
    assert after.failed
    for protocol in ("OSPF", "BGP"):
        assert any(protocol in said and f"announces {HOME}" in said for said in after.message.splitlines())


def test_a_static_route_of_the_sites_to_the_proxy_stops_the_roll_out_and_one_to_the_intranet_does_not(
    site: Ground,
) -> None:
    configured(
        site,
        frr=f"ip route {HOME} {MIPP_PUB}\n",
        bird=f"protocol static by_hand {{ ipv4; route {HOME} via {MIPP_PUB}; }}\n",
    )
    site.learn(HOME)
    before = site.play("redistribution.yml", __vpn_gateway_planned=True)
    assert before.failed
    named = {"frr": f"Remove `ip route {HOME} {MIPP_PUB}`", "bird": "Remove the route from protocol by_hand"}
    assert named[site.gateway.kind] in before.message

    configured(
        site,
        frr=f"ip route {HOME} 192.0.2.2\n",
        bird=f"protocol static inwards {{ ipv4; route {HOME} via 192.0.2.2; }}\n",
    )
    site.learn(HOME)
    after = site.play("kernel_routes.yml", "redistribution.yml")
    assert not after.failed, after.message


def test_a_filter_that_holds_the_route_back_is_believed(site: Ground) -> None:
    configured(
        site,
        frr="redistribute kernel => redistribute kernel route-map NOT-HOME",
        bird="export all; => export where net !~ [ 192.0.2.64/27+ ];",
    )
    if site.gateway.kind == "frr":
        site.gateway.vtysh(
            "configure terminal", "ip prefix-list HOME permit 192.0.2.64/27 le 32", "route-map NOT-HOME deny 10",
            "match ip address prefix-list HOME", "exit", "route-map NOT-HOME permit 20",
        )  # fmt: skip
    before = site.play("redistribution.yml", __vpn_gateway_planned=True, vpn_gateway_leak_guard=False)
    assert not before.failed, before.message
    after = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False)
    assert not after.failed, after.message
    site.gateway.ip("route", "add", LATER, "via", "203.0.113.1")
    site.learn(LATER)
    assert site.holds_home() == NOBODY


def test_in_one_box_the_route_into_the_wire_is_known_as_well(site: Ground) -> None:
    one_box = {"vpn_gateway_wire_interface": "far"}
    guarded = site.play("kernel_routes.yml", "redistribution.yml", **one_box)
    assert not guarded.failed, guarded.message
    assert site.holds_home() == NOBODY
    leaking = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False, **one_box)
    assert leaking.failed
    assert f"announces {HOME} dev far" in leaking.message
    site.learn(HOME)


def test_who_is_asked_is_the_operators_to_say(site: Ground) -> None:
    kind, other = site.gateway.kind, {"frr": "bird", "bird": "frr"}[site.gateway.kind]
    named = site.play("redistribution.yml", vpn_gateway_routing_daemons=[kind])
    assert "OSPF" in named.output
    nobody = site.play("redistribution.yml", vpn_gateway_routing_daemons=[])
    assert not nobody.failed
    assert "daemons is empty: none was asked. Not asked: " in nobody.output
    absent = site.play("redistribution.yml", vpn_gateway_routing_daemons=[other])
    assert absent.failed
    assert f"daemons: {other} does not run here" in absent.message
    site.gateway.stop()
    none = site.play("redistribution.yml")
    site.gateway.start()
    assert not none.failed
    assert "Neither FRR nor BIRD runs here: nothing to ask." in none.output


def test_two_daemons_on_one_gateway_are_both_asked() -> None:
    with ground("frr") as site:
        site.learn(OTHER)
        rip = (
            "router id 192.0.2.20;\nprotocol device { scan time 1; }\n"
            "protocol kernel { learn; scan time 1; ipv4 { import all; export none; }; }\n"
            'protocol rip outwards { ipv4 { import none; export all; }; interface "pub"; }\n'
        )
        with beside(site.gateway, rip):
            guarded = site.play("kernel_routes.yml", "redistribution.yml")
            assert not guarded.failed, guarded.message
            for asked in ("BIRD (bird.ctl) was asked about RIP (outwards)", "was asked about BGP, OSPF"):
                assert asked in guarded.output
            leaking = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False)
            assert leaking.failed
            for announcer in ("BGP", "OSPF", "RIP (outwards)"):
                assert f"{announcer} announces {HOME}" in leaking.message
            frr_only = site.play(
                "redistribution.yml", vpn_gateway_routing_daemons=["frr"], vpn_gateway_leak_guard=False
            )
            assert "RIP" not in frr_only.message


def test_a_bgp_session_of_birds_that_is_down_counts_by_what_waits_for_it() -> None:
    with ground("bird") as site:
        site.learn(OTHER)
        site.neighbour.vtysh("configure terminal", "no router bgp 64513")
        until("BGP is down", lambda: "Established" not in site.gateway.birdc("show protocols upstream"))
        guarded = site.play("kernel_routes.yml", "redistribution.yml")
        assert not guarded.failed, guarded.message
        leaking = site.play("kernel_routes.yml", "redistribution.yml", vpn_gateway_leak_guard=False)
        assert "BGP (upstream) may announce, once it is up, 192.0.2.64/27" in leaking.message


def test_a_daemon_that_does_not_answer_fails_the_play() -> None:
    with ground("frr") as site:
        site.learn(OTHER)
        (site.gateway.directory / "ospfd.vty").unlink()
        silent = site.play("redistribution.yml")
        assert silent.failed
        assert "ospfd runs and vtysh does not reach it" in silent.message
