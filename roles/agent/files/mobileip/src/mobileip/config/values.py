"""Values that are not mere numbers and texts: addresses, networks, interfaces, names of keys."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _ipv4(value: object) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value) if isinstance(value, str) else IPv4Address("")
    except ValueError:
        if isinstance(value, str) and ":" in value:
            raise ValueError("expected an IPv4 address: Mobile IPv4 carries no IPv6") from None
        raise ValueError("expected an IPv4 address, four decimal numbers such as 203.0.113.10") from None


def _unicast(value: object) -> IPv4Address:
    address = _ipv4(value)
    kinds = {
        "a multicast": address.is_multicast,
        "a loopback": address.is_loopback,
        "the unspecified": address.is_unspecified,
        "a link-local": address.is_link_local,
        "the broadcast": address == IPv4Address("255.255.255.255"),
        "a reserved": address.is_reserved,
    }
    for kind, applies in kinds.items():
        if applies:
            raise ValueError(f"this is {kind} address, expected a unicast IPv4 address of a host")
    return address


def _group(value: object) -> IPv4Address:
    address = _ipv4(value)
    if not address.is_multicast:
        raise ValueError("this is no group, expected a multicast address, 224.0.1.0 to 239.255.255.255")
    if address in IPv4Network("224.0.0.0/24"):
        raise ValueError("this group never leaves its link, expected 224.0.1.0 to 239.255.255.255")
    return address


def _nai(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\S+", value) or len(value.encode()) > 255:
        raise ValueError("expected a network access identifier of 1 to 255 bytes without a blank, such as user@realm")
    return value


def _network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("expected an IPv4 network with its prefix length, such as 192.0.2.64/27")
    try:
        return IPv4Network(value)
    except ValueError:
        try:
            intended = IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError("expected an IPv4 network with its prefix length, such as 192.0.2.64/27") from None
        raise ValueError(f"has host bits set, expected the network itself; did you mean {intended}?") from None


def _interface(value: object) -> str:
    # The kernel's own rule: dev_valid_name(), IFNAMSIZ 16 with the closing zero.
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/:]{1,15}", value) or value in {".", ".."}:
        raise ValueError("expected the name of a network interface: 1 to 15 characters, no blank, '/' or ':'")
    return value


def _mac(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}", value):
        raise ValueError("expected an Ethernet address in quotes, such as '02:00:00:00:00:14'")
    if int(value[:2], 16) & 1:
        raise ValueError("this is a group address, expected the Ethernet address of one station")
    return value.lower()


def _key_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", value):
        raise ValueError("expected the name of a key in the keys file: letters, digits and . _ @ -")
    if re.fullmatch(r"(?i)[0-9a-f]{32,}", value):
        # Never echo it: somebody has pasted the secret itself.
        raise ValueError(SECRET_IN_CONFIG)
    return value


_PROTOCOLS = {"esp": 50, "ah": 51, "gre": 47}
_TRANSPORTS = {"tcp": 6, "udp": 17}


def _passing(value: object) -> str:
    text = str(value).lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    protocol, port = protocol_and_port(text)
    if protocol in _TRANSPORTS.values() and port is None:
        raise ValueError("this is all of TCP or UDP, expected the VPN gateway's port as well, such as udp/4500")
    if (protocol, port) == (_TRANSPORTS["udp"], 434):
        raise ValueError("registrations never pass to a VPN gateway, expected another port than 434")
    if protocol is None:
        raise ValueError("expected esp, ah, gre, the number of an IP protocol (1 to 255), udp/PORT or tcp/PORT")
    return text


def protocol_and_port(text: str) -> tuple[int | None, int | None]:
    """What `esp`, `115` or `udp/4500` means, as numbers; (None, None) for what means nothing."""
    name, slash, port = text.partition("/")
    if slash:
        number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
        return (_TRANSPORTS[name], number) if name in _TRANSPORTS and 1 <= number <= 65535 else (None, None)
    protocol = _PROTOCOLS.get(name) or _TRANSPORTS.get(name) or (int(name) if re.fullmatch(r"[0-9]{1,3}", name) else 0)
    return (protocol, None) if 1 <= protocol <= 255 else (None, None)


SECRET_IN_CONFIG = "looks like the key itself, expected the key's name; put the key into the keys file under that name"

Unicast = Annotated[IPv4Address, BeforeValidator(_unicast)]
Group = Annotated[IPv4Address, BeforeValidator(_group)]
Nai = Annotated[str, BeforeValidator(_nai)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]
Interface = Annotated[str, BeforeValidator(_interface)]
Mac = Annotated[str, BeforeValidator(_mac)]
KeyName = Annotated[str, BeforeValidator(_key_name)]
Passing = Annotated[str, BeforeValidator(_passing)]
"""What may travel between node and VPN gateway: `esp`, a protocol's number, `udp/PORT` or `tcp/PORT` of the gateway."""
Seconds = Annotated[int, Field(ge=1, le=65534)]
"""A lifetime that fits the 16 bits of a registration; 65535 would mean "for ever" (RFC 5944 3.3)."""


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
