"""How extensions are framed (RFC 5944 1.8 to 1.11), and what to do with unknown ones.

Framing is not uniform, so it is a table. Most types carry a one-byte length behind the type. "Long format" types carry
a sub-type byte and then a two-byte length; 139 (RFC 4433 3.4) and 154 (RFC 7629 4) do so although they are skippable.
Type 0 is one padding byte without a length. The list ends with the UDP payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import field
from enum import IntEnum

from mobileip.wire.errors import Malformed
from mobileip.wire.record import record


class ExtensionType(IntEnum):
    """Extension numbers; the source of each is in the comment."""

    PAD = 0  # RFC 5944 1.8
    MN_HA_AUTHENTICATION = 32  # RFC 5944 3.5.2
    MN_FA_AUTHENTICATION = 33  # RFC 5944 3.5.3
    FA_HA_AUTHENTICATION = 34  # RFC 5944 3.5.4
    GENERALIZED_AUTHENTICATION = 36  # RFC 4721 5
    OBSOLETE_CRITICAL_VENDOR = 37  # RFC 3025
    CRITICAL_VENDOR = 38  # RFC 3115 2.1
    KEY_REQUEST_MN_FA = 40  # RFC 3957 6
    KEY_REPLY_MN_FA = 41  # RFC 3957 6
    KEY_REQUEST_MN_HA = 42  # RFC 3957 6
    KEY_REPLY_MN_HA = 43  # RFC 3957 6
    UDP_TUNNEL_REPLY = 44  # RFC 3519 3.2
    FA_ERROR = 45  # RFC 4636 3
    GFA_ADDRESS = 46  # RFC 4857 9.1
    PROXY_MOBILE_IP = 47  # RFC 5563 5.1
    GRE_KEY = 48  # RFC 6245 5
    ROUTE_OPTIMISATION = 49  # RFC 6521 10
    ROUTE_OPTIMISATION_DATA = 50  # RFC 6521 10
    EXPERIMENTAL = 127  # RFC 4064 4.1
    ENCAPSULATING_DELIVERY = 130  # RFC 3024 3.3
    NAI = 131  # RFC 2794 2
    CHALLENGE = 132  # RFC 4721 4
    OBSOLETE_NORMAL_VENDOR = 133  # RFC 3025
    NORMAL_VENDOR = 134  # RFC 3115 2.2
    NAI_CARRYING = 136  # RFC 3846 3
    REVOCATION_SUPPORT = 137  # RFC 3543 3.2
    LINK_LAYER_ADDRESS = 138  # RFC 4881 9
    DYNAMIC_HOME_AGENT = 139  # RFC 4433 3.4
    HIERARCHICAL_FA = 140  # RFC 4857 9
    REPLAY_STYLE = 141  # RFC 4857 9
    REGIONAL_LIFETIME = 142  # RFC 4857 9
    UDP_TUNNEL_REQUEST = 144  # RFC 3519 3.1
    MESSAGE_STRING = 145  # RFC 4917 3
    PROXY_MOBILE_IP_SKIPPABLE = 147  # RFC 5563 5
    MOBILE_NETWORK = 148  # RFC 5177
    TRUSTED_NETWORKS = 149  # RFC 5265 3.4
    SERVICE_SELECTION = 151  # RFC 5446 3
    DUAL_STACK = 152  # RFC 5454
    MOBILE_ROUTER_CAPABILITY = 153  # RFC 6521
    MULTIPATH = 154  # RFC 7629 4
    EXPERIMENTAL_SKIPPABLE = 255  # RFC 4064 4.3


LONG_FORMAT: frozenset[int] = frozenset({36, 37, 38, 40, 41, 42, 43, 47, 48, 50, 127, 154})
"""Types with a sub-type byte and a two-byte length. 139 is decided by its bytes, see `_is_long_139`."""

_DYNAMIC_HOME_AGENT = int(ExtensionType.DYNAMIC_HOME_AGENT)

AUTHENTICATION_TYPES: frozenset[int] = frozenset({32, 33, 34, 36})
FIRST_SKIPPABLE = 128


@record(frozen=True, slots=True)
class Extension:
    """One extension as framed; what `data` means is in `typed_extensions` and `authentication`.

    `data` is what follows the length field. `subtype` is the byte at offset 1 of the long format, None in the others
    (the short format's sub-type is the first byte of `data`). `start` is the offset in the message it came from,
    -1 in one that was made here; it plays no part in comparison.
    """

    type: int
    data: bytes = b""
    subtype: int | None = None
    start: int = field(default=-1, compare=False)

    def serialize(self) -> bytes:
        """The extension's bytes. Raises ValueError if `data` does not fit the length field: our own mistake."""
        if not self.type:  # padding
            return b"\0"
        if self.subtype is not None:
            return bytes((self.type, self.subtype)) + len(self.data).to_bytes(2, "big") + self.data
        if len(self.data) > 255:
            raise ValueError(f"extension {self.type}: {len(self.data)} bytes of data, a one-byte length holds 255")
        return bytes((self.type, len(self.data))) + self.data

    @property
    def end(self) -> int:
        """Offset of the byte behind the extension in the message it came from."""
        if self.type == ExtensionType.PAD:
            return self.start + 1
        return self.start + (2 if self.subtype is None else 4) + len(self.data)


def read_extensions(payload: bytes, start: int) -> tuple[tuple[Extension, ...], Malformed | None]:
    """Split `payload` from `start` to its end. Returns what could be read and, if the rest could not, why.

    A receiver that can authenticate what was read answers code 134; one that cannot is silent (RFC 5944 3.8.2.1).
    """
    found: list[Extension] = []
    size = len(payload)
    at = start
    while at < size:
        kind = payload[at]
        if kind == 0:
            found.append(Extension(0, start=at))
            at += 1
            continue
        long = kind in LONG_FORMAT or (kind == _DYNAMIC_HOME_AGENT and _is_long_139(payload, at))
        header = 4 if long else 2
        if at + header > size:
            return tuple(found), Malformed(
                f"extension {kind}", at=at, expected=f"{header} bytes of header, got {size - at}"
            )
        length = payload[at + 2] << 8 | payload[at + 3] if long else payload[at + 1]
        end = at + header + length
        if end > size:
            return tuple(found), Malformed(
                f"extension {kind}", at=at, expected=f"{length} bytes of data, got {size - at - header}"
            )
        found.append(Extension(kind, payload[at + header : end], payload[at + 1] if long else None, at))
        at = end
    return tuple(found), None


def parse_extensions(payload: bytes, start: int) -> tuple[Extension, ...]:
    """Split `payload` from `start` to its end into extensions. Raises `Malformed`."""
    found, defect = read_extensions(payload, start)
    if defect is not None:
        raise defect
    return found


def serialize_extensions(extensions: Iterable[Extension]) -> bytes:
    """Bytes of a list of extensions, in its order."""
    return b"".join([extension.serialize() for extension in extensions])


def first_unrecognised(extensions: Iterable[Extension], understood: Set[int]) -> Extension | None:
    """The first extension that forbids to process the message, or None.

    An unknown type below 128 makes the receiver discard the whole message in silence, one from 128 on is passed over
    (RFC 5944 1.8). `understood` holds the types below 128 that the receiver handles; padding always is.
    """
    for extension in extensions:
        if extension.type not in understood and 0 < extension.type < FIRST_SKIPPABLE:
            return extension
    return None


def find(extensions: Iterable[Extension], kind: int) -> Extension | None:
    """The first extension of type `kind`, or None."""
    for extension in extensions:
        if extension.type == kind:
            return extension
    return None


def _is_long_139(payload: bytes, at: int) -> bool:
    """RFC 4433 3.4 draws the long layout, decoders expect the short one: only sub-type 1 or 2 with length 4 is long."""
    return len(payload) >= at + 4 and payload[at + 1] in (1, 2) and payload[at + 2 : at + 4] == b"\0\x04"
