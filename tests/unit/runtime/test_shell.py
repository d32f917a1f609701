"""The small parts around the loop: control socket, notification, log lines, attachment, tunnels, ARP, decoder, CLI."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mobileip import cli
from mobileip.decode import decode
from mobileip.forwarding import entries
from mobileip.registration.bindings import Binding, Encapsulation
from mobileip.registration.events import Attached, Detached, Endpoint, TunnelPortLearned
from mobileip.runtime.arp import announcement
from mobileip.runtime.attachment import AttachmentWatcher, attachment
from mobileip.runtime.control import ControlError, ControlServer, ask
from mobileip.runtime.journal import line
from mobileip.runtime.notify import notify, watchdog_period
from mobileip.runtime.rtnetlink import PROTOCOL, InterfaceAddress, Link, Route, Rtnetlink
from mobileip.runtime.sockets import Arrival, DatagramSocket
from mobileip.runtime.tunnels import Bound, learnt_port, tunnel
from mobileip.wire.address import IMPLEMENTATION
from mobileip.wire.messages import RegistrationReply, RegistrationRequest

HOME, CARE_OF, NAT = IPv4Address("192.0.2.69"), IPv4Address("198.51.100.75"), IPv4Address("198.51.100.40")
ROUTER = IPv4Address("198.51.100.1")


# Control socket


def test_an_unknown_command_names_the_known_ones(tmp_path: Path) -> None:
    async def scene() -> None:
        server = ControlServer(tmp_path / "a.sock", {"status": lambda _: {"up": True}})
        await server.start()
        assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o660
        assert await asyncio.to_thread(ask, tmp_path / "a.sock", "status") == {"up": True}
        with pytest.raises(ControlError, match="known here: status"):
            await asyncio.to_thread(ask, tmp_path / "a.sock", "nonsense")
        await server.stop()
        assert not (tmp_path / "a.sock").exists()

    asyncio.run(scene())


@pytest.mark.parametrize("request_line", [b"\n", b"[]\n", b"nonsense\n", b'{"command": []}\n', b'"status"\n', b""])
def test_what_is_no_request_gets_an_answer_and_ends_nothing(tmp_path: Path, request_line: bytes) -> None:
    async def scene() -> None:
        server = ControlServer(tmp_path / "a.sock", {"status": lambda _: 1})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "a.sock")
        writer.write(request_line)
        writer.write_eof()
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
        await writer.wait_closed()
        assert await asyncio.to_thread(ask, tmp_path / "a.sock", "status") == 1
        await server.stop()

    asyncio.run(scene())


def test_a_command_that_fails_answers_with_its_error(tmp_path: Path) -> None:
    async def scene() -> None:
        server = ControlServer(tmp_path / "a.sock", {"divide": lambda _: 1 / 0})
        await server.start()
        with pytest.raises(ControlError, match="ZeroDivisionError"):
            await asyncio.to_thread(ask, tmp_path / "a.sock", "divide")
        await server.stop()

    asyncio.run(scene())


def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "a.sock"))
        first = ControlServer(tmp_path / "a.sock", {"who": lambda _: 1})
        await first.start()
        second = ControlServer(tmp_path / "a.sock", {"who": lambda _: 2})
        with pytest.raises(ControlError, match="another daemon answers"):
            await second.start()
        assert await asyncio.to_thread(ask, tmp_path / "a.sock", "who") == 1
        await first.stop()

    asyncio.run(scene())


def test_asking_where_no_daemon_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no daemon at .*is mobileip@proxy running"):
        ask(tmp_path / "proxy.sock", "status")


# systemd


def test_ready_reaches_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")


def test_the_watchdog_is_fed_three_times_in_its_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_period() == 10.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_period() is None


def test_no_peer_writes_a_second_line_into_the_log() -> None:
    text = line("denied", {"node": HOME, "text": 'a "b"\nlevel=error', "empty": ""})
    assert text == 'denied node=192.0.2.69 text="a \\"b\\"\\nlevel=error" empty=""'


# Sockets


def test_a_datagram_carries_address_interface_and_ttl() -> None:
    arrived: list[Arrival] = []

    async def scene() -> None:
        inbox: asyncio.Queue[Arrival] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        asked, other = IPv4Address("127.0.0.2"), IPv4Address("127.0.0.3")
        server = DatagramSocket.udp(IPv4Address("0.0.0.0"), 0, inbox.put_nowait)
        client = DatagramSocket.udp(other, 0, inbox.put_nowait)
        port = server._channel.getsockname()[1]
        server.watch(loop)
        client.watch(loop)
        client.send(b"request", source=other, destination=asked, port=port, ttl=255)
        arrived.append(await inbox.get())
        server.send(b"reply", source=asked, destination=other, port=arrived[0].source_port, interface="lo")
        arrived.append(await inbox.get())
        server.close(loop)
        client.close(loop)

    asyncio.run(asyncio.wait_for(scene(), 5))
    request, reply = arrived
    assert (request.payload, request.destination, request.interface, request.ttl) == (
        b"request", IPv4Address("127.0.0.2"), "lo", 255,
    )  # fmt: skip
    assert (reply.payload, reply.source) == (b"reply", IPv4Address("127.0.0.2"))


@pytest.mark.parametrize("without_checksum", [True, False])
def test_a_socket_that_leaves_tunnel_data_to_another_takes_everything_else(without_checksum: bool) -> None:
    took: list[bytes] = []

    async def scene() -> None:
        inbox: asyncio.Queue[Arrival] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        server = DatagramSocket.udp(
            IPv4Address("127.0.0.2"), 0, inbox.put_nowait, without_checksum=without_checksum, tunnel_data=False
        )
        client = DatagramSocket.udp(IPv4Address("127.0.0.3"), 0, inbox.put_nowait)
        port = server._channel.getsockname()[1]
        server.watch(loop)
        for payload in (b"\x04\x04\0\0data", b"", b"\x01", b"\x03\x04", b"\x04", b"last"):
            client.send(payload, source=IPv4Address("127.0.0.3"), destination=IPv4Address("127.0.0.2"), port=port)
        while took[-1:] != [b"last"]:
            took.append((await inbox.get()).payload)
        server.close(loop)
        client.close(loop)

    asyncio.run(asyncio.wait_for(scene(), 5))
    assert took == [b"", b"\x01", b"\x03\x04", b"last"]


def test_a_group_is_joined_twice_without_harm_and_not_at_all_aloud() -> None:
    channel = DatagramSocket.udp(IPv4Address("0.0.0.0"), 0, lambda _: None)
    for _ in range(2):
        channel.join(IPv4Address("224.0.0.11"), "lo")
    with pytest.raises(OSError, match="Invalid argument"):
        channel.join(IPv4Address("192.0.2.1"), "lo")
    channel._channel.close()


# Attachment

ETH0 = Link(2, "eth0", bytes(6), True)
DEFAULT = Route(IPv4Network("0.0.0.0/0"), ROUTER, 2, 0, 3)


def test_address_and_default_router_are_an_attachment() -> None:
    addresses = [InterfaceAddress(1, HOME, 32, 0), InterfaceAddress(2, CARE_OF, 27, 0)]
    assert attachment("eth0", HOME, [ETH0], addresses, [DEFAULT]) == Attached("eth0", CARE_OF, 27, ROUTER)


def test_a_link_without_address_asks_for_a_foreign_agent() -> None:
    carried = [InterfaceAddress(1, HOME, 32, 0), InterfaceAddress(2, HOME, 32, 0)]
    assert attachment("eth0", HOME, [ETH0], carried, []) == Attached("eth0", None, 0, None)


def test_home_address_with_the_home_networks_mask_is_home() -> None:
    addresses = [InterfaceAddress(2, HOME, 27, 0)]
    assert attachment("eth0", HOME, [ETH0], addresses, [DEFAULT]) == Attached("eth0", HOME, 27, ROUTER)


def test_no_carrier_and_no_interface_are_detached() -> None:
    down = Link(2, "eth0", bytes(6), False)
    assert attachment("eth0", HOME, [down], [InterfaceAddress(2, CARE_OF, 27, 0)], [DEFAULT]) == Detached("eth0")
    assert attachment("eth0", HOME, [], [], []) == Detached("eth0")


def test_a_table_that_cannot_be_read_is_no_lost_link_and_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[list[Link] | OSError] = [InterruptedError(4, "the table changed while it was read"), [ETH0]]

    def links(_kernel: Rtnetlink) -> list[Link]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(Rtnetlink, "links", links)
    monkeypatch.setattr(Rtnetlink, "addresses", lambda _kernel: [InterfaceAddress(2, CARE_OF, 27, 0)])
    monkeypatch.setattr(Rtnetlink, "routes", lambda _kernel: [])
    moves: list[Attached | Detached] = []

    async def scene() -> None:
        watcher = AttachmentWatcher("eth0", HOME, moves.append)
        watcher.start(asyncio.get_running_loop())
        for _ in range(200):
            if moves:
                break
            await asyncio.sleep(0.005)
        watcher.close(asyncio.get_running_loop())

    asyncio.run(scene())
    assert moves == [Attached("eth0", CARE_OF, 27, None)]


def test_a_default_route_of_our_own_is_no_router_of_the_network() -> None:
    own = Route(IPv4Network("0.0.0.0/0"), ROUTER, 2, 0, PROTOCOL)
    addresses = [InterfaceAddress(2, CARE_OF, 27, 0)]
    assert attachment("eth0", HOME, [ETH0], addresses, [own]) == Attached("eth0", CARE_OF, 27, None)


# Tunnels


def binding(care_of: IPv4Address, source: IPv4Address, encapsulation: Encapsulation, by_agent: bool) -> Binding:
    return Binding(HOME, ROUTER, care_of, Endpoint(source, 4434), "pub", encapsulation, 0x22, 1, 60, 1000.0,
                   gateway=ROUTER, via_foreign_agent=by_agent)  # fmt: skip


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (binding(CARE_OF, CARE_OF, Encapsulation.IPIP, False), entries.Tunnel(CARE_OF, 1000.0)),
        (
            binding(CARE_OF, NAT, Encapsulation.UDP, False),
            entries.Tunnel(NAT, 1000.0, entries.Encapsulation.UDP, 4434),
        ),
        (binding(CARE_OF, NAT, Encapsulation.IPIP, True), entries.Tunnel(CARE_OF, 1000.0, source=NAT)),
    ],
)
def test_binding_becomes_the_tunnel_that_its_packets_take(made: Binding, expected: entries.Tunnel) -> None:
    assert tunnel(made) == expected


def test_port_of_a_half_bound_node_is_not_the_requests_and_comes_from_the_kernel() -> None:
    half = dataclasses.replace(binding(CARE_OF, NAT, Encapsulation.UDP, False), half_bound=True)
    unknown = entries.Tunnel(NAT, 1000.0, entries.Encapsulation.UDP, half_bound=True)
    assert tunnel(half) == unknown
    assert learnt_port(half, (unknown, dataclasses.replace(unknown, port=7))) is None
    shown = dataclasses.replace(unknown, port=40000, half_bound=False)
    assert learnt_port(half, (shown,)) == TunnelPortLearned(HOME, Endpoint(NAT, 40000), ROUTER)
    assert learnt_port(half, (dataclasses.replace(shown, care_of=CARE_OF),)) is None
    bound = Bound([half])
    assert bound.half_bound() == [half]
    bound.add(dataclasses.replace(half, half_bound=False, source=Endpoint(NAT, 40000)))
    assert bound.half_bound() == []


def test_one_entry_holds_all_care_of_addresses_of_a_node() -> None:
    first = binding(CARE_OF, CARE_OF, Encapsulation.IPIP, False)
    second = binding(NAT, NAT, Encapsulation.IPIP, False)
    bound = Bound([first])
    assert bound.add(second) == (first, second)
    assert bound.remove(first.key) == (second,)
    assert bound.add(first, replaces=(second.key,)) == (first,)
    assert bound.remove(first.key) == ()
    assert bound.nodes() == {}


# ARP (RFC 5944 4.6)


def test_gratuitous_arp_names_the_address_as_sender_and_target() -> None:
    mac = bytes.fromhex("020000000065")
    assert announcement(1, mac, mac, HOME).hex() == (
        "ffffffffffff" "020000000065" "0806" "0001" "0800" "06" "04" "0001"
        "020000000065" "c0000245" "000000000000" "c0000245"
    )  # fmt: skip
    assert announcement(2, mac, mac, HOME)[-10:-4] == b"\xff" * 6


# Decoder and command line

REQUEST = RegistrationRequest(0x22, 300, HOME, ROUTER, CARE_OF, 0xEE00000000000000).serialize()
REPLY = RegistrationReply(206, 0, HOME, ROUTER, 0xEE00000000000000).serialize()


def test_request_and_reply_are_explained() -> None:
    lines, good = decode(REQUEST, now=1_800_000_000.0)
    assert good
    assert "  flags            0x22 (D decapsulates itself, T reverse tunnel)" in lines
    assert "  care-of address  198.51.100.75" in lines
    lines, good = decode(REPLY, now=1_800_000_000.0)
    assert good
    assert "  code             206 (assigned_home_agent)" in lines


@pytest.mark.parametrize("whole", [REQUEST, REPLY, b"\x04\x04\0\0" + bytes(20), b"\x09" + bytes(30)])
def test_decoder_ends_well_on_every_cut_and_every_tail(whole: bytes) -> None:
    for length in range(len(whole)):
        lines, _ = decode(whole[:length], now=0.0)
        assert lines
    for tail in (b"\x20", b"\x20\x04", b"\x7e\xff\x00", b"\x90\x06\0\0\0\0\0\0", b"\x00" * 9, bytes(range(255))):
        lines, _ = decode(whole + tail, now=0.0)
        assert lines


def test_decode_command_says_malformed_with_status_1_and_no_hex_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decode", REQUEST.hex(":")]) == 0
    assert cli.main(["decode", REQUEST[:10].hex()]) == 1
    assert "malformed: " in capsys.readouterr().out
    assert cli.main(["decode", "xyz"]) == 2
    assert "is not hexadecimal" in capsys.readouterr().err


def test_check_config_command_exits_2_and_prints_every_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fa.yml"
    file.write_text("role: foreign_agent\nuplink: {interface: u, care_of_address: 224.0.0.1}\nlinc: {}\n")
    assert cli.main(["check-config", str(file)]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert [text.removeprefix(f"{file}:").split(": ")[:2] for text in shown] == [
        ["1", "link"],
        ["2", "uplink.care_of_address"],
        ["3", "linc"],
    ]
    file.write_text(
        "role: foreign_agent\nuplink: {interface: u, care_of_address: 198.51.100.100}\n"
        "link: {interface: l, address: 198.51.100.129}\n"
    )
    assert cli.main(["check-config", str(file)]) == 0
    assert capsys.readouterr().out.endswith("ok: foreign agent 198.51.100.100, visitors on l\n")


def test_version_says_that_this_is_pure_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert f"({IMPLEMENTATION})" in capsys.readouterr().out
