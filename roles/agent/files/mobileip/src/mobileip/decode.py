"""A registration message for people to read: `mobileip decode HEX`. Pure text, whatever the bytes."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from mobileip.wire import identification as timestamps
from mobileip.wire.agent_discovery import IcmpType, parse_advertisement
from mobileip.wire.authentication import Authentication
from mobileip.wire.codes import describe
from mobileip.wire.encapsulation import IPv4Packet, TunnelData, checksum
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import FIRST_SKIPPABLE, Extension, ExtensionType, read_extensions
from mobileip.wire.messages import (
    INFINITE_LIFETIME,
    Flag,
    MessageType,
    RegistrationReply,
    parse_reply,
    read_request,
)
from mobileip.wire.revocation import RevocationSupport, parse_acknowledgement, parse_revocation
from mobileip.wire.typed_extensions import (
    HomeAgentParameter,
    HomeAgentParameterFormat,
    MessageString,
    Nai,
    UdpTunnelReply,
    UdpTunnelRequest,
)

_LETTERS = (
    (Flag.SIMULTANEOUS, "S simultaneous"),
    (Flag.BROADCAST, "B broadcast"),
    (Flag.DECAPSULATES, "D decapsulates itself"),
    (Flag.MINIMAL, "M minimal encapsulation"),
    (Flag.GRE, "G GRE"),
    (Flag.REVERSE_TUNNEL, "T reverse tunnel"),
)
_AUTHENTICATIONS = {32, 33, 34}
_HA_PARAMETER = HomeAgentParameterFormat()
_REPLY_FIXED = 20
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBHII")
_ETHERTYPE_IPV4 = 0x0800
_PROTOCOLS = {1: "ICMP", 4: "IP-in-IP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 55: "minimal encapsulation"}


def from_hex(text: str) -> bytes:
    """Bytes of a hex dump; blanks, colons and a leading 0x do not matter. Raises ValueError."""
    cleaned = "".join(text.split()).replace(":", "").removeprefix("0x").removeprefix("0X")
    try:
        return bytes.fromhex(cleaned)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not hexadecimal: expected pairs of the digits 0-9 and a-f") from None


def decode(payload: bytes, now: float | None = None) -> tuple[list[str], bool]:
    """Lines that describe a UDP payload of port 434 (or an ICMP agent advertisement), and whether it is well-formed.

    Authenticators are shown as they are on the wire; whether they are right, only who has the key can say.
    """
    present = time.time() if now is None else now
    try:
        return _lines(payload, present)
    except Malformed as exc:
        return [f"malformed: {exc}"], False


def decode_frame(frame: bytes, now: float | None = None) -> list[str]:
    """Lines that describe an Ethernet frame, a header each, however much of it is there and whatever is wrong with it.

    Of a registration that is whole, what `decode` says as well.
    """
    if len(frame) < _ETHERNET.size:
        return [f"frame of {len(frame)} bytes: no Ethernet header"]
    destination, source, kind = _ETHERNET.unpack_from(frame)
    lines = [f"Ethernet {source.hex(':')} > {destination.hex(':')}, type {kind:#06x}"]
    if kind == _ETHERTYPE_IPV4:
        _ip_headers(frame[_ETHERNET.size :], lines, time.time() if now is None else now)
    return lines


def _ip_headers(data: bytes, lines: list[str], now: float) -> None:
    """Down through tunnels; ends where the bytes end."""
    if len(data) < _IPV4.size:
        lines.append(f"IPv4, cut after {len(data)} bytes")
        return
    first, tos, total, identification, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
    length = (first & 0xF) * 4
    notes = [
        *([] if first >> 4 == 4 else [f"version {first >> 4}"]),
        *([f"{length - _IPV4.size} bytes of options"] if length > _IPV4.size else []),
        *(["header too short"] if length < _IPV4.size else []),
        *([f"TOS {tos:#04x}"] if tos else []),
        *(["DF"] if fragment & 0x4000 else []),
        *(["more fragments"] if fragment & 0x2000 else []),
        *([f"offset {(fragment & 0x1FFF) * 8}"] if fragment & 0x1FFF else []),
        *(["wrong checksum"] if _IPV4.size <= length <= len(data) and checksum(data[:length]) else []),
    ]
    shown = f"{_PROTOCOLS.get(protocol, 'protocol')} ({protocol})"
    lines.append(
        f"IPv4 {IPv4Address(source)} > {IPv4Address(destination)}, {shown}, TTL {ttl}, {total} bytes, "
        + ", ".join([f"id {identification:#06x}", *notes])
    )
    if fragment & 0x1FFF or length < _IPV4.size:
        return
    _next_header(protocol, data[length:], lines, now)


def _next_header(protocol: int, data: bytes, lines: list[str], now: float) -> None:
    if protocol == 4:
        _ip_headers(data, lines, now)
    elif protocol == 17:
        _udp_header(data, lines, now)
    elif protocol == 47:
        _gre_header(data, lines, now)
    elif protocol == 55 and len(data) >= 8:
        source = f"{IPv4Address(data[8:12])} > " if data[1] & 0x80 and len(data) >= 12 else ""
        lines.append(f"Minimal encapsulation (RFC 2004), {source}{IPv4Address(data[4:8])}, protocol {data[0]}")
        _next_header(data[0], data[12 if data[1] & 0x80 else 8 :], lines, now)
    elif protocol == 50 and len(data) >= 8:
        lines.append(f"ESP, SPI {int.from_bytes(data[:4]):#010x}, sequence {int.from_bytes(data[4:8])}")
    elif protocol == 1 and len(data) >= 2:
        lines.append(f"ICMP type {data[0]} code {data[1]}")
    elif protocol == 6 and len(data) >= 4:
        lines.append(f"TCP {int.from_bytes(data[:2])} > {int.from_bytes(data[2:4])}")


def _udp_header(data: bytes, lines: list[str], now: float) -> None:
    if len(data) < 8:
        lines.append(f"UDP, cut after {len(data)} bytes")
        return
    source, destination, length = (int.from_bytes(data[at : at + 2]) for at in (0, 2, 4))
    payload = data[8 : max(length, 8)]
    lines.append(f"UDP {source} > {destination}, {length} bytes")
    if 434 not in (source, destination) or not payload:
        return
    if payload[0] == MessageType.TUNNEL_DATA and len(payload) >= 4:
        lines.append(f"MIP Tunnel Data (RFC 3519), next header {payload[1]}")
        _next_header(payload[1], payload[4:], lines, now)
    elif len(payload) == length - 8:
        lines += decode(payload, now)[0]


def _gre_header(data: bytes, lines: list[str], now: float) -> None:
    if len(data) < 4:
        lines.append(f"GRE, cut after {len(data)} bytes")
        return
    flags, kind = int.from_bytes(data[:2]), int.from_bytes(data[2:4])
    at = 8 if flags & 0x8000 else 4
    key = f", key {int.from_bytes(data[at : at + 4])}" if flags & 0x2000 else ""
    lines.append(f"GRE (RFC 2784), flags {flags:#06x}, protocol type {kind:#06x}{key}")
    at += 4 * (bool(flags & 0x2000) + bool(flags & 0x1000))
    if kind == _ETHERTYPE_IPV4:
        _ip_headers(data[at:], lines, now)


def _lines(payload: bytes, now: float) -> tuple[list[str], bool]:
    kind = payload[0] if payload else None
    if kind == MessageType.REQUEST:
        request, defect = read_request(payload)
        flags = ", ".join(name for flag, name in _LETTERS if request.flags & flag) or "none"
        lines = [
            f"Registration Request, {len(payload)} bytes (RFC 5944 3.3)",
            f"  flags            0x{request.flags:02x} ({flags})",
            f"  lifetime         {_lifetime(request.lifetime)}",
            f"  home address     {request.home_address}",
            f"  home agent       {request.home_agent}",
            f"  care-of address  {request.care_of_address}",
            f"  identification   {_identification(request.identification, now)}",
            *_extensions(request.extensions),
        ]
        return (lines, True) if defect is None else ([*lines, f"malformed: {defect}"], False)
    if kind == MessageType.REPLY:
        return _reply(payload, now)
    if kind == MessageType.REVOCATION:
        return _revocation(payload), True
    if kind == MessageType.REVOCATION_ACKNOWLEDGEMENT:
        acknowledged = parse_acknowledgement(payload)
        return [
            f"Revocation Acknowledgement, {len(payload)} bytes (RFC 3543 3.4)",
            f"  flags            {'I the node was informed' if acknowledged.inform else 'none'}",
            f"  home address     {acknowledged.home_address}",
            f"  identifier       {acknowledged.identifier}",
            *_extensions(acknowledged.extensions),
        ], True
    if kind == MessageType.TUNNEL_DATA:
        data = TunnelData.parse(payload)
        lines = [f"MIP Tunnel Data, {len(payload)} bytes (RFC 3519 3.3)", f"  next header      {data.next_header}"]
        if data.next_header == 4:
            inner = IPv4Packet.parse(data.payload)
            lines.append(f"  inner packet     {inner.source} > {inner.destination}, protocol {inner.protocol}")
        return lines, True
    if kind == IcmpType.ROUTER_ADVERTISEMENT:
        return _advertisement(payload)
    shown = "nothing" if kind is None else f"type {kind}"
    raise Malformed("type", at=0, expected=f"1 (request), 3 (reply), 4 (tunnel data), 7, 15 (revocation), got {shown}")


def _revocation(payload: bytes) -> list[str]:
    message = parse_revocation(payload)
    flags = [
        "A by the home agent" if message.by_home_agent else "by the foreign agent",
        *(["I inform the node"] if message.inform else []),
    ]
    return [
        f"Registration Revocation, {len(payload)} bytes (RFC 3543 3.3)",
        f"  flags            {', '.join(flags)}",
        f"  home address     {message.home_address}",
        f"  home domain      {message.home_domain}",
        f"  foreign domain   {message.foreign_domain}",
        f"  identifier       {message.identifier}",
        *_extensions(message.extensions),
    ]


def _reply(payload: bytes, now: float) -> tuple[list[str], bool]:
    defect: Malformed | None = None
    try:
        reply = parse_reply(payload)
    except Malformed as exc:
        if len(payload) < _REPLY_FIXED:
            raise
        fixed = parse_reply(payload[:_REPLY_FIXED])
        found, _ = read_extensions(payload, _REPLY_FIXED)
        reply = RegistrationReply(
            fixed.code, fixed.lifetime, fixed.home_address, fixed.home_agent, fixed.identification, found
        )
        defect = exc
    lines = [
        f"Registration Reply, {len(payload)} bytes (RFC 5944 3.4)",
        f"  code             {reply.code} ({describe(reply.code)})",
        f"  lifetime         {_lifetime(reply.lifetime)}",
        f"  home address     {reply.home_address}",
        f"  home agent       {reply.home_agent}",
        f"  identification   {_identification(reply.identification, now)}",
        *_extensions(reply.extensions),
    ]
    return (lines, True) if defect is None else ([*lines, f"malformed: {defect}"], False)


def _advertisement(payload: bytes) -> tuple[list[str], bool]:
    found = parse_advertisement(payload)
    if found is None:
        return ["ICMP Router Advertisement of a plain router (RFC 1256)"], True
    return [
        f"ICMP Agent Advertisement, {len(payload)} bytes (RFC 5944 2.1)",
        f"  sequence         {found.sequence}",
        f"  lifetime         {found.lifetime} s, registrations {_lifetime(found.registration_lifetime)}",
        f"  flags            {found.flags!r}",
        f"  care-of          {', '.join(map(str, found.care_of_addresses)) or 'none'}",
    ], True


def _lifetime(seconds: int) -> str:
    if seconds == INFINITE_LIFETIME:
        return "infinite"
    return f"{seconds} s" + (" (deregistration)" if seconds == 0 else "")


def _identification(value: int, now: float) -> str:
    """The raw value, and the time it says if it is a timestamp (RFC 5944 5.7.1)."""
    text = f"0x{value:016x}"
    moment = timestamps.to_unix(value, near=now)
    try:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (OverflowError, ValueError, OSError):
        return text
    return f"{text} (as a timestamp {stamp}, {moment - now:+.3f} s from now)"


def _extensions(extensions: Iterable[Extension]) -> Iterator[str]:
    for extension in extensions:
        try:
            name = ExtensionType(extension.type).name.lower()
        except ValueError:
            skipped = "skippable" if extension.type >= FIRST_SKIPPABLE else "not skippable"
            name = f"unknown, {skipped}"
        if extension.type == _HA_PARAMETER.type:
            name = "home agent parameter (draft 2.5.3)"
        yield f"  extension {extension.type:3d}    {name}: {_content(extension)}"


def _content(extension: Extension) -> str:
    try:
        if extension.type in _AUTHENTICATIONS:
            authentication = Authentication.of(extension)
            return f"SPI {authentication.spi}, authenticator {authentication.authenticator.hex()}"
        match extension.type:
            case ExtensionType.UDP_TUNNEL_REQUEST:
                return repr(UdpTunnelRequest.of(extension))
            case ExtensionType.UDP_TUNNEL_REPLY:
                return repr(UdpTunnelReply.of(extension))
            case ExtensionType.REVOCATION_SUPPORT:
                return repr(RevocationSupport.of(extension))
            case ExtensionType.NAI:
                return repr(Nai.of(extension))
            case ExtensionType.MESSAGE_STRING:
                return repr(MessageString.of(extension))
            case _HA_PARAMETER.type:
                return str(HomeAgentParameter.of(extension, _HA_PARAMETER).address)
    except Malformed as exc:
        return f"malformed: {exc}"
    return f"{len(extension.data)} bytes {extension.data.hex()}"
