"""The example site with everything real in it: the daemons, strongSwan, the roles' files, ESP in the kernel.

The lab's wires and addresses (molecule/resources/topology.yml). A host is its network namespace and, where a role has
written files, a mount namespace with them in /etc, and with /run, /var/lib/mobileip and bpffs of its own. What systemd
would do with these files at boot is done here. Routing neighbours are missing: what OSPF would tell is static.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from roaming.lab_hosts import LabHosts
from roaming.session import SessionError

from lab import wires
from lab.names import of_host
from mobileip.runtime.control import ControlError, ask

INSTANCES = {"ha": "home_agent", "fa": "foreign_agent", "mipp": "proxy", "mn": "node", "mn2": "node"}
"""The daemons, by host."""
NODES = ("mn", "mn2")
_UNNEEDED = "ha2"
_PATIENCE = 400
"""Seconds for a daemon to come up: five of them load programs at once, on an emulated processor."""
_LEARNT = {
    "vpngw": [f"{network} via 192.0.2.1" for network in ("192.0.2.32/27", "192.0.2.64/27", "192.0.2.128/27")],
    "inner_fw": ["192.0.2.64/27 via 192.0.2.40"],
}
"""Routes that OSPF would tell these hosts."""
_ONE_BOX = """
ip address add 203.0.113.20/26 dev pub
ip address add 192.0.2.20/27 dev priv
"""
_BOOT = """
set -e
mount -t overlay -o lowerdir="$1/etc:/etc" overlay /etc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /opt
mkdir -p /run/mobileip /var/lib/mobileip /opt/mobileip
ln -s "$2" /opt/mobileip/lib
mount -t tmpfs tmpfs /var/lib/mobileip
mount -t bpf bpf /sys/fs/bpf
shopt -s nullglob
for file in /etc/sysctl.d/60-mobileip-*.conf; do sysctl -q -p "$file"; done
for file in /etc/nftables.d/mobileip_*.nft /etc/mobileip/*-mss.nft; do nft -f "$file"; done
echo booted
exec sleep infinity
"""
_LOUD = "charon-systemd {\n  filelog {\n    stderr {\n      default = 1\n      flush_line = yes\n    }\n  }\n}\n"


class Site(LabHosts):
    """The hosts. As on the lab's, `run` runs commands, and `move` moves nodes."""

    def __init__(self, files: Path, programs: Path, logs: Path, *, one_box: bool) -> None:
        super().__init__()
        self.gateway = "mipp" if one_box else "vpngw"
        """The host of the VPN gateway."""
        self._one_box = one_box
        self._files = files
        self._programs = programs
        self._logs = logs
        self._booted: dict[str, int] = {}
        self._processes: dict[tuple[str, str], subprocess.Popen[str]] = {}

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` on `host`; in one box the gateway is the proxy's host."""
        host = self.gateway if host == "vpngw" else host
        if host in self._booted:
            return ["nsenter", f"--target={self._booted[host]}", "--root", "--wd=/", "--mount", "--net", "--", *argv]
        return ["nsenter", f"--net=/run/netns/{of_host(host)}", "--", *argv]

    def shell(self, host: str, commands: str) -> str:
        """Commands on a host, one a line; what they print."""
        return self.run(host, ["bash", "-ec", commands]).stdout

    def log(self, host: str, name: str) -> str:
        """What the program `name` of a host has said: boot, charon or daemon."""
        return (self._logs / f"{host}-{name}.log").read_text(encoding="utf-8", errors="replace")

    def ask(self, host: str, topic: str) -> Any:
        """What `mobileip show` of a host's daemon is told."""
        return ask(self._file(host, f"run/mobileip/{INSTANCES[host]}.sock"), topic)

    def location(self, node: str) -> dict[str, object]:
        """As `mobileip show location` says on a node; nothing where its daemon does not answer."""
        try:
            found: dict[str, object] = self.ask(node, "location")
        except (ControlError, OSError) as problem:
            raise SessionError(f"{node}: {problem}") from problem
        return found

    # Start and end

    def start(self) -> None:
        """Wires, hosts, the roles' files, strongSwan, the daemons; but for what nodes run."""
        wires.create_segments(self.lab)
        there = [host for host in self.lab.hosts if host != _UNNEEDED and not (self._one_box and host == "vpngw")]
        for name in there:
            wires.create_host_namespace(self.lab.hosts[name])
        if self._one_box:
            self.shell("mipp", _ONE_BOX)
        self._boot([name for name in there if (self._files / name).exists()])
        for name, routes in _LEARNT.items():
            self.shell(name, "\n".join(f"ip route replace {route}" for route in routes))
        self._run(*(name for name in INSTANCES if name not in NODES), self.gateway)
        # In one box they lead into a wire that is there when the proxy's programs are.
        self.run("vpngw", ["ip", "-batch", "/etc/mobileip/gateway-routes.batch"])

    def start_node(self, *nodes: str) -> None:
        """Nodes, at home: the home address, strongSwan, the daemon."""
        for node in nodes:
            self.run(node, ["ip", "address", "replace", f"{self.home_address(node)}/32", "dev", "lo"])
        self._run(*nodes)

    def _run(self, *hosts: str) -> None:
        """Start what these hosts are to run, all at once, and wait until it answers."""
        for name in dict.fromkeys(hosts):
            if (self._files / name / "etc/swanctl").exists():
                self._spawn(name, "charon", self.command(name, ["/usr/sbin/charon-systemd"]))
            if name in INSTANCES:
                program, file = f"{sys.executable} -m mobileip", f"{INSTANCES[name]}.yml"
                run = (
                    f"{program} load /etc/mobileip/{file} && "
                    f"exec {program} run /etc/mobileip/{file} --keys /etc/mobileip/keys/{file}"
                )
                self._spawn(name, "daemon", self.command(name, ["bash", "-c", run]))
        for name in dict.fromkeys(hosts):
            if (self._files / name / "etc/swanctl").exists():
                self.wait_until(f"charon of {name} answers", self._file(name, "run/charon.vici").exists, _PATIENCE)
                self.run(name, ["swanctl", "--load-all", "--noprompt"])
            if name in INSTANCES:
                self.wait_until(f"the daemon of {name} answers", partial(self._answers, name), _PATIENCE)

    def stop(self) -> None:
        """End all that was started, and take the wires away."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        wires.delete_namespaces(wires.namespaces())

    def end(self, host: str, name: str) -> None:
        """End a program of a host: charon or daemon."""
        process = self._processes.pop((host, name))
        process.terminate()
        process.wait(30)

    def _boot(self, hosts: list[str]) -> None:
        processes = {}
        for host in hosts:
            files = self._files / host
            if (files / "etc/strongswan.d").exists():
                (files / "etc/strongswan.d/zz-log.conf").write_text(_LOUD, encoding="utf-8")
            command = self.command(host, ["unshare", "--mount", "--propagation", "private", "--"])
            command += ["bash", "-c", _BOOT, "boot", str(files), str(self._programs)]
            processes[host] = self._spawn(host, "boot", command)
        for host, process in processes.items():
            self.wait_until(f"{host} has booted", partial(self._has_booted, host, process), _PATIENCE)
            self._booted[host] = process.pid

    def _has_booted(self, host: str, process: subprocess.Popen[str]) -> bool:
        if process.poll() is not None:
            raise SessionError(self.log(host, "boot"))
        return "booted" in self.log(host, "boot")

    def _spawn(self, host: str, name: str, command: list[str]) -> subprocess.Popen[str]:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{host}-{name}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, "PYTHONPATH": str(self._files.parent / "src")},
            )  # fmt: skip
        self._processes[host, name] = process
        return process

    def _file(self, host: str, path: str) -> Path:
        host = self.gateway if host == "vpngw" else host
        return Path(f"/proc/{self._booted[host]}/root") / path

    def _answers(self, host: str) -> bool:
        with suppress(ControlError, OSError):
            return bool(self.ask(host, "status"))
        return False


@contextmanager
def running(files: Path, programs: Path, logs: Path, *, one_box: bool) -> Iterator[Site]:
    """The site, nothing on its nodes yet; `files`: the roles', by host, `programs`: the folder of the BPF objects."""
    site = Site(files, programs, logs, one_box=one_box)
    try:
        site.start()
        yield site
    finally:
        site.stop()
