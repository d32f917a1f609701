"""Network namespaces, segments (bridges in one namespace) and ports: what a cable and a switch would be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from lab import names
from lab.commands import PreparedIp, in_namespace, ip_batch, run
from lab.errors import LabError
from lab.topology import Attachment, Host, Topology

# Frames look on these wires as on real ones: finished checksums, none larger than the MTU.
OFFLOADS = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"]
START_SECONDS = 0.05
"""For a process to start and wait for its commands."""


def namespaces() -> set[str]:
    """The named network namespaces of this checkout."""
    listed = run(["ip", "netns", "list"]).splitlines()
    return {line.split()[0] for line in listed if line.startswith(f"{names.PREFIX}-")}


def create_segments(topology: Topology) -> None:
    """Makes the namespace of the wires with one bridge a segment, where it is not there yet."""
    if names.WIRES in namespaces():
        return
    run(["ip", "netns", "add", names.WIRES])
    lines = ["link set lo up"]
    for segment in topology.segments:
        # No snooping: agent advertisements and OSPF's hellos are multicast, and every port must see them.
        lines.append(f"link add {segment} type bridge forward_delay 0 stp_state 0 mcast_snooping 0")
        lines.append(f"link set dev {segment} up")
    Path(f"/run/netns/{names.WIRES}").stat()
    # Bridges need no addresses; without IPv6 they put no frame of their own on a segment.
    run(in_namespace(names.WIRES, ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]))
    ip_batch(names.WIRES, lines)


def create_host_namespace(host: Host) -> None:
    """Makes the host's network namespace and plugs in all its ports, configured, before the host boots."""
    namespace = names.of_host(host.name)
    run(["ip", "netns", "add", namespace])
    # Before the ports: new interfaces take their settings from `default`.
    settings = {**host.sysctls, "net.ipv4.ip_forward": "1" if host.forward else "0"}
    run(in_namespace(namespace, ["sysctl", "-qw", *(f"{key}={value}" for key, value in settings.items())]))
    wires = []
    inside = ["link set lo up"]
    for port in host.ports:
        peer = names.of_peer(host.name, port.name)
        mac = names.mac_of(host.name, port.name)
        wires.append(f"link add name {peer} type veth peer name {port.name} address {mac} netns {namespace}")
        wires.append(f"link set dev {peer} master {port.segment} up")
        inside.append(f"link set dev {port.name} up")
        addresses = [port.address] if port.address else []
        inside += [f"addr add {address} brd + dev {port.name}" for address in (*addresses, *port.further)]
    inside += [f"route add {route.to} via {route.via}" for route in host.routes]
    if host.start_network:
        inside += _gateway_lines(host.mobile_port, host.attachments[host.start_network])
    ip_batch(names.WIRES, wires)
    for port in host.ports:
        run(in_namespace(namespace, ["ethtool", "-K", port.name, *OFFLOADS]))
    ip_batch(namespace, inside)
    if host.masquerade:
        run(in_namespace(namespace, ["nft", "-f", "-"]), stdin=_masquerade(*host.masquerade))


def _masquerade(inside: str, outside: str) -> str:
    """What a home router does: keeps the source port where it is free, lets nothing in that was not asked for."""
    return f"""
table ip lab_nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{outside}" masquerade persistent
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "{inside}" accept
    ct state established,related accept
  }}
}}
"""


def delete_host_namespace(host: Host) -> None:
    """Unplugs all ports and removes the namespace. Peers go first, by name: the kernel reaps their ends later."""
    if names.WIRES in namespaces():
        present = ports_by_segment()
        peers = [names.of_peer(host.name, port.name) for port in host.ports]
        ip_batch(names.WIRES, [f"link del dev {peer}" for peer in peers if peer in present])
    if names.of_host(host.name) in namespaces():
        run(["ip", "netns", "del", names.of_host(host.name)])


def delete_namespaces(found: Iterable[str]) -> None:
    """Removes namespaces by name."""
    for namespace in found:
        run(["ip", "netns", "del", namespace])


def ports_by_segment() -> dict[str, str]:
    """Which segment each peer (`host.port`) is plugged into now."""
    links = json.loads(run(["ip", "-n", names.WIRES, "-json", "link", "show", "type", "veth"]) or "[]")
    return {link["ifname"]: link.get("master", "") for link in links}


def network_of(host: Host) -> str:
    """The network in which a mobile node is now."""
    segment = ports_by_segment().get(names.of_peer(host.name, host.mobile_port), "")
    for network, attachment in host.attachments.items():
        if attachment.segment == segment:
            return network
    raise LabError(f"{host.name} is plugged into {segment or 'nothing'}, which is none of its networks")


def _gateway_lines(port: str, attachment: Attachment) -> list[str]:
    return [f"route add default via {attachment.gateway} dev {port}"] if attachment.gateway else []


def _replug(host: Host, port: str, segment: str, configuration: list[str]) -> float:
    """Pulls the plug, puts it in elsewhere, configures the interface at once. Returns milliseconds."""
    peer, inside = names.of_peer(host.name, port), names.of_host(host.name)
    # Processes start before the plug is pulled: nobody shall be without network because `ip` starts.
    pull, plug = PreparedIp(names.WIRES), PreparedIp(names.WIRES)
    # Version 4 alone: link-local addresses of version 6 stay, as they do on a moved laptop.
    flush, configure = PreparedIp(inside, "-4"), PreparedIp(inside)
    time.sleep(START_SECONDS)
    started = time.monotonic()
    pull.run([f"link set dev {peer} down nomaster"])
    flush.run([f"addr flush dev {port}"])
    plug.run([f"link set dev {peer} master {segment} up"])
    configure.run(configuration)
    return (time.monotonic() - started) * 1000


def move(host: Host, network: str) -> float:
    """Moves a mobile node into a network: no carrier for a moment, then that network's address and default route.

    Returns the milliseconds from pulling the plug to the new route. Raises LabError for a network the node lacks.
    """
    port = host.mobile_port
    if network not in host.attachments:
        raise LabError(f"{host.name} knows no network {network!r}; there are: {', '.join(host.attachments)}")
    attachment = host.attachments[network]
    configuration = [f"addr add {attachment.address} brd + dev {port}"] if attachment.address else []
    return _replug(host, port, attachment.segment, configuration + _gateway_lines(port, attachment))


def put_behind_nat(host: Host, behind: bool) -> float:
    """Plugs the port that `behind_nat` names into the NAT's inside, or back. Returns milliseconds."""
    plug = host.behind_nat
    if plug is None:
        raise LabError(f"{host.name} has no `behind_nat` in topology.yml")
    if behind:
        lines = [f"addr add {plug.address} brd + dev {plug.port}", f"route add default via {plug.gateway}"]
        return _replug(host, plug.port, plug.segment, lines)
    port = next(port for port in host.ports if port.name == plug.port)
    lines = [f"addr add {port.address} brd + dev {port.name}"]
    lines += [f"route add {route.to} via {route.via}" for route in host.routes]
    return _replug(host, port.name, port.segment, lines)


def is_behind_nat(host: Host) -> bool:
    """Whether the host's other plug is in use."""
    plug = host.behind_nat
    return plug is not None and ports_by_segment().get(names.of_peer(host.name, plug.port)) == plug.segment
