"""The lab's command line: `python molecule/resources/lab COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab import hosts, image, machine, names, topology, wires
from lab.commands import in_namespace
from lab.errors import LabError
from lab.topology import Host, Topology

Result = TypeVar("Result")


@contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"lab: {what} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def _for_all(action: Callable[[Host], Result], chosen: list[Host]) -> list[Result]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(action, chosen))


def _report_failed_units(chosen: list[Host], failed: list[list[str]]) -> None:
    for host, units in zip(chosen, failed, strict=True):
        if units:
            print(f"lab: {host.name} has booted, but failed to start: {', '.join(units)}")


def _chosen(lab: Topology, listed: str | None) -> list[Host]:
    if not listed:
        return [host for host in lab.hosts.values() if host.name != "ha2"]
    return list({host.name: host for host in map(lab.host, listed.split(","))}.values())


def _make_image(wanted: image.Image) -> None:
    if not wanted.exists():
        log = wanted.log.relative_to(names.CHECKOUT)
        with _step(f"building the {wanted.name} image {wanted.tag()} (about a minute; log in {log})"):
            wanted.build()


def _refuse_another_deployment(lab: Topology, found: dict[str, str]) -> None:
    recorded = names.recorded_deployment()
    if found and recorded and recorded != lab.deployment:
        raise LabError(f"the hosts that are up are {recorded}'s, not {lab.deployment}'s: `make demo-down` removes them")


def up(lab: Topology, listed: str | None) -> None:
    """Starts hosts that are not there yet; all but ha2 where none are named."""
    machine.require()
    chosen = _chosen(lab, listed)
    _refuse_another_deployment(lab, hosts.existing())
    wires.create_segments(lab)
    machine.prepare()
    names.DEPLOYMENT.write_text(lab.deployment, encoding="ascii")
    _make_image(image.HOST)
    hosts.create_key()
    states = hosts.existing()
    missing = [host for host in chosen if states.get(host.name) != "running"]
    if missing:
        with _step(f"wiring {len(missing)} hosts"):
            for host in missing:
                wires.delete_host_namespace(host)
                wires.create_host_namespace(host)
        with _step(f"booting {', '.join(host.name for host in missing)}"):
            _for_all(hosts.start, missing)
            failed = _for_all(hosts.wait_until_booted, missing)
        _report_failed_units(missing, failed)
        hosts.trust_host_key(missing[0])
    # All of them, since an `up` that was interrupted may have booted a router and not configured it.
    routers = [host for host in chosen if host.frr]
    if missing and routers:
        with _step(f"starting FRR on {', '.join(host.name for host in routers)}"):
            _for_all(hosts.configure_routing, routers)
    before = len(chosen) - len(missing)
    print(f"lab: {len(chosen)} hosts of {lab.deployment} are up, {before} of them were before; prefix {names.PREFIX}")


def down(lab: Topology) -> None:
    """Removes hosts, wires, namespaces, and what is pinned in them."""
    machine.require()
    found = sorted(hosts.existing())
    if found:
        with _step(f"removing {len(found)} hosts"):
            hosts.remove(found)
    wires.delete_namespaces(sorted(wires.namespaces()))
    machine.clean_up()
    print("lab: nothing is left")


def discard(lab: Topology, listed: str) -> None:
    """Removes some hosts with everything in them; `up` makes them anew, as fresh as on the first day."""
    chosen = _chosen(lab, listed)
    with _step(f"removing {', '.join(host.name for host in chosen)}"):
        hosts.remove([host.name for host in chosen if host.name in hosts.existing()])
        for host in chosen:
            wires.delete_host_namespace(host)


def status(lab: Topology) -> None:
    """Prints one line a host: state, process id, ports with segment and address."""
    states = hosts.existing()
    plugged = wires.ports_by_segment() if names.WIRES in wires.namespaces() else {}
    for host in lab.hosts.values():
        ports = [f"{port.name}={plugged.get(names.of_peer(host.name, port.name), '-')}" for port in host.ports]
        print(f"{host.name:10} {states.get(host.name, 'absent'):10} {' '.join(ports)}")


def restart(host: Host, *, hard: bool) -> None:
    """Reboots a host into fresh wires, plugged in where they were. What was not made lasting is gone, as anywhere."""
    network = wires.network_of(host) if host.attachments else None
    behind = wires.is_behind_nat(host)
    with _step(f"stopping {host.name}"):
        hosts.stop(host, hard=hard)
        wires.delete_host_namespace(host)
    with _step(f"booting {host.name}"):
        wires.create_host_namespace(host)
        if network and network != host.start_network:
            wires.move(host, network)
        if behind:
            wires.put_behind_nat(host, True)
        hosts.start(host)
        failed = hosts.wait_until_booted(host)
    _report_failed_units([host], [failed])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="The hosts and wires of demonstration and tests.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("up", help="start hosts (what is up stays as it is)")
    command.add_argument("--hosts", help="names, separated by commas; default: all but ha2")
    command = commands.add_parser("discard", help="remove some hosts; `up` makes them anew")
    command.add_argument("--hosts", required=True, help="names, separated by commas")
    commands.add_parser("down", help="remove hosts, wires and namespaces")
    commands.add_parser("status", help="what is up, and where it is plugged in")
    commands.add_parser("image", help="build the host image where it is missing")
    commands.add_parser("remove-image", help="remove the images and their predecessors")
    command = commands.add_parser("restart", help="reboot a host")
    command.add_argument("host")
    command.add_argument("--hard", action="store_true", help="cut its power instead of shutting it down")
    command = commands.add_parser("exec", help="run a command on a host")
    command.add_argument("host")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    command = commands.add_parser("move", help="move a mobile node; prints milliseconds")
    command.add_argument("host")
    command.add_argument("network", help="home, visited, open, nat or fa")
    command = commands.add_parser("pid", help="process id of a host's init")
    command.add_argument("host")
    command = commands.add_parser("bridge", help="the bridge of a segment, in the namespace that `ns` prints")
    command.add_argument("segment")
    commands.add_parser("ns", help="path of the wires' network namespace")
    command = commands.add_parser("capture", help="run tcpdump on a segment: capture SEGMENT -- -w FILE udp port 434")
    command.add_argument("segment")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS")
    command = commands.add_parser("fa-behind-nat", help="plug the foreign agent's uplink in behind the NAT, or back")
    command.add_argument("state", choices=["on", "off"])
    return parser


def _segment(lab: Topology, name: str) -> str:
    if name not in lab.segments:
        raise LabError(f"no segment {name!r} in topology.yml; there are: {', '.join(lab.segments)}")
    return name


def _arguments(argv: list[str]) -> list[str]:
    return argv[1:] if argv[:1] == ["--"] else argv


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(argv)
    lab = topology.load()
    match options.command:
        case "up":
            up(lab, options.hosts)
        case "discard":
            discard(lab, options.hosts)
        case "down":
            down(lab)
        case "status":
            status(lab)
        case "image":
            machine.require()
            _make_image(image.HOST)
        case "remove-image":
            for made in (image.HOST, image.CONTROLLER):
                made.remove()
        case "restart":
            restart(lab.host(options.host), hard=options.hard)
        case "exec":
            command = hosts.inside(lab.host(options.host), _arguments(options.argv) or ["bash", "-l"])
            os.execvp(command[0], command)
        case "move":
            print(f"{wires.move(lab.host(options.host), options.network):.1f}")
        case "pid":
            print(hosts.pid(lab.host(options.host)))
        case "bridge":
            print(_segment(lab, options.segment))
        case "ns":
            print(f"/run/netns/{names.WIRES}")
        case "capture":
            arguments = _arguments(options.argv)
            command = in_namespace(names.WIRES, ["tcpdump", "-i", _segment(lab, options.segment), *arguments])
            os.execvp(command[0], command)
        case "fa-behind-nat":
            print(f"{wires.put_behind_nat(lab.host('fa'), options.state == 'on'):.1f}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
