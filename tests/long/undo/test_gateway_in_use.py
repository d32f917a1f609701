"""A gateway that serves two other VPN users already: they notice nothing of what is rolled out, taken back, removed.

Both ping through their SAs all the time, one a host behind the gateway, the other the first one. The tests build on
each other, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from roaming.lab_hosts import LabHosts

from tests.long.undo.ground import backups, differences, fingerprints, fresh_hosts, run, went_well
from tests.long.undo.users import Users, users_of_gateway
from tests.scenario.plays import Play

pytestmark = pytest.mark.timeout(900)

GATEWAY_ALONE = ("vpngw",)
AROUND = ("outer_fw", "internet", "nat", "inner_fw")


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    with fresh_hosts(*GATEWAY_ALONE, *AROUND) as found:
        yield found


@pytest.fixture(scope="module")
def users(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    with users_of_gateway(hosts, tmp_path_factory.mktemp("pings")) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def before(hosts: LabHosts, users: Users) -> dict[str, list[str]]:
    """What the hosts are before anything was rolled out: the gateway in use."""
    return fingerprints(hosts, GATEWAY_ALONE)


def on_gateway(playbook: str, **variables: Any) -> Play:
    return run(playbook, targets=GATEWAY_ALONE, **variables)


def test_what_needs_a_restart_fails_before_anything_changes(
    hosts: LabHosts, users: Users, before: dict[str, list[str]]
) -> None:
    done = on_gateway("site", vpn_gateway_ipsec_backend="kernel")
    assert done.status == 2
    assert "vpn_gateway_allow_restart: false" in done.failures["vpngw"]
    assert "plugins.kernel-libipsec.load is yes, expected no" in done.failures["vpngw"]
    assert done.hosts_with("changed") == []
    assert differences(before, fingerprints(hosts, GATEWAY_ALONE)) == {}
    users.assert_undisturbed()


def test_roll_out_that_fails_at_its_end(hosts: LabHosts, users: Users, before: dict[str, list[str]]) -> None:
    done = on_gateway("site", vpn_gateway_esp_proposals=["nonsense"])
    assert done.status == 2
    assert done.hosts_with("changed") == ["vpngw"]
    said = done.failures["vpngw"]
    assert "Failed: vpngw, Load connections and secrets: load-conn: " in said, done.output[-3000:]
    assert "Restored: vpngw is as it was before" in said
    assert differences(before, fingerprints(hosts, GATEWAY_ALONE)) == {}
    users.assert_undisturbed()


def test_roll_out_and_a_second_one(hosts: LabHosts, users: Users) -> None:
    assert went_well(on_gateway("site")).hosts_with("changed") == ["vpngw"]
    users.assert_undisturbed()
    assert went_well(on_gateway("site")).hosts_with("changed") == []
    users.assert_undisturbed()


def test_back_before_the_first_roll_out_and_forth(hosts: LabHosts, users: Users) -> None:
    deployed = fingerprints(hosts, GATEWAY_ALONE)
    went_well(on_gateway("rollback", mobileip_backup=backups(hosts, "vpngw")[0]))
    gone = hosts.run("vpngw", ["sh", "-c", "ls -d /etc/mobileip /etc/swanctl/conf.d/mobileip* 2>/dev/null || true"])
    assert gone.stdout == ""
    assert "mobileip_gateway" not in hosts.run("vpngw", ["nft", "list", "tables"]).stdout
    assert hosts.run("vpngw", ["swanctl", "--list-conns"]).stdout.startswith("users:")
    users.assert_undisturbed()
    went_well(on_gateway("rollback", mobileip_backup="latest"))
    assert differences(deployed, fingerprints(hosts, GATEWAY_ALONE)) == {}
    users.assert_undisturbed()


def test_remove(hosts: LabHosts, users: Users, before: dict[str, list[str]]) -> None:
    went_well(on_gateway("remove", mobileip_remove=True, remove_packages=True))
    assert differences(before, fingerprints(hosts, GATEWAY_ALONE)) == {}
    users.assert_undisturbed()
