"""The test bed: three network namespaces, the real daemon with its tables on one core, the load on another.

    nodes  pub 203.0.113.1 ---- 203.0.113.10 pub  mipp  priv 192.0.2.10 ---- 192.0.2.40 core  ha

All care-of addresses are local to `nodes`. The store is below `build/`, which must be on a disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
SOURCES = CHECKOUT / "roles/agent/files/mobileip/src"
OUTPUT = CHECKOUT / "build/bench/registration"
HOME_BASE = int(IPv4Address("10.64.0.1"))
CARE_OF_BASE = int(IPv4Address("198.18.0.0"))
GATEWAY = "203.0.113.20"
LOAD_CORE, PROXY_CORE = 0, 1
_WIRES = (("nodes", "pub", "203.0.113.1/26", "203.0.113.10/26"), ("ha", "priv", "192.0.2.40/26", "192.0.2.10/26"))
_ASKED_AGAIN = 1000.0
"""Milliseconds after which a node asks again at the earliest (RFC 5944 3.6.3)."""
_GROWTH = 100.0
"""Milliseconds in a run: in 30 s a rate that is a half per cent too high makes 150."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the nodes saw of one run, and what it cost the proxy's process. Times in milliseconds, CPU in seconds.

    `growth_ms`: how much longer the median registration of the last fifth took than that of the first.
    """

    sent: int
    accepted: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    growth_ms: float
    cpu_seconds: float
    syncs: int

    @property
    def rate(self) -> float:
        """Accepted registrations a second."""
        return self.accepted / self.seconds

    @property
    def kept_up(self) -> bool:
        """All were answered (one in a thousand may be lost), nearly all before the node would ask again, and no queue
        grew."""
        return self.accepted >= 0.999 * self.sent and self.p99_ms < _ASKED_AGAIN and self.growth_ms < _GROWTH


def key(word: str, number: int) -> bytes:
    """The key of node `number`, as `load.c` has it; `word` is "node" or "home"."""
    return hashlib.md5(word.encode() + struct.pack("!I", number), usedforsecurity=False).digest()


def configuration(nodes: int, directory: Path) -> dict[str, Any]:
    """The proxy's file for this bed."""
    return {
        "role": "proxy",
        "mipp_pub": {"address": "203.0.113.10", "interface": "pub"},
        "mipp_priv": {"address": "192.0.2.10", "interface": "priv"},
        "vpn_gateways": [
            {"name": "gw", "vpngw_pub": GATEWAY, "vpngw_priv": "192.0.2.20", "home_networks": ["10.64.0.0/12"]}
        ],
        "location": {"internal_prefixes": ["192.0.2.0/24", "10.64.0.0/12"]},
        "home_agents": [{"address": "192.0.2.40", "home_networks": ["10.64.0.0/12"]}],
        "mobile_nodes": [
            {
                "home_address": str(IPv4Address(HOME_BASE + number)),
                "node_sa": {"spi": 2001, "key": f"node-{number}"},
                "home_agent_sa": {"spi": 3001, "key": f"home-{number}"},
            }
            for number in range(nodes)
        ],
        "bpf_object": str(directory / "mobileip.bpf.o"),
        "state": str(directory / "state.sqlite"),
        "control_socket": str(directory / "control.sock"),
        "pin_directory": str(directory / "bpf" / "mipp"),
    }


