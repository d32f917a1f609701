"""How a gap is measured and how registrations are paired."""

from __future__ import annotations

from pathlib import Path

import pytest
from roaming.wire import TUNNEL_DATA, Frame, exchanges, ike_messages, longest_gap, longest_loss, read
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap


def frame(time: float, kind: int, identification: str, source: str, destination: str, code: int | None = None) -> Frame:
    return Frame(
        time, "", "", (source,), (destination,), (17,), ((434, 434),), (kind,), code, identification, "192.0.2.69",
        "", False, "", False, "eth:ip:udp:mip",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        ([9.9, 10.0, 10.1, 10.9, 11.0], 0.8),
        ([9.5, 10.2, 10.3], 0.7),  # the silence began just before the move
        ([9.0], 2.0),  # nothing came any more: the gap lasts to the end
        ([], 1.0),
    ],
)
def test_longest_gap_counts_silence_across_the_start_and_to_the_end_when_nothing_comes(
    times: list[float], gap: float
) -> None:
    assert longest_gap(times, 10.0, 11.0) == pytest.approx(gap)


def test_a_pause_of_the_machine_does_not_count_as_silence() -> None:
    times = [10.0, 10.5, 10.7]
    assert longest_gap(times, 10.0, 11.0, [(10.45, 0.4)]) == pytest.approx(0.2)
    assert longest_gap(times, 10.0, 11.0, [(10.1, 0.3), (12.0, 1.0)]) == pytest.approx(0.4)


def test_each_reply_belongs_to_the_request_with_its_identification() -> None:
    frames = [
        frame(1.0, 1, "a", "198.51.100.10", "203.0.113.10"),
        frame(2.0, 1, "b", "198.51.100.10", "203.0.113.10"),
        frame(2.5, 3, "b", "203.0.113.10", "198.51.100.10", 0),
        frame(2.6, 3, "c", "203.0.113.10", "198.51.100.10", 0),
    ]
    (only,) = exchanges(frames, "192.0.2.69")
    assert only.round_trip == pytest.approx(0.5)
    assert (only.code, only.agent) == (0, "203.0.113.10")


def test_tunnel_from_a_port_that_another_protocol_owns_is_read_as_mip(tmp_path: Path) -> None:
    inner = IP(src="192.0.2.69", dst="203.0.113.20", proto=50) / Raw(bytes(40))
    outer = Ether() / IP(src="198.51.100.40", dst="203.0.113.10") / UDP(sport=319, dport=434)
    wrpcap(str(tmp_path / "nat.pcap"), [outer / Raw(bytes([TUNNEL_DATA, 4, 0, 0]) + bytes(inner))])
    (only,) = read(tmp_path / "nat.pcap")
    assert only.mip_types == (TUNNEL_DATA,)
    assert (only.is_esp, only.malformed) == (True, False)


def test_ike_in_a_tunnel_stays_ike(tmp_path: Path) -> None:
    ike = UDP(sport=500, dport=500) / Raw(
        bytes(8) + bytes(8) + bytes([0, 0x20, 34, 8]) + bytes(4) + bytes([0, 0, 0, 28])
    )
    inner = IP(src="192.0.2.69", dst="203.0.113.20") / ike
    outer = Ether() / IP(src="198.51.100.40", dst="203.0.113.10") / UDP(sport=319, dport=434)
    handed = Ether() / inner
    wrpcap(str(tmp_path / "ike.pcap"), [outer / Raw(bytes([TUNNEL_DATA, 4, 0, 0]) + bytes(inner)), handed])
    tunnelled, clear = read(tmp_path / "ike.pcap")
    assert (tunnelled.ike, tunnelled.mip_types) == (True, (TUNNEL_DATA,))
    assert ike_messages([tunnelled, clear], "203.0.113.20") == [clear]


def test_a_loss_is_the_time_between_two_delivered_datagrams_with_a_lost_one_between() -> None:
    delivered = [(1, 10.0), (2, 10.002), (3, 10.5), (90, 10.68), (91, 10.682), (93, 10.686)]
    assert longest_loss(delivered, 10.1, 11.0) == pytest.approx(0.18)  # 3 came late of a sender that stood still
    assert longest_loss(delivered[:3], 10.6, 11.0) == pytest.approx(0.5)  # nothing any more
    assert longest_loss(delivered, 10.0, 10.6) == 0.0
    assert longest_loss(reversed(delivered), 10.1, 11.0) == pytest.approx(0.18)  # whatever the order of arrival
