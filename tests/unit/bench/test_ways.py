"""The frames that the data path is measured with."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation
from tests.bench.datapath import programs, ways


def checksummed(payload: bytes) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        return bytes(12) + b"\x08\x00" + ways.ip(ways.care_of(number), ways.VPNGW_PUB, 50, payload)

    return make


def test_there_is_a_way_each_direction_for_every_encapsulation() -> None:
    names = {way.name for way in ways.ways()}
    assert {f"{each} {direction}" for each in Encapsulation for direction in ("node_to_gateway", "gateway_to_node")} < (
        names
    )
    assert {name for name in names if "home_agent" in name} == {
        "ipip home_agent_to_gateway",
        "ipip gateway_to_home_agent",
    }


@pytest.mark.parametrize("number", [1, 255, 999, 65_535, 65_536, 999_999])
def test_the_frame_of_any_binding_follows_from_that_of_the_first(number: int) -> None:
    make = checksummed(bytes(108))
    frame = ways.frame_of(ways.shape_of(make), number)
    assert frame == make(number)
    assert rules.checksum(frame[14:34]) == 0


def test_a_frame_that_differs_elsewhere_is_refused() -> None:
    def make(number: int) -> bytes:
        return checksummed(number.to_bytes(4) + bytes(104))(number)

    with pytest.raises(ways.WayError, match="not that of binding 0 with other addresses"):
        ways.shape_of(make)


def test_a_frame_without_room_for_what_is_written_is_refused() -> None:
    with pytest.raises(ways.WayError, match="a frame of 84 bytes"):
        ways.shape_of(checksummed(bytes(50)))


def test_slots_that_a_shape_does_not_need_point_into_the_payload() -> None:
    shape = programs.Shape(bytes(range(200)), address_at=(30,), checksum_at=(24,))
    packed = shape.pack(bindings=1000, ifindex=7, arrived_length=162)
    assert struct.unpack_from("=9I", packed) == (200, 1000, 7, 162, 30, 112, 24, 112, 112)
    assert packed[40:] == bytes(range(96))
