"""What is inside the extensions that the parties understand. One frozen class each: `of(extension)`, `extension()`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.wire.address import address
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.record import record


class HomeAgentParameterEncoding(StrEnum):
    """Layouts of the HA Parameter extension; the draft assigned no number (draft 2.5.3)."""

    DRAFT_SHORT = "draft-short"  # T 06 st 00 a.b.c.d
    RFC4064_LONG = "rfc4064-long"  # 7F st 00 04 a.b.c.d
    CRITICAL_VENDOR = "cvse"  # 26 00 00 0A vendor type a.b.c.d (RFC 3115 2.1): not skippable, and a number of one's own
    NORMAL_VENDOR = "nvse"  # 86 0C 00 00 vendor type a.b.c.d (RFC 3115 2.2)
    SKIPPABLE = "exp-skippable"  # FF 06 st 00 a.b.c.d: survives foreign agents that know only the RFCs


_FIXED_TYPES = {
    HomeAgentParameterEncoding.RFC4064_LONG: ExtensionType.EXPERIMENTAL,
    HomeAgentParameterEncoding.CRITICAL_VENDOR: ExtensionType.CRITICAL_VENDOR,
    HomeAgentParameterEncoding.NORMAL_VENDOR: ExtensionType.NORMAL_VENDOR,
}
_VENDOR_ENCODINGS = (HomeAgentParameterEncoding.CRITICAL_VENDOR, HomeAgentParameterEncoding.NORMAL_VENDOR)


@record(frozen=True, slots=True)
class HomeAgentParameterFormat:
    """Which number, sub-type and layout the HA Parameter extension has in this deployment.

    `subtype` has no place in the vendor layouts, which have `vendor` (SMI number) and `vendor_type` instead.
    """

    type: int = 126
    subtype: int = 0
    encoding: HomeAgentParameterEncoding = HomeAgentParameterEncoding.DRAFT_SHORT
    vendor: int = 0
    vendor_type: int = 0
    prefix: bytes = field(init=False, compare=False, repr=False)
    """What stands before the address in the extension's data; the reserved bytes are sent as 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", self._before_address())
        fixed = _FIXED_TYPES.get(self.encoding)
        if fixed is not None and self.type != fixed:
            raise ValueError(f"HA Parameter type {self.type}: encoding {self.encoding} has type {fixed:d}")
        if fixed is None and self.type in _FIXED_TYPES.values():
            raise ValueError(f"HA Parameter type {self.type}: is no type for encoding {self.encoding}")

    def is_of(self, extension: Extension) -> bool:
        """Is this extension meant to be an HA Parameter in this format, valid or not?"""
        if extension.type != self.type:
            return False
        if self.encoding not in _VENDOR_ENCODINGS:
            return True
        at = 2 if self.encoding is HomeAgentParameterEncoding.NORMAL_VENDOR else 0
        return extension.data[at : at + 6] == self._vendor

    @property
    def _vendor(self) -> bytes:
        return self.vendor.to_bytes(4, "big") + self.vendor_type.to_bytes(2, "big")

    def _before_address(self) -> bytes:
        match self.encoding:
            case HomeAgentParameterEncoding.RFC4064_LONG:
                return b""
            case HomeAgentParameterEncoding.CRITICAL_VENDOR:
                return self._vendor
            case HomeAgentParameterEncoding.NORMAL_VENDOR:
                return b"\0\0" + self._vendor
            case _:
                return bytes((self.subtype, 0))


@record(frozen=True, slots=True)
class HomeAgentParameter:
    """HA Parameter extension (draft 2.5.3): the node's actual home agent; 0.0.0.0 asks for one to be assigned."""

    address: IPv4Address
    format: HomeAgentParameterFormat = HomeAgentParameterFormat()

    @classmethod
    def of(cls, extension: Extension, form: HomeAgentParameterFormat) -> HomeAgentParameter:
        """Read it in layout `form`; reserved bytes are ignored. Raises `Malformed` on another length or sub-type."""
        data, prefix = extension.data, form.prefix
        if len(data) != len(prefix) + 4:
            expected = f"{len(prefix) + 4} bytes of data, got {len(data)}"
            raise Malformed("HA Parameter", at=extension.start, expected=expected)
        subtype = form.subtype
        if form.encoding is HomeAgentParameterEncoding.RFC4064_LONG:
            subtype = -1 if extension.subtype is None else extension.subtype
        elif form.encoding not in _VENDOR_ENCODINGS:
            subtype = data[0]
        if subtype != form.subtype:
            raise Malformed("HA Parameter", at=extension.start, expected=f"sub-type {form.subtype}")
        return cls(address(int.from_bytes(data[-4:], "big")), form)

    def extension(self) -> Extension:
        """As an extension, in its own format."""
        subtype: int | None = None
        if self.format.encoding is HomeAgentParameterEncoding.RFC4064_LONG:
            subtype = self.format.subtype
        elif self.format.encoding is HomeAgentParameterEncoding.CRITICAL_VENDOR:
            subtype = 0
        return Extension(self.format.type, self.format.prefix + self.address.packed, subtype)


