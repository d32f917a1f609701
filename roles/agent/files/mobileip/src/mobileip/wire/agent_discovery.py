"""Agent discovery: the ICMP messages by which a mobile node finds a foreign agent (RFC 5944 2.1, RFC 1256).

An agent advertisement is an ICMP router advertisement with the mobility agent advertisement extension behind
the router addresses, and perhaps a challenge (RFC 4721 2) and the agent's NAI (RFC 4857: draft 5.7.2 tells a trusted
agent by it); an agent solicitation is a plain router solicitation. Both are handled here from the ICMP
type byte to the last byte of the IP payload; the IP header (TTL 1) belongs to whoever sends it.

The invariant: `parse_advertisement` and `parse_solicitation` raise `Malformed` and nothing else, whatever the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address

from mobileip.wire.encapsulation import checksum
from mobileip.wire.errors import Malformed

ALL_SYSTEMS = IPv4Address("224.0.0.1")  # where advertisements go (RFC 5944 2.1)
ALL_ROUTERS = IPv4Address("224.0.0.2")  # where solicitations go (RFC 1256 5.1)
DISCOVERY_TTL = 1  # of both messages (RFC 5944 2.1, 2.2)

_FA_NAI = 3  # sub-type of NAI_CARRYING (RFC 4857)
_BOOT_SEQUENCES = 256  # 0..255 are used only once after a boot (RFC 5944 2.3.2)

_ROUTER_ADVERTISEMENT = struct.Struct("!BBHBBH")  # type, code, checksum, addresses, entry size in words, lifetime
_ROUTER_SOLICITATION = struct.Struct("!BBHI")  # type, code, checksum, reserved
_ROUTER_ENTRY = struct.Struct("!4si")  # address, preference
_AGENT_EXTENSION = struct.Struct("!BBHHH")  # type, length, sequence number, registration lifetime, flags


class IcmpType(IntEnum):
    """The two ICMP types of agent discovery (RFC 1256)."""

    ROUTER_ADVERTISEMENT = 9
    ROUTER_SOLICITATION = 10


class AdvertisementExtension(IntEnum):
    """Extensions of ICMP messages; another number space than that of the registration messages (RFC 5944 6.3)."""

    PADDING = 0
    MOBILITY_AGENT = 16
    PREFIX_LENGTHS = 19
    CHALLENGE = 24  # RFC 4721 2
    NAI = 131  # plain, as RFC 2794 writes a node's: read, not sent
    NAI_CARRYING = 136  # RFC 3846 3; sub-type 3 is a foreign agent's NAI (RFC 4857)


class AgentFlags(IntFlag):
    """Flags of the mobility agent advertisement extension (RFC 5944 2.1.1; U is RFC 3519, X RFC 3543, I RFC 4857)."""

    REGISTRATION_REQUIRED = 0x8000
    BUSY = 0x4000
    HOME_AGENT = 0x2000
    FOREIGN_AGENT = 0x1000
    MINIMAL_ENCAPSULATION = 0x0800
    GRE = 0x0400
    RESERVED = 0x0200  # "r": sent as zero, ignored on receipt
    REVERSE_TUNNELLING = 0x0100
    UDP_TUNNELLING = 0x0080
    REVOCATION = 0x0040
    REGIONAL_REGISTRATION = 0x0020


_SENT_FLAGS = ~AgentFlags.RESERVED & 0xFFE0


@dataclass(frozen=True)
class RouterAddress:
    """One router the sender advertises, with its preference (RFC 1256; higher is better, signed 32 bits)."""

    address: IPv4Address
    preference: int = 0


@dataclass(frozen=True)
class AgentAdvertisement:
    """What a mobility agent says about itself.

    `lifetime` (seconds) is how long the advertisement itself may be believed, `registration_lifetime` (seconds,
    0xFFFF = infinite) the longest registration the agent accepts. `prefix_lengths` has one entry a router address
    or is empty (RFC 5944 2.1.2). `routes_common_traffic` is the ICMP code: False (16) for an agent that routes
    only for registered nodes.
    """

    sequence: int
    registration_lifetime: int
    flags: AgentFlags
    care_of_addresses: tuple[IPv4Address, ...]
    lifetime: int = 1800
    router_addresses: tuple[RouterAddress, ...] = ()
    prefix_lengths: tuple[int, ...] = ()
    routes_common_traffic: bool = False
    challenge: bytes | None = None
    nai: bytes | None = None

    def contradiction(self) -> str | None:
        """What RFC 5944 2.1.1 and 2.1.2 forbid of this combination of fields, or None."""
        if not self.flags & (AgentFlags.FOREIGN_AGENT | AgentFlags.HOME_AGENT):
            return "flag F or H set"
        if self.flags & AgentFlags.FOREIGN_AGENT:
            if not self.care_of_addresses:
                return "a care-of address, since F is set"
        elif self.flags & (AgentFlags.BUSY | AgentFlags.REGISTRATION_REQUIRED):
            return "F set where B or R is set"
        if self.prefix_lengths and len(self.prefix_lengths) != len(self.router_addresses):
            return f"{len(self.router_addresses)} prefix lengths, one a router address, got {len(self.prefix_lengths)}"
        if any(length > 32 for length in self.prefix_lengths):
            return "prefix lengths of 32 or less"
        if self.challenge is not None and not 1 <= len(self.challenge) <= 255:
            return f"a challenge of 1 to 255 bytes, got {len(self.challenge)}"
        if self.nai is not None and not 1 <= len(self.nai) <= 254:
            return f"an NAI of 1 to 254 bytes, got {len(self.nai)}"
        return None

    def serialize(self) -> bytes:
        """The ICMP message, checksum included. Raises `ValueError` for what `contradiction` names."""
        if (problem := self.contradiction()) is not None:
            raise ValueError(f"agent advertisement: expected {problem}")
        message = _ROUTER_ADVERTISEMENT.pack(
            IcmpType.ROUTER_ADVERTISEMENT,
            0 if self.routes_common_traffic else 16,
            0,
            len(self.router_addresses),
            _ROUTER_ENTRY.size // 4,
            self.lifetime,
        )
        for router in self.router_addresses:
            message += _ROUTER_ENTRY.pack(router.address.packed, router.preference)
        message += _AGENT_EXTENSION.pack(
            AdvertisementExtension.MOBILITY_AGENT,
            _AGENT_EXTENSION.size - 2 + 4 * len(self.care_of_addresses),
            self.sequence,
            self.registration_lifetime,
            self.flags & _SENT_FLAGS,
        )
        message += b"".join(address.packed for address in self.care_of_addresses)
        if self.prefix_lengths:
            message += bytes([AdvertisementExtension.PREFIX_LENGTHS, len(self.prefix_lengths), *self.prefix_lengths])
        if self.challenge is not None:
            message += bytes([AdvertisementExtension.CHALLENGE, len(self.challenge)]) + self.challenge
        if self.nai is not None:
            message += bytes([AdvertisementExtension.NAI_CARRYING, 1 + len(self.nai), _FA_NAI]) + self.nai
        if len(message) % 2:
            message += bytes([AdvertisementExtension.PADDING])  # RFC 5944 2.1.3: even, for stacks that insist
        return _with_checksum(message)


def serialize_solicitation() -> bytes:
    """The ICMP agent solicitation (RFC 5944 2.2): a router solicitation, sent with TTL 1."""
    return _with_checksum(_ROUTER_SOLICITATION.pack(IcmpType.ROUTER_SOLICITATION, 0, 0, 0))


def parse_solicitation(message: bytes) -> None:
    """Check an ICMP router solicitation; it has no content. Raises `Malformed`, nothing else."""
    _check_icmp(message, IcmpType.ROUTER_SOLICITATION, _ROUTER_SOLICITATION.size)
    if message[1] != 0:
        raise Malformed("solicitation code", at=1, expected=f"0, got {message[1]}")


def parse_advertisement(message: bytes) -> AgentAdvertisement | None:
    """Decode an ICMP router advertisement; None when it is a plain router's, without the agent extension.

    Raises `Malformed`, nothing else; an extension of 0-127 that is not known makes the whole message void, one of
    128-255 is skipped (RFC 5944 1.8).
    """
    _check_icmp(message, IcmpType.ROUTER_ADVERTISEMENT, _ROUTER_ADVERTISEMENT.size)
    _, code, _, count, words, lifetime = _ROUTER_ADVERTISEMENT.unpack_from(message)
    if code not in (0, 16):
        raise Malformed("advertisement code", at=1, expected=f"0 or 16, got {code}")
    if words < _ROUTER_ENTRY.size // 4:
        raise Malformed("address entry size", at=5, expected=f"2 words or more, got {words}")
    start = _ROUTER_ADVERTISEMENT.size + count * words * 4
    if len(message) < start:
        raise Malformed("router addresses", at=len(message), expected=f"{count} of {words * 4} bytes")
    extensions = _parse_extensions(message, start)
    if AdvertisementExtension.MOBILITY_AGENT not in extensions:
        return None
    sequence, registration_lifetime, flags, care_of = _parse_agent(
        extensions[AdvertisementExtension.MOBILITY_AGENT], at=start
    )
    advertisement = AgentAdvertisement(
        sequence=sequence,
        registration_lifetime=registration_lifetime,
        flags=flags,
        care_of_addresses=care_of,
        lifetime=lifetime,
        router_addresses=tuple(
            _parse_router(message, _ROUTER_ADVERTISEMENT.size + index * words * 4) for index in range(count)
        ),
        prefix_lengths=tuple(extensions.get(AdvertisementExtension.PREFIX_LENGTHS, b"")),
        routes_common_traffic=code == 0,
        challenge=extensions.get(AdvertisementExtension.CHALLENGE),
        nai=_nai_of(extensions),
    )
    if (problem := advertisement.contradiction()) is not None:
        raise Malformed("agent advertisement", at=start, expected=problem)
    return advertisement


def next_sequence(previous: int | None) -> int:
    """The sequence number after `previous`: 0 after a boot (None), 256 after 65535 (RFC 5944 2.3.2)."""
    if previous is None:
        return 0
    return _BOOT_SEQUENCES if previous == 0xFFFF else previous + 1


def agent_rebooted(previous: int, current: int) -> bool:
    """Whether two sequence numbers of one agent, in order of arrival, say that it has lost its visitors.

    A smaller number of 256 or more is the counter's roll-over (RFC 5944 2.3.2).
    """
    return current < previous and current < _BOOT_SEQUENCES


def _parse_router(message: bytes, at: int) -> RouterAddress:
    address, preference = _ROUTER_ENTRY.unpack_from(message, at)
    return RouterAddress(IPv4Address(address), preference)


def _parse_agent(body: bytes, at: int) -> tuple[int, int, AgentFlags, tuple[IPv4Address, ...]]:
    if len(body) < 6 or (len(body) - 6) % 4:
        raise Malformed("mobility agent extension", at=at, expected=f"length 6 + 4 a care-of address, got {len(body)}")
    sequence, lifetime, flags = struct.unpack_from("!HHH", body)
    care_of = tuple(IPv4Address(body[offset : offset + 4]) for offset in range(6, len(body), 4))
    return sequence, lifetime, AgentFlags(flags & _SENT_FLAGS), care_of


def _nai_of(extensions: dict[int, bytes]) -> bytes | None:
    """The agent's NAI in either form; one that carries something else, or nothing, is passed over."""
    carried = extensions.get(AdvertisementExtension.NAI_CARRYING, b"")
    if len(carried) > 1:
        return carried[1:]
    plain = extensions.get(AdvertisementExtension.NAI, b"")
    return plain if 1 <= len(plain) <= 254 else None


