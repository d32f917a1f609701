"""One box: the wire between a VPN gateway and the proxy on the same host, a veth pair in the place of a segment.

Both ends have the same MAC address and no ARP. So whatever one end sends is for the other, whoever is named as next
hop: nobody asks for an address, and no neighbour can be unresolved. The gateway sends packets for nodes into its end by
a route of its own (`default dev mip0` in a table that only these packets look at).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mobileip.forwarding.loader import LoadError

WIRE_MAC = "02:4d:49:50:00:01"
"""Of both ends; locally administered, and on no other wire."""
WIRE_ADDRESS = "169.254.77.73"
"""Of the gateway's end, for itself alone: without one, the kernel's reverse path filter is a strict one there."""
_SCOPE_LINK = 253
_UP, _NO_ARP = 0x1, 0x80  # net_device_flags
_SYSCTL = Path("/proc/sys/net")


@dataclass(frozen=True)
class Wire:
    """The veth pair: its two ends, and the largest packet in bytes that one of the host's segments brings."""

    gateway_interface: str
    proxy_interface: str
    mtu: int

    @property
    def ends(self) -> tuple[str, str]:
        return self.gateway_interface, self.proxy_interface


def lay(wire: Wire) -> bool:
    """Make the wire, or make right what is there; False if it was. Raises LoadError for interfaces of another's."""
    with IPRoute() as netlink:
        try:
            changed = not _is_there(netlink, wire)
            if changed:
                peer = {"ifname": wire.proxy_interface, "address": WIRE_MAC, "mtu": wire.mtu}
                netlink.link(
                    "add", ifname=wire.gateway_interface, kind="veth", address=WIRE_MAC, mtu=wire.mtu, peer=peer
                )
            for end in wire.ends:
                changed |= _set_sysctls(end, is_gateway=end == wire.gateway_interface)
                changed |= _set_link(netlink, end, wire.mtu)
            changed |= _set_address(netlink, wire.gateway_interface)
        except (NetlinkError, OSError) as error:
            raise LoadError(f"the wire {wire.gateway_interface} to {wire.proxy_interface}: {error}") from error
    return changed


def remove(wire: Wire) -> None:
    """Remove the wire, if it is there. Raises LoadError for interfaces of another's."""
    with IPRoute() as netlink:
        if _is_there(netlink, wire):
            netlink.link("del", index=netlink.link_lookup(ifname=wire.gateway_interface)[0])


def _is_there(netlink: IPRoute, wire: Wire) -> bool:
    links = {end: _link(netlink, end) for end in wire.ends}
    there = [(end, link) for end, link in links.items() if link is not None]
    if not there:
        return False
    indices = {link["index"] for _, link in there}
    for end, link in there:
        kind = link.get_attr("IFLA_LINKINFO") and link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND")
        if len(indices) != 2 or kind != "veth" or link.get_attr("IFLA_LINK") not in indices - {link["index"]}:
            raise LoadError(
                f"interface {end}: is there and is not an end of the wire {' to '.join(wire.ends)}; expected a name "
                "that nothing else uses: rename it, or choose others under one_box"
            )
    return True


def _link(netlink: IPRoute, interface: str) -> Any:
    found = netlink.link_lookup(ifname=interface)
    return netlink.get_links(found[0])[0] if found else None


def _set_link(netlink: IPRoute, interface: str, mtu: int) -> bool:
    link, flags = _link(netlink, interface), _UP | _NO_ARP
    if (
        link["flags"] & flags == flags
        and link.get_attr("IFLA_MTU") == mtu
        and link.get_attr("IFLA_ADDRESS") == WIRE_MAC
    ):
        return False
    netlink.link("set", index=link["index"], address=WIRE_MAC, mtu=mtu, flags=flags, change=flags)
    return True


def _set_address(netlink: IPRoute, interface: str) -> bool:
    index = netlink.link_lookup(ifname=interface)[0]
    if any(entry.get_attr("IFA_LOCAL") == WIRE_ADDRESS for entry in netlink.get_addr(index=index)):
        return False
    netlink.addr("add", index=index, address=WIRE_ADDRESS, prefixlen=32, scope=_SCOPE_LINK)
    return True


def _set_sysctls(interface: str, *, is_gateway: bool) -> bool:
    """No IPv6 by itself. The gateway's end gets a home agent's packets, to whose senders another interface leads: a
    strict reverse path filter would drop them all. It also gets the proxy's ICMP errors, which come from this host."""
    values = {_SYSCTL / "ipv6/conf" / interface / "disable_ipv6": "1"}
    if is_gateway:
        values[_SYSCTL / "ipv4/conf" / interface / "rp_filter"] = "2"
        values[_SYSCTL / "ipv4/conf" / interface / "accept_local"] = "1"
        values[_SYSCTL / "ipv4/conf" / interface / "send_redirects"] = "0"
    changed = False
    for path, value in values.items():
        with suppress(FileNotFoundError):  # a kernel without IPv6
            if path.read_text().strip() != value:
                path.write_text(value)
                changed = True
    return changed
