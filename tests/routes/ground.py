"""A gateway with a routing daemon and its neighbour, in network namespaces; the role is played in the gateway's.

gw   pub 203.0.113.20 (MIPP-Pub .10, a router .1), priv 192.0.2.20   FRR or BIRD: OSPF and eBGP on priv
nb   dmz 192.0.2.1                                                   FRR: OSPF and eBGP
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

ROOT = Path(__file__).parents[2]
HOME = "192.0.2.64/27"
MIPP_PUB = "203.0.113.10"
OTHER = "192.0.2.224/28"
"""A static route in the daemon's configuration that neighbours have to learn."""
LATER = "198.51.100.0/24"
"""A route that somebody lays in the kernel, and that they have to learn as well."""
FRR_DAEMONS = ("zebra", "staticd", "ospfd", "bgpd")
_FRR = Path("/usr/lib/frr")
_RESULT = re.compile(r"^(?:fatal|failed): \[\S+\].*?=> (\{.*\})$", re.MULTILINE)
_OSPF = """\
interface {port}
 ip ospf area 0.0.0.0
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
exit
"""
_BGP = """\
router bgp {asn}
 bgp router-id {address}
 no bgp ebgp-requires-policy
 neighbor {peer} remote-as {peer_asn}
 neighbor {peer} advertisement-interval 0
 neighbor {peer} timers connect 1
"""
FRR_GATEWAY = (
    f"""\
ip route {OTHER} 203.0.113.1
router ospf
 ospf router-id 192.0.2.20
 redistribute kernel
 redistribute static
exit
{_OSPF.format(port="priv")}"""
    + _BGP.format(asn=64512, address="192.0.2.20", peer="192.0.2.1", peer_asn=64513)
    + """\
 address-family ipv4 unicast
  redistribute kernel
  redistribute static
 exit-address-family
exit
"""
)
BIRD_GATEWAY = f"""\
router id 192.0.2.20;
protocol device {{ scan time 1; }}
protocol kernel main {{
  learn;
  scan time 1;
  ipv4 {{ import all; export none; }};
}}
protocol static others {{
  ipv4;
  route {OTHER} via 203.0.113.1;
}}
protocol ospf v2 inside {{
  ipv4 {{ import all; export all; }};
  area 0 {{ interface "priv" {{ type ptp; hello 1; dead 4; }}; }};
}}
protocol bgp upstream {{
  local 192.0.2.20 as 64512;
  neighbor 192.0.2.1 as 64513;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export all; }};
}}
"""
_NEIGHBOUR = (
    "router ospf\n ospf router-id 192.0.2.1\nexit\n"
    + _OSPF.format(port="dmz")
    + _BGP.format(asn=64513, address="192.0.2.1", peer="192.0.2.20", peer_asn=64512)
    + "exit\n"
)
GATEWAY: Mapping[str, Any] = {
    "vpn_gateway_pub_address": "203.0.113.20",
    "vpn_gateway_pub_interface": "pub",
    "vpn_gateway_priv_interface": "priv",
    "vpn_gateway_mipp_pub": MIPP_PUB,
    "vpn_gateway_home_networks": [HOME],
    "vpn_gateway_local_ts": ["192.0.2.32/27", HOME],
    "vpn_gateway_identity": "vpngw.example",
    "vpn_gateway_mobile_nodes": [],
    "vpn_gateway_ike_secrets": {},
}


def run(command: Sequence[str], *, seconds: float = 30, check: bool = True) -> str:
    """What a command prints to its standard output."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until `holds()`. Fails with `what`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


@dataclass
class Router:
    """A network namespace with routing daemons of its own, their sockets and files in a directory of its own."""

    namespace: str
    directory: Path
    configuration: str
    kind: str = "frr"
    started: list[int] = field(default_factory=list)

    @property
    def entered(self) -> list[str]:
        """What runs a command in the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def ip(self, *arguments: str) -> str:
        return run(["ip", "-n", self.namespace, *arguments])

    def vtysh(self, *commands: str) -> str:
        """What FRR answers to commands."""
        words = [word for command in commands for word in ("-c", command)]
        return run(["vtysh", "--vty_socket", str(self.directory), *words])

    def birdc(self, command: str) -> str:
        """What BIRD answers to a command."""
        return run(["birdc", "-s", str(self.directory / "bird.ctl"), command])

    def start(self) -> None:
        """Start the daemons on the configuration, as a boot does."""
        if self.kind == "frr":
            self._start_frr()
        else:
            self._start_bird()

    def stop(self) -> None:
        """End the daemons as a shutdown does, and wait until they are gone."""
        for pid in reversed(self.started):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        until("the daemons have ended", lambda: not any(Path(f"/proc/{pid}").exists() for pid in self.started))
        self.started.clear()

    def reconfigure(self, configuration: str) -> None:
        """Have the daemons run on another configuration."""
        self.stop()
        self.configuration = configuration
        self.start()

    def _start_frr(self) -> None:
        for name in FRR_DAEMONS:
            pid_file = self.directory / f"{name}.pid"
            own = ["--vty_socket", str(self.directory), "-z", str(self.directory / "zserv.api"), "-i", str(pid_file)]
            run([*self.entered, str(_FRR / name), "-d", *own, "-f", os.devnull, "-A", "127.0.0.1"])
            self.started.append(int(pid_file.read_text(encoding="ascii")))
        file = self.directory / "frr.conf"
        file.write_text(self.configuration, encoding="ascii")
        run(["vtysh", "--vty_socket", str(self.directory), "-f", str(file)])

    def _start_bird(self) -> None:
        (self.directory / "bird.conf").write_text(self.configuration, encoding="ascii")
        # In a mount namespace of its own, as in a container; and by relative paths.
        files = ["-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"]
        inside = ["unshare", "--mount", "--wd", str(self.directory), "bird", *files]
        run([*self.entered, *inside])
        pid_file = self.directory / "bird.pid"
        until("BIRD has written its number", lambda: pid_file.exists() and bool(pid_file.read_text(encoding="ascii")))
        self.started.append(int(pid_file.read_text(encoding="ascii")))


