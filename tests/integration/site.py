"""A small site in network namespaces: the four daemons as processes, their real programs and tables, real datagrams.

mn --- open | fa_link | home | core     (moved by changing the bridge that its wire ends in)
inet   open .1, dmz_public .1, fa_uplink .97: the Internet and the outer firewall in one
mipp   pub .10, priv .10                gw   pub .20, priv .20 with an ESP tunnel without cryptography
inner  dmz_private .1, core .33         ha   core .40, home .65        cn   core .50
fa     uplink .100, link .129
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

HOME, GATEWAY, MIPP_PUB, CN = "192.0.2.69", "203.0.113.20", "203.0.113.10", "192.0.2.50"
SECOND_HOME = "192.0.2.70"
"""A second node, which has no daemon: a test speaks for it."""
EVERY_WAY = os.environ.get("EVERY_WAY") == "1"
"""Whether each deployment and encapsulation is tried where some stand for all otherwise: `make test-long PART=ways`"""
DEPLOYMENTS = ("two boxes", "one box") if EVERY_WAY else ("two boxes",)
SOURCES = Path(__file__).parents[2] / "roles/agent/files/mobileip/src"

_SEGMENTS = ("dmzpub", "dmzpriv", "core", "home", "open", "faup", "falink")
_PORTS = {  # host: (interface, segment, address)
    "inet": [("open", "open", "198.51.100.1/27"), ("dmz", "dmzpub", "203.0.113.1/26"),
             ("fa", "faup", "198.51.100.97/27")],
    "mipp": [("pub", "dmzpub", "203.0.113.10/26"), ("priv", "dmzpriv", "192.0.2.10/27")],
    "gw": [("pub", "dmzpub", "203.0.113.20/26"), ("priv", "dmzpriv", "192.0.2.20/27")],
    "inner": [("dmz", "dmzpriv", "192.0.2.1/27"), ("core", "core", "192.0.2.33/27")],
    "ha": [("core", "core", "192.0.2.40/27"), ("home", "home", "192.0.2.65/27")],
    "cn": [("eth0", "core", "192.0.2.50/27")],
    "cnhome": [("eth0", "home", "192.0.2.80/27")],
    "fa": [("uplink", "faup", "198.51.100.100/27"), ("link", "falink", "198.51.100.129/27")],
    "mn": [("eth0", "open", "")],
}  # fmt: skip
_ONE_BOX = [("pub", "dmzpub", "203.0.113.20/26"), ("priv", "dmzpriv", "192.0.2.20/27")]
"""In one box: the gateway's addresses, on the interfaces of the proxy's host."""
_ROUTES = {
    "mipp": ["default via 203.0.113.1", "192.0.2.0/24 via 192.0.2.1"],
    "gw": ["default via 203.0.113.1", "192.0.2.32/27 via 192.0.2.1"],
    "inner": ["192.0.2.64/27 via 192.0.2.40", "203.0.113.10/32 via 192.0.2.10"],
    "ha": ["default via 192.0.2.33"],
    "cn": ["default via 192.0.2.33"],
    "cnhome": ["default via 192.0.2.65"],
    "fa": ["default via 198.51.100.97"],
}
_NETWORKS = {  # where the node can be: segment, address, router
    "open": ("open", "198.51.100.10/27", "198.51.100.1"),
    "home": ("home", "192.0.2.69/27", "192.0.2.65"),
    "visited": ("core", "192.0.2.60/27", "192.0.2.33"),
    "fa": ("falink", None, None),
}

_KEYS = {"mn-proxy": "00112233445566778899aabbccddeeff", "proxy-ha": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
         "mn-ha": "a0b1c2d3e4f5061728394a5b6c7d8e9f",
         "second-proxy": "5a4b3c2d1e0f00112233445566778899",
         "second-ha": "99887766554433221100f0e1d2c3b4a5"}  # fmt: skip
_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "mipp": {
        "role": "proxy",
        "mipp_pub": {"address": MIPP_PUB, "interface": "pub"},
        "mipp_priv": {"address": "192.0.2.10", "interface": "priv"},
        "vpn_gateways": [{"name": "gw", "vpngw_pub": GATEWAY, "vpngw_priv": "192.0.2.20",
                          "home_networks": ["192.0.2.64/27"]}],
        "location": {"internal_prefixes": ["192.0.2.0/24"]},
        "home_agents": [{"address": "192.0.2.40", "home_networks": ["192.0.2.64/27"]}],
        "mobile_nodes": [{"home_address": HOME, "node_sa": {"spi": 2001, "key": "mn-proxy"},
                          "home_agent_sa": {"spi": 3001, "key": "proxy-ha"}},
                         {"home_address": SECOND_HOME, "node_sa": {"spi": 2002, "key": "second-proxy"},
                          "home_agent_sa": {"spi": 3002, "key": "second-ha"}}],
    },
    "ha": {
        "role": "home_agent",
        "address": "192.0.2.40",
        "interface": "core",
        "home_links": [{"interface": "home", "network": "192.0.2.64/27"}],
        "mobile_nodes": [{"home_address": HOME, "security_associations": [
            {"spi": 3001, "key": "proxy-ha"}, {"spi": 4001, "key": "mn-ha"}]},
                         {"home_address": SECOND_HOME, "security_associations": [{"spi": 3002, "key": "second-ha"}]}],
    },
    "fa": {
        "role": "foreign_agent",
        "uplink": {"interface": "uplink", "care_of_address": "198.51.100.100"},
        "link": {"interface": "link", "address": "198.51.100.129"},
    },
    "mn": {
        "role": "mobile_node",
        "home_address": HOME,
        "home_network": "192.0.2.64/27",
        "home_agent": "192.0.2.40",
        "mipp_pub": MIPP_PUB,
        "vpn_gateways": [GATEWAY],
        "interface": "eth0",
        "proxy_sa": {"spi": 2001, "key": "mn-proxy"},
        "home_agent_sa": {"spi": 4001, "key": "mn-ha"},
        "encapsulate": "all",
    },
}  # fmt: skip


def until(condition: Callable[[], Any], seconds: float = 8.0, what: str = "") -> Any:
    """Wait for a condition; its value. Fails with `what`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.02)


