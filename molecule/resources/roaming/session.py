"""Drive one roaming session: programs on the hosts, captures on the wires, moves in between.

Nothing is judged here; the session hands back files and times.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).parent
CORE_SEGMENTS = ("outside", "dmz_public", "dmz_private", "core")
SEGMENTS_OF_NETWORK = {
    "home": ("home",),
    "visited": ("visited",),
    "open": ("open",),
    "nat": ("nat_inside", "nat_outside"),
    "fa": ("fa_link", "fa_uplink"),
}
LINK_OF_NETWORK = {"home": "home", "open": "open", "nat": "nat_inside", "fa": "fa_link", "visited": "visited"}
STOP_SECONDS = 30
MEMORY = Path("/dev/shm")
PCAP_HEADER = 24
BACK_PORT = 5003
"""Of the probe that the correspondent sends."""


class Hosts(Protocol):
    """What a session needs of the machines it runs on."""

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the local command that runs `argv` on `host`."""

    def capture_command(self, segment: str, argv: Sequence[str]) -> list[str]:
        """Return the local command that runs `argv` where the bridge of `segment` is."""

    def bridge(self, segment: str) -> str:
        """Return the interface name of the bridge of `segment`."""

    def move(self, host: str, network: str) -> None:
        """Put `host` on `network`; returns when its link and addresses are those of the new network."""


class SessionError(RuntimeError):
    """A part of the session did not start or end as it must."""


class Program:
    """A program of this package that runs on a host, held by its standard input."""

    def __init__(self, hosts: Hosts, host: str, script: str, arguments: Sequence[str], log: Path) -> None:
        self.host, self.script, self._log = host, script, log
        source = (HERE / script).read_text(encoding="utf-8")
        self._output = log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            hosts.command(host, ["python3", "-c", source, *arguments]),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def events(self) -> list[dict[str, Any]]:
        """Return the JSON lines printed so far; a line still being written is left out."""
        found = []
        for line in self._log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("{"):
                found.append(json.loads(line))
        return found

    def wait_for(self, event: str, seconds: float) -> dict[str, Any]:
        """Wait until the program has printed `event`. Raises `SessionError` with its output if it does not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for found in self.events():
                if found["event"] == event:
                    return found
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        said = self._log.read_text(encoding="utf-8")[-2000:]
        self.release()
        raise SessionError(f"{self.script} on {self.host}: no '{event}' within {seconds:g} s; it said:\n{said}")

    def release(self) -> None:
        """Let go of the leash without waiting."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def finish(self) -> None:
        """Let the program end by itself; end it by its own process id if it does not."""
        self.release()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def pauses(metronome: Program) -> list[tuple[float, float]]:
    """Return when the machine stood still, as a metronome saw it: end in Unix seconds, length in seconds."""
    return [(event["t"], event["seconds"]) for event in metronome.events() if event["event"] == "pause"]


