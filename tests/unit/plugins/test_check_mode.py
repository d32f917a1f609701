"""Check mode foretells what the same task then does: each module, on a target that is fresh, and on deployed ones.

A target is a network and a mount namespace. Scripts that keep transient timers stand in for systemd's two programs.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase
from ansible_collections.mobileip.vpn.plugins.action import kernel_file as action
from ansible_collections.mobileip.vpn.plugins.action.kernel_file import ActionModule
from ansible_collections.mobileip.vpn.plugins.module_utils import kernel_file as kernel_file_host
from ansible_collections.mobileip.vpn.plugins.modules import (
    carried_packages,
    checkpoint,
    gateway_routes,
    host_state,
    kernel_file,
    other_filters,
    redistribution,
    strongswan_connections,
    strongswan_info,
    units,
)

from tests.forwarding.conftest import Namespace

from .test_host_state import Charon

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PLUGINS = Path(checkpoint.__file__).parents[1]
MODULES: Mapping[str, Any] = {
    "carried_packages": carried_packages,
    "checkpoint": checkpoint,
    "gateway_routes": gateway_routes,
    "host_state": host_state,
    "kernel_file": kernel_file,
    "other_filters": other_filters,
    "redistribution": redistribution,
    "strongswan_connections": strongswan_connections,
    "strongswan_info": strongswan_info,
    "units": units,
}
_MOUNTS = 0x00020000  # CLONE_NEWNS
_RECURSIVE_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE
SYSTEMD_RUN = """#!/bin/sh
# Runs the last argument once the time has come, unless stopped before.
for word; do
  case $word in
    --unit=*) unit=${word#*=} ;;
    --on-active=*) delay=${word#*=} ;;
  esac
done
(sleep "${delay%s}"; rm "$UNITS/$unit.timer"; sh -c "$word") >/dev/null 2>&1 &
echo $! >"$UNITS/$unit.timer"
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
  "show --property=ActiveState --value "*)
    for unit; do :; done
    if [ -e "$UNITS/$unit" ]; then echo active; else echo inactive; fi ;;
  "--quiet stop "*)
    for unit; do :; done
    kill "$(cat "$UNITS/$unit")"; rm "$UNITS/$unit" ;;
  "is-enabled -- "*) if [ -e "$UNITS/$3.enabled" ]; then echo enabled; else echo disabled; exit 1; fi ;;
  "show --property=NeedDaemonReload --value -- "*) if [ -e "$UNITS/$5.stale" ]; then echo yes; else echo no; fi ;;
  "show --property=ActiveState --value -- "*) if [ -e "$UNITS/$5" ]; then echo active; else echo inactive; fi ;;
  "enable "*) touch "$UNITS/$2.enabled" ;;
  "start "*) touch "$UNITS/$2" ;;
  "daemon-reload") rm -f "$UNITS"/*.stale ;;
esac
"""
TABLE = """table inet mobileip_dmz {}
delete table inet mobileip_dmz
table inet mobileip_dmz {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ip daddr 203.0.113.10 udp dport 434 counter accept
  }
}
"""
SETTINGS = "net.ipv4.ip_forward = 1\nnet.ipv4.conf.pub.rp_filter = 2\n"
SWANCTL = "connections {\n  mn {\n    version = 2\n    remote {\n      id = mn@home.example\n    }\n  }\n}\n"


class Target:
    """What a task changes, or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace = Namespace()
        self.namespace.run(self._own_mounts)
        self.shell("""
            ip link set lo up
            ip link add pub type veth peer name far
            ip address add 203.0.113.20/26 dev pub
            ip link set pub up
            ip link set far up""")
        self.files = directory / "files"
        self.files.mkdir()
        self.charon = Charon(directory / "vici", "kernel")

    @staticmethod
    def _own_mounts() -> None:
        """What is below /run and what is pinned is this target's own, and goes with it."""
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(_MOUNTS) == 0, os.strerror(ctypes.get_errno())
        assert libc.mount(b"none", b"/", None, _RECURSIVE_PRIVATE, None) == 0, os.strerror(ctypes.get_errno())
        for place in (b"/run", b"/sys/fs/bpf"):
            assert libc.mount(b"none", place, b"tmpfs", 0, None) == 0, os.strerror(ctypes.get_errno())

    def close(self) -> None:
        self.charon.close()
        self.namespace.close()

    def shell(self, commands: str) -> str:
        return self.namespace.shell(commands)

    def write(self, name: str, text: str) -> None:
        (self.files / name).write_text(text, encoding="utf-8")

    def fingerprint(self) -> dict[str, Any]:
        """Everything here that a module might change."""
        kernel = self.shell("""
            ip -4 route show table all
            ip -4 rule
            nft -s list ruleset
            sysctl net.ipv4.ip_forward net.ipv4.conf.pub.rp_filter
            dpkg-query --show || true""")
        places = (self.files, self.directory / "backups", self.directory / "units", Path("/run"))
        return {
            # A wire's two ends find each other after a moment.
            "kernel": kernel.replace(" linkdown", ""),
            "files": self.namespace.run(lambda: [entry for place in places for entry in _below(place)]),
            "charon": json.dumps(self.charon.connections, default=repr),
        }


def _below(place: Path) -> list[tuple[str, str]]:
    found = sorted(path for path in place.rglob("*") if path.is_file())
    return [(str(path), path.read_text(encoding="utf-8")) for path in found]


@dataclass(frozen=True)
class Case:
    """A task, and what its target is before it."""

    module: str
    target: str
    arguments: Callable[[Target], dict[str, Any]]
    before: Callable[[Target], object] = field(default=lambda _: None)
    changes: bool = True
    again: bool = False
    """Whether a second run changes something, which the module's documentation has to say."""

    def __str__(self) -> str:
        return f"{self.module}, {self.target}"


def _in_kernel_file(target: Target, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    """Run the action plugin, which has the module's steps done; the connection is none that could be cut."""

    class Local(ActionModule):
        def __init__(self) -> None:
            self._task = SimpleNamespace(args=arguments, check_mode=check)
            self._connection = SimpleNamespace(transport="local", reset=lambda: None)

        def _execute_module(self, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
            return _in_module(target, "kernel_file", module_args, check)

        def _low_level_execute_command(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"stdout": "\n"}

    found: dict[str, Any] = Local().run(None, {})
    return found


def _in_module(target: Target, name: str, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    return target.namespace.run(partial(_returned, name, {**arguments, "_ansible_check_mode": check}))


def _returned(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    said = io.StringIO()
    with patch_module_args({**arguments, "_ansible_diff": True}), redirect_stdout(said), pytest.raises(SystemExit):
        MODULES[name].main()
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def run(case: Case, target: Target, *, check: bool) -> dict[str, Any]:
    """Run the case's task as Ansible does."""
    arguments = case.arguments(target)
    runs = _in_kernel_file if case.module == "kernel_file" else partial(_by_module, case.module)
    found = runs(target, arguments, check)
    assert not found.get("failed"), found["msg"]
    return found


def _by_module(name: str, target: Target, arguments: dict[str, Any], check: bool) -> dict[str, Any]:
    return _in_module(target, name, arguments, check)


def table(target: Target) -> dict[str, Any]:
    path = str(target.files / "mobileip_dmz.nft")
    return {"path": path, "content": TABLE, "table": "inet mobileip_dmz", "mode": "0644", "confirm_seconds": 20}


def settings(target: Target) -> dict[str, Any]:
    return {"path": str(target.files / "60-site.conf"), "content": SETTINGS, "mode": "0644", "confirm_seconds": 20}


def routes(_: Target, **other: Any) -> dict[str, Any]:
    way = {"home_networks": ["192.0.2.64/27"], "via": "203.0.113.10", "interface": "pub", "source": "203.0.113.20"}
    return {**way, **other}


def kept(state: str, **other: Any) -> Callable[[Target], dict[str, Any]]:
    def arguments(target: Target) -> dict[str, Any]:
        touches = {"files": [f"{target.files}/*"], "tables": ["inet mobileip_dmz"], "protocols": [143]}
        return {"state": state, "directory": str(target.directory / "backups"), "touches": [touches], **other}

    return arguments


NAME = "20261123T145500Z"


def begun(target: Target) -> None:
    """Record the target as a roll-out does, before it changes anything."""
    target.write("config.yml", "old")
    assert _in_module(target, "checkpoint", kept("begin")(target), False)["changed"]


def rolled_out(target: Target) -> None:
    begun(target)
    target.write("config.yml", "new")
    target.write("more.yml", "new")
    target.shell("ip route add 192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143")
    load_table(target)


def named(target: Target) -> None:
    rolled_out(target)
    assert _in_module(target, "checkpoint", kept("keep", name=NAME)(target), False)["changed"]


def load_table(target: Target) -> None:
    target.namespace.run(subprocess.run, ["nft", "-f", "-"], input=TABLE, text=True, check=True, timeout=20)


def turned_elsewhere(target: Target) -> None:
    """As the module left it for another proxy, and one rule more."""
    target.shell("""
        ip route add 192.0.2.64/27 via 203.0.113.9 dev pub table 434 proto 143
        ip rule add preference 434 from 203.0.113.20 to 192.0.2.64/27 lookup 434 protocol 143
        ip rule add preference 435 from 192.0.2.0/27 to 192.0.2.64/27 lookup 434 protocol 143""")


def deployed(case: Callable[[Target], dict[str, Any]], module: str) -> Callable[[Target], object]:
    """The target as the task leaves it."""
    return lambda target: run(Case(module, "", case), target, check=False)


def changed_file(target: Target) -> None:
    deployed(table, "kernel_file")(target)
    target.write("mobileip_dmz.nft", TABLE.replace("counter", "limit rate 1/second"))


def changed_kernel(target: Target) -> None:
    deployed(table, "kernel_file")(target)
    target.shell("nft add rule inet mobileip_dmz forward accept")


def changed_both(target: Target) -> None:
    changed_file(target)
    target.shell("nft delete table inet mobileip_dmz")


def changed_mode(target: Target) -> None:
    deployed(table, "kernel_file")(target)
    (target.files / "mobileip_dmz.nft").chmod(0o600)


def changed_setting(target: Target) -> None:
    deployed(settings, "kernel_file")(target)
    target.shell("sysctl -q -w net.ipv4.ip_forward=0")


def flows(_: Target) -> dict[str, Any]:
    return {"flows": [{"reason": "registrations", "hook": "input", "protocol": ["udp"], "destination_port": "434"}]}


def announced(_: Target) -> dict[str, Any]:
    return {"home_networks": ["192.0.2.64/27"], "via": "203.0.113.10", "interface": "pub", "daemons": [], "settle": 0}


def places(target: Target) -> dict[str, Any]:
    found = {option: str(target.directory / option) for option in host_state.ARGUMENTS}
    return {**found, "vici": target.charon.path}


def options_of_charon(target: Target) -> dict[str, Any]:
    target.write("strongswan.conf", "")
    places = {"path": "mobileip.conf", "configuration": "strongswan.conf", "connections": "swanctl.conf"}
    content = "charon-systemd {\n  install_routes = no\n}\n"
    return {"content": content, **{option: str(target.files / name) for option, name in places.items()}}


def connections(target: Target) -> dict[str, Any]:
    target.write("mobileip.conf", SWANCTL)
    return {"paths": [str(target.files / "mobileip.conf")], "socket": target.charon.path}


def unit(_: Target) -> dict[str, Any]:
    return {"names": ["mobileip-dmz-firewall.service"]}


def enabled_only(target: Target) -> None:
    (target.directory / "units" / "mobileip-dmz-firewall.service.enabled").touch()


unguarded = partial(routes, leak_guard=False)
loaded = deployed(connections, "strongswan_connections")
PACKAGE = """Package: mobileip-of-a-test
Version: 1.0-1
Architecture: all
Maintainer: nobody <nobody@invalid>
Description: nothing
"""
OWN_PACKAGES = """
for place in /var/lib/dpkg /var/lib/apt /var/cache/apt /var/log; do
  mkdir -p $OWN$place/upper $OWN$place/work
  mount -t overlay -o lowerdir=$place,upperdir=$OWN$place/upper,workdir=$OWN$place/work overlay $place
done"""


def carried(target: Target) -> dict[str, Any]:
    """Carry a package to the target, whose state of dpkg is its own from then on."""
    directory = target.directory / "carried"
    file = directory / "mobileip-of-a-test_1.0-1_all.deb"
    if not file.exists():
        target.shell(f"OWN={target.directory / 'own'}\n{OWN_PACKAGES}")
        (directory / "tree" / "DEBIAN").mkdir(parents=True)
        (directory / "tree" / "DEBIAN" / "control").write_text(PACKAGE, encoding="ascii")
        target.shell(f"dpkg-deb --build {directory / 'tree'} {file}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    package = {"name": "mobileip-of-a-test", "version": "1.0-1", "file": file.name, "sha256": digest}
    return {"directory": str(directory), "packages": [package], "asked_for": []}


CASES = (
    Case("carried_packages", "fresh", carried),
    Case("carried_packages", "deployed", carried, deployed(carried, "carried_packages"), changes=False),
    Case("gateway_routes", "fresh", routes),
    Case("gateway_routes", "deployed", routes, deployed(routes, "gateway_routes"), changes=False),
    Case("gateway_routes", "deployed for another proxy", routes, turned_elsewhere),
    Case("gateway_routes", "deployed with the guard, asked without", unguarded, turned_elsewhere),
    Case("gateway_routes", "deployed, asked away", partial(routes, state="absent"), turned_elsewhere),
    Case("gateway_routes", "fresh, asked away", partial(routes, state="absent"), changes=False),
    Case("kernel_file", "fresh, a table", table),
    Case("kernel_file", "deployed, a table", table, deployed(table, "kernel_file"), changes=False),
    Case("kernel_file", "deployed, another file", table, changed_file),
    Case("kernel_file", "deployed, another table", table, changed_kernel),
    Case("kernel_file", "deployed, another file and no table", table, changed_both),
    Case("kernel_file", "deployed, another mode", table, changed_mode),
    Case("kernel_file", "fresh, settings", settings),
    Case("kernel_file", "deployed, settings", settings, deployed(settings, "kernel_file"), changes=False),
    Case("kernel_file", "deployed, another setting", settings, changed_setting),
    Case("checkpoint", "fresh, begin", kept("begin"), again=True),
    Case("checkpoint", "rolled out, begin", kept("begin"), rolled_out, changes=False),
    Case("checkpoint", "begun, keep", kept("keep", name=NAME), begun, changes=False),
    Case("checkpoint", "rolled out, keep", kept("keep", name=NAME), rolled_out),
    Case("checkpoint", "fresh, restored", kept("restored"), changes=False),
    Case("checkpoint", "begun, restored", kept("restored"), begun, changes=False),
    Case("checkpoint", "rolled out, restored", kept("restored"), rolled_out),
    Case("checkpoint", "rolled out and kept, restored", kept("restored", name="latest"), named),
    Case("checkpoint", "fresh, absent", kept("absent"), changes=False),
    Case("checkpoint", "rolled out and kept, absent", kept("absent"), named),
    Case("checkpoint", "rolled out and kept, listed", kept("listed"), named, changes=False),
    Case("strongswan_connections", "fresh", connections, again=True),
    Case("strongswan_connections", "deployed", connections, loaded, again=True),
    Case("strongswan_info", "fresh", options_of_charon, changes=False),
    Case("other_filters", "fresh", flows, changes=False),
    Case("other_filters", "deployed", flows, load_table, changes=False),
    Case("redistribution", "fresh", announced, changes=False),
    Case("redistribution", "deployed", announced, turned_elsewhere, changes=False),
    Case("units", "fresh", unit),
    Case("units", "enabled and not running", unit, enabled_only),
    Case("units", "deployed", unit, deployed(unit, "units"), changes=False),
    Case("host_state", "fresh", places, changes=False),
    Case("host_state", "deployed", places, turned_elsewhere, changes=False),
)  # fmt: skip


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    programs, units = tmp_path / "bin", tmp_path / "units"
    for place in (programs, units):
        place.mkdir()
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(text, encoding="ascii")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("UNITS", str(units))
    # A host loads a while after it has said that it will, which nothing here has to wait for.
    monkeypatch.setattr(kernel_file_host, "_LOAD_AFTER_SECONDS", 0)
    monkeypatch.setattr(action, "_LOADING_SECONDS", 0.1)
    monkeypatch.setattr(action, "_PAUSE_SECONDS", 0.1)
    # It wants a task's whole surroundings, and says nothing that counts here.
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    made = Target(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_check_mode_foretells_what_then_happens_and_changes_nothing(case: Case, target: Target) -> None:
    case.before(target)
    case.arguments(target)  # which may write what the task reads
    before = target.fingerprint()
    foretold = run(case, target, check=True)
    assert target.fingerprint() == before
    done = run(case, target, check=False)
    assert (foretold["changed"], foretold.get("diff")) == (done["changed"], done.get("diff"))
    assert done["changed"] is case.changes
    if not case.changes:
        assert target.fingerprint() == before or case.module == "checkpoint"
    assert run(case, target, check=False)["changed"] is case.again


def test_each_module_and_each_action_is_among_the_cases_fresh_and_deployed() -> None:
    known = {path.stem for folder in ("modules", "action") for path in (PLUGINS / folder).glob("*.py")}
    assert {case.module for case in CASES} == known == MODULES.keys()


@pytest.mark.parametrize("name", sorted({case.module for case in CASES if case.again}))
def test_module_that_changes_something_each_time_says_so(name: str) -> None:
    said = yaml.safe_load(MODULES[name].DOCUMENTATION)["attributes"]["idempotent"]
    assert said["support"] == "none" or "always" in " ".join([said["description"]])
