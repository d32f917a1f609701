"""A host as data: what a checkpoint tells apart, and the steps back in their order."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import (
    CheckpointError,
    Entry,
    State,
    Touches,
    Unit,
    UnitOf,
    chosen,
    matches,
    missing,
    old_copies,
    plan,
    settled,
    surplus,
    touches_of,
    without,
)

RUNS = Unit("enabled", active=True)
TOUCHES = Touches(
    files=("/etc/mobileip/*.yml",),
    trees=("/opt/mobileip",),
    units=(
        UnitOf("mobileip@*.service", restart=("/etc/mobileip/*.yml", "/opt/mobileip")),
        UnitOf(
            "strongswan.service",
            restart=("/etc/strongswan.d/mobileip.conf",),
            reload=("/etc/swanctl/conf.d/mobileip.conf",),
            reload_command=("swanctl", "--load-all"),
        ),
    ),
    packages=("nftables",),
    users=("mobileip",),
    protocols=(77,),
    rules=("preference 199 * lookup 435",),
)
FRESH = State(
    touches=TOUCHES,
    units={"strongswan.service": Unit()},
    settings={"net.ipv4.ip_forward": "0", "net.ipv4.conf.pub.rp_filter": "1", "net.ipv4.conf.pub.forwarding": "0"},
    packages=("base",),
)
DEPLOYED = replace(
    FRESH,
    files={"/etc/mobileip/proxy.yml": Entry("file", 0o640, 0, 990, "aa")},
    trees={"/opt/mobileip": {"": Entry("directory", 0o755, 0, 0)}},
    grown=("/var/lib/mobileip",),
    units={"mobileip@proxy.service": RUNS, "strongswan.service": RUNS},
    tables={"inet mobileip_dmz": "table inet mobileip_dmz {}\n"},
    routes=("192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143",),
    rules=("preference 434 from 203.0.113.20 to 192.0.2.64/27 lookup 434 proto 143",),
    addresses=("192.0.2.69/32",),
    settings={"net.ipv4.ip_forward": "1", "net.ipv4.conf.pub.rp_filter": "2", "net.ipv4.conf.pub.forwarding": "1"},
    named=("net.ipv4.conf.pub.rp_filter", "net.ipv4.ip_forward"),
    packages=("base", "libnftables1", "nftables"),
    users=("mobileip:990:989:mobileip:Mobile IP daemon:/var/lib/mobileip:/usr/sbin/nologin",),
    pins=("proxy",),
)
SWAN = State(
    touches=TOUCHES,
    files={"/etc/swanctl/conf.d/mobileip.conf": Entry("file", 0o644, 0, 0, "aa")},
    units={"strongswan.service": RUNS},
)


def steps(then: State, now: State, *, purge: bool = True) -> list[str]:
    return [str(step) for step in plan(then, now, purge=purge)]


def test_host_as_it_was_needs_no_step() -> None:
    assert steps(DEPLOYED, DEPLOYED) == []
    assert steps(FRESH, FRESH) == []


def test_back_to_a_fresh_host_stops_before_it_removes_and_empties_the_kernel_before_the_files_go() -> None:
    assert steps(FRESH, DEPLOYED) == [
        "stop mobileip@proxy.service",
        "disable mobileip@proxy.service",
        "stop strongswan.service",
        "disable strongswan.service",
        "unload the programs of proxy",
        "delete rule preference 434 from 203.0.113.20 to 192.0.2.64/27 lookup 434 proto 143",
        "delete route 192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143",
        "delete address 192.0.2.69/32 on lo",
        "delete table inet mobileip_dmz",
        "remove /etc/mobileip/proxy.yml",
        "remove /opt/mobileip",
        "remove /var/lib/mobileip",
        "purge the packages nftables",
        "delete user mobileip",
        "set net.ipv4.ip_forward = 0",
        "set net.ipv4.conf.pub.forwarding = 0",
        "set net.ipv4.conf.pub.rp_filter = 1",
    ]


def test_forward_again_restores_before_it_starts() -> None:
    assert steps(DEPLOYED, replace(FRESH, named=DEPLOYED.named), purge=False) == [
        "restore /etc/mobileip/proxy.yml",
        "restore /opt/mobileip",
        "create user mobileip",
        "load table inet mobileip_dmz",
        "add address 192.0.2.69/32 on lo",
        "set net.ipv4.ip_forward = 1",
        "set net.ipv4.conf.pub.forwarding = 1",
        "set net.ipv4.conf.pub.rp_filter = 2",
        "enable mobileip@proxy.service",
        "restart mobileip@proxy.service",
        "enable strongswan.service",
        "restart strongswan.service",
        "add route 192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143",
        "add rule preference 434 from 203.0.113.20 to 192.0.2.64/27 lookup 434 proto 143",
    ]


def test_packages_stay_unless_asked() -> None:
    assert not any(step.startswith("purge") for step in steps(FRESH, DEPLOYED, purge=False))


def test_package_that_was_there_is_never_purged() -> None:
    before = replace(FRESH, packages=("base", "nftables"))
    assert not any(step.startswith("purge") for step in steps(before, DEPLOYED))


def test_package_that_was_there_is_marked_as_it_was() -> None:
    came = replace(FRESH, packages=("base", "nftables"), marks={"nftables": "auto"})
    asked = replace(came, marks={"nftables": "manual"})
    assert steps(came, asked) == ["mark the package nftables as auto"]
    assert steps(asked, came) == ["mark the package nftables as manual"]
    assert steps(FRESH, asked) == ["purge the packages nftables"]
    assert steps(asked, replace(FRESH, packages=("base",))) == []


def test_only_what_reads_a_changed_file_is_restarted() -> None:
    changed = replace(DEPLOYED, files={"/etc/mobileip/proxy.yml": Entry("file", 0o640, 0, 990, "bb")})
    assert steps(DEPLOYED, changed) == ["restore /etc/mobileip/proxy.yml", "restart mobileip@proxy.service"]


def test_connections_of_strongswan_are_loaded_without_a_restart() -> None:
    changed = replace(SWAN, files={"/etc/swanctl/conf.d/mobileip.conf": Entry("file", 0o644, 0, 0, "bb")})
    found = plan(SWAN, changed, purge=True)
    assert [str(step) for step in found] == [
        "restore /etc/swanctl/conf.d/mobileip.conf",
        "reload strongswan.service",
    ]
    assert found[-1].words == ("swanctl", "--load-all")


def test_connections_of_a_gateway_are_loaded_by_themselves() -> None:
    paths = ("/etc/swanctl/conf.d/mobileip.conf",)
    touches = Touches(units=(UnitOf("strongswan.service", connections=paths),))
    then = replace(SWAN, touches=touches)
    found = plan(then, replace(then, files={}), purge=True)
    assert [str(step) for step in found] == [f"restore {paths[0]}", "load the connections of strongswan.service"]
    assert found[-1].words == ("connections", *paths)


@pytest.mark.parametrize(("started", "restarts"), [("one", []), ("two", ["restart strongswan.service"])])
def test_unit_of_others_is_restarted_only_if_it_has_started_with_what_goes_away(
    started: str, restarts: list[str]
) -> None:
    then = replace(SWAN, units={"strongswan.service": replace(RUNS, invocation="one")})
    now = replace(
        then,
        files={**SWAN.files, "/etc/strongswan.d/mobileip.conf": Entry("file", 0o644, 0, 0, "bb")},
        units={"strongswan.service": replace(RUNS, invocation=started)},
    )
    assert steps(then, now) == ["remove /etc/strongswan.d/mobileip.conf", *restarts]


def test_own_unit_is_restarted_although_it_may_have_been_reloaded_only() -> None:
    then = replace(DEPLOYED, units={"mobileip@proxy.service": replace(RUNS, invocation="one")})
    now = replace(then, files={"/etc/mobileip/proxy.yml": Entry("file", 0o640, 0, 990, "bb")})
    assert "restart mobileip@proxy.service" in steps(then, now)


def test_package_that_is_gone_is_missed_where_a_role_needs_it() -> None:
    assert missing(DEPLOYED, FRESH) == ["nftables"]
    assert missing(FRESH, DEPLOYED) == []


def test_unit_of_others_that_nobody_recorded_is_left_alone() -> None:
    then = replace(FRESH, units={})
    assert steps(then, replace(FRESH, units={"strongswan.service": RUNS, "mobileip@node.service": RUNS})) == [
        "stop mobileip@node.service",
        "disable mobileip@node.service",
    ]


def test_setting_that_no_file_of_ours_names_is_left_alone() -> None:
    now = replace(FRESH, settings={**FRESH.settings, "net.ipv4.conf.pub.rp_filter": "0"})
    assert steps(FRESH, now) == []


def test_failure_of_a_unit_is_forgotten_after_its_file_is_gone() -> None:
    now = replace(
        FRESH,
        files={"/etc/systemd/system/mobileip@.service": Entry("file", 0o644, 0, 0, "aa")},
        units={"mobileip@proxy.service": Unit("enabled", failed=True)},
    )
    assert steps(FRESH, now) == [
        "disable mobileip@proxy.service",
        "remove /etc/systemd/system/mobileip@.service",
        "read systemd's units again",
        "forget the failure of mobileip@proxy.service",
    ]


def test_directory_that_others_use_as_well_stays() -> None:
    alone = replace(FRESH, directories=("/etc/nftables.d",))
    assert steps(FRESH, alone) == ["remove /etc/nftables.d if it is empty"]
    assert steps(FRESH, replace(alone, shared=("/etc/nftables.d",))) == []


def test_routes_of_a_daemon_that_ran_and_runs_are_its_own_business() -> None:
    old = ("default via 198.51.100.129 dev eth0 proto 77", "192.0.2.64/27 via 203.0.113.10 dev pub proto 143")
    then, now = replace(DEPLOYED, routes=old), replace(DEPLOYED, routes=(), rules=("preference 199 from x lookup 435",))
    assert settled(then, now).routes == old[1:]
    assert "preference 199 from x lookup 435" in settled(then, now).rules
    assert settled(replace(FRESH, routes=old), now).routes == old


def test_without_leaves_what_is_not_ours_as_it_was_first() -> None:
    first = replace(FRESH, units={"strongswan.service": RUNS}, directories=("/etc/nftables.d",))
    found = without(DEPLOYED, first)
    assert (found.files, found.trees, found.pins, found.users) == ({}, {}, (), ())
    assert found.units == {"strongswan.service": RUNS}
    assert found.directories == ("/etc/nftables.d",)
    assert found.settings == FRESH.settings
    unknown = without(DEPLOYED, None)
    assert unknown.settings == DEPLOYED.settings, "without a checkpoint nobody knows what they were"
    assert unknown.units == {"strongswan.service": RUNS}


@pytest.mark.parametrize(
    ("path", "pattern", "does"),
    [
        ("/etc/mobileip/proxy.yml", "/etc/mobileip/*.yml", True),
        ("/etc/mobileip/keys/proxy.yml", "/etc/mobileip/*.yml", False),
        ("/etc/mobileip/keys/proxy.yml", "/etc/mobileip/**", True),
        ("/etc/mobileip", "/etc/mobileip/**", False),
        ("/etc/mobileip2/x", "/etc/mobileip/**", False),
        ("/opt/mobileip", "/opt/mobileip", True),
    ],
)
def test_pattern(path: str, pattern: str, does: bool) -> None:
    assert matches(path, pattern) is does


def test_name_of_a_roll_out_that_did_not_change_the_host_means_its_next_one() -> None:
    kept = ["20260101T000000Z", "20260301T000000Z"]
    assert chosen(kept, "20260101T000000Z") == kept[0]
    assert chosen(kept, "20260201T000000Z") == kept[1]
    assert chosen(kept, "20260401T000000Z") is None
    assert chosen(kept, "latest") == kept[1]
    assert chosen([], "latest") is None
    with pytest.raises(CheckpointError, match=r"name: yesterday; expected latest or a name such as"):
        chosen(kept, "yesterday")


def test_first_checkpoint_stays() -> None:
    names = [f"2026010{day}T000000Z" for day in range(1, 7)]
    assert surplus(names, 2) == names[1:4]
    assert surplus(names[:3], 2) == []
    assert surplus([], 2) == []


def test_newest_copies_of_each_file_stay() -> None:
    older, newer = "/etc/a.yml.9.2026-11-23@18:05:12~", "/etc/a.yml.10.2026-11-24@08:05:12~"
    others = ["/etc/a.yml", "/etc/b.yml.7.2026-11-22@18:05:12~", "/etc/a.yml.orig~"]
    assert old_copies([newer, older, *others], keep=1) == [older]
    assert old_copies([newer, older, *others], keep=2) == []


def test_state_survives_json() -> None:
    assert State.from_json(json.loads(json.dumps(DEPLOYED.to_json()))) == DEPLOYED


def test_state_that_an_earlier_release_kept_is_read() -> None:
    earlier = DEPLOYED.to_json()
    del earlier["shared"]
    assert State.from_json(earlier) == DEPLOYED


def test_state_of_another_format_is_refused() -> None:
    with pytest.raises(CheckpointError, match="format 0 of the checkpoint; expected 1"):
        State.from_json({**DEPLOYED.to_json(), "format": 0})


def test_declaration_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(CheckpointError, match="touches: file; expected only"):
        touches_of({"file": ["/etc/mobileip"]})


def test_declarations_add_up_each_thing_once() -> None:
    both = Touches(files=("/a",), packages=("p",)) | Touches(files=("/a", "/b"))
    assert both == Touches(files=("/a", "/b"), packages=("p",))
