"""A deployment as it stands on the lab's hosts, and one recorded roaming session that many rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from roaming import report
from roaming.__main__ import ROUTE, say
from roaming.lab_hosts import LabHosts
from roaming.session import Plan, Recording, record


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


@pytest.fixture(scope="session")
def roamed(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Roamed:
    """Roam once: home -> open -> NAT -> FA -> open -> home -> open, with a TCP session and a 10 ms probe."""
    directory: Path = tmp_path_factory.mktemp("roaming")
    hosts.ensure_at("mn", ROUTE[0])
    hosts.forget_sas("mn", "vpngw")
    plan = Plan(
        home_address=hosts.home_address("mn"),
        correspondent=hosts.address("cn", "eth0"),
        networks=ROUTE,
        dwell=5.0,
        gateway_wire=hosts.handed_over_on("pub"),
    )
    recording = record(hosts, plan, directory, say)
    analysis = report.analyse(recording, hosts.address("vpngw", "pub"))
    print(report.table(analysis))
    return Roamed(recording, analysis)
