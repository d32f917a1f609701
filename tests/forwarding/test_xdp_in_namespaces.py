"""The proxy's fast path on wires: each way of attaching it, changes from one to another, and what it leaves to tc.

What XDP sends on is seen by no packet socket of the proxy's interface; what tc sends on is. That tells them apart.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobileip.forwarding import loader, netdev, xdp
from mobileip.forwarding.build import SOURCE, build
from mobileip.forwarding.entries import IPSEC, Encapsulation, Passes, Tunnel
from mobileip.forwarding.xdp import Attach, Why
from tests.forwarding import frames
from tests.forwarding.conftest import Namespace
from tests.forwarding.test_last_hop import TOLD, told
from tests.forwarding.test_namespaces import (
    CARE_OF,
    ESP,
    HOME,
    MIPP_PUB,
    VPNGW_PUB,
    Site,
    configure,
    exchange_esp,
    ip,
    later,
    packet_socket,
    raw_socket,
    received,
    site,
    udp_socket,
)

__all__ = ["site"]  # the fixture
pytestmark = pytest.mark.namespaces
ATTACHMENTS = loader.proxy_attachments("pub", "priv")
# The other ends of the proxy's wires: checksums finished before frames enter them, and frames of XDP taken.
EVERYTHING = 3  # ETH_P_ALL
PEERS = (("internet", "p1"), ("cn", "q1"))
ON_THE_WAY = (
    ("node", "eth0"),
    ("internet", "node0"),
    ("internet", "p1"),
    ("internet", "p2"),
    ("internet", "dmz"),
    ("proxy", "pub"),
    ("gateway", "pub"),
)


@pytest.fixture
def fast(site: Site) -> Site:
    for host, interface in PEERS:
        site.hosts[host].shell(f"ethtool -K {interface} tx off gro on")
    site.hosts["proxy"].shell("ethtool -K pub gro on\nethtool -K priv gro on")
    return site


def switch(site: Site, attach: Attach) -> None:
    site.hosts["proxy"].run(loader.load, site.bpf_object, site.pin_dir("proxy"), ATTACHMENTS, attach=attach)


def chosen(site: Site) -> dict[str, tuple[Attach, Why]]:
    found = site.hosts["proxy"].run(xdp.chosen, site.pin_dir("proxy"))
    return {each.interface: (each.attach, each.why) for each in found}


MODES = (Attach.NATIVE, Attach.GENERIC, Attach.TC)
FAST = pytest.mark.parametrize("mode", MODES[:2])


def sends_on(mode: Attach) -> bool:
    """Before 6.3 no kernel tells whether a veth takes frames: there, native XDP leaves what it would redirect to tc."""
    return mode is Attach.GENERIC or (mode is Attach.NATIVE and netdev.features(1) is not None)


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
@pytest.mark.parametrize("mode", MODES)
def test_esp_and_ike_travel_both_ways_whatever_is_attached(
    fast: Site, mode: Attach, encapsulation: Encapsulation
) -> None:
    fast.move(encapsulation)
    assert None not in exchange_esp(fast, b"resolves the neighbours")
    switch(fast, mode)
    assert chosen(fast) == {"pub": (mode, Why.FORCED), "priv": (mode, Why.FORCED)}
    inside = fast.hosts["proxy"].run(packet_socket, "pub", EVERYTHING)
    with inside:
        there, back = exchange_esp(fast, b"marker")
        assert there is not None
        assert back is not None
        hops = 2 if encapsulation.next_header == 55 else 1  # RFC 2004: the tunnel's way counts
        assert there[8] == 64 - hops
        seen = received(inside, b"theremarker", 0.3) is not None
    assert seen != sends_on(mode)
    node = fast.hosts["node"].run(udp_socket, HOME, 500)
    gateway = fast.hosts["gateway"].run(udp_socket, VPNGW_PUB, 500)
    with node, gateway:
        node.sendto(b"IKE there", (VPNGW_PUB, 500))
        assert received(gateway, b"IKE there") == b"IKE there"
        gateway.sendto(b"IKE back", (HOME, 500))
        assert received(node, b"IKE back") == b"IKE back"
    counters = fast.proxy().counters()
    assert (counters.packets["node_to_gateway"], counters.packets["gateway_to_node"]) == (3, 3), "each once"
    assert not any(counters.drops.values()), counters.drops


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("mode", MODES)
def test_full_size_tcp_flows_through_the_proxy(fast: Site, mode: Attach, mtu: int) -> None:
    for host, interface in ON_THE_WAY:
        fast.hosts[host].shell(f"ip link set {interface} mtu {mtu}")
    fast.move(Encapsulation.UDP)
    https = Passes(IPSEC.protocols, frozenset({(6, 443)}))
    assert fast.path_now is not None
    fast.path(replace(fast.path_now, passes=https))
    configure(fast, passes=https)
    fast.hosts["node"].shell(f"ip route add {VPNGW_PUB} via 198.51.100.1 mtu {mtu - 32}")
    fast.hosts["gateway"].shell(f"ip route add {HOME} via {MIPP_PUB} mtu {mtu - 32}")
    switch(fast, mode)
    assert chosen(fast)["pub"] == (mode, Why.FORCED)
    sent = os.urandom(2_000_000)
    listener = fast.hosts["gateway"].run(socket.create_server, (VPNGW_PUB, 443))
    with listener:
        client = fast.hosts["node"].run(socket.create_connection, (VPNGW_PUB, 443), 5, (HOME, 0))
        server, _ = listener.accept()
    with client, server:
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > mtu - 32 - 60
        for sender, receiver in ((client, server), (server, client)):
            sender.settimeout(20)
            receiver.settimeout(20)
            thread = threading.Thread(target=sender.sendall, args=(sent,), name="sender")
            thread.start()
            got = bytearray()
            while len(got) < len(sent) and (chunk := receiver.recv(1 << 16)):
                got += chunk
            thread.join(10)
            assert bytes(got) == sent
    assert fast.proxy().counters().packets["node_to_gateway"] > 100


@FAST
def test_clear_packets_reach_gateway_and_home_agent_by_xdp(fast: Site, mode: Attach) -> None:
    fast.move(Encapsulation.IPIP)
    switch(fast, mode)
    gateway = fast.hosts["gateway"].run(packet_socket, "priv")
    inside = fast.hosts["proxy"].run(packet_socket, "priv", EVERYTHING)
    cn = fast.hosts["cn"].run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with gateway, cn, inside:
        for text in (b"unresolved yet", b"to the node"):
            cn.sendto(text, (HOME, 7))
            frame = received(gateway, text)
        assert frame is not None
        assert frame[22] == 62, "two hops: home agent and proxy"
        assert (received(inside, b"to the node", 0.3) is None) == sends_on(mode), "XDP took it"
    raw = fast.hosts["gateway"].run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    home = fast.hosts["cn"].run(raw_socket, 17, "192.0.2.80")
    with raw, home:
        raw.sendto(frames.ip(ip(HOME), ip("192.0.2.80"), 17, frames.udp(7, 7, b"decrypted")), ("192.0.2.80", 0))
        assert received(home, b"decrypted") is not None
    counters = fast.proxy().counters()
    assert counters.packets["gateway_to_home_agent"] == 1
    assert sum(counters.drops.values()) == counters.drops["no_sa_at_gateway"] >= 2, "the gateway routes them back"


@FAST
def test_a_keepalive_is_answered_by_xdp(fast: Site, mode: Attach) -> None:
    fast.move(Encapsulation.UDP)
    switch(fast, mode)
    node = fast.hosts["node"].run(raw_socket, socket.IPPROTO_ICMP, HOME)
    inside = fast.hosts["proxy"].run(packet_socket, "pub", EVERYTHING)
    with node, inside:
        assert None not in exchange_esp(fast, b"resolves the neighbours")
        node.sendto(frames.echo(payload=b"alive?"), (MIPP_PUB, 0))
        assert received(node, b"alive?") is not None
        assert (received(inside, b"alive?", 0.3) is None) == sends_on(mode)
    assert fast.proxy().counters().packets["keepalive_answered"] == 1


@FAST
def test_a_node_whose_packet_has_no_hops_left_is_told_by_tc(fast: Site, mode: Attach) -> None:
    fast.move(Encapsulation.UDP)
    fast.proxy().set_policy(TOLD)
    assert None not in exchange_esp(fast, b"resolves the neighbours")
    switch(fast, mode)
    found = told(fast, "node", HOME, ESP, VPNGW_PUB, 1)
    assert found is not None
    assert found[0] == MIPP_PUB


@FAST
def test_several_care_of_addresses_are_left_to_tc(fast: Site, mode: Attach) -> None:
    fast.move(Encapsulation.IPIP)
    fast.bind(Tunnel(ip(CARE_OF), later()), Tunnel(ip("198.51.100.12"), later()))
    switch(fast, mode)
    wire = fast.hosts["internet"].run(packet_socket, "p1", EVERYTHING)
    with wire:
        assert exchange_esp(fast, b"copies")[1] is not None
        found = {frame[30:34] for frame in iter(lambda: received(wire, b"back!copies", 0.5), None)}
    assert found >= {ip(CARE_OF).packed, ip("198.51.100.12").packed}


@FAST
def test_a_drop_is_counted_once_and_what_is_not_for_us_passes(fast: Site, mode: Attach) -> None:
    fast.move(Encapsulation.IPIP)
    switch(fast, mode)
    fast.proxy().delete(ip(VPNGW_PUB), ip(HOME))
    assert exchange_esp(fast, b"unbound") == (None, None)
    assert fast.proxy().counters().drops["no_binding"] == 2
    assert "2 received" in fast.hosts["gateway"].shell(f"ping -c 2 -i 0.2 {MIPP_PUB}")


def test_no_packet_is_lost_while_the_mode_changes_or_the_loader_dies(fast: Site, tmp_path: Path) -> None:
    fast.move(Encapsulation.IPIP)
    assert None not in exchange_esp(fast, b"resolves the neighbours")
    node = fast.hosts["node"].run(raw_socket, ESP, HOME)
    gateway = fast.hosts["gateway"].run(raw_socket, ESP, VPNGW_PUB)
    gateway.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    changed = threading.Event()
    count = 0

    def send() -> None:
        nonlocal count
        while not changed.is_set() and count < 20_000:
            node.sendto(b"numbered" + struct.pack("!I", count), (VPNGW_PUB, 0))
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=send, name="sender")
    thread.start()
    try:
        for mode in (*MODES, Attach.NATIVE):
            switch(fast, mode)
            time.sleep(0.1)
        other = tmp_path / "other.bpf.o"
        build(other, SOURCE)
        (tmp_path / "other-xdp.bpf.o").write_bytes(fast.bpf_object.with_name("mobileip-xdp.bpf.o").read_bytes() + b"\0")
        code = (
            "import sys, time; from mobileip.forwarding import loader; "
            "loader.load(sys.argv[1], sys.argv[2], loader.proxy_attachments('pub', 'priv'), attach='xdp-native'); "
            "print('ready', flush=True); time.sleep(60)"
        )
        process = fast.hosts["proxy"].run(
            subprocess.Popen,
            [sys.executable, "-c", code, str(other), str(fast.pin_dir("proxy"))],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        process.stdout.close()
        time.sleep(0.1)
    finally:
        changed.set()
        thread.join(10)
    with node, gateway:
        got = sum(1 for _ in iter(lambda: received(gateway, b"numbered", 0.5), None))
    assert got == count
    assert chosen(fast)["pub"] == (Attach.NATIVE, Why.FORCED)


@pytest.fixture
def host(namespace: Namespace) -> Namespace:
    namespace.shell(
        "sysctl -qw net.ipv4.ip_forward=1\n"
        "ip link add pub type veth peer name p\nip link add priv type veth peer name q\n"
        "for i in pub p priv q; do ip link set $i up; done"
    )
    return namespace


def attached(host: Namespace, interface: str = "pub") -> bool:
    return "prog/xdp" in host.shell(f"ip link show {interface}")


def test_what_others_attached_stays_and_is_named(
    host: Namespace, bpf_object: Path, pin_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "other.bpf.c"
    source.write_text(
        '__attribute__((section("xdp"), used)) int other(void *ctx) { return 2; }\n'
        'char _license[] __attribute__((section("license"), used)) = "GPL";\n'
    )
    build(tmp_path / "other.o", source)
    host.shell(f"ip link set dev pub xdpdrv obj {tmp_path}/other.o sec xdp")
    before = host.shell("ip link show pub")
    with pytest.raises(
        loader.LoadError, match="interface pub: cannot attach xdp-native: another XDP program is attached"
    ):
        host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    assert host.shell("ip link show pub") == before
    host.run(loader.unload, pin_dir, ATTACHMENTS)
    assert host.shell("ip link show pub") == before
    assert not attached(host, "priv")


def test_auto_takes_tc_on_a_veth_and_says_why(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    found = host.run(xdp.chosen, pin_dir)
    assert [(each.interface, each.attach, each.why) for each in found] == [
        ("pub", Attach.TC, Why.UNFINISHED),
        ("priv", Attach.TC, Why.UNFINISHED),
    ]
    assert "pub tc (frames of a veth" in str(found[0])
    assert not host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_what_generic_xdp_passes_is_made_whole_for_tc_as_long_as_it_is_there(
    host: Namespace, bpf_object: Path, pin_dir: Path
) -> None:
    def filters() -> list[str]:
        shown = host.shell("tc filter show dev pub ingress").splitlines()
        return [line.split()[4] for line in shown if "handle" in line]

    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.GENERIC)
    assert "xdpgeneric" in host.shell("ip link show pub")
    assert filters() == ["433", "434"], "before tc's program"
    assert host.run(loader.is_loaded, bpf_object, pin_dir, ATTACHMENTS)
    assert not host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.GENERIC), "twice is once"
    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.TC)
    assert filters() == ["434"]
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.GENERIC)
    host.run(loader.unload, pin_dir, ATTACHMENTS)
    assert not attached(host)
    assert "clsact" not in host.shell("tc qdisc show dev pub")
    assert not pin_dir.exists()


def test_an_interface_that_does_not_forward_is_named(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    host.shell("sysctl -qw net.ipv4.conf.priv.forwarding=0")
    with pytest.raises(loader.LoadError, match=r"net\.ipv4\.conf\.priv\.forwarding is 0"):
        host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    host.run(loader.unload, pin_dir, ATTACHMENTS)
    assert not attached(host)


def test_unload_detaches_and_vlan_tags_are_taken_out_again(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    stripping = "ethtool -k pub | grep rx-vlan-offload"
    assert "on" in host.shell(stripping)
    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    assert attached(host)
    assert "off" in host.shell(stripping)
    assert not host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE), "twice is once"
    assert host.run(loader.is_loaded, bpf_object, pin_dir, ATTACHMENTS)
    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.TC)
    assert not attached(host)
    assert "on" in host.shell(stripping)
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    host.run(loader.unload, pin_dir, ATTACHMENTS)
    assert not attached(host)
    assert not pin_dir.exists()
    assert "on" in host.shell(stripping)


def test_a_veth_whose_other_end_takes_no_frames_is_not_redirected_to(
    host: Namespace, bpf_object: Path, pin_dir: Path
) -> None:
    takes = xdp.Flags.TAKES_FRAMES if sends_on(Attach.NATIVE) else xdp.Flags(0)
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    assert not host.run(xdp.refresh, pin_dir)
    flags = [entry.flags & xdp.Flags.TAKES_FRAMES for entry in host.run(xdp.entries, pin_dir)]
    assert flags == [0, 0]
    host.shell("ethtool -K p gro on")
    assert host.run(xdp.refresh, pin_dir) == bool(takes)
    flags = [entry.flags & xdp.Flags.TAKES_FRAMES for entry in host.run(xdp.entries, pin_dir)]
    assert flags == [takes, 0]
    host.shell("ip link set pub address 02:00:00:00:00:99")
    assert host.run(xdp.refresh, pin_dir)
    assert host.run(xdp.entries, pin_dir)[0].mac.hex(":") == "02:00:00:00:00:99"
    host.run(loader.unload, pin_dir, ATTACHMENTS)
