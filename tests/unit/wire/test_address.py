"""Addresses that are quick to make, hash and compare, pure and compiled, are IPv4 addresses like any other."""

from __future__ import annotations

import copy
import hmac
import os
import pickle
import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from itertools import product

import pytest

from mobileip.wire.address import IMPLEMENTATION, Prefixes, compiled, number, pure_address
from mobileip.wire.authentication import hmac_md5, pure_hmac_md5

WAYS = [pytest.param(pure_address, id="pure")]
if compiled is not None:
    WAYS.append(pytest.param(compiled.address, id="compiled"))
Way = Callable[[int], IPv4Address]
NUMBERS = (0, 1, 0x7F000001, 0xC0000245, 0xE0000001, 0xFFFFFFFF)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", NUMBERS)
def test_is_the_library_s_address_in_all_that_is_asked_of_it(way: Way, number: int) -> None:
    made, plain = way(number), IPv4Address(number)
    assert isinstance(made, IPv4Address)
    assert made == plain
    assert plain == made
    assert hash(made) == hash(plain)
    assert {plain: 1}[made] == {made: 1}[plain] == 1
    assert (str(made), int(made), made.packed, f"{made}") == (str(plain), number, plain.packed, f"{plain}")
    for question in ("is_unspecified", "is_multicast", "is_loopback", "is_private", "is_link_local"):
        assert getattr(made, question) == getattr(plain, question)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == plain
    assert made in IPv4Network((number & ~255, 24))


@pytest.mark.parametrize("way", WAYS)
def test_compares_as_the_library_does(way: Way) -> None:
    for a, b in product(NUMBERS, NUMBERS):
        for left, right in ((way(a), way(b)), (way(a), IPv4Address(b)), (IPv4Address(a), way(b))):
            assert ((left == right), (left != right)) == ((a == b), (a != b))
            assert ((left < right), (left <= right), (left > right), (left >= right)) == (a < b, a <= b, a > b, a >= b)
    assert way(5) != 5
    assert way(5) != "0.0.0.5"


@pytest.mark.parametrize("way", WAYS)
def test_another_number_never_gets_an_address_that_was_kept(way: Way) -> None:
    numbers = [random.Random(7).getrandbits(32) for _ in range(200_000)]
    assert all(int(way(number)) == number for number in numbers)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [-1, 1 << 32, 1 << 70])
def test_a_number_that_is_no_address_is_refused(way: Way, number: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        way(number)


@pytest.mark.skipif(os.environ.get("MOBILEIP_EXPECTED") != "compiled", reason="not the run with compiled parts")
def test_the_run_with_compiled_parts_has_them() -> None:
    assert compiled is not None
    assert IMPLEMENTATION == "Python with compiled parts"


def test_hmac_md5_is_the_library_s_pure_and_compiled() -> None:
    source = random.Random(11)
    for size in range(300):
        key, data = source.randbytes(size % 90), source.randbytes(size)
        assert hmac_md5(key, data) == pure_hmac_md5(key, data) == hmac.digest(key, data, "md5")


def test_prefixes_contain_what_one_of_the_networks_contains() -> None:
    networks = [IPv4Network(text) for text in ("192.0.2.64/26", "198.51.100.7/32", "10.0.0.0/8")]
    prefixes = Prefixes(networks)
    for text in ("192.0.2.63", "192.0.2.64", "192.0.2.127", "192.0.2.128", "198.51.100.7", "198.51.100.6", "10.9.8.7"):
        one = IPv4Address(text)
        assert (one in prefixes) is any(one in network for network in networks)
    assert IPv4Address(0) not in Prefixes(())
    assert IPv4Address("255.255.255.255") in Prefixes([IPv4Network("0.0.0.0/0")])


def test_number_is_that_of_every_kind_of_address() -> None:
    assert number(IPv4Address("192.0.2.1")) == number(pure_address(0xC0000201)) == 0xC0000201
