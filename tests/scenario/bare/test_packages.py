"""Hosts that never knew a mirror have what the roles need, by way of the controller."""

from __future__ import annotations

import pytest
from roaming.lab_hosts import LabHosts

# One of each role that installs packages, and a package that no role asks for by name.
HOSTS = {
    "mipp": ("python3-venv", "python3.13-venv"),
    "vpngw": ("charon-systemd", "libstrongswan"),
    "outer_fw": ("nftables", "libnftables1"),
    "mn": ("strongswan-swanctl", "libstrongswan"),
}


@pytest.mark.parametrize("name", HOSTS)
def test_no_mirror_is_known_and_nothing_was_read_of_one(hosts: LabHosts, name: str) -> None:
    assert hosts.run(name, ["apt-get", "indextargets"]).stdout == ""
    assert hosts.run(
        name, ["sh", "-c", "ls /var/lib/apt/lists 2>/dev/null | grep -c Packages"], check=False
    ).stdout.strip() in ("", "0")


@pytest.mark.parametrize("name", HOSTS)
def test_what_was_asked_for_is_kept_and_what_it_needed_goes_with_it(hosts: LabHosts, name: str) -> None:
    asked_for, came_along = HOSTS[name]
    assert hosts.run(name, ["apt-mark", "showmanual", asked_for]).stdout.strip() == asked_for
    assert hosts.run(name, ["apt-mark", "showauto", came_along]).stdout.strip() == came_along


@pytest.mark.parametrize("name", HOSTS)
def test_nothing_is_left_of_what_was_carried(hosts: LabHosts, name: str) -> None:
    assert hosts.run(name, ["ls", "/var/cache/mobileip-packages"], check=False).returncode != 0
