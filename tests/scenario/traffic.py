"""A TCP session and a probe that go on while something is done to the hosts that carry them, and what they missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from roaming import report, wire
from roaming.lab_hosts import LabHosts
from roaming.session import Program, conversation, pauses

PROBE_PORT, STREAM_PORT = 5042, 5043
ON_THE_WAY = 1.0
"""Seconds after which a datagram that has not come is lost."""


@dataclass(frozen=True)
class Missed:
    """What became of the probes that were sent in some time."""

    sent: int
    lost_outwards: int
    """Of the node's datagrams: not seen by the correspondent."""
    lost_inwards: int
    """Of its answers: not seen by the node."""
    gap: float
    """Longest silence that the node heard, in seconds, without the time in which the machine stood still."""


class Traffic:
    """The running programs at both ends."""

    def __init__(self, echo: Program, probe: Program, metronome: Program, ends: dict[str, Program]) -> None:
        self._echo, self._probe, self._metronome, self._ends = echo, probe, metronome, ends

    def missed(self, start: float, end: float) -> Missed:
        """Return what was missed of what was sent in [start, end), Unix seconds; waits until all can have come."""
        time.sleep(max(0.0, end + ON_THE_WAY - time.time()))
        replies = [event for event in self._probe.events() if event["event"] == "reply"]
        arrived = {event["number"] for event in self._echo.events() if event["event"] == "arrived"}
        answered = {event["number"] for event in replies}
        before = [event["number"] for event in replies if event["sent"] < start]
        after = [event["number"] for event in replies if event["sent"] >= end]
        assert before, "the probe was not yet answered when it began"
        assert after, "the probe is not answered any more"
        sent = set(range(max(before) + 1, min(after)))
        gap = wire.longest_gap((float(event["t"]) for event in replies), start, end, pauses(self._metronome))
        return Missed(len(sent), len(sent - arrived), len(sent & arrived - answered), gap)

    def finish_session(self) -> str:
        """End the TCP session; return why it did not survive, or an empty text."""
        for program in self._ends.values():
            program.release()
        for program in self._ends.values():
            program.finish()
        return report.session_verdict({name: program.events() for name, program in self._ends.items()})


@contextmanager
def traffic(hosts: LabHosts, node: str, correspondent: str, directory: Path) -> Iterator[Traffic]:
    """A slow TCP session and a 10 ms probe from `node` to `correspondent`, both answered when the block begins."""
    server, home = hosts.address(correspondent, "eth0"), hosts.home_address(node)
    with ExitStack() as stack:

        def start(name: str, host: str, script: str, *arguments: str) -> Program:
            program = Program(hosts, host, script, arguments, directory / f"{node}-{name}.jsonl")
            stack.callback(program.finish)
            return program

        metronome = start("metronome", node, "metronome.py")
        metronome.wait_for("ticking", 10)
        port = ("--port", str(PROBE_PORT))
        echo = start("echo", correspondent, "probe.py", "echo", "--tell", *port)
        echo.wait_for("listening", 10)
        probe = start("probe", node, "probe.py", "send", "--address", server, "--source", home, *port)
        probe.wait_for("reply", 10)
        pace = ("--rate", "20000", "--interval", "0.05")
        session = conversation(hosts, directory, (node, home), (correspondent, server), STREAM_PORT, pace)
        yield Traffic(echo, probe, metronome, stack.enter_context(session))
