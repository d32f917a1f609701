"""What `mobileip show` says on a mobile node: where, through whom, since when, why; asked as a person would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from mobileip import cli
from mobileip.registration.mobile_node import MobileNode
from mobileip.runtime.control import ControlServer
from mobileip.runtime.listing import plain
from mobileip.wire.codes import Code
from mobileip.wire.typed_extensions import MessageString
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AT_AGENT,
    AT_HOME,
    AT_OPEN,
    AT_VISITED,
    NOW,
    SETTINGS,
    answer,
)


def outside(node: MobileNode) -> None:
    node.feed(answer(node.feed(AT_OPEN, NOW)), NOW + 0.1)


def home(node: MobileNode) -> None:
    node.feed(answer(node.feed(AT_HOME, NOW), lifetime=0, extensions=()), NOW + 0.1)


def inside(node: MobileNode) -> None:
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW)
    asked = node.handle_timer(NOW + 1) or asked
    node.feed(answer(asked, extensions=()), NOW + 1.1)


def behind_an_agent(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    node.feed(answer(node.feed(replace(ADVERTISEMENT, lifetime=600), NOW)), NOW + 0.1)


def denied(node: MobileNode) -> None:
    told = MessageString("131.3: no key with this SPI").extension()
    node.feed(answer(node.feed(AT_OPEN, NOW), Code.ADMINISTRATIVELY_PROHIBITED, extensions=(told,)), NOW + 0.1)


@pytest.mark.parametrize(
    ("scene", "where", "through", "agent", "why"),
    [
        (outside, "outside", "proxy", "203.0.113.10", "203.0.113.10 accepted the registration"),
        (home, "home", "home_link", "192.0.2.40", "192.0.2.40 took back all bindings"),
        (inside, "inside", "home_agent", "192.0.2.40", "192.0.2.40 accepted the registration"),
        (behind_an_agent, "outside", "foreign_agent", "198.51.100.129", "203.0.113.10 accepted the registration"),
        (
            denied,
            "unknown",
            "proxy",
            "203.0.113.10",
            "203.0.113.10 answered 129 administratively_prohibited (131.3: no key with this SPI)",
        ),
    ],
)
def test_show_location_tells_place_way_moment_and_reason(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    scene: Callable[[MobileNode], None],
    where: str,
    through: str,
    agent: str,
    why: str,
) -> None:
    node = MobileNode(SETTINGS)
    scene(node)

    async def ask() -> int:
        server = ControlServer(tmp_path / "node.sock", {"location": lambda _: plain(node.status())})
        await server.start()
        status = await asyncio.to_thread(cli.main, ["show", "location", "--socket", str(tmp_path / "node.sock")])
        await server.stop()
        return status

    assert asyncio.run(ask()) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {name: rest[0] if rest else "" for name, *rest in (line.split(None, 1) for line in lines)}
    assert (said["location"], said["through"], said["agent"], said["why"]) == (where, through, agent, why)
    assert NOW - 1 <= datetime.fromisoformat(said["since"]).timestamp() <= NOW + 2
