"""Private routes as data: what is wanted, and the steps from what is there to that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import (
    MAIN_TABLE,
    Route,
    Routing,
    RoutingError,
    Rule,
    Step,
    Wish,
    check,
    missing,
    ours,
    plan,
    wanted,
)

WISH = Wish(
    home_networks=("192.0.2.64/27",),
    via="203.0.113.10",
    interface="pub",
    source="203.0.113.20",
    table=434,
    preference=434,
    protocol=143,
    leak_guard=True,
    present=True,
)
ROUTE = Route(434, "192.0.2.64/27", "203.0.113.10", "pub", 143)
ESP = Rule(434, "203.0.113.20/32", "192.0.2.64/27", 434, 143)
CLEAR = Rule(435, "192.0.2.64/27", "192.0.2.64/27", 434, 143)
WANTED = Routing((ROUTE,), (ESP, CLEAR))
FOREIGN = Routing(
    (
        Route(MAIN_TABLE, "0.0.0.0/0", "203.0.113.1", "pub", 3),
        Route(MAIN_TABLE, "192.0.2.64/27", "192.0.2.1", "priv", 188),
    ),
    (Rule(100, "198.51.100.0/24", "192.0.2.64/27", 100, 4),),
)


def together(*parts: Routing) -> Routing:
    routes = tuple(sorted(route for part in parts for route in part.routes))
    return Routing(routes, tuple(sorted(rule for part in parts for rule in part.rules)))


def after(seen: Routing, steps: list[Step]) -> Routing:
    """What the kernel has when it has done the steps."""
    routes, rules = set(seen.routes), set(seen.rules)
    for step in steps:
        if isinstance(step.entry, Rule):
            (rules.discard if step.action == "delete" else rules.add)(step.entry)
            continue
        if step.action == "replace":
            place = (step.entry.table, step.entry.destination, step.entry.protocol)
            routes = {route for route in routes if (route.table, route.destination, route.protocol) != place}
        (routes.discard if step.action == "delete" else routes.add)(step.entry)
    return Routing(tuple(sorted(routes)), tuple(sorted(rules)))


def test_private_table_is_reached_by_two_rules_only() -> None:
    assert wanted(WISH) == WANTED


def test_one_box_has_the_wire_for_a_way_and_no_next_hop() -> None:
    wish = replace(WISH, via="", interface="mip0")
    check(wish)
    assert wanted(wish) == Routing((replace(ROUTE, via="", interface="mip0"),), (ESP, CLEAR))
    assert [str(step) for step in plan(WANTED, wanted(wish), 143)] == [
        "replace route 192.0.2.64/27 dev mip0 table 434 proto 143"
    ]


def test_what_the_proxy_on_this_host_says_to_a_node_at_home_goes_by_no_sa() -> None:
    wish = replace(WISH, via="", interface="mip0", proxy="203.0.113.10")
    answer = Rule(210, "203.0.113.10/32", "192.0.2.64/27", MAIN_TABLE, 143)
    assert set(wanted(wish).rules) == {answer, ESP, CLEAR}
    assert plan(wanted(wish), Routing(), 143)[0] == Step("delete", answer)


def test_no_rule_catches_what_others_send_to_the_home_network() -> None:
    assert all(rule.source != "0.0.0.0/0" for rule in wanted(WISH).rules)


def test_nodes_of_two_home_networks_reach_each_other() -> None:
    networks = ("192.0.2.96/27", "192.0.2.64/27")
    found = {(rule.source, rule.destination) for rule in wanted(replace(WISH, home_networks=networks)).rules}
    assert found == {
        ("203.0.113.20/32", "192.0.2.64/27"),
        ("203.0.113.20/32", "192.0.2.96/27"),
        *((one, other) for one in networks for other in networks),
    }


def test_leak_guard_off_is_a_route_in_main_and_no_rule() -> None:
    assert wanted(replace(WISH, leak_guard=False)) == Routing((replace(ROUTE, table=MAIN_TABLE),))


def test_routes_come_before_the_rules_that_lead_to_them() -> None:
    assert plan(FOREIGN, WANTED, 143) == [Step("add", ROUTE), Step("add", ESP), Step("add", CLEAR)]


def test_absent_removes_rules_before_routes_and_nothing_else() -> None:
    nothing = wanted(replace(WISH, present=False))
    steps = plan(together(FOREIGN, WANTED), nothing, 143)
    assert steps == [Step("delete", ESP), Step("delete", CLEAR), Step("delete", ROUTE)]


def test_what_is_there_is_not_done_again() -> None:
    assert plan(together(FOREIGN, WANTED), WANTED, 143) == []


def test_another_proxy_replaces_the_next_hop_in_one_step() -> None:
    moved = wanted(replace(WISH, via="203.0.113.11"))
    assert plan(WANTED, moved, 143) == [Step("replace", replace(ROUTE, via="203.0.113.11"))]


STATES = {
    "nothing": Routing(),
    "guarded": WANTED,
    "leaking": wanted(replace(WISH, leak_guard=False)),
    "other table": wanted(replace(WISH, table=500)),
    "two networks": wanted(replace(WISH, home_networks=("192.0.2.64/27", "192.0.2.96/27"))),
    "other gateway": wanted(replace(WISH, source="203.0.113.21", preference=600)),
}


@pytest.mark.parametrize("start", STATES)
@pytest.mark.parametrize("end", STATES)
def test_the_plan_leads_from_any_state_to_any_other_and_touches_nobody_elses(start: str, end: str) -> None:
    seen = together(FOREIGN, STATES[start])
    steps = plan(seen, STATES[end], 143)
    assert after(seen, steps) == together(FOREIGN, STATES[end])
    assert all(step.entry.protocol == 143 for step in steps)
    assert bool(steps) == (start != end)


@pytest.mark.parametrize("start", STATES)
@pytest.mark.parametrize("end", STATES)
def test_no_rule_ever_leads_to_a_table_without_its_route(start: str, end: str) -> None:
    seen = together(FOREIGN, STATES[start])
    steps = plan(seen, STATES[end], 143)
    for count in range(len(steps) + 1):
        now = ours(after(seen, steps[:count]), 143)
        places = {(route.table, route.destination) for route in now.routes}
        assert all((rule.table, rule.destination) in places for rule in now.rules), [
            str(step) for step in steps[:count]
        ]


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        (Routing((replace(ROUTE, protocol=3, via="203.0.113.9"),)), "route 192.0.2.64/27 via 203.0.113.9"),
        (Routing((), (replace(ESP, protocol=0, table=100),)), "rule 434: from 203.0.113.20/32"),
    ],
)
def test_a_stranger_in_the_way_is_refused_by_name(stranger: Routing, named: str) -> None:
    with pytest.raises(RoutingError, match=named):
        plan(stranger, WANTED, 143)


def test_a_stranger_in_main_is_no_hindrance() -> None:
    leaking = wanted(replace(WISH, leak_guard=False))
    assert plan(FOREIGN, leaking, 143) == [Step("add", leaking.routes[0])]


def test_reading_back_names_what_the_kernel_does_not_show() -> None:
    assert list(missing(Routing((ROUTE,), (ESP,)), WANTED)) == [str(CLEAR)]
    assert list(missing(together(FOREIGN, WANTED), WANTED)) == []


def test_text_for_the_diff_is_one_line_an_entry() -> None:
    assert WANTED.text == (
        "route 192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143\n"
        "rule 434: from 203.0.113.20/32 to 192.0.2.64/27 lookup 434 proto 143\n"
        "rule 435: from 192.0.2.64/27 to 192.0.2.64/27 lookup 434 proto 143\n"
    )
    assert wanted(replace(WISH, leak_guard=False)).text.strip().endswith("table main proto 143")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"via": "203.0.113"}, "via: '203.0.113'"),
        ({"source": "host"}, "source: 'host'"),
        ({"home_networks": ("192.0.2.65/27",)}, "home_networks: '192.0.2.65/27'"),
        ({"home_networks": ("2001:db8::/32",)}, "home_networks: '2001:db8::/32'"),
        ({"home_networks": ()}, "home_networks: is empty"),
        ({"via": "192.0.2.70"}, "via: 192.0.2.70 is in the home network"),
        ({"source": "192.0.2.70"}, "source: 192.0.2.70 is in the home network"),
        ({"table": 254}, "table: 254"),
        ({"table": 0}, "table: 0"),
        ({"preference": 32766}, "preference: 32766"),
        ({"protocol": 186}, "protocol: 186"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(change: dict[str, object], named: str) -> None:
    check(WISH)
    with pytest.raises(RoutingError) as refused:
        check(replace(WISH, **change))  # type: ignore[arg-type]  # the wrong types are part of the test
    assert named in str(refused.value)
