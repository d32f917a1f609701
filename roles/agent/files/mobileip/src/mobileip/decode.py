"""A registration message for people to read: `mobileip decode HEX`. Pure text, whatever the bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from mobileip.wire import identification as timestamps
from mobileip.wire.agent_discovery import IcmpType, parse_advertisement
from mobileip.wire.authentication import Authentication
from mobileip.wire.codes import describe
from mobileip.wire.encapsulation import IPv4Packet, TunnelData
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