@record(frozen=True, slots=True)
class UdpTunnelRequest:
    """UDP Tunnel Request (RFC 3519 3.1). `encapsulation`: 0 as the M and G bits say, 4 IP, 47 GRE, 55 minimal.

    `understood` is False if Reserved3 is not zero: the receiver then treats the extension as absent (3.1.3).
    """

    forced: bool = False
    through_foreign_agent: bool = False
    encapsulation: int = 4
    understood: bool = True

    @classmethod
    def of(cls, extension: Extension) -> UdpTunnelRequest:
        """Read extension 144. Raises `Malformed` on another length."""
        data = extension.data
        if len(data) != 6:
            raise Malformed("UDP Tunnel Request", at=extension.start, expected=f"length 6, got {len(data)}")
        understood = data[0] == 0 and data[4:6] == b"\0\0"
        return cls(bool(data[2] & 0x80), bool(data[2] & 0x40), data[3], understood)

    def extension(self) -> Extension:
        """As an extension."""
        flags = (0x80 if self.forced else 0) | (0x40 if self.through_foreign_agent else 0)
        return Extension(ExtensionType.UDP_TUNNEL_REQUEST, bytes((0, 0, flags, self.encapsulation, 0, 0)))


@record(frozen=True, slots=True)
class UdpTunnelReply:
    """UDP Tunnel Reply (RFC 3519 3.2). `code` below 64 assents, others decline; `keepalive` in seconds, 0: default."""

    code: int = 0
    forced: bool = False
    keepalive: int = 0

    @property
    def assents(self) -> bool:
        """The tunnel is granted."""
        return self.code < 64

    @classmethod
    def of(cls, extension: Extension) -> UdpTunnelReply:
        """Read extension 44. Raises `Malformed` on another length or sub-type."""
        data = extension.data
        if len(data) != 6 or data[0] != 0:
            raise Malformed("UDP Tunnel Reply", at=extension.start, expected="length 6 and sub-type 0")
        return cls(data[1], bool(data[2] & 0x80), data[4] << 8 | data[5])

    def extension(self) -> Extension:
        """As an extension."""
        data = bytes((0, self.code, 0x80 if self.forced else 0, 0)) + self.keepalive.to_bytes(2, "big")
        return Extension(ExtensionType.UDP_TUNNEL_REPLY, data)


UDP_TUNNEL_DECLINED = 64
"""RFC 3519 3.2: declined, reason unspecified."""


@record(frozen=True, slots=True)
class Nai:
    """Mobile Node NAI (RFC 2794 2): who the node is, as user@realm. Bytes, since it is compared and never read."""

    value: bytes

    @classmethod
    def of(cls, extension: Extension) -> Nai:
        """Read extension 131. Raises `Malformed` if it is empty."""
        if not extension.data:
            raise Malformed("NAI", at=extension.start, expected="1 byte or more")
        return cls(extension.data)

    def extension(self) -> Extension:
        """As an extension."""
        return Extension(ExtensionType.NAI, self.value)


@record(frozen=True, slots=True)
class DynamicHomeAgent:
    """Dynamic Home Agent (RFC 4433 3.4): the agent that a node asks for, or to which it is redirected by code 143."""

    address: IPv4Address
    redirected: bool = False

    @classmethod
    def of(cls, extension: Extension) -> DynamicHomeAgent:
        """Read extension 139 in either layout. Raises `Malformed` on another length or sub-type."""
        data = extension.data if extension.subtype is None else bytes((extension.subtype,)) + extension.data
        if len(data) != 5 or data[0] not in (1, 2):
            raise Malformed("Dynamic Home Agent", at=extension.start, expected="sub-type 1 or 2 and 4 bytes")
        return cls(IPv4Address(data[1:]), data[0] == 2)

    def extension(self) -> Extension:
        """As an extension, in the layout that the RFC draws."""
        return Extension(ExtensionType.DYNAMIC_HOME_AGENT, self.address.packed, 2 if self.redirected else 1)