def _parse_extensions(message: bytes, start: int) -> dict[int, bytes]:
    """The known extensions by type; those below 128 may be there once. Of the carried NAIs the agent's own."""
    known = (
        AdvertisementExtension.MOBILITY_AGENT,
        AdvertisementExtension.PREFIX_LENGTHS,
        AdvertisementExtension.CHALLENGE,
    )
    found: dict[int, bytes] = {}
    at = start
    while at < len(message):
        kind = message[at]
        if kind == AdvertisementExtension.PADDING:
            at += 1
            continue
        if at + 2 > len(message) or at + 2 + message[at + 1] > len(message):
            raise Malformed(f"extension {kind}", at=at, expected="a length that ends within the message")
        end = at + 2 + message[at + 1]
        if kind in (AdvertisementExtension.NAI, AdvertisementExtension.NAI_CARRYING):
            # Others' NAIs may stand beside the agent's, each in an extension of its own (RFC 3846 3).
            if kind == AdvertisementExtension.NAI or message[at + 2 : end][:1] == bytes([_FA_NAI]):
                found.setdefault(kind, message[at + 2 : end])
        elif kind in known:
            if kind in found:
                raise Malformed(f"extension {kind}", at=at, expected="one in a message")
            found[kind] = message[at + 2 : end]
        elif kind < 128:
            raise Malformed(f"extension {kind}", at=at, expected="a known type below 128")
        at = end
    return found


def _check_icmp(message: bytes, kind: IcmpType, size: int) -> None:
    if len(message) < size:
        raise Malformed("ICMP message", at=len(message), expected=f"{size} bytes or more")
    if message[0] != kind:
        raise Malformed("ICMP type", at=0, expected=f"{kind:d}, got {message[0]}")
    if checksum(message) != 0:
        raise Malformed("ICMP checksum", at=2, expected="the checksum of the message")


def _with_checksum(message: bytes) -> bytes:
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