@dataclass(frozen=True)
class Play:
    """How a run of the role's tasks ended."""

    failed: bool
    changed: int
    output: str
    message: str
    """What the failed task says."""


@dataclass(frozen=True)
class Announcements:
    """What the gateway announced on the wire, from whatever moment: Link State IDs of OSPF, prefixes of BGP."""

    ospf: set[IPv4Address] = field(default_factory=set)
    bgp: set[IPv4Address] = field(default_factory=set)

    def of(self, prefix: str) -> dict[str, bool]:
        """Whether each protocol announced the prefix or a part of it. A Link State ID may have host bits."""
        network = IPv4Network(prefix)
        by_protocol = {"OSPF": self.ospf, "BGP": self.bgp}
        return {protocol: any(address in network for address in seen) for protocol, seen in by_protocol.items()}


@dataclass(frozen=True)
class Ground:
    """The gateway and its neighbour."""

    gateway: Router
    neighbour: Router

    def learnt(self) -> dict[str, set[str]]:
        """Prefixes that the neighbour holds and has from the gateway, by protocol."""
        database = json.loads(self.neighbour.vtysh("show ip ospf database external json"))
        links = database.get("asExternalLinkStates", [])
        ospf = {
            str(IPv4Network((link["linkStateId"], link["networkMask"]), strict=False))
            for link in links
            # A withdrawn one stays for a while with this age. Its host bits may be set (RFC 2328 appendix E).
            if link["advertisingRouter"] == "192.0.2.20" and link["lsaAge"] < 3600
        }
        routes = json.loads(self.neighbour.vtysh("show bgp ipv4 unicast json")).get("routes", {})
        bgp = {prefix for prefix, paths in routes.items() if any(path["peerId"] == "192.0.2.20" for path in paths)}
        return {"OSPF": ospf, "BGP": bgp}

    def learn(self, prefix: str) -> None:
        """Wait until the neighbour has a prefix by both protocols."""
        until(f"OSPF and BGP bring {prefix}", lambda: all(prefix in learnt for learnt in self.learnt().values()))

    def forget(self, prefix: str) -> None:
        """Wait until the neighbour has a prefix by neither."""
        until(f"{prefix} is withdrawn", lambda: not any(prefix in learnt for learnt in self.learnt().values()))

    def clear(self) -> None:
        """Take away what was laid in the gateway's kernel, as a reboot does."""
        for table in ("main", "200", "434"):
            for destination in (HOME, LATER):
                command = ["ip", "-n", self.gateway.namespace, "route", "del", destination, "table", table]
                while subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0:
                    pass
        self.gateway.ip("rule", "flush", "protocol", "143")

    def holds_home(self) -> dict[str, bool]:
        """Whether the neighbour has a home network, or a part of it, by protocol."""
        home = IPv4Network(HOME)
        return {
            protocol: any(IPv4Network(prefix).subnet_of(home) for prefix in learnt)
            for protocol, learnt in self.learnt().items()
        }

    def play(self, *tasks: Mapping[str, Any] | str, **variables: Any) -> Play:
        """Play tasks in the gateway's namespace; a text is a file of the role's."""
        role = {"name": "mobileip.vpn.vpn_gateway"}
        listed = [{"include_role": {**role, "tasks_from": task}} if isinstance(task, str) else task for task in tasks]
        plays = [
            {
                "hosts": "localhost",
                "connection": "local",
                "gather_facts": False,
                "vars_files": [str(ROOT / "roles/vpn_gateway/defaults/main.yml")],
                "vars": {**GATEWAY, "ansible_python_interpreter": sys.executable, "repository": str(ROOT)},
                "tasks": listed,
            }
        ]
        file = self.gateway.directory / "play.yml"
        file.write_text(yaml.safe_dump(plays), encoding="utf-8")
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [*self.gateway.entered, program, "-i", "localhost,", str(file), "-e", json.dumps(variables)],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode in (0, 2), done.stdout + done.stderr
        failures = [json.loads(said)["msg"] for said in _RESULT.findall(done.stdout)]
        changed = re.search(r"changed=(\d+)", done.stdout)
        assert changed is not None, done.stdout + done.stderr
        return Play(done.returncode != 0, int(changed[1]), done.stdout, "\n".join(failures))

    def lay_as_at_boot(self, **variables: Any) -> None:
        """Render the role's file for the boot and apply it as its unit does."""
        batch = self.gateway.directory / "gateway-routes.batch"
        source = "{{ repository }}/templates/routes/gateway-routes.batch.j2"
        self.play({"template": {"src": source, "dest": str(batch), "mode": "0644"}}, **variables)
        run([*self.gateway.entered, "ip", "-batch", str(batch)])

    @contextmanager
    def heard(self) -> Iterator[Announcements]:
        """Record the neighbour's wire; what was announced there is known once the block has ended."""
        file = self.neighbour.directory / "wire.pcap"
        command = ["tcpdump", "-i", "dmz", "-U", "-s", "0", "-w", str(file), "--immediate-mode", "-Z", "root"]
        with subprocess.Popen([*self.neighbour.entered, *command], stderr=subprocess.DEVNULL) as capture:
            until("tcpdump records", lambda: file.exists() and file.stat().st_size >= 24)
            announced = Announcements()
            try:
                yield announced
            finally:
                capture.send_signal(signal.SIGINT)
                capture.wait(timeout=10)
        fields = ["-e", "ospf.lsa.id", "-e", "bgp.nlri_prefix"]
        updates = ["-Y", "ip.src == 192.0.2.20 && (ospf.msg.lsupdate || bgp.type == 2)"]
        said = run(["tshark", "-r", str(file), *updates, "-T", "fields", *fields])
        for line in said.splitlines():
            for found, addresses in zip((announced.ospf, announced.bgp), line.split("\t"), strict=True):
                found.update(IPv4Address(address) for address in addresses.split(",") if address)


