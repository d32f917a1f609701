"""The pool of home addresses: sticky, never double, never more than there is."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.address_pool import AddressPool, AddressRange, PoolUse

RANGE = AddressRange(IPv4Address("192.0.2.80"), IPv4Address("192.0.2.82"))
NAMES = ("a", "b", "c", "d", "e")

steps = st.lists(
    st.tuples(
        st.sampled_from(["assign", "claim", "bound", "idle"]), st.sampled_from(NAMES), st.sampled_from(list(RANGE))
    ),
    max_size=40,
)


def test_range_holds_both_ends() -> None:
    assert [address in RANGE for address in (RANGE.first - 1, RANGE.first, RANGE.last, RANGE.last + 1)] == [
        False,
        True,
        True,
        False,
    ]
    assert [str(address) for address in RANGE] == ["192.0.2.80", "192.0.2.81", "192.0.2.82"]


def test_second_range_follows_the_first() -> None:
    pool = AddressPool([AddressRange(RANGE.first, RANGE.first), AddressRange(RANGE.last, RANGE.last)])
    assert [pool.assign(name) for name in "ab"] == [RANGE.first, RANGE.last]


def test_the_longest_idle_node_gives_its_address_up() -> None:
    pool = AddressPool([RANGE])
    for name in "abc":
        pool.assign(name)
        pool.bound(name)
    assert pool.assign("d") is None
    pool.idle("b")
    pool.idle("a")
    assert pool.assign("d") == RANGE.first + 1
    assert pool.address_of("b") is None


def test_use_of_the_pool_is_counted_for_people() -> None:
    pool = AddressPool([RANGE])
    assert pool.use == PoolUse(addresses=3, bound=0, idle=0)
    for name in "ab":
        pool.assign(name)
    pool.bound("a")
    assert pool.use == PoolUse(addresses=3, bound=1, idle=1)


@given(steps)
def test_no_two_nodes_have_one_address_and_a_bound_one_keeps_its_own(
    operations: list[tuple[str, str, IPv4Address]],
) -> None:
    pool = AddressPool([RANGE])
    bound: dict[str, IPv4Address] = {}
    for operation, name, address in operations:
        match operation:
            case "assign":
                pool.assign(name)
            case "claim":
                assert pool.claim(name, address) == (pool.address_of(name) == address)
            case "bound" if (has := pool.address_of(name)) is not None:
                pool.bound(name)
                bound[name] = has
            case "idle":
                pool.idle(name)
                bound.pop(name, None)
        held = [has for other in NAMES if (has := pool.address_of(other)) is not None]
        assert len(held) == len(set(held))
        assert all(pool.address_of(other) == has for other, has in bound.items())
