"""A node that has left home before its daemon knows: what it knows at home holds for that link only."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.site import CN, HOME, Site, running, until
from tests.integration.test_node_wire import by, captured, is_registration

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as site:
        yield site


@contextmanager
def unaware(site: Site) -> Iterator[None]:
    """The node's daemon is busy elsewhere: it hears of nothing."""
    daemon = site.processes["mn"]
    daemon.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.send_signal(signal.SIGCONT)


def test_nothing_leaves_in_clear_before_the_daemon_knows_that_the_node_has_left_home(site: Site) -> None:
    by(site, "home", "home", None)
    site.park(True)
    until(lambda: site.ping() == 3, what="in clear at home")
    dropped = int(site.show("mn", "drops")["kernel"].get("clear_outside", 0))
    with captured(site, "inet", "open") as heard, unaware(site):
        site.move("open")
        site.ping(5)
        # Afterwards the node registers: what it sends is heard here.
        site.park(False)
    until(lambda: site.show("mn", "location")["location"] != "unknown", what="somewhere else")
    ours = [packet for packet in heard if packet.source == HOME and not is_registration(packet)]
    assert ours == []
    assert any(is_registration(packet) for packet in heard)
    assert int(site.show("mn", "drops")["kernel"]["clear_outside"]) >= dropped + 5


def test_at_home_again_everything_leaves_in_clear(site: Site) -> None:
    by(site, "open", "outside", "ipip")
    by(site, "home", "home", None)
    site.park(True)
    with captured(site, "wires", "mn-eth0") as link:
        until(lambda: site.ping() == 3, what="in clear at home")
    site.park(False)
    assert [packet for packet in link if (packet.source, packet.destination) == (HOME, CN)]
