"""What was on the hosts before the roll-out is there after the removal, as it was; and nothing else is.

Packet filters, kernel settings, routes, routing daemons and strongSwan's connections of their owners, right beside what
the roles write; and two users of the gateway who ping all the time. The tests build on each other, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from roaming.lab_hosts import LabHosts

from tests.long.undo.ground import backups, differences, fingerprints, run, went_well
from tests.long.undo.users import GATEWAY, Users, put, users_of_gateway
from tests.scenario.plays import Play

pytestmark = pytest.mark.timeout(900)

TARGETS = ("outer_fw", "mipp", "vpngw", "inner_fw", "ha", "mn")
INSTALL = "apt-get -q update && apt-get -q -y --no-install-recommends install"
# Where the role dmz_firewall puts its own: loaded by the owner's unit, without a word about ours.
RULES = """\
table inet owner {
  counter seen { }
  chain input {
    type filter hook input priority -5; policy accept;
    ip protocol icmp counter name seen accept
    tcp dport 23 counter drop
  }
}
"""
RULES_FILE, RULES_UNIT = "/etc/nftables.d/owner.nft", "/etc/systemd/system/owner-rules.service"
UNIT = f"""\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f {RULES_FILE}
[Install]
WantedBy=multi-user.target
"""
# Two that roles set themselves, otherwise, and one that is nobody else's.
SETTINGS_FILE = "/etc/sysctl.d/50-owner.conf"
SETTINGS = "net.ipv4.conf.all.send_redirects = 0\nnet.ipv4.conf.default.rp_filter = 2\nnet.ipv4.ipfrag_time = 17\n"
OWN_CONNECTION = """\
connections {
  owner {
    remote_addrs = 192.0.2.200
    local { auth = psk }
    remote { auth = psk }
    children { owner { } }
  }
}
secrets {
  ike-owner { secret = "the-owner-of-this-node-0123456789" }
}
"""
OWN_ROUTE = "192.0.2.240/29"
# The firewall is told of the gateway's other users, as its operator must.
ALLOWED = [
    {"reason": f"IPsec of other users, {way}", "from": ends[0], "to": ends[1], "match": f"ip {side} {GATEWAY} {match}"}
    for way, ends, side in (("in", ("outside", "dmz"), "daddr"), ("out", ("dmz", "outside"), "saddr"))
    for match in ("meta l4proto esp", "udp dport { 500, 4500 }")
]
SITE = {
    "owner_allows": ALLOWED,
    "dmz_firewall_allow": "{{ owner_allows if dmz_firewall_kind | default('') == 'outer' else [] }}",
}


def of_their_own(hosts: LabHosts, host: str) -> None:
    """Give a host packet filter rules, kernel settings and a route of its owner's."""
    hosts.run(host, ["sh", "-c", f"{INSTALL} nftables && mkdir -p /etc/nftables.d"])
    put(hosts, host, RULES_FILE, RULES)
    put(hosts, host, RULES_UNIT, UNIT)
    put(hosts, host, SETTINGS_FILE, SETTINGS)
    hosts.run(host, ["systemctl", "enable", "--quiet", "--now", RULES_UNIT.rpartition("/")[2]])
    hosts.run(host, ["sysctl", "-q", "-p", SETTINGS_FILE])
    hosts.run(host, ["ip", "route", "add", "blackhole", OWN_ROUTE, "metric", "77"])


@pytest.fixture(scope="module")
def users(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    with users_of_gateway(hosts, tmp_path_factory.mktemp("pings")) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def before(hosts: LabHosts, users: Users) -> dict[str, list[str]]:
    """What the hosts are before anything was rolled out: each with something of its own."""
    for host in TARGETS:
        of_their_own(hosts, host)
    hosts.run("mn", ["sh", "-c", f"{INSTALL} charon-systemd strongswan-swanctl"])
    put(hosts, "mn", "/etc/swanctl/conf.d/owner.conf", OWN_CONNECTION)
    hosts.run("mn", ["systemctl", "enable", "--quiet", "--now", "strongswan.service"])
    hosts.run("mn", ["swanctl", "--load-all", "--noprompt"])
    return fingerprints(hosts, TARGETS)


def on_all(playbook: str, **variables: Any) -> Play:
    return run(playbook, targets=TARGETS, **variables)


def test_roll_out_beside_what_is_there(hosts: LabHosts, users: Users, before: dict[str, list[str]]) -> None:
    done = went_well(on_all("site", **SITE))
    assert set(done.hosts_with("changed")) == set(TARGETS)
    users.assert_undisturbed()
    deployed = fingerprints(hosts, TARGETS)
    assert set(differences(before, deployed)) == set(TARGETS)
    for host in TARGETS:
        own = [line for line in before[host] if "owner" in line or "192.0.2.240/29" in line]
        assert len(own) > 5, "the host has nothing of its own"
        assert [line for line in own if line not in deployed[host]] == [], host


def test_remove_asks_first(hosts: LabHosts, users: Users) -> None:
    deployed = fingerprints(hosts, TARGETS)
    asked = went_well(on_all("remove", remove_packages=True))
    assert asked.hosts_with("changed") == []
    assert "Nothing was changed. With -e mobileip_remove=true" in asked.output
    assert differences(deployed, fingerprints(hosts, TARGETS)) == {}
    users.assert_undisturbed()


def test_remove_leaves_what_was_there_before(hosts: LabHosts, users: Users, before: dict[str, list[str]]) -> None:
    done = went_well(on_all("remove", remove_packages=True, mobileip_remove=True))
    assert set(done.hosts_with("changed")) == set(TARGETS)
    assert differences(before, fingerprints(hosts, TARGETS)) == {}
    assert {host: backups(hosts, host) for host in TARGETS} == {host: [] for host in TARGETS}
    assert "owner:" in hosts.run("mn", ["swanctl", "--list-conns"]).stdout
    assert "192.0.2.224" in hosts.run("inner_fw", ["ip", "route", "show"]).stdout, (
        "the static route of the gateway's owner"
    )
    users.assert_undisturbed()


def test_second_removal_finds_nothing(users: Users) -> None:
    done = went_well(on_all("remove", remove_packages=True, mobileip_remove=True))
    assert done.hosts_with("changed") == []
    users.assert_undisturbed()
