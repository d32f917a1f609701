"""What the programs count, for whom, and how it lives with the binding; samples of what they drop."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mobileip.decode import decode_frame
from mobileip.forwarding import loader
from mobileip.forwarding._libbpf import Map, Program
from mobileip.forwarding.entries import BindingTraffic, Counters, ProxyBinding, Synchronised, Traffic, Tunnel
from mobileip.forwarding.samples import BusyError, DropWatch
from mobileip.forwarding.tables import HomeAgentTables, ProxyTables
from tests.forwarding import worlds
from tests.forwarding.comparison import CONTEXT
from tests.forwarding.conftest import Namespace
from tests.forwarding.frames import Generator, ethernet, ip

pytestmark = pytest.mark.namespaces
HOME, OTHER_HOME = IPv4Address("192.0.2.69"), IPv4Address("192.0.2.70")
LIFETIME = 300.0


@pytest.fixture
def world(namespace: Namespace, bpf_object: Path, pin_dir: Path) -> Iterator[worlds.World]:
    """A proxy and all others, configured and with bindings, on the interfaces of the property test."""
    namespace.shell(worlds.INTERFACES)
    index = {name: namespace.run(socket.if_nametoindex, name) for name in ("pub", "priv", "mip1")}
    programs = list(worlds.PROGRAMS)
    namespace.run(loader.load, bpf_object, pin_dir, [], programs=programs, max_bindings=1024)
    made = list(worlds.worlds(time.time(), index["pub"], index["priv"], index["mip1"]))[1]
    made.write(pin_dir, time.time())
    yield made
    loader.unload(pin_dir, [])


def binding(home: IPv4Address = HOME, **changes: Any) -> ProxyBinding:
    tunnel = Tunnel(worlds.CARE_OF, round(time.time()) + LIFETIME)
    return ProxyBinding(worlds.GATEWAY, home, worlds.HOME_AGENT, (replace(tunnel, **changes),))


def from_node(home: IPv4Address = HOME, mac: bytes = worlds.PUBLIC_MAC) -> bytes:
    """ESP of the node in IP-in-IP, as it arrives at MIPP-Pub: 14 + 20 + 20 + 16 bytes."""
    inner = ip(home, worlds.GATEWAY, 50, bytes(16))
    outer = ip(worlds.CARE_OF, IPv4Address("203.0.113.10"), 4, inner)
    return ethernet(mac, bytes(6), outer)


def run(namespace: Namespace, pin_dir: Path, frame: bytes, times: int = 1) -> None:
    index = namespace.run(socket.if_nametoindex, "pub")
    program = Program(pin_dir / "programs" / "proxy_pub")
    for _ in range(times):
        namespace.run(program.test_run, frame, CONTEXT.pack(0, index, 0, 0))


def traffic(tables: ProxyTables, home: IPv4Address = HOME) -> BindingTraffic:
    found = {(gateway, address): counted for gateway, address, counted in tables.traffic()}
    return found[worlds.GATEWAY, home]


def test_what_bindings_and_interfaces_counted_adds_up_to_the_outcomes(
    world: worlds.World, namespace: Namespace, pin_dir: Path
) -> None:
    proxy, agent = ProxyTables(pin_dir), HomeAgentTables(pin_dir)
    index = {name: namespace.run(socket.if_nametoindex, name) for name in ("pub", "priv")}
    on = {program: index[name] for program, name in world.programs.items()}
    programs = {name: Program(pin_dir / "programs" / name) for name in on}

    def feed() -> int:
        cases = [case for case in Generator(7, world.tables, on).cases(2000) if not case.mark]
        for case in cases:
            programs[case.program].test_run(case.frame, CONTEXT.pack(0, on[case.program], 0, 0))
        return len(cases)

    def of_bindings(way: str) -> Traffic:
        each = [getattr(row[-1], way) for row in proxy.traffic()]  # the one table has the home agent's, too
        return Traffic(sum(one.packets for one in each), sum(one.bytes for one in each))

    def of_outcomes(counted: Counters, *names: str) -> Traffic:
        return Traffic(sum(counted.packets[name] for name in names), sum(counted.bytes[name] for name in names))

    fed = namespace.run(feed)
    counted, interfaces = proxy.counters(), proxy.interfaces()
    arrived = of_outcomes(counted, "node_to_gateway", "keepalive_answered", "node_to_home_agent", "node_to_node")
    sent = of_outcomes(counted, "gateway_to_node", "home_agent_to_node", "node_to_node")
    assert min(arrived.packets, sent.packets) > 40
    # What a node sent and was cut is counted as it came; its pieces come in anew, from nobody's tunnel.
    cut = counted.packets["cut_in_two"]
    assert arrived.packets <= of_bindings("from_node").packets <= arrived.packets + cut
    assert of_bindings("to_node") == sent
    assert sum(each.from_node.packets for _, each in agent.traffic()) > 10
    assert set(interfaces) == set(index.values())
    assert sum(each.forwarded.packets for each in interfaces.values()) == sum(counted.packets.values())
    assert sum(each.dropped.packets for each in interfaces.values()) == sum(counted.drops.values())
    assert sum(sum(way.packets for way in each) for each in interfaces.values()) == fed


def test_counters_outlive_a_renewal_and_a_move_but_not_the_binding(
    world: worlds.World, namespace: Namespace, pin_dir: Path
) -> None:
    tables = ProxyTables(pin_dir)
    frame = from_node()
    run(namespace, pin_dir, frame, 3)
    counted = BindingTraffic(Traffic(3, 3 * len(frame)), Traffic())
    assert traffic(tables) == counted
    tables.put(binding(expires=time.time() + 2 * LIFETIME))
    assert traffic(tables) == counted
    tables.put(binding(care_of=worlds.OTHER_CARE_OF))
    assert traffic(tables) == counted
    tables.sync([binding()])
    assert traffic(tables) == counted
    run(namespace, pin_dir, frame)
    assert traffic(tables).from_node.packets == 4
    tables.delete(worlds.GATEWAY, HOME)
    tables.put(binding())
    assert traffic(tables) == BindingTraffic()


def test_a_burst_is_written_in_order_and_keeps_counters_and_ports(
    world: worlds.World, namespace: Namespace, pin_dir: Path
) -> None:
    tables = ProxyTables(pin_dir)
    run(namespace, pin_dir, from_node())
    later = binding(expires=time.time() + 2 * LIFETIME)
    new = binding(IPv4Address("192.0.2.90"))
    tables.put_many([binding(), new, later])
    assert traffic(tables).from_node.packets == 1
    assert tables.get(worlds.GATEWAY, new.home_address) is not None
    found = tables.get(worlds.GATEWAY, HOME)
    assert found is not None
    assert found.tunnels[0].expires == pytest.approx(later.tunnels[0].expires, abs=0.001)
    nodes = [(worlds.GATEWAY, HOME), (worlds.GATEWAY, IPv4Address("192.0.2.91")), (worlds.GATEWAY, new.home_address)]
    assert tables.delete_many(nodes) == 2
    assert tables.get(worlds.GATEWAY, HOME) is tables.get(worlds.GATEWAY, new.home_address) is None


def test_a_restart_with_equal_tables_writes_nothing(world: worlds.World, pin_dir: Path) -> None:
    bindings = [binding(HOME + number, expires=time.time() + number / 7) for number in range(20)]
    ProxyTables(pin_dir).sync(bindings)
    time.sleep(0.05)  # clocks have gone on
    assert ProxyTables(pin_dir).sync(bindings) == Synchronised(0, 0)
    changed = replace(bindings[3], home_agent=worlds.OTHER_HOME_AGENT)
    assert ProxyTables(pin_dir).sync([*bindings[:3], changed, *bindings[4:18]]) == Synchronised(1, 2)
    found = ProxyTables(pin_dir).get(worlds.GATEWAY, changed.home_address)
    assert found is not None
    assert found.home_agent == worlds.OTHER_HOME_AGENT


def test_expiries_are_reckoned_anew_when_the_clock_was_set(world: worlds.World, pin_dir: Path) -> None:
    epoch = Map(pin_dir / "maps" / "epoch")
    first = struct.pack("=I", 0)
    ProxyTables(pin_dir).sync([binding()])
    (boot,) = struct.unpack("=q", epoch.get(first) or b"")
    epoch.put(first, struct.pack("=q", boot - 3_000_000_000))
    ProxyTables(pin_dir).sync([binding()])
    (again,) = struct.unpack("=q", epoch.get(first) or b"")
    assert abs(again - boot) < 100_000_000


def test_a_full_table_says_so(namespace: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    namespace.run(loader.load, bpf_object, pin_dir, [], programs=["proxy_pub"], max_bindings=8)
    tables = ProxyTables(pin_dir)
    with pytest.raises(OSError, match="write bindings"):
        tables.put_many([binding(HOME + number) for number in range(9)])
    loader.unload(pin_dir, [])


# Samples


def test_drops_are_sampled_while_somebody_watches(world: worlds.World, namespace: Namespace, pin_dir: Path) -> None:
    stranger = from_node(IPv4Address("192.0.2.94"))
    run(namespace, pin_dir, stranger)
    with DropWatch(pin_dir, per_second=1000) as watch:
        assert watch.frames(0) == [], "nobody watched when it was dropped"
        run(namespace, pin_dir, from_node())
        run(namespace, pin_dir, stranger)
        (seen,) = watch.frames(1.0)
        assert (seen.reason, seen.length, seen.frame) == ("no_binding", len(stranger), stranger)
        assert seen.ifindex == namespace.run(socket.if_nametoindex, "pub")
        assert abs(seen.time - time.time()) < 5
        assert "ESP, SPI 0x00000000, sequence 0" in decode_frame(seen.frame)
        with pytest.raises(BusyError, match="one watcher at a time"), DropWatch(pin_dir):
            pass
    run(namespace, pin_dir, stranger)
    with DropWatch(pin_dir) as watch:
        assert watch.frames(0) == []


def test_samples_are_bounded_by_rate_and_length(world: worlds.World, namespace: Namespace, pin_dir: Path) -> None:
    long = from_node(IPv4Address("192.0.2.94")) + bytes(100)
    with DropWatch(pin_dir, per_second=0.01) as watch:
        run(namespace, pin_dir, long, 50)
        run(namespace, pin_dir, tunnelled_to_nobody())
        assert [(each.reason, each.length, len(each.frame)) for each in watch.frames(1.0)] == [
            ("no_binding", len(long), 128),
            ("unknown_gateway", len(tunnelled_to_nobody()), len(tunnelled_to_nobody())),
        ]
    assert ProxyTables(pin_dir).counters().drops["no_binding"] == 50


def tunnelled_to_nobody() -> bytes:
    inner = ip(HOME, IPv4Address("203.0.113.99"), 50, bytes(16))
    return ethernet(worlds.PUBLIC_MAC, bytes(6), ip(worlds.CARE_OF, IPv4Address("203.0.113.10"), 4, inner))


def test_sampling_ends_with_its_watcher(world: worlds.World, namespace: Namespace, pin_dir: Path) -> None:
    """As if it had been killed: nobody puts off the end any more."""
    with DropWatch(pin_dir, per_second=1000) as watch:
        settings = Map(pin_dir / "maps" / "drop_sampling")
        first = struct.pack("=I", 0)
        interval, until = struct.unpack("=QQ", settings.get(first) or b"")
        assert 0 < until - time.clock_gettime_ns(time.CLOCK_BOOTTIME) <= 5_000_000_000
        settings.put(first, struct.pack("=QQ", interval, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 1))
        run(namespace, pin_dir, tunnelled_to_nobody())
        assert watch.frames(0) == []
