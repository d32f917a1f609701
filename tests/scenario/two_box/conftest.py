"""The two-box deployment as it stands on the lab's hosts, and one recorded roaming session that many rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from roaming import report
from roaming.__main__ import ROUTE, say
from roaming.lab_hosts import LabHosts
from roaming.session import Plan, Recording, record

SESSIONS = 3
DISTURBED_MS = 20.0
"""From how many milliseconds of standing still on an outage is the machine's as well as ours."""


@dataclass(frozen=True)
class Roamed:
    """A finished session and what its captures show."""

    recording: Recording
    analysis: report.Analysis

    def stay(self, network: str, occurrence: int = 0) -> tuple[float, float]:
        """Return start and end (Unix seconds) of a stay on `network`, without the second in which the node arrives."""
        stays = [move for move in self.recording.moves if move.target == network]
        return stays[occurrence].moved + 1.0, stays[occurrence].ended - 0.2


@pytest.fixture(scope="session")
def hosts() -> LabHosts:
    return LabHosts()


def roam(hosts: LabHosts, directory: Path) -> Roamed:
    """Roam once: home -> open -> NAT -> FA -> open -> home -> open, with a TCP session and a 10 ms probe."""
    hosts.ensure_at("mn", ROUTE[0])
    hosts.forget_sas("mn", "vpngw")
    plan = Plan(
        home_address=hosts.home_address("mn"),
        correspondent=hosts.address("cn", "eth0"),
        networks=ROUTE,
        dwell=5.0,
    )
    recording = record(hosts, plan, directory, say)
    analysis = report.analyse(recording, hosts.address("vpngw", "pub"))
    print(report.table(analysis))
    return Roamed(recording, analysis)


@pytest.fixture(scope="session")
def roamed(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Roamed:
    """The session that every rule but the timing looks at."""
    return roam(hosts, tmp_path_factory.mktemp("roaming"))


@pytest.fixture(scope="session")
def timed(hosts: LabHosts, roamed: Roamed, tmp_path_factory: pytest.TempPathFactory) -> list[report.MoveResult]:
    """The moves of a session, each measured while the machine ran.

    A move that missed its bound while the machine itself stood still says nothing about us: it is measured again in
    another session, twice at most. A miss on a machine that ran stands.
    """
    moves = list(roamed.analysis.moves)
    for _ in range(SESSIONS - 1):
        disturbed = [i for i, move in enumerate(moves) if not move.within_bound and move.paused_ms >= DISTURBED_MS]
        if not disturbed:
            break
        again = roam(hosts, tmp_path_factory.mktemp("again")).analysis.moves
        for index in disturbed:
            moves[index] = again[index]
    return moves