@contextmanager
def beside(router: Router, configuration: str) -> Iterator[Router]:
    """BIRD with a configuration of its own, in the namespace of another daemon."""
    directory = router.directory / "beside"
    directory.mkdir()
    second = Router(router.namespace, directory, configuration, "bird")
    second.start()
    try:
        yield second
    finally:
        second.stop()


@contextmanager
def ground(kind: str) -> Iterator[Ground]:
    """A gateway of the kind `frr` or `bird`, and its neighbour; both have started, neither has learnt anything yet."""
    unique = uuid4().hex[:6]
    names = {name: f"routes-{name}-{unique}" for name in ("gw", "nb")}
    directory = Path(tempfile.mkdtemp(prefix="routes-"))
    directory.chmod(0o755)
    configuration = {"frr": FRR_GATEWAY, "bird": BIRD_GATEWAY}[kind]
    routers = {
        "gw": Router(names["gw"], directory / "gw", configuration, kind),
        "nb": Router(names["nb"], directory / "nb", _NEIGHBOUR),
    }
    try:
        for router in routers.values():
            router.directory.mkdir()
            shutil.chown(router.directory, "frr", "frr")
            run(["ip", "netns", "add", router.namespace])
            router.ip("link", "set", "lo", "up")
        gateway, neighbour = routers["gw"], routers["nb"]
        run(["ip", "link", "add", "priv", "netns", gateway.namespace, "type", "veth",
             "peer", "name", "dmz", "netns", neighbour.namespace])  # fmt: skip
        gateway.ip("link", "add", "pub", "type", "veth", "peer", "name", "far")
        gateway.ip("address", "add", "203.0.113.20/26", "dev", "pub")
        gateway.ip("address", "add", "192.0.2.20/27", "dev", "priv")
        neighbour.ip("address", "add", "192.0.2.1/27", "dev", "dmz")
        for router, port in ((gateway, "pub"), (gateway, "far"), (gateway, "priv"), (neighbour, "dmz")):
            router.ip("link", "set", port, "up")
        for router in routers.values():
            router.start()
        yield Ground(gateway, neighbour)
    finally:
        for router in routers.values():
            router.stop()
            run(["ip", "netns", "del", router.namespace], check=False)
        shutil.rmtree(directory)
