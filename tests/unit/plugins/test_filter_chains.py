"""What others' packet filters do to a flow: what is certain is called so, and nothing else is."""

from __future__ import annotations

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_chains import Flow, Table
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_listing import (
    ListingError,
    addresses,
    from_iptables,
    from_nft,
    protocol_number,
)

REGISTRATION = Flow(
    "registrations",
    "forward",
    from_interface="outside",
    to_interface="dmz",
    destination=addresses("203.0.113.10"),
    protocol=17,
    destination_port=(434, 434),
)


def forward(rules: str, policy: str = "DROP", more: str = "") -> Table:
    """The table filter with these rules in its chain FORWARD."""
    lines = [f"-A FORWARD {rule}" for rule in rules.splitlines() if rule]
    (table,) = from_iptables("\n".join(["*filter", f":FORWARD {policy} [0:0]", more, *lines, "COMMIT"]))
    return table


def outcomes(table: Table, flow: Flow = REGISTRATION) -> set[str]:
    (chain,) = (chain for chain in table.chains.values() if chain.hook == flow.hook)
    return set(table.outcomes(chain, flow))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", {"drop"}),
        ("-j ACCEPT", {"accept"}),
        ("-p udp -m udp --dport 434 -j ACCEPT", {"accept"}),
        ("-p tcp -m tcp --dport 434 -j ACCEPT", {"drop"}),
        ("-p udp -m udp --dport 400:500 -j ACCEPT", {"accept"}),
        ("-p udp -m multiport --dports 53,434 -j ACCEPT", {"accept"}),
        ("-p udp -m udp --sport 434 -j ACCEPT", {"accept", "drop"}),
        ("-i outside -o dmz -j ACCEPT", {"accept"}),
        ("-i out+ -j ACCEPT", {"accept"}),
        ("! -i outside -j ACCEPT", {"drop"}),
        ("-i docker0 -j ACCEPT", {"drop"}),
        ("-d 203.0.113.0/26 -j ACCEPT", {"accept"}),
        ("! -d 203.0.113.0/26 -j ACCEPT", {"drop"}),
        ("-d 192.0.2.0/24 -j ACCEPT", {"drop"}),
        ("-s 198.51.100.0/24 -j ACCEPT", {"accept", "drop"}),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", {"drop"}),
        ("-m conntrack --ctstate NEW -j ACCEPT", {"accept"}),
        ("-m conntrack --ctstate INVALID -j DROP\n-j ACCEPT", {"accept"}),
        ("-m mark --mark 0x1 -j ACCEPT", {"accept", "drop"}),
        ("-m socket -j ACCEPT", {"accept", "drop"}),
        ("-m limit --limit 3/min -j LOG --log-prefix \"[UFW BLOCK] -j ACCEPT \"", {"drop"}),
        ('-m comment --comment "-j ACCEPT" -j DROP', {"drop"}),
        ("-j NFQUEUE --queue-num 1", {"accept", "drop"}),
        ("-p udp -j REJECT --reject-with icmp-port-unreachable\n-j ACCEPT", {"drop"}),
        ("-j nowhere", {"accept", "drop"}),
    ],
)  # fmt: skip
def test_iptables_rule_is_read_as_iptables_means_it(rules: str, expected: set[str]) -> None:
    assert outcomes(forward(rules)) == expected


def test_chain_returns_to_its_caller_and_goto_does_not() -> None:
    chain = ":own - [0:0]\n-A own -p tcp -j ACCEPT\n-A own -j RETURN\n-A own -j DROP"
    assert outcomes(forward("-j own\n-j ACCEPT", more=chain)) == {"accept"}
    assert outcomes(forward("-g own\n-j ACCEPT", more=chain)) == {"drop"}
    assert outcomes(forward("-g own\n-j DROP", policy="ACCEPT", more=chain)) == {"accept"}


def test_chains_that_jump_in_a_circle_end() -> None:
    assert outcomes(forward("-j a", more=":a - [0:0]\n-A a -j a")) == {"accept", "drop"}


def test_untracked_flow_is_neither_new_nor_established() -> None:
    untracked = Flow("answers", "forward", protocol=17, state="untracked")
    for state in ("NEW", "RELATED,ESTABLISHED"):
        assert outcomes(forward(f"-m conntrack --ctstate {state} -j ACCEPT"), untracked) == {"drop"}
    assert outcomes(forward("-m conntrack --ctstate UNTRACKED -j ACCEPT"), untracked) == {"accept"}


def test_tables_nat_and_mangle_do_not_decide_by_their_names() -> None:
    nat, mangle = from_iptables("*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n")
    assert [chain.hook for chain in nat.chains.values()] == [""]
    assert outcomes(mangle) == {"drop"}


@pytest.mark.parametrize("listing", [":INPUT DROP", "*filter\n-A nowhere -j DROP", '*filter\n:A - [0:0]\n-A A -m "'])
def test_listing_of_iptables_that_cannot_be_read_says_which_line(listing: str) -> None:
    with pytest.raises(ListingError, match=r"iptables-save: '"):
        from_iptables(listing)


@pytest.mark.parametrize("listing", ["", "{}", '{"nftables": [{"table": {}}]}'])
def test_listing_of_nft_that_cannot_be_read_is_an_error(listing: str) -> None:
    with pytest.raises(ListingError, match="nft -j list ruleset"):
        from_nft(listing)


@pytest.mark.parametrize(
    ("name", "number"), [("udp", 17), ("esp", 50), ("4", 4), (47, 47), ("ipencap", 4), ("mobile", 55)]
)
def test_protocols_are_known_by_name_and_number(name: str, number: int) -> None:
    assert protocol_number(name) == number


def test_unknown_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="no IP protocol"):
        protocol_number("carrier-pigeon")
