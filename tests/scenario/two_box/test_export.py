"""What `playbooks/export.yml` finds on hosts that were rolled out, and after changes by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from roaming.lab_hosts import LabHosts

from tests.exported import differences, expected, given
from tests.scenario.plays import play
from tests.unit.templates.test_inventories import inventory

DAEMONS = {"mip_proxy", "home_agent", "foreign_agent", "mobile_node"}
LOADED = "/etc/swanctl/conf.d/mobileip.conf"
ROUTE = "198.51.100.240/28 via 203.0.113.10 dev pub table 434 proto 143"
BY_HAND = f"""
ip route add {ROUTE}
nft insert rule inet mobileip_gateway forward ip daddr 198.51.100.241 counter drop
sed 's/dpd_delay = 0s/dpd_delay = 7m/' -i.before-test {LOADED}
swanctl --load-conns
mv {LOADED}.before-test {LOADED}
"""
BACK = f"""
ip route del {ROUTE}
handle=$(nft -a list chain inet mobileip_gateway forward | sed -n 's/.*198.51.100.241.*handle //p')
nft delete rule inet mobileip_gateway forward handle $handle
swanctl --load-conns
"""


def exported(directory: Path, *arguments: str) -> dict[str, str]:
    """The files of a run, by host."""
    done = play("export.yml", *arguments, variables={"export_directory": str(directory)})
    assert done.status == 0, done.output
    assert done.hosts_with("failed") == []
    return {file.stem: file.read_text(encoding="utf-8") for file in directory.glob("*.yml")}


def remarks(text: str) -> list[str]:
    """What the head of a file says besides variables."""
    return [line for line in text.splitlines() if line.startswith(("# Remark: ", "#   "))]


def wanted(host: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the inventory gave to a host; whose ESP it uses, each host decides."""
    roles = {role for each, role in inventory("two_box").roles() if each == host}
    backends = {value for variable, value in found.items() if variable.endswith("_ipsec_backend")}
    assert backends <= {"kernel", "libipsec"}
    result: dict[str, Any] = {"agent_python": "/usr/bin/python3"} if roles & DAEMONS else {}
    for role in roles:
        result |= expected(role, given("two_box", host, role), *(backends or {"kernel"}))
    return result


@contextmanager
def by_hand(hosts: LabHosts) -> Iterator[None]:
    hosts.run("vpngw", ["sh", "-ec", BY_HAND])
    try:
        yield
    finally:
        hosts.run("vpngw", ["sh", "-ec", BACK])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return exported(tmp_path_factory.mktemp("export"))


def test_what_the_inventory_gave_comes_back_from_each_host(found: dict[str, str]) -> None:
    deployed = {host for host, _ in inventory("two_box").roles()}
    assert found.keys() == deployed
    compared = {}
    for host, text in found.items():
        variables = yaml.safe_load(text)
        compared[host] = (differences(variables, wanted(host, variables)), remarks(text))
    assert compared == dict.fromkeys(deployed, ({}, []))


def test_what_was_changed_by_hand_shows(hosts: LabHosts, found: dict[str, str], tmp_path: Path) -> None:
    before = yaml.safe_load(found["vpngw"])
    with by_hand(hosts):
        text = exported(tmp_path, "--limit", "vpngw")["vpngw"]
    now = yaml.safe_load(text)
    changed = {variable: value for variable, value in now.items() if before.get(variable) != value}
    assert changed == {
        "vpn_gateway_dpd_delay": "7m",
        "vpn_gateway_home_networks": ["192.0.2.64/27", "198.51.100.240/28"],
    }
    others = [remark for remark in remarks(text) if "a rule that no variable writes: ip daddr 198.51.100.241" in remark]
    assert len(others) == 1
    assert "# vpn_gateway_home_networks is not the same everywhere:" in text
