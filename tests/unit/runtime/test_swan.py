"""The SA's keeper, against a vici server that speaks the real protocol and notes what it is asked."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vici.protocol import Message, Packet, Transport

from mobileip.runtime import swan
from mobileip.runtime.swan import PARK_PREFERENCE, SaKeeper, SaSettings


class Rules:
    """Where the ip rule would be."""

    def __init__(self) -> None:
        self.present: set[int] = set()

    def put_rule(self, preference: int) -> None:
        self.present.add(preference)

    def delete_rule(self, preference: int) -> None:
        self.present.discard(preference)


class Charon:
    """Answers vici as charon does, as far as the keeper asks."""

    def __init__(self, plugins: list[str]) -> None:
        self.asked: list[str] = []
        self.plugins = plugins
        self.up = False
        self.refuse = 0

    def answer(self, command: str) -> tuple[list[tuple[bytes, dict[str, Any]]], dict[str, Any]]:
        self.asked.append(command)
        if command == "stats":
            return [], {"plugins": self.plugins}
        if command == "list-sas":
            child = {"intranet-1": {"name": "intranet", "state": "INSTALLED"}}
            return ([(b"list-sa", {"vpngw": {"child-sas": child}})] if self.up else []), {}
        if command == "terminate":
            self.up = False
        if command == "initiate":
            if self.refuse:
                self.refuse -= 1
                return [], {"success": "no", "errmsg": "establishing failed"}
            self.up = True
        return [], {"success": "yes"}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, charon: Charon) -> None:
        super().__init__(path, _Handler)
        self.charon = charon


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        transport = Transport(self.request)
        while True:
            try:
                packet = Packet.parse(transport.receive())
            except Exception:
                return
            # Command requests carry their name in front of the message.
            name = packet.payload.getvalue()[2 : 2 + packet.payload.getvalue()[1]].decode()
            if packet.response_type in (Packet.EVENT_REGISTER, Packet.EVENT_UNREGISTER):
                transport.send(bytes([Packet.EVENT_CONFIRM]))
                continue
            events, answer = self.server.charon.answer(name)
            for event, message in events:
                body = Message.serialize(OrderedDict(message))
                transport.send(bytes([Packet.EVENT, len(event)]) + event + body)
            transport.send(bytes([Packet.CMD_RESPONSE]) + Message.serialize(OrderedDict(answer)))


@pytest.fixture
def charon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Charon]:
    path = tmp_path / "charon.vici"
    monkeypatch.setattr(swan, "VICI_SOCKET", str(path))
    monkeypatch.setattr(swan, "_FIRST_PAUSE", 0.01)
    charon = Charon(["kernel-netlink"])
    server = _Server(str(path), charon)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield charon
    server.shutdown()
    server.server_close()
    thread.join(5)


def play(backend: Any, act: Callable[[SaKeeper], Awaitable[None]]) -> Rules:
    rules = Rules()

    async def scene() -> None:
        keeper = SaKeeper(SaSettings("vpngw", "intranet", "park", backend), rules)  # type: ignore[arg-type]  # stands in for the netlink routes
        await act(keeper)
        await keeper.close()

    asyncio.run(asyncio.wait_for(scene(), 10))
    return rules


async def reach(keeper: SaKeeper, status: str) -> None:
    for _ in range(2000):
        if keeper.status == status:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"{keeper.status}, expected {status}")


def test_outside_the_sa_is_initiated_and_tried_again_until_it_is_up(charon: Charon) -> None:
    charon.refuse = 2

    async def act(keeper: SaKeeper) -> None:
        keeper.establish()
        await reach(keeper, "up")

    play("libipsec", act)
    assert charon.asked == ["list-sas", "initiate"] * 3


def test_an_sa_that_the_gateway_deleted_is_brought_up_again(charon: Charon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swan, "_LOOK_INTERVAL", 0.02)

    async def act(keeper: SaKeeper) -> None:
        keeper.establish()
        await reach(keeper, "up")
        charon.up = False
        for _ in range(1000):
            if charon.asked.count("initiate") == 2:
                break
            await asyncio.sleep(0.005)
        await reach(keeper, "up")

    play("libipsec", act)
    assert charon.up


def test_an_sa_that_is_up_is_left_alone(charon: Charon) -> None:
    charon.up = True

    async def act(keeper: SaKeeper) -> None:
        keeper.establish()
        await reach(keeper, "up")

    play("libipsec", act)
    assert charon.asked == ["list-sas"]


def test_userspace_backend_is_found_and_parked_by_a_rule(charon: Charon) -> None:
    charon.plugins = ["kernel-libipsec", "kernel-netlink"]

    async def act(keeper: SaKeeper) -> None:
        keeper.park()
        await reach(keeper, "parked")

    assert play("auto", act).present == {PARK_PREFERENCE}


def test_the_rule_is_gone_when_unpark_returns(charon: Charon) -> None:
    async def act(keeper: SaKeeper) -> None:
        keeper.park()
        await reach(keeper, "parked")
        keeper.unpark()

    assert play("libipsec", act).present == set()


def test_the_pass_policy_is_taken_back_before_the_sa_is_asked_for(charon: Charon) -> None:
    async def act(keeper: SaKeeper) -> None:
        keeper.park()
        await reach(keeper, "parked")
        keeper.unpark()
        keeper.establish()
        await reach(keeper, "up")

    play("kernel", act)
    assert charon.asked == ["install", "uninstall", "list-sas", "initiate"]


def test_without_strongswan_the_daemon_goes_on_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swan, "VICI_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setattr(swan, "_FIRST_PAUSE", 0.01)

    async def act(keeper: SaKeeper) -> None:
        keeper.establish()
        for _ in range(500):
            if "strongSwan does not answer" in keeper.status:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(keeper.status)

    play("libipsec", act)


def test_sa_that_the_gateway_has_dropped_is_set_up_anew_D_5_5_b(charon: Charon) -> None:
    charon.up = True

    async def act(keeper: SaKeeper) -> None:
        keeper.establish(anew=True)
        await reach(keeper, "up")

    play("libipsec", act)
    assert charon.asked == ["list-sas", "terminate", "list-sas", "initiate"]


def test_new_sa_is_not_forgotten_by_a_move_in_between_D_5_5_b(charon: Charon) -> None:
    charon.up = True

    async def act(keeper: SaKeeper) -> None:
        keeper.establish(anew=True)
        keeper.unpark()  # a move, before anything could be asked
        keeper.establish()
        await reach(keeper, "up")

    play("libipsec", act)
    assert charon.asked.count("terminate") == 1
    assert charon.asked[-1] == "initiate"
