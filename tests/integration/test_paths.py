"""Paths that die without a word: a NAT that forgets, a tunnel that is cut; known in seconds, cured by registration."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.site import DEPLOYMENTS, HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("clang") is None or shutil.which("conntrack") is None,
        reason="needs root, clang and conntrack",
    ),
]

OPEN, NAT = "198.51.100.10", "203.0.113.1"


def nat(site: Site, ports: str) -> None:
    """The router between the open network and the DMZ translates, to these ports."""
    rules = (
        "table ip behind { }\ndelete table ip behind\n"
        "table ip behind {\nchain post { type nat hook postrouting priority srcnat;\n"
        f"oifname dmz ip saddr {OPEN} ip protocol udp masquerade to :{ports}\n"
        "}\n}\n"
    )
    file = site.directory / "nat.nft"
    file.write_text(rules)
    site.run("inet", "nft", "-f", str(file))


def forget(site: Site, ports: str) -> None:
    """The NAT loses its memory, and gives other ports from now on."""
    nat(site, ports)
    site.run("inet", "conntrack", "-F")


def row(site: Site, host: str = "mipp") -> dict[str, Any]:
    (found,) = site.show(host, "bindings")
    return dict(found)


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("paths"), one_box=request.param == "one box") as site:
        until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=site.log("mn")[-2000:])
        assert until(lambda: site.ping() == 3)
        site.reconfigure("mipp", probe={"interval": 2})
        yield site


def test_a_quiet_node_is_asked_through_its_tunnel_and_answers(site: Site) -> None:
    site.move("open")
    asked = int(site.show("mipp", "counters")["daemon"].get("probe_sent", 0))
    until(lambda: row(site)["path"] == "alive", 15.0, what=f"{row(site)} {site.show('mipp', 'counters')}")
    time.sleep(5)
    counters = site.show("mipp", "counters")
    assert counters["daemon"]["probe_sent"] > asked + 1
    assert counters["kernel"]["packets"]["probe_answered"] >= 2
    assert (row(site)["path"], row(site)["elsewhere"]) == ("alive", None)
    assert row(site)["heard"] < 5
    assert "path_lost" not in counters["daemon"]


def test_a_node_behind_a_foreign_agent_answers_through_it(site: Site) -> None:
    site.move("fa")
    until(lambda: row(site)["care_of_address"] == "198.51.100.100", 15.0, what=site.log("mn")[-2000:])
    before = site.show("mipp", "counters")["kernel"]["packets"]["probe_answered"]
    until(
        lambda: site.show("mipp", "counters")["kernel"]["packets"]["probe_answered"] >= before + 2,
        15.0,
        what=f"{row(site)} {site.show('mipp', 'drops')} {site.show('mn', 'drops')}",
    )
    assert row(site)["path"] == "alive"
    site.move("open")
    until(lambda: row(site)["care_of_address"] == OPEN, 15.0, what=site.log("mn")[-2000:])


def test_a_dead_path_is_known_in_seconds_and_so_is_that_it_lives_again(site: Site) -> None:
    until(lambda: row(site)["path"] == "alive", 15.0)
    # Registrations pass, the tunnel does not: what no registration would ever notice.
    table = "table ip cut { chain stop { type filter hook forward priority 0;\nip protocol 4 drop\n}\n}\n"
    (site.directory / "cut.nft").write_text(table)
    site.run("inet", "nft", "-f", str(site.directory / "cut.nft"))
    began = time.monotonic()
    until(lambda: row(site)["path"] == "lost", 12.0, what=str(row(site)))
    assert time.monotonic() - began < 10
    assert site.show("mipp", "status")["paths_lost"] == 1
    assert f"path_lost home_address={HOME}" in site.log("mipp")
    assert site.bindings("mipp") == [(HOME, OPEN)], "nothing ends with a path"
    site.run("inet", "nft", "delete", "table", "ip", "cut")
    until(lambda: row(site)["path"] == "alive", 8.0, what=str(row(site)))
    assert f"path_back home_address={HOME}" in site.log("mipp")


def test_a_nat_that_forgets_is_noticed_at_both_ends_and_only_a_registration_moves_the_binding_R3519_4_10_a(
    site: Site,
) -> None:
    nat(site, "41000-41099")
    site.run("inet", "conntrack", "-F")
    site.move("home")
    site.park(True)
    until(lambda: site.bindings("mipp") == [], 15.0)
    site.park(False)
    site.move("open")
    until(
        lambda: row(site)["encapsulation"] == "udp" if site.bindings("mipp") else None, 15.0, what=site.log("mn")[-900:]
    )
    old = row(site)["source"]
    assert old.startswith(f"{NAT}:41")
    assert until(lambda: site.ping() == 3)
    time.sleep(11)  # a keepalive is not sent sooner after a registration (RFC 3519 4.10)
    # The node's daemon sleeps, so nobody tells where the packets come from now.
    site.processes["mn"].send_signal(signal.SIGSTOP)
    forget(site, "42000-42099")
    assert site.ping(10) == 0
    seen = until(lambda: row(site)["elsewhere"], 6.0, what=str(row(site)))
    assert seen.startswith(f"{NAT}:42")
    assert row(site)["source"] == old, "never by data"
    assert f"path_elsewhere home_address={HOME} seen_at={seen}" in site.log("mipp")
    assert site.ping(5) == 0
    # It wakes, notices that nothing comes back, and registers at once; its renewal is not due for minutes.
    site.processes["mn"].send_signal(signal.SIGCONT)
    began = time.monotonic()
    until(lambda: site.ping(2) == 2, 20.0, what=f"{row(site)} {site.log('mn')[-900:]}")
    assert time.monotonic() - began < 12
    assert row(site)["source"].startswith(f"{NAT}:42")
    assert row(site)["elsewhere"] is None
