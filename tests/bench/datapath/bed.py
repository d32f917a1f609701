"""A router or proxy between namespaces, and packets through it: how many arrive a second.

    far (generator and sink) -- pub -- router or proxy -- priv -- far (sink)

All of it runs on one core, batch by batch, ahead of other processes: what a packet costs there is the sum of generator,
forwarder and sink, whatever the other cores do. On two cores the rate was that of the caches between them.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from mobileip.forwarding import loader
from mobileip.forwarding.build import build_both
from mobileip.forwarding.entries import Encapsulation
from mobileip.forwarding.tables import ProxyTables
from mobileip.forwarding.xdp import Attach
from tests.forwarding.conftest import Namespace

from . import programs, ways
from .ways import Way

CORE = 1
"""Generator, forwarder and sink take turns on it: the cost of a packet is the sum of theirs."""
FLOWS = 1000
"""Bindings that packets are for, or destinations of a plain router."""
PRIORITY = 10
"""Of the real-time class, while a run lasts."""
_NEIGHBOURS = (
    ("pub", "203.0.113.1", ways.ROUTER_MAC),
    ("pub", ways.VPNGW_PUB, ways.GATEWAY_MAC),
    ("pub", ways.MIPP_PUB, ways.GATEWAY_MAC),
    ("priv", ways.HOME_AGENT, ways.INSIDE_MAC),
    ("priv", ways.VPNGW_PRIV, ways.INSIDE_MAC),
    ("priv", ways.MIPP_PRIV, ways.INSIDE_MAC),
)
_ROUTES = (
    (ways.CARE_OF_NETWORK, "203.0.113.1"),
    (ways.HOME_NETWORK, ways.VPNGW_PUB),
    (ways.MOBILITY_SUBNET, ways.HOME_AGENT),
)


class Forwarder(StrEnum):
    """What forwards between the interfaces."""

    KERNEL = "kernel"
    """The kernel's own IPv4 forwarding; no nftables, no connection tracking."""
    TC = "tc"
    XDP = "xdp"


class Sink(StrEnum):
    """What takes the packets at the end of the way."""

    XDP = "xdp"
    TC = "tc"
    """For socket buffers: in front of an XDP program on a veth the kernel copies one that has grown by a header."""


class BedError(RuntimeError):
    """Packets did not go the way that was to be measured."""