@contextmanager
def captures(hosts: Hosts, segments: Sequence[str], directory: Path) -> Iterator[dict[str, Path]]:
    """Capture all IP frames of each segment into `directory` while the block runs; yields segment -> file.

    The files are in `directory` when the block has ended. Until then they are in memory: a disk that is busy with
    captures makes the daemons wait for theirs, and a registration would be measured with the capture's own weight.
    """
    files = {segment: directory / f"{segment}.pcap" for segment in segments}
    with tempfile.TemporaryDirectory(prefix="roaming-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        held = {segment: Path(scratch) / f"{segment}.pcap" for segment in segments}
        running = []
        for segment, path in held.items():
            argv = ["tcpdump", "-i", hosts.bridge(segment), "-U", "-B", "16384", "-w", str(path), "ip or arp"]
            command = hosts.capture_command(segment, argv)
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        try:
            deadline = time.monotonic() + 10
            while not all(path.exists() and path.stat().st_size >= PCAP_HEADER for path in held.values()):
                if time.monotonic() > deadline:
                    raise SessionError(f"tcpdump did not start on {', '.join(sorted(held))}: is it installed?")
                time.sleep(0.05)
            yield files
            # tcpdump hands over what it has caught once a second; what it still holds at its end is lost.
            time.sleep(1.2)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(10)
            for segment, path in held.items():
                if path.exists():
                    shutil.copyfile(path, files[segment])


@contextmanager
def conversation(
    hosts: Hosts,
    directory: Path,
    client: tuple[str, str],
    server: tuple[str, str],
    port: int = 5010,
    pace: Sequence[str] = (),
) -> Iterator[dict[str, Program]]:
    """Hold one TCP stream between (host, address) `client` and `server` while the block runs; logs go to `directory`.

    `pace`: options of `stream.py` for both ends, as `--rate`.

    Raises `SessionError` when the connection does not open within 20 s.
    """
    log = f"{client[0]}-{server[0]}-{port}"
    ends: dict[str, Program] = {}
    with ExitStack() as stack:

        def start(name: str, host: str, *arguments: str) -> Program:
            ends[name] = Program(
                hosts, host, "stream.py", (*arguments, *pace, "--port", str(port)), directory / f"{log}-{name}"
            )
            stack.callback(ends[name].finish)
            return ends[name]

        start("server", server[0], "serve").wait_for("listening", 10)
        start("client", client[0], "connect", "--address", server[1], "--source", client[1]).wait_for("established", 20)
        yield ends
        for program in ends.values():
            program.release()


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the node; times in Unix seconds."""

    origin: str
    target: str
    started: float
    moved: float
    """When the node's link and addresses were those of the new network."""
    ended: float
    """When the next move began, or the session ended."""


@dataclass(slots=True)
class Recording:
    """What a session leaves behind."""

    node: str
    home_address: str
    gateway_wire: str = "dmz_public"
    """Where the gateway's own packets were seen."""
    moves: list[Move] = field(default_factory=list)
    captures: dict[str, Path] = field(default_factory=dict)
    probe: list[dict[str, Any]] = field(default_factory=list)
    delivered: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """With a probe each way: number and time of sending (Unix seconds) of what came to the node, and to the
    correspondent."""
    streams: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """When the machine stood still: end (Unix seconds) and length in seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session shall do. Times in seconds."""

    home_address: str
    correspondent: str
    networks: tuple[str, ...]
    node: str = "mn"
    correspondent_host: str = "cn"
    dwell: float = 6.0
    first_dwell: float = 8.0
    """The move that sets the SA up may take longer."""
    probe_interval: float = 0.01
    each_way: bool = False
    """A second probe from the correspondent, so that each direction shows its own outage."""
    settle: float = 2.0
    everywhere: bool = True
    """Capture also where no figure of a move comes from."""
    gateway_wire: str = "dmz_public"
    """The segment on which the gateway's own packets are seen; in one box the wire inside."""

    @property
    def segments(self) -> tuple[str, ...]:
        """Where to capture: the way between outside and inside, and each network that the node comes to."""
        visited = dict.fromkeys(self.networks)
        if not self.everywhere:
            return ("outside", self.gateway_wire, *(LINK_OF_NETWORK[network] for network in visited))
        around = [segment for network in visited for segment in SEGMENTS_OF_NETWORK[network]]
        return tuple(dict.fromkeys((*CORE_SEGMENTS, self.gateway_wire, *around)))


def record(hosts: Hosts, plan: Plan, directory: Path, say: Callable[[str], None]) -> Recording:
    """Run the session of `plan`; the node starts on the first of its networks.

    Raises `SessionError` when the TCP session or the probe cannot start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    recording = Recording(plan.node, plan.home_address, plan.gateway_wire)
    with ExitStack() as stack:
        recording.captures = stack.enter_context(captures(hosts, plan.segments, directory))
        programs: dict[str, Program] = {}

        def start(name: str, host: str, script: str, *arguments: str) -> Program:
            program = Program(hosts, host, script, arguments, directory / f"{name}.jsonl")
            programs[name] = program
            stack.callback(program.finish)
            return program

        start("metronome", plan.node, "metronome.py").wait_for("ticking", 10)
        start("stream-correspondent", plan.correspondent_host, "stream.py", "serve").wait_for("listening", 10)
        tell = ("--tell",) if plan.each_way else ()
        start("probe-correspondent", plan.correspondent_host, "probe.py", "echo", *tell).wait_for("listening", 10)
        where = ("--address", plan.correspondent, "--source", plan.home_address)
        start("stream-node", plan.node, "stream.py", "connect", *where).wait_for("established", 30)
        probe = start("probe-node", plan.node, "probe.py", "send", *where, "--interval", str(plan.probe_interval))
        probe.wait_for("reply", 10)
        if plan.each_way:
            there = ("--address", plan.home_address, "--port", str(BACK_PORT))
            start("back-node", plan.node, "probe.py", "echo", *tell, *there).wait_for("listening", 10)
            back = ("send", *there, "--source", plan.correspondent, "--interval", str(plan.probe_interval))
            start("back-correspondent", plan.correspondent_host, "probe.py", *back).wait_for("reply", 10)
        time.sleep(plan.settle)

        for index, (origin, target) in enumerate(zip(plan.networks, plan.networks[1:], strict=False)):
            dwell = plan.first_dwell if index == 0 else plan.dwell
            say(f"move {index + 1}: {origin} -> {target}, then {dwell:g} s there")
            started = time.time()
            hosts.move(plan.node, target)
            moved = time.time()
            time.sleep(dwell)
            recording.moves.append(Move(origin, target, started, moved, time.time()))

        for program in reversed(programs.values()):  # who opened a connection closes it
            program.release()
        for program in programs.values():
            program.finish()
        recording.pauses = pauses(programs["metronome"])
        recording.probe = programs["probe-node"].events()
        if plan.each_way:
            recording.delivered = {
                end: [
                    (event["number"], event["sent"]) for event in programs[name].events() if event["event"] == "arrived"
                ]
                for end, name in (("node", "back-node"), ("correspondent", "probe-correspondent"))
            }
        recording.streams = {
            "node": programs["stream-node"].events(),
            "correspondent": programs["stream-correspondent"].events(),
        }
    return recording