class Bed:
    """Namespaces, programs and processes; a context manager that leaves nothing behind."""

    def __init__(self, nodes: int, *, pure: bool = False) -> None:
        """`nodes` are configured; `pure`: the daemon runs without compiled parts."""
        self.nodes = nodes
        self.directory = OUTPUT / f"bed-{os.getpid()}-{nodes}"
        self._pure = pure
        self._python = sys.executable
        self._prefix = f"regb{os.getpid()}-{nodes}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Bed:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._require_disk()
        self._compile()
        try:
            self._wire()
            self._start("ha", "home-agent", LOAD_CORE, [str(self.directory / "load"), "home-agent", str(self.nodes)])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            self._stop(name)
        subprocess.run(["umount", str(self.directory / "bpf")], check=False, capture_output=True)
        for host in ("nodes", "mipp", "ha"):
            subprocess.run(["ip", "netns", "del", f"{self._prefix}-{host}"], check=False, capture_output=True)
        if error is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    # What stands between nodes and home agent

    @contextmanager
    def relay(self) -> Iterator[None]:
        """The bare relay of `load.c`: what the load can do, and what the wires cost."""
        self._start("mipp", "relay", PROXY_CORE, [str(self.directory / "load"), "relay", str(self.nodes)])
        time.sleep(0.5)
        try:
            yield
        finally:
            self._stop("relay")

    @contextmanager
    def proxy(self) -> Iterator[None]:
        """The daemon, from its own configuration file: `mobileip load`, `mobileip run`."""
        file, keys = self.directory / "mipp.yml", self.directory / "keys.yml"
        file.write_text(json.dumps(configuration(self.nodes, self.directory)), encoding="utf-8")
        secrets = {f"{word}-{n}": key(word, n).hex() for n in range(self.nodes) for word in ("node", "home")}
        keys.write_text(json.dumps(secrets), encoding="utf-8")
        self._in("mipp", [self._python, "-m", "mobileip", "load", str(file)])
        command = [self._python, "-m", "mobileip", "run", str(file), "--keys", str(keys)]
        with self.daemon(command):
            yield

    @contextmanager
    def proxy_with_bindings(self) -> Iterator[None]:
        """The daemon's own parts by `million.py`: every node has a binding before it serves."""
        file, keys = self.directory / "mipp.yml", self.directory / "keys.yml"
        file.write_text(json.dumps(configuration(1, self.directory)), encoding="utf-8")
        keys.write_text(json.dumps({f"{word}-0": key(word, 0).hex() for word in ("node", "home")}), encoding="utf-8")
        self._in("mipp", [self._python, "-m", "mobileip", "load", str(file)])
        with self.daemon([self._python, str(HERE / "million.py"), str(file), str(keys), str(self.nodes)]):
            yield

    @contextmanager
    def daemon(self, command: list[str]) -> Iterator[None]:
        """A daemon started by `command`, once it serves."""
        self._start("mipp", "proxy", PROXY_CORE, command)
        try:
            self._wait_for(self.directory / "control.sock", "proxy")
            yield
        finally:
            self._stop("proxy")

    # Measuring

    def run(self, rate: float, seconds: float) -> Outcome:
        """Registrations at `rate` a second, open loop; negative: so many under way at any time."""
        process = next((self._running[name] for name in ("proxy", "relay") if name in self._running), None)
        if process is None:
            raise RuntimeError("nothing stands between nodes and home agent")
        before, syncs = _cpu_seconds(process.pid), self._syncs()
        load = [str(self.directory / "load"), "nodes", str(self.nodes), str(rate), str(seconds)]
        with _ahead_of_all_else([process.pid, self._running["home-agent"].pid]):
            output = self._in("nodes", ["chrt", "--fifo", "10", *_on(LOAD_CORE), *load], timeout=seconds + 60)
        seen = json.loads(output)
        if seen["forged"]:
            raise RuntimeError(f"{seen['forged']} replies with a wrong authenticator; see {self.directory}")
        return Outcome(
            seen["sent"],
            seen["accepted"],
            seen["seconds"],
            seen["p50_ms"],
            seen["p99_ms"],
            seen["max_ms"],
            seen["p50_last_fifth_ms"] - seen["p50_first_fifth_ms"],
            _cpu_seconds(process.pid) - before,
            self._syncs() - syncs,
        )

    def show(self, topic: str) -> Any:
        """What the daemon says of itself."""
        output = self._in(
            "mipp",
            [self._python, "-m", "mobileip", "show", topic, "--json", "--socket", str(self.directory / "control.sock")],
        )
        return json.loads(output)

    # Parts

    def _require_disk(self) -> None:
        kind = subprocess.run(
            ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(self.directory)],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        if kind in _IN_MEMORY:
            raise RuntimeError(f"{self.directory}: is on {kind}; the store's cost is that of a disk")

    def _compile(self) -> None:
        compiler = ["clang", "-O3", "-Wall", "-Werror", "-o"]
        (self.directory / "native").mkdir()
        for arguments in (
            [*compiler, str(self.directory / "load"), str(HERE / "load.c"), "-lm"],
            [*compiler, str(self.directory / "syncs.so"), "-shared", "-fPIC", str(HERE / "syncs.c"), "-ldl"],
            [
                *compiler,
                str(self.directory / "native/_mobileip.so"),
                "-shared",
                "-fPIC",
                "-I" + sysconfig.get_paths()["include"],
                str(SOURCES.parent / "native/_mobileip.c"),
                "-lm",
            ],
            [self._python, "-m", "mobileip.forwarding.build", str(self.directory / "mobileip.bpf.o")],
        ):
            subprocess.run(arguments, check=True, timeout=120, env=self._environment())

    def _wire(self) -> None:
        for host in ("nodes", "mipp", "ha"):
            subprocess.run(["ip", "netns", "add", f"{self._prefix}-{host}"], check=True)
            self._in(host, ["ip", "link", "set", "lo", "up"])
        for host, name, there, here in _WIRES:
            far = f"{self._prefix}-{host}"
            self._in("mipp", ["ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", far])
            for side, address in (("mipp", here), (host, there)):
                self._in(side, ["ip", "addr", "add", address, "dev", name])
                self._in(side, ["ip", "link", "set", name, "up"])
        self._in("mipp", ["ip", "route", "add", "default", "via", "203.0.113.1"])
        self._in("nodes", ["ip", "route", "add", "local", "198.0.0.0/8", "dev", "lo"])
        for host in ("nodes", "mipp"):
            self._in(host, ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.pub.rp_filter=0"])
        (self.directory / "bpf").mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", str(self.directory / "bpf")], check=True)

    def _environment(self) -> dict[str, str]:
        path = [SOURCES, CHECKOUT] if self._pure else [SOURCES, CHECKOUT, self.directory / "native"]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}

    def _in(self, host: str, command: list[str], timeout: float = 600) -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._prefix}-{host}", *command],
            capture_output=True, text=True, timeout=timeout, check=False, env=self._environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:6])}: status {done.returncode}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    def _start(self, host: str, name: str, core: int, command: list[str]) -> None:
        environment = self._environment()
        if name == "proxy":
            environment |= {
                "LD_PRELOAD": str(self.directory / "syncs.so"),
                "COUNT_SYNCS": str(self.directory / "syncs"),
            }
        with (self.directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self._prefix}-{host}", *_on(core), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def _stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def _wait_for(self, path: Path, name: str, seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not path.exists():
            log = self.directory / f"{name}.log"
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not serve: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)

    def _syncs(self) -> int:
        path = self.directory / "syncs"
        return int.from_bytes(path.read_bytes()[:8], sys.byteorder) if path.exists() else 0


def _on(core: int) -> list[str]:
    """Before a command: on this core alone."""
    return ["taskset", "--cpu-list", str(core)]


@contextmanager
def _ahead_of_all_else(pids: list[int]) -> Iterator[None]:
    """While the block runs these processes come before whatever else the machine does."""
    for pid in pids:
        subprocess.run(["chrt", "--all-tasks", "--fifo", "--pid", "10", str(pid)], check=True)
    try:
        yield
    finally:
        for pid in pids:
            subprocess.run(["chrt", "--all-tasks", "--other", "--pid", "0", str(pid)], check=False)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
