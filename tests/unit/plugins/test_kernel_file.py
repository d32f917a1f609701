"""What the kernel has of a file, what it would have, and what puts it back: asked of a kernel, in a namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils import kernel_file
from ansible_collections.mobileip.vpn.plugins.module_utils.kernel_file import (
    KernelFileError,
    Settings,
    Table,
    TimedRestore,
)

from tests.forwarding.conftest import Namespace
from tests.unit.templates.test_templates import RULESETS, render

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

OURS = """table inet mobileip_dmz {}
delete table inet mobileip_dmz
table inet mobileip_dmz {
  set agents {
    type ipv4_addr
    elements = { 192.0.2.40, 192.0.2.7, 192.0.2.200 }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    # a reason
    ip saddr @agents ip protocol { 55, 4, 47 } counter accept
  }
}
"""
OTHERS = """table ip filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    iifname "docker0" counter packets 7 bytes 700 accept
  }
}
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


def load(host: Namespace, text: str) -> None:
    host.run(subprocess.run, ["nft", "-f", "-"], input=text, text=True, check=True, timeout=20)


def listed(host: Namespace, *what: str) -> str:
    return host.shell(" ".join(["nft", "list", *what]))


def test_table_that_is_absent_is_nothing(host: Namespace) -> None:
    assert host.run(Table("inet mobileip_dmz").live) == ""


def test_what_is_expected_is_what_is_there_once_it_is_loaded(host: Namespace) -> None:
    table = Table("inet mobileip_dmz")
    expected = host.run(table.expected, OURS)
    load(host, OURS)
    assert host.run(table.live) == expected != ""


@pytest.mark.parametrize("name", RULESETS)
def test_rules_of_the_roles_are_expected_as_they_are_listed(host: Namespace, name: str) -> None:
    text = render(*RULESETS[name])
    table = Table("inet mobileip_gateway" if name.startswith("gateway") else "inet mobileip_dmz")
    load(host, text)
    live = host.run(table.live)
    assert live == host.run(table.expected, text) != ""
    # A way back that would not come back as it is must never be armed.
    assert live == host.run(table.expected, host.run(table.way_back))


def test_looking_at_what_is_expected_changes_nothing(host: Namespace) -> None:
    load(host, OTHERS)
    before = listed(host, "ruleset")
    host.run(Table("inet mobileip_dmz").expected, OURS)
    assert listed(host, "ruleset") == before


def test_rule_that_was_changed_by_hand_is_seen(host: Namespace) -> None:
    table = Table("inet mobileip_dmz")
    load(host, OURS)
    host.shell("nft add rule inet mobileip_dmz forward accept")
    assert host.run(table.live) != host.run(table.expected, OURS)


def test_way_back_of_a_table_brings_back_rules_and_counters_and_touches_no_other(
    host: Namespace, tmp_path: Path
) -> None:
    load(host, OURS.replace("counter", "counter packets 3 bytes 300") + OTHERS)
    before = listed(host, "ruleset")
    table = Table("inet mobileip_dmz")
    (tmp_path / "before").write_text(host.run(table.way_back), encoding="utf-8")
    load(host, OURS.replace("accept", "drop"))
    assert listed(host, "ruleset") != before
    host.shell(f"nft -f {tmp_path / 'before'}")
    assert sorted(listed(host, "ruleset").splitlines()) == sorted(before.splitlines())
    assert "packets 3 bytes 300" in before
    assert "packets 7 bytes 700" in before


def test_way_back_to_no_table_takes_it_away(host: Namespace, tmp_path: Path) -> None:
    load(host, OTHERS)
    before = listed(host, "ruleset")
    (tmp_path / "before").write_text(host.run(Table("inet mobileip_dmz").way_back), encoding="utf-8")
    load(host, OURS)
    for _ in range(2):
        host.shell(f"nft -f {tmp_path / 'before'}")
        assert listed(host, "ruleset") == before


def test_file_that_makes_another_table_or_no_rules_is_refused(host: Namespace) -> None:
    with pytest.raises(KernelFileError, match=r"makes table ip filter; expected inet mobileip_dmz and no other"):
        host.run(Table("inet mobileip_dmz").expected, OURS + OTHERS)
    with pytest.raises(KernelFileError, match="syntax error"):
        host.run(Table("inet mobileip_dmz").expected, "table inet mobileip_dmz { chain }")


@pytest.mark.parametrize("name", ["mobileip_dmz", "inet a; nft flush ruleset", "inet $(id)"])
def test_name_that_is_no_table_is_refused(name: str) -> None:
    with pytest.raises(KernelFileError, match="expected family and name"):
        Table(name)


@pytest.mark.parametrize("path", ["/etc/a b.nft", "x.nft", "/etc/a;b", "/etc/%n", "/etc/$HOME"])
def test_path_that_cannot_name_a_unit_is_refused(path: str) -> None:
    with pytest.raises(KernelFileError, match="expected a path"):
        TimedRestore(Path(path))


SYSCTL = """# comment
net.ipv4.ip_forward = 1
-net.ipv4.conf.eth0.100.rp_filter=2
net.ipv4.conf.absent.rp_filter = 2
"""


@pytest.fixture
def router(host: Namespace) -> Namespace:
    host.shell(
        """
        ip link add eth0.100 type veth peer name far
        sysctl -q -w net.ipv4.ip_forward=0 net/ipv4/conf/eth0.100/rp_filter=0
        """
    )
    return host


def test_settings_of_interfaces_with_dots_are_read_and_absent_ones_left_out(router: Namespace) -> None:
    settings = Settings(SYSCTL)
    assert router.run(settings.live) == "net/ipv4/ip_forward = 0\nnet/ipv4/conf/eth0.100/rp_filter = 0\n"
    assert router.run(settings.expected, SYSCTL) == "net/ipv4/ip_forward = 1\nnet/ipv4/conf/eth0.100/rp_filter = 2\n"


def test_way_back_of_settings_is_loaded_by_the_same_program(router: Namespace, tmp_path: Path) -> None:
    settings = Settings(SYSCTL)
    before = router.run(settings.live)
    for name, text in (("before", router.run(settings.way_back)), ("after", router.run(settings.expected, SYSCTL))):
        (tmp_path / name).write_text(text, encoding="utf-8")
    router.shell(" ".join([*Settings.loader, str(tmp_path / "after")]))
    assert router.run(settings.live) == router.run(settings.expected, SYSCTL) != before
    router.shell(" ".join([*Settings.loader, str(tmp_path / "before")]))
    assert router.run(settings.live) == before


def test_units_of_systemd_are_told_nothing_that_they_would_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd replaces `$` and `%` in a command; what is armed must be what is written."""
    asked: list[tuple[str, ...]] = []

    def record(*command: str, stdin: str = "") -> str:
        if command[0] == "systemctl":
            return "inactive\n"
        asked.append(command)
        return ""

    monkeypatch.setattr(kernel_file, "run", record)
    TimedRestore(Path("/etc/mobileip_dmz.nft"), tmp_path).arm(Table.loader, "before", "after", 60)
    restore, loading = asked
    assert (tmp_path / "mobileip_dmz.nft" / "before").read_text(encoding="utf-8") == "before"
    assert "--unit=mobileip-restore-mobileip_dmz.nft" in restore
    assert "--on-active=61s" in restore
    assert "--on-active=1s" in loading
    for command in asked:
        assert not set("$%") & set(" ".join(command))