@record(frozen=True, slots=True)
class VendorExtension:
    """What a Critical or Normal Vendor extension holds (RFC 3115 2.1, 2.2): `vendor` is an SMI enterprise number."""

    vendor: int
    type: int
    value: bytes = b""

    @classmethod
    def of(cls, extension: Extension) -> VendorExtension:
        """Read extension 38 or 134. Raises `Malformed` if vendor or type are cut.

        Whether the Length of 38 counts its reserved byte is not stated; as everybody does, it is taken not to.
        """
        # The reserved bytes: one in front of the length field of 38 (its "sub-type"), two behind that of 134.
        reserved = 0 if extension.subtype is not None else 2
        data = extension.data[reserved:]
        if len(data) < 6:
            raise Malformed(f"extension {extension.type}", at=extension.start, expected="vendor and vendor's type")
        return cls(int.from_bytes(data[:4], "big"), int.from_bytes(data[4:6], "big"), data[6:])

    def critical(self) -> Extension:
        """As a Critical Vendor extension: whoever does not know it denies the registration."""
        return Extension(ExtensionType.CRITICAL_VENDOR, self._content(), 0)

    def normal(self) -> Extension:
        """As a Normal Vendor extension: whoever does not know it passes it over."""
        return Extension(ExtensionType.NORMAL_VENDOR, b"\0\0" + self._content())

    def _content(self) -> bytes:
        return self.vendor.to_bytes(4, "big") + self.type.to_bytes(2, "big") + self.value


class MessageStringOrigin(StrEnum):
    """Who wrote a Message String (its sub-type)."""

    HOME_AGENT = "home_agent"
    FOREIGN_AGENT = "foreign_agent"


_ORIGIN_SUBTYPE = {MessageStringOrigin.HOME_AGENT: 1, MessageStringOrigin.FOREIGN_AGENT: 2}
_SUBTYPE_ORIGIN = {subtype: origin for origin, subtype in _ORIGIN_SUBTYPE.items()}


@record(frozen=True, slots=True)
class MessageString:
    """Message String (RFC 4917 3): a reason for people to read; the protocol never looks at it."""

    text: str
    origin: MessageStringOrigin = MessageStringOrigin.HOME_AGENT

    @classmethod
    def of(cls, extension: Extension) -> MessageString:
        """Read extension 145; bytes that are not UTF-8 are replaced. Raises `Malformed` on another sub-type."""
        origin = _SUBTYPE_ORIGIN.get(extension.data[0]) if extension.data else None
        if origin is None:
            raise Malformed("Message String", at=extension.start, expected="sub-type 1 or 2")
        return cls(extension.data[1:].decode(errors="replace"), origin)

    def extension(self) -> Extension:
        """As an extension; a text of more than 254 bytes is cut."""
        text = self.text.encode(errors="replace")[:254].decode(errors="ignore").encode()
        return Extension(ExtensionType.MESSAGE_STRING, bytes((_ORIGIN_SUBTYPE[self.origin],)) + text)


ENCAPSULATING_DELIVERY = Extension(ExtensionType.ENCAPSULATING_DELIVERY)
"""Encapsulating Delivery Style (RFC 3024 3.3): from node to foreign agent, behind the MN-HA authentication."""

TRUSTED_NETWORKS = Extension(ExtensionType.TRUSTED_NETWORKS, b"\0\0")
"""Trusted Networks Configured (RFC 5265 3.4): the agent is sure that the node is inside."""


@record(frozen=True, slots=True)
class FaError:
    """FA Error (RFC 4636 3): a foreign agent's own verdict beside a home agent's reply."""

    status: int

    @classmethod
    def of(cls, extension: Extension) -> FaError:
        """Read extension 45. Raises `Malformed` on another length."""
        if len(extension.data) != 2:
            raise Malformed("FA Error", at=extension.start, expected=f"length 2, got {len(extension.data)}")
        return cls(extension.data[1])

    def extension(self) -> Extension:
        """As an extension."""
        return Extension(ExtensionType.FA_ERROR, bytes((0, self.status)))


def requested_home_agent(extensions: Iterable[Extension]) -> IPv4Address | None:
    """The home agent that a request asks for by a Dynamic Home Agent extension, or None. Raises `Malformed`."""
    for extension in extensions:
        if extension.type == ExtensionType.DYNAMIC_HOME_AGENT:
            asked = DynamicHomeAgent.of(extension)
            if not asked.redirected:
                return asked.address
    return None


def find_home_agent_parameter(
    extensions: Iterable[Extension], accepted: Iterable[HomeAgentParameterFormat]
) -> HomeAgentParameter | None:
    """The HA Parameter extension in any of the accepted formats; None without one.

    Raises `Malformed` for two of them, or for one of another length or sub-type: "not valid" (draft 2.2.4).
    """
    formats = tuple(accepted)
    found: HomeAgentParameter | None = None
    for extension in extensions:
        form = next((form for form in formats if form.is_of(extension)), None)
        if form is None:
            continue
        if found is not None:
            raise Malformed("HA Parameter", at=extension.start, expected="one, got a second")
        found = HomeAgentParameter.of(extension, form)
    return found
