"""The table of bindings and its clock."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.bindings import Binding, BindingTable, Encapsulation, expiry
from mobileip.registration.events import Endpoint
from tests.unit.registration.parties import CARE_OF, GATEWAY, HOME, HOME_AGENT, NOW, OTHER_CARE_OF

ONE = Binding(
    HOME, HOME_AGENT, CARE_OF, Endpoint(CARE_OF, 434), "pub", Encapsulation.IPIP, 0x22, 7, 300, NOW + 300, GATEWAY
)
TWO = replace(ONE, care_of_address=OTHER_CARE_OF, expires=NOW + 200)


def test_bindings_of_a_node_are_kept_by_care_of_address() -> None:
    table = BindingTable()
    for binding in (ONE, TWO):
        table.put(binding)
    assert table.of_node(HOME, GATEWAY) == [ONE, TWO] == list(table)
    assert table.of_node(HOME) == []  # another gateway's node may have the same address
    assert table.get(TWO.key) is TWO
    assert (table.remove(ONE.key), table.remove(ONE.key)) == (ONE, None)
    assert (table.of_node(HOME, GATEWAY), len(table)) == ([TWO], 1)


def test_replaced_binding_expires_at_its_new_time_only() -> None:
    table = BindingTable()
    table.put(ONE)
    table.put(replace(ONE, expires=NOW + 900))
    assert table.expire(NOW + 300) == []
    assert table.next_expiry() == NOW + 900
    table.put(replace(ONE, expires=math.inf))
    assert table.next_expiry() is None
    assert table.expire(NOW + 1e9) == []


def test_renewals_leave_nothing_behind() -> None:
    """A node that renews early, for hours, takes no more room than one that does not."""
    table = BindingTable()
    for second in range(1000):
        table.put(replace(ONE, expires=NOW + second + 1800))
        table.next_expiry()
    assert len(table._heap) == 1


def test_expiry_counts_seconds_and_0xffff_never_ends_R5944_3_3() -> None:
    assert expiry(300, NOW) == NOW + 300
    assert expiry(0xFFFF, NOW) == math.inf


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50), st.booleans()), max_size=40))
def test_what_expires_is_what_a_plain_list_says(steps: list[tuple[int, int, bool]]) -> None:
    table, plain = BindingTable(), dict[IPv4Address, float]()
    for node, lifetime, remove in steps:
        binding = replace(ONE, home_address=IPv4Address(node), expires=NOW + lifetime)
        if remove:
            table.remove(binding.key)
            plain.pop(binding.home_address, None)
        else:
            table.put(binding)
            plain[binding.home_address] = binding.expires
    assert table.next_expiry() == min(plain.values(), default=None)
    over = {home for home, expires in plain.items() if expires <= NOW + 25}
    expired = table.expire(NOW + 25)
    assert {binding.home_address for binding in expired} == over
    assert [binding.expires for binding in expired] == sorted(binding.expires for binding in expired)
    assert {binding.home_address for binding in table} == plain.keys() - over
