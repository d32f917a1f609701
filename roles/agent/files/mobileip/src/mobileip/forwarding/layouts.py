"""The structs of `bpf/structs.h` as Python packs them; a test compares both field by field through the object's BTF.

Formats are those of `struct`: `4s` for an address and `H` of a `Port` are network byte order, the rest is native.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MAX_GATEWAYS = 16
MAX_CARE_OF = 4
MAX_LINKS = 16
PASSES_PORTS = {17: 0, 6: 0x10000}
"""First bit of the ports of UDP and TCP in the table `passes`."""
PASSES_PROTOCOLS = 0x20000
PASSES_WORDS = (PASSES_PROTOCOLS + 0x100) // 64


@dataclass(frozen=True)
class Layout:
    """One struct: name and the (field, format) pairs in order. Padding is a field, as in C."""

    name: str
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def _struct(self) -> struct.Struct:
        return struct.Struct("=" + "".join(code for _, code in self.fields))

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._struct.size

    def offsets(self) -> dict[str, int]:
        """Offset of each field in bytes."""
        at, found = 0, {}
        for name, code in self.fields:
            found[name] = at
            at += struct.calcsize("=" + code)
        return found

    def pack(self, **values: Any) -> bytes:
        """Bytes of the struct; a field that is not given is zero."""
        row = [values.pop(name, b"" if code.endswith("s") else 0) for name, code in self.fields]
        if values:
            raise TypeError(f"struct {self.name} has no field {', '.join(values)}")
        return self._struct.pack(*row)

    @cached_property
    def pack_row(self) -> Callable[..., bytes]:
        """The same from all values in the fields' order: what a registration has time for."""
        return self._struct.pack

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Values by field name."""
        return dict(zip((name for name, _ in self.fields), self._struct.unpack(data), strict=True))


BINDING_KEY = Layout("binding_key", (("gateway", "4s"), ("home_address", "4s")))
TUNNEL = Layout(
    "tunnel",
    (
        ("care_of", "4s"),
        ("source", "4s"),
        ("port", "2s"),
        ("encapsulation", "B"),
        ("flags", "B"),
        ("gre_key", "4s"),
        ("expires_ns", "Q"),
    ),
)
TRAFFIC = Layout("traffic", (("packets", "Q"), ("bytes", "Q")))
_COUNTERS = (("from_node", f"{TRAFFIC.size}s"), ("to_node", f"{TRAFFIC.size}s"))
_HEAD = (*_COUNTERS, ("home_agent", "4s"), ("tunnel_count", "B"), ("home_agent_encapsulation", "B"), ("reserved", "H"))
BINDING = Layout("binding", (*_HEAD, ("tunnels", f"{TUNNEL.size * MAX_CARE_OF}s")))
BINDING_OF_ONE = Layout("binding", (*_HEAD, *TUNNEL.fields, ("others", f"{TUNNEL.size * (MAX_CARE_OF - 1)}s")))
"""The same with its first tunnel's fields: nearly all bindings have one, and are packed with one call."""
STRAY = Layout("stray", (("address", "4s"), ("port", "2s"), ("reserved", "H"), ("packets", "Q"), ("last_ns", "Q")))
GATEWAY = Layout("gateway", (("public_address", "4s"), ("private_address", "4s")))
PROXY_SETTINGS = Layout(
    "proxy_settings",
    (
        ("public_address", "4s"),
        ("private_address", "4s"),
        ("public_ifindex", "I"),
        ("private_ifindex", "I"),
        ("gateway_public_ifindex", "I"),
        ("gateway_private_ifindex", "I"),
        ("direct_delivery", "I"),
        ("home_agent_flags", "I"),
        ("home_agent_gre_key", "4s"),
        ("gateway_count", "I"),
        ("gateways", f"{GATEWAY.size * MAX_GATEWAYS}s"),
    ),
)
GATEWAY_MAC = Layout("gateway_mac", (("gateway", "4s"), ("mac", "6s"), ("reserved", "2s")))
PREFIX = Layout("prefix", (("length", "I"), ("address", "4s")))
HOME_AGENT_SETTINGS = Layout("home_agent_settings", (("address", "4s"), ("reserved", "I")))
FOREIGN_AGENT_SETTINGS = Layout(
    "foreign_agent_settings",
    (("care_of", "4s"), ("link_address", "4s"), ("uplink_ifindex", "I"), ("link_ifindex", "I")),
)
VISITOR = Layout(
    "visitor",
    (
        ("home_agent", "4s"),
        ("port", "2s"),
        ("encapsulation", "B"),
        ("flags", "B"),
        ("gre_key", "4s"),
        ("reserved", "I"),
        ("expires_ns", "Q"),
    ),
)
MOBILE_NODE_SETTINGS = Layout(
    "mobile_node_settings",
    (
        ("home_address", "4s"),
        ("care_of", "4s"),
        ("peer", "4s"),
        ("peer_port", "2s"),
        ("local_port", "2s"),
        ("mode", "B"),
        ("encapsulation", "B"),
        ("flags", "B"),
        ("reserved", "B"),
        ("gre_key", "4s"),
        ("gateway_count", "I"),
        ("gateways", f"{4 * MAX_GATEWAYS}s"),
    ),
)
INTERFACE_TRAFFIC = Layout(
    "interface_traffic",
    (
        ("ifindex", "I"),
        ("reserved", "I"),
        ("forwarded", f"{TRAFFIC.size}s"),
        ("dropped", f"{TRAFFIC.size}s"),
        ("passed", f"{TRAFFIC.size}s"),
    ),
)
DROP_EVENT_BYTES = 128
DROP_SAMPLING = Layout("drop_sampling", (("interval_ns", "Q"), ("until_ns", "Q")))
DROP_EVENT = Layout(
    "drop_event",
    (
        ("time_ns", "Q"),
        ("reason", "I"),
        ("ifindex", "I"),
        ("length", "I"),
        ("captured", "I"),
        ("frame", f"{DROP_EVENT_BYTES}s"),
    ),
)
EPOCH = Layout("epoch", (("boot_ns", "q"),))
PATH_MTU = Layout("path_mtu", (("mtu", "I"), ("reserved", "I"), ("expires_ns", "Q")))
NEXT_HOP = Layout(
    "next_hop",
    (
        ("destination", "4s"),
        ("source", "4s"),
        ("ifindex", "I"),
        ("protocol", "B"),
        ("tos", "B"),
        ("is_tunnel", "B"),
        ("hook", "B"),
        ("until_ns", "Q"),
        ("mtu", "H"),
        ("ethernet", "14s"),
    ),
)
TICK = Layout(
    "tick",
    (
        ("jiffies", "Q"),
        ("now_ns", "Q"),
        ("gateway", "4s"),
        ("mac", "6s"),
        ("reserved", "H"),
        ("asked", "I"),
        ("found", "I"),
        ("is_crowded", "B"),
        ("padding", "3s"),
    ),
)
TUNNEL_POLICY = Layout("tunnel_policy", (("errors_per_second", "I"), ("flags", "B"), ("dscp", "B"), ("tcp_mss", "H")))
LINK = Layout("link", (("ifindex", "I"), ("mac", "6s"), ("flags", "B"), ("why", "B")))
LINKS = Layout("links", (("entries", f"{LINK.size * MAX_LINKS}s"),))
OBJECT_IDENTITY = Layout("object_identity", (("object", "32s"), ("layout", "32s")))

ALL = (
    BINDING_KEY,
    TUNNEL,
    BINDING,
    STRAY,
    GATEWAY,
    PROXY_SETTINGS,
    GATEWAY_MAC,
    PREFIX,
    HOME_AGENT_SETTINGS,
    FOREIGN_AGENT_SETTINGS,
    VISITOR,
    MOBILE_NODE_SETTINGS,
    PATH_MTU,
    NEXT_HOP,
    TICK,
    TUNNEL_POLICY,
    LINK,
    LINKS,
    TRAFFIC,
    INTERFACE_TRAFFIC,
    DROP_SAMPLING,
    DROP_EVENT,
    EPOCH,
    OBJECT_IDENTITY,
)


def fingerprint() -> bytes:
    """32 bytes that differ between releases whose tables do: kept beside the pinned tables."""
    return hashlib.sha256(repr([(layout.name, layout.fields) for layout in ALL]).encode()).digest()
