"""Payloads of port 434 and ICMP messages: structured ones, mutated ones, and bytes that mean nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.wire.agent_discovery import AgentAdvertisement, AgentFlags, RouterAddress, serialize_solicitation
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.encapsulation import checksum, keepalive
from mobileip.wire.extensions import LONG_FORMAT, Extension, ExtensionType, serialize_extensions
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import RegistrationReply, RegistrationRequest
from mobileip.wire.typed_extensions import HomeAgentParameter, MessageString, UdpTunnelReply, UdpTunnelRequest

CODES = (0, 1, 64, 66, 69, 70, 77, 78, 128, 130, 131, 133, 134, 136, 143, 200, 206, 255)


@dataclass(frozen=True)
class Cast:
    """Addresses and keys that mean something to the machine under test."""

    addresses: tuple[IPv4Address, ...]
    associations: tuple[SecurityAssociation, ...]


class Datagrams:
    """Payloads for one cast; the dice are given with each draw."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast

    def any(self, dice: random.Random, now: float, seen: Sequence[bytes] = ()) -> bytes:
        """One payload: sound or not, new or made from what was `seen` before."""
        kind = dice.random()
        if kind < 0.08:
            return dice.choice((b"", b"\x01", b"\x03", b"\x04")) + dice.randbytes(dice.choice((0, 3, 23, 300, 5000)))
        if seen and kind < 0.25:
            whole = dice.choice(seen)
            return whole if dice.random() < 0.3 else mutated(dice, whole)
        message = self.request(dice, now) if dice.random() < 0.5 else self.reply(dice, now)
        if dice.random() < 0.05:
            message = keepalive(self.address(dice), self.address(dice), dice.getrandbits(16), dice.getrandbits(16))
        return mutated(dice, message) if dice.random() < 0.3 else message

    def address(self, dice: random.Random) -> IPv4Address:
        """Mostly one of the cast's."""
        if dice.random() < 0.9:
            return dice.choice(self._cast.addresses)
        return IPv4Address(dice.choice((0, 0xFFFFFFFF, 0x7F000001, 0xE000000B, dice.getrandbits(32))))

    def request(self, dice: random.Random, now: float) -> bytes:
        """A registration request, authenticated more often than not."""
        message = RegistrationRequest(
            dice.choice((0x02, 0x22, 0x22, dice.getrandbits(8))),
            dice.choice((0, 1, 60, 300, 0xFFFF)),
            self.address(dice),
            self.address(dice),
            self.address(dice),
            self._identification(dice, now),
            self.extensions(dice),
        )
        return self._signed(dice, message.serialize())

    def reply(self, dice: random.Random, now: float, identification: int | None = None) -> bytes:
        """A registration reply, authenticated more often than not."""
        message = RegistrationReply(
            dice.choice(CODES),
            dice.choice((0, 1, 60, 300, 0xFFFF)),
            self.address(dice),
            self.address(dice),
            self._identification(dice, now) if identification is None else identification,
            self.extensions(dice),
        )
        return self._signed(dice, message.serialize())

    def extensions(self, dice: random.Random) -> tuple[Extension, ...]:
        """A few extensions: those that the parties understand, and any other."""
        return tuple(self._extension(dice) for _ in range(dice.choice((0, 0, 1, 1, 2, 5, 40))))

    def _extension(self, dice: random.Random) -> Extension:
        kind = dice.random()
        if kind < 0.25:
            return HomeAgentParameter(self.address(dice)).extension()
        if kind < 0.45:
            return UdpTunnelRequest(dice.random() < 0.3, dice.random() < 0.3, dice.choice((0, 4, 4, 47))).extension()
        if kind < 0.55:
            return UdpTunnelReply(dice.choice((0, 64)), keepalive=dice.getrandbits(16)).extension()
        if kind < 0.65:
            return MessageString(dice.choice(("", "reason", "\n\x00\u2028"))).extension()
        number = dice.choice((*ExtensionType, dice.getrandbits(8)))
        data = dice.randbytes(dice.choice((0, 1, 4, 6, 8, 20, 255)))
        long = number in LONG_FORMAT
        return Extension(number, data, dice.getrandbits(8) if long else None)

    def _identification(self, dice: random.Random, now: float) -> int:
        return from_unix(now + dice.choice((0.0, 0.0, 0.0, -6.9, 6.9, 8.0, -8.0))) + dice.getrandbits(10)

    def _signed(self, dice: random.Random, payload: bytes) -> bytes:
        for _ in range(dice.choice((0, 1, 1, 1, 1, 1, 2))):
            kind = dice.choice((32, 32, 32, 32, 32, 33, 34))
            payload = append(payload, dice.choice(self._cast.associations), kind)
            if dice.random() < 0.15:
                payload += serialize_extensions(self.extensions(dice))
        return payload


def mutated(dice: random.Random, whole: bytes) -> bytes:
    """One to four changes: a bit, a byte, a cut, a piece twice, a piece gone, something behind it."""
    data = bytearray(whole)
    for _ in range(dice.randint(1, 4)):
        if not data:
            break
        at = dice.randrange(len(data))
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice((0, 1, 127, 128, 255, dice.getrandbits(8)))
            case 2:
                del data[at:]
            case 3:
                data[at:at] = data[at : at + dice.randrange(40)]
            case 4:
                del data[at : at + dice.randrange(1, 8)]
            case _:
                data += dice.randbytes(dice.randrange(1, 20))
    return bytes(data)


def icmp(dice: random.Random) -> bytes:
    """A message of agent discovery; its checksum is right more often than not."""
    if dice.random() < 0.3:
        message = serialize_solicitation()
    else:
        addresses = tuple(IPv4Address(dice.getrandbits(32)) for _ in range(dice.choice((0, 1, 2))))
        message = AgentAdvertisement(
            sequence=dice.getrandbits(16),
            registration_lifetime=dice.getrandbits(16),
            flags=AgentFlags.FOREIGN_AGENT,
            care_of_addresses=addresses or (IPv4Address(1),),
            lifetime=dice.randint(0, 9000),
            router_addresses=tuple(RouterAddress(address) for address in addresses),
        ).serialize()
    if dice.random() < 0.7:
        message = mutated(dice, message)
    if dice.random() < 0.7 and len(message) >= 4:
        message = message[:2] + b"\0\0" + message[4:]
        message = message[:2] + checksum(message).to_bytes(2) + message[4:]
    return message
