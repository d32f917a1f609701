"""What `--check --diff` shows is what the run without `--check` then does and shows, for every role.

On booted hosts: bare ones, deployed ones where nothing or something is to be changed, and on the way back. The tests
build on each other, in this order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from roaming.lab_hosts import LabHosts

from tests.long.undo.ground import differences, fingerprints, fresh_hosts, run, went_well

pytestmark = pytest.mark.timeout(900)

TARGETS = ("mipp", "vpngw", "outer_fw", "inner_fw", "ha", "fa", "mn")
"""A host of every role."""
CHANGES = {
    "mip_proxy_icmp_grace": 600,
    "vpn_gateway_dpd_delay": "30s",
    "vpn_gateway_route_table": 436,
    "dmz_firewall_allow": [{"reason": "another service", "from": "dmz", "to": "core", "match": "tcp dport 8443"}],
    "home_agent_max_lifetime": 1200,
    "foreign_agent_registration_lifetime": 1200,
    "mobile_node_lifetime": 240,
    "mobile_node_dpd_delay": "30s",
}
"""Variables of every role, one of which moves the routes to another table."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    with fresh_hosts(*TARGETS) as found:
        yield found


def shown(folder: Path, playbook: str, *arguments: str, **variables: Any) -> Counter[tuple[str, str, str]]:
    """Run a playbook; return host, task and difference of each change that it shows."""
    record = folder / f"changes{len(list(folder.iterdir()))}.jsonl"
    went_well(run(playbook, "--diff", *arguments, targets=TARGETS, record=record, **variables))
    (told,) = (json.loads(line) for line in record.read_text(encoding="utf-8").splitlines())
    return Counter(
        (host, task, json.dumps([comparable(part) for part in parts], sort_keys=True))
        for host, task, parts in told["shown"]
    )


def comparable(part: dict[str, Any]) -> dict[str, Any]:
    """Ansible's own file module foretells of a directory that is not there that it will be, not its owner and mode."""
    before = part.get("before")
    if not isinstance(before, dict) or before.get("state") != "absent":
        return part
    return {side: {name: part[side].get(name) for name in ("path", "state")} for side in ("before", "after")}


def assert_foretold(
    hosts: LabHosts, folder: Path, playbook: str, **variables: Any
) -> tuple[Counter[tuple[str, str, str]], set[str]]:
    """Check, look that nothing changed, do; return what was shown, and the hosts where something was done."""
    before = fingerprints(hosts, TARGETS)
    foretold = shown(folder, playbook, "--check", **variables)
    assert differences(before, fingerprints(hosts, TARGETS)) == {}
    done = shown(folder, playbook, **variables)
    assert {"only foretold": sorted(foretold - done), "not foretold": sorted(done - foretold)} == {
        "only foretold": [],
        "not foretold": [],
    }
    return done, {host for host, _, _ in done}


def test_of_bare_hosts(hosts: LabHosts, tmp_path: Path) -> None:
    _, changed = assert_foretold(hosts, tmp_path, "site")
    assert changed == set(TARGETS)


def test_of_deployed_hosts_nothing(hosts: LabHosts, tmp_path: Path) -> None:
    # That nothing is done then, either, the test of the roll-outs shows.
    assert shown(tmp_path, "site", "--check") == Counter()


def test_of_deployed_hosts_a_change_of_every_role(hosts: LabHosts, tmp_path: Path) -> None:
    done, changed = assert_foretold(hosts, tmp_path, "site", **CHANGES)
    assert changed == set(TARGETS)
    assert {host for host, _, parts in done if "dport 8443" in parts} == {"mipp", "outer_fw", "inner_fw"}


def test_of_the_way_back_and_of_removal(hosts: LabHosts, tmp_path: Path) -> None:
    _, changed = assert_foretold(hosts, tmp_path, "rollback", mobileip_backup="latest")
    assert changed == set(TARGETS)
    _, changed = assert_foretold(hosts, tmp_path, "remove", mobileip_remove=True, remove_packages=True)
    assert changed == set(TARGETS)