class Bed:
    """One forwarder with its wires; a context manager that leaves nothing behind."""

    def __init__(
        self, forwarder: Forwarder, directory: Path, *, sink: Sink = Sink.XDP, max_bindings: int | None = None
    ) -> None:
        """`directory` is for products of the compiler; `max_bindings` sizes the proxy's table."""
        self.forwarder = forwarder
        self._sink = sink
        self._directory = directory
        self._max_bindings = max_bindings
        self._stack = ExitStack()

    def __enter__(self) -> Bed:
        with ExitStack() as stack:
            self.router, self.far = Namespace(), Namespace()
            stack.callback(self.router.close)
            stack.callback(self.far.close)
            self.yardsticks = stack.enter_context(programs.Yardsticks(self._directory))
            self._wire()
            if self.forwarder is not Forwarder.KERNEL:
                self._load(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # Building

    def _wire(self) -> None:
        own = (
            ("203.0.113.30", "192.0.2.30")
            if self.forwarder is Forwarder.KERNEL
            else (str(ways.MIPP_PUB), str(ways.MIPP_PRIV))
        )
        lines = ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0"]
        for name, mac, address in zip(("pub", "priv"), (ways.PUB_MAC, ways.PRIV_MAC), own, strict=True):
            lines += [
                f"ip link add {name} address {mac} type veth peer name {name} netns {self.far.path}",
                f"ip link set {name} up",
                f"ip address add {address}/26 dev {name}",
                f"sysctl -qw net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.{name}.send_redirects=0",
                # Frames that come by redirect are taken only where GRO is on, or an XDP program attached.
                f"ethtool -K {name} gro on",
            ]
        lines += [f"ip neigh add {address} lladdr {mac} nud permanent dev {dev}"
                  for dev, address, mac in _NEIGHBOURS if str(address) not in own]  # fmt: skip
        lines += [f"ip route add {network} via {router}" for network, router in _ROUTES]
        self.router.shell("\n".join(lines))
        self.far.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1\nip link set pub up\nip link set priv up")
        for name in ("pub", "priv"):
            attach = programs.attach_xdp if self._sink is Sink.XDP else programs.attach_tc
            self.far.run(attach, self._index(self.far, name), self.yardsticks.program(f"sink_{self._sink}"))

    def _load(self, stack: ExitStack) -> None:
        code = build_both(self._directory / "mobileip.bpf.o")
        mount = Path("/run") / f"bench-{uuid.uuid4().hex[:8]}"
        mount.mkdir()
        stack.callback(mount.rmdir)
        subprocess.run(["mount", "-t", "bpf", "bpf", str(mount)], check=True)
        stack.callback(subprocess.run, ["umount", str(mount)], check=True)
        self.pin_dir = mount / "proxy"
        attachments = loader.proxy_attachments("pub", "priv")
        attach = Attach.NATIVE if self.forwarder is Forwarder.XDP else Attach.TC
        self.router.run(loader.load, code, self.pin_dir, attachments, max_bindings=self._max_bindings, attach=attach)
        stack.callback(self.router.run, loader.unload, self.pin_dir, attachments)
        if self.forwarder is Forwarder.XDP:  # what XDP passes up must not arrive all the same
            self.router.shell("tc qdisc del dev pub clsact\ntc qdisc del dev priv clsact")
        self.tables = ProxyTables(self.pin_dir)
        self.tables.configure(ways.settings(self.index("pub"), self.index("priv")))

    def index(self, interface: str) -> int:
        """Number of one of the forwarder's interfaces."""
        return self._index(self.router, interface)

    @staticmethod
    def _index(namespace: Namespace, name: str) -> int:
        return int(namespace.shell(f"ip -o link show {name}").split(":")[0])

    # Measuring

    def bind(self, encapsulation: Encapsulation, count: int = FLOWS) -> None:
        """Make the table hold `count` bindings of this encapsulation, and nothing else."""
        now = time.time()
        self.tables.sync([ways.binding(number, encapsulation, now) for number in range(count)])

    def rate(self, way: Way, packets: int) -> float:
        """Packets that arrive a second while so many are sent as fast as the generator can.

        Raises `BedError` when any of them went another way than `way`.
        """
        length = len(way.shape.frame) if self.forwarder is Forwarder.KERNEL else way.arrived_length
        far = self._index(self.far, way.interface)
        self.yardsticks.write(way.shape.pack(FLOWS, far, length))
        before, forwarded = self.yardsticks.arrived(), self.forwarded(way)
        generator = self.yardsticks.program("generate")
        seconds = self.far.run(self._send, generator, way.shape.frame, packets)
        time.sleep(0.02)
        arrived, forwarded = self.yardsticks.arrived() - before, self.forwarded(way) - forwarded
        if arrived != forwarded or not arrived:
            raise BedError(f"{self.forwarder}, {way.name}: {arrived} packets arrived, {forwarded} were sent that way")
        return arrived / seconds

    def memory(self, table: str) -> int:
        """Bytes that the kernel accounts to a pinned table (memlock of its fdinfo)."""
        pin = programs.pinned(self.pin_dir / "maps" / table)
        try:
            text = Path(f"/proc/self/fdinfo/{pin}").read_text(encoding="ascii")
        finally:
            os.close(pin)
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("memlock:"))

    @staticmethod
    def _send(generator: int, frame: bytes, packets: int) -> float:
        os.sched_setaffinity(0, {CORE})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        try:
            started = time.monotonic()
            programs.send(generator, frame, packets)
            return time.monotonic() - started
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def forwarded(self, way: Way) -> int:
        """Packets that went the way so far, by the forwarder's own counters."""
        if self.forwarder is Forwarder.KERNEL:
            text = self.router.run(Path("/proc/thread-self/net/snmp").read_text)
            names, values = [line.split() for line in text.splitlines() if line.startswith("Ip:")]
            return int(values[names.index("ForwDatagrams")])
        return self.tables.counters().packets[way.outcome]