@functools.cache
def _programs() -> Path:
    """The directory of the compiled programs, made once for all sites of a test run; BPF_OBJECT names ready ones."""
    if ready := os.environ.get("BPF_OBJECT"):
        return Path(ready).parent
    directory = Path(tempfile.mkdtemp(prefix="programs-"))
    atexit.register(shutil.rmtree, directory)
    subprocess.run(
        [sys.executable, "-m", "mobileip.forwarding.build", str(directory / "mobileip.bpf.o")],
        check=True, timeout=240, env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )  # fmt: skip
    return directory


class Site:
    """The namespaces and the processes in them."""

    def __init__(self, directory: Path, *, one_box: bool = False, offloads: bool = False) -> None:
        self.directory = directory
        self.offloads = offloads
        """Whether interfaces keep what they come with: merged segments, checksums left to the device."""
        self.one_box = one_box
        self.gateway = "mipp" if one_box else "gw"
        """The host of the VPN gateway."""
        self.ports = {host: ports for host, ports in _PORTS.items() if host != "gw" or not one_box}
        self.prefix = f"runt{os.getpid()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._bpf = directory / "bpf"
        self.where: str | None = None

    # Wires

    def build(self) -> None:
        commands = [f"netns add {self.prefix}-{name}" for name in ("wires", *self.ports)]
        commands += [f"-n {self.prefix}-wires link add {name} type bridge" for name in _SEGMENTS]
        commands += [f"-n {self.prefix}-wires link set {name} up" for name in _SEGMENTS]
        for host, ports in self.ports.items():
            commands.append(f"-n {self.prefix}-{host} link set lo up")
            for interface, segment, address in ports:
                wire = f"{host}-{interface}"
                commands.append(
                    f"-n {self.prefix}-wires link add {wire} type veth peer name {interface} netns {self.prefix}-{host}"
                )
                commands.append(f"-n {self.prefix}-wires link set {wire} master {segment} up")
                if address:
                    commands.append(f"-n {self.prefix}-{host} addr add {address} dev {interface}")
                    commands.append(f"-n {self.prefix}-{host} link set dev {interface} up")
        if self.one_box:
            commands += [f"-n {self.prefix}-mipp addr add {address} dev {name}" for name, _, address in _ONE_BOX]
        for host in self.ports.keys() & _ROUTES:
            routes = _ROUTES[host]
            commands += [f"-n {self.prefix}-{host} route add {route}" for route in routes]
        commands.append(f"-n {self.prefix}-mn addr add {HOME}/32 dev lo")
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True, timeout=10)
        for host, ports in self.ports.items():
            switches = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]
            switches += [f"net.ipv4.conf.{interface}.rp_filter=0" for interface, _, _ in ports]
            switches += [f"net.ipv4.neigh.{interface}.proxy_delay=0" for interface, _, _ in ports]
            self.run(host, "sysctl", "-qw", *switches)
            for interface, _, _ in ports if not self.offloads else ():
                self.run(host, "ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        self._bpf.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", str(self._bpf)], check=True, timeout=10)

    def tunnel(self) -> None:
        """The IPsec of this site: protocol 50 between HOME and VPNGW-Pub."""
        for host, local, peer in (("mn", HOME, GATEWAY), (self.gateway, GATEWAY, HOME)):
            process = self.spawn(f"esp-{host}", host, [sys.executable, str(Path(__file__).parent / "null_esp.py"),
                                                       "esp0", local, peer])  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            self.run(host, "ip", "link", "set", "esp0", "up", "mtu", "1300")
        self.run("mn", "ip", "route", "add", "192.0.2.0/24", "dev", "esp0", "src", HOME, "table", "220")
        self.run("mn", "ip", "rule", "add", "pref", "220", "lookup", "220")
        self.run(self.gateway, "ip", "route", "add", "192.0.2.64/27", "dev", "esp0")
        # Two rules alone lead to the proxy: over the segment, or in one box over the wire that `mobileip load` made.
        way = ("dev", "mip0") if self.one_box else ("via", MIPP_PUB)
        self.run(self.gateway, "ip", "route", "add", "default", *way, "table", "100")
        for source in (GATEWAY, HOME):
            self.run(
                self.gateway, "ip", "rule", "add", "pref", "100", "from", source, "to", "192.0.2.64/27", "lookup", "100"
            )

    def move(self, network: str) -> None:
        """Plug the node in elsewhere: carrier lost, back, address and default route of the new network at once."""
        segment, address, router = _NETWORKS[network]
        wires, mn = f"{self.prefix}-wires", f"{self.prefix}-mn"
        commands = [f"-n {wires} link set mn-eth0 down", f"-n {mn} addr flush dev eth0 scope global",
                    f"-n {wires} link set mn-eth0 master {segment}", f"-n {mn} link set eth0 up",
                    f"-n {wires} link set mn-eth0 up"]  # fmt: skip
        if address is not None:
            commands += [f"-n {mn} addr add {address} dev eth0", f"-n {mn} route replace default via {router} dev eth0"]
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True, timeout=10)
        self.where = network

    def park(self, parked: bool) -> None:
        """What the daemon does through strongSwan where there is one: clear at home."""
        self.run("mn", "ip", "rule", "add" if parked else "del", "pref", "200", "lookup", "main")

    # Processes

    def run(self, host: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.prefix}-{host}", *command],
            check=check, capture_output=True, text=True, timeout=30,
        )  # fmt: skip

    def spawn(self, name: str, host: str, command: list[str], *, stdin: int | None = None) -> subprocess.Popen[bytes]:
        """Start a command on a host; what it says on stderr is `log(name)`. Its end is `destroy`'s to wait for."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.prefix}-{host}", *command],
                stdin=stdin, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )  # fmt: skip
        return self.processes[name]

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def configure(self) -> None:
        """Write files and load the programs."""
        (self.directory / "keys.yml").write_text(json.dumps(_KEYS))
        for host, configuration in _CONFIGURATIONS.items():
            one_box: dict[str, Any] = {"one_box": {}} if self.one_box and host == "mipp" else {}
            paths = {
                "bpf_object": str(_programs() / "mobileip.bpf.o"),
                "state": str(self.directory / f"{host}.sqlite"),
                "control_socket": str(self.directory / f"{host}.sock"),
                "pin_directory": str(self._bpf / host),
            }
            (self.directory / f"{host}.yml").write_text(json.dumps({**configuration, **one_box, **paths}))
            self.mobileip(host, "load", str(self.directory / f"{host}.yml"))

    def mobileip(self, host: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The program itself, on a host."""
        result = self.run(host, "env", f"PYTHONPATH={SOURCES}", sys.executable, "-m", "mobileip", *arguments,
                          check=False)  # fmt: skip
        if check and result.returncode:
            raise AssertionError(f"mobileip {' '.join(arguments)} on {host}: {result.stdout}{result.stderr}")
        return result

    def pins(self, host: str) -> Path:
        """Where the programs and tables of a host are pinned."""
        return self._bpf / host

    def start(self, host: str) -> None:
        """Start a daemon and wait until it answers."""
        command = [sys.executable, "-m", "mobileip", "run", str(self.directory / f"{host}.yml")]
        self.spawn(host, host, [*command, "--keys", str(self.directory / "keys.yml")])
        until(lambda: self._answers(host), 30.0, what=f"{host} answers; its log: {self.log(host)}")

    def reconfigure(self, host: str, **changes: Any) -> None:
        """Change settings of a running daemon as an operator does: in its file, then SIGHUP."""
        file = self.directory / f"{host}.yml"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
        before = self.show(host, "status")["started"]
        self.processes[host].send_signal(signal.SIGHUP)
        until(lambda: self._started(host) not in (None, before), 20.0, what=f"a new start of {host}: {self.log(host)}")

    def _started(self, host: str) -> float | None:
        from mobileip.runtime.control import ControlError

        try:
            return float(self.show(host, "status")["started"])
        except (ControlError, OSError):
            return None

    def _answers(self, host: str) -> bool:
        process = self.processes[host]
        assert process.poll() is None, f"{host} ended with {process.returncode}: {self.log(host)}"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.directory / f"{host}.sock")) == 0

    def kill(self, name: str) -> None:
        """kill -9: nsenter became the daemon, so this is the daemon's process."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def show(self, host: str, topic: str) -> Any:
        from mobileip.runtime.control import ask

        return ask(self.directory / f"{host}.sock", topic)

    def bindings(self, host: str) -> list[tuple[str, str]]:
        return [(row["home_address"], row["care_of_address"]) for row in self.show(host, "bindings")]

    def ping(self, count: int = 3, to: str = CN, seconds: float = 0.05) -> int:
        """Echo replies that the node gets from inside."""
        answer = self.run("mn", "ping", "-q", "-c", str(count), "-i", str(seconds), "-W", "1", "-I", HOME, to,
                          check=False).stdout  # fmt: skip
        return int(answer.split(" received")[0].split()[-1]) if " received" in answer else 0

    def destroy(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        for name in ("wires", *self.ports):
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{name}"], check=False, timeout=10)
        subprocess.run(["umount", str(self._bpf)], check=False, timeout=10, capture_output=True)
        shutil.rmtree(self._bpf, ignore_errors=True)


AnySite = TypeVar("AnySite", bound=Site)


@contextmanager
def started(site: AnySite) -> Iterator[AnySite]:
    """The site with all daemons started and the node on the open network; nothing is left of it afterwards."""
    try:
        site.build()
        site.configure()
        for host in ("ha", "mipp", "fa"):
            site.start(host)
        site.tunnel()
        site.move("open")
        site.start("mn")
        yield site
    finally:
        site.destroy()


@contextmanager
def running(directory: Path, *, one_box: bool = False, offloads: bool = False) -> Iterator[Site]:
    """A site of this kind, started. `one_box`: proxy and gateway share a host."""
    with started(Site(directory, one_box=one_box, offloads=offloads)) as site:
        yield site
