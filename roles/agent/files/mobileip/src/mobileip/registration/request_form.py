"""Is an authentic request well-formed, and can what it asks for be had at all? (RFC 5944 3.8.2.3, RFC 3115 2.4)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mobileip.registration.peers import nai_of
from mobileip.registration.security import AuthenticRequest, is_mn_aaa
from mobileip.wire.address import number
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RESERVED_FLAGS, RegistrationRequest
from mobileip.wire.typed_extensions import VendorExtension

_GENERALIZED = int(ExtensionType.GENERALIZED_AUTHENTICATION)
_CRITICAL = frozenset({int(ExtensionType.CRITICAL_VENDOR), int(ExtensionType.OBSOLETE_CRITICAL_VENDOR)})
_MULTICAST = 224 >> 4  # 224.0.0.0/4
_LOOPBACK = 127  # 127.0.0.0/8


def defects(request: AuthenticRequest, *, strict_reserved_bits: bool) -> Iterator[tuple[Code, str]]:
    """What makes it poorly formed, now that we know who sent it. `strict_reserved_bits`: the bits r and x, too."""
    message = request.message
    if request.defect is not None:
        yield Code.POORLY_FORMED_REQUEST, str(request.defect)
    aaa = _GENERALIZED in [extension.type for extension in message.extensions]
    if request.trailing and find(request.trailing, ExtensionType.MN_HA_AUTHENTICATION) is not None:
        after_aaa = is_mn_aaa(message.extensions[request.position])
        what = "MN-HA authentication behind MN-AAA" if after_aaa else "a second MN-HA authentication"
        yield Code.POORLY_FORMED_REQUEST, what
    elif aaa and any(is_mn_aaa(extension) for extension in request.covered):
        yield Code.POORLY_FORMED_REQUEST, "MN-AAA authentication in front of MN-HA"  # RFC 4721 6
    if aaa and sum(is_mn_aaa(extension) for extension in message.extensions) > 1:
        yield Code.POORLY_FORMED_REQUEST, "a second MN-AAA authentication"
    if strict_reserved_bits and message.flags & RESERVED_FLAGS:
        yield Code.POORLY_FORMED_REQUEST, f"reserved bits in flags {message.flags:#04x}"
    nai = find(request.covered, ExtensionType.NAI)
    if nai is not None and not _is_readable(nai.data):  # it goes into the store, and onto terminals
        yield Code.POORLY_FORMED_REQUEST, "an NAI that is no printable text"
    if message.lifetime and not is_usable_care_of_address(message):
        yield Code.POORLY_FORMED_REQUEST, f"care-of address {message.care_of_address}"


def _is_readable(name: bytes) -> bool:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    return text != "" and text.isprintable()


def unknown_vendors(request: AuthenticRequest, known: frozenset[tuple[int, int]]) -> Iterator[tuple[Code, str]]:
    """RFC 3115 2.4: who put an unknown critical extension there is told, by its place."""
    for code, extensions in (
        (Code.UNKNOWN_VENDOR_EXTENSION_OF_NODE, request.covered),
        (Code.UNKNOWN_VENDOR_EXTENSION_OF_FA, request.trailing),
    ):
        unknown = unknown_vendor_extension(extensions, known) if extensions else None
        if unknown is not None:
            yield code, unknown


def unknown_vendor_extension(extensions: Iterable[Extension], known: frozenset[tuple[int, int]]) -> str | None:
    """What the first critical vendor extension (RFC 3115 2.1) is that is not among the `known`, None without one."""
    for extension in extensions:
        if extension.type in _CRITICAL:
            try:
                vendor = VendorExtension.of(extension)
            except Malformed as exc:
                return str(exc)
            if (vendor.vendor, vendor.type) not in known:
                return f"critical extension of vendor {vendor.vendor}, type {vendor.type}"
    return None


def is_usable_care_of_address(request: RegistrationRequest) -> bool:
    """Can a tunnel end there? Not at the home address itself (it would loop), nor at an address of nobody."""
    address = number(request.care_of_address)
    return (
        address not in (0, 0xFFFF_FFFF, number(request.home_address))
        and address >> 28 != _MULTICAST
        and address >> 24 != _LOOPBACK
    )


def leaves_home_agent_open(request: RegistrationRequest) -> bool:
    """Does a node that says its NAI want any home agent (0.0.0.0), or one at home (255.255.255.255; RFC 4433 3.1)?"""
    return int(request.home_agent) in (0, 0xFFFF_FFFF) and nai_of(request) is not None
