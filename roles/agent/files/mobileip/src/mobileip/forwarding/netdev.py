"""What an interface does with frames before our programs see them, and what its driver can do for XDP: asked of the
kernel by ioctl and generic netlink. Nothing needs privilege but what sets something. Interfaces are those of the
caller's network namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Sequence
from enum import IntFlag

_SIOCGIFHWADDR, _SIOCETHTOOL = 0x8927, 0x8946
_GET_DRIVER, _GET_FLAGS, _SET_FLAGS = 0x03, 0x25, 0x26
_GET_STRINGS, _COUNT_STRINGS, _GET_FEATURES, _SET_FEATURES = 0x1B, 0x37, 0x3A, 0x3B
_FEATURE_NAMES = 4  # ETH_SS_FEATURES
_NAME = 32  # ETH_GSTRING_LEN
_MERGING = ("rx-udp-gro-forwarding", "rx-gro-list")
_RX_VLAN = 1 << 8
_IFREQ = struct.Struct("16s24s")
_VALUE = struct.Struct("=II")  # struct ethtool_value
_DRIVER_INFO = 196  # sizeof(struct ethtool_drvinfo); the driver's name is at 4

_NETLINK_GENERIC = 16
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr, genlmsghdr
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST, _ERROR = 1, 2
_CONTROL, _GET_FAMILY, _FAMILY_NAME, _FAMILY_ID = 0x10, 3, 2, 1
_DEVICE_GET, _DEVICE_INDEX, _DEVICE_FEATURES = 1, 1, 3


class Features(IntFlag):
    """NETDEV_XDP_ACT_* of linux/netdev.h."""

    BASIC = 1
    REDIRECT = 2
    TAKES_FRAMES = 4
    """Frames may be redirected to it now (ndo_xdp_xmit); of a veth, because its peer has an XDP program or GRO."""
    TAKES_BUFFERS = 64
    """The same for frames of several buffers."""


def mac(interface: str) -> bytes:
    """The interface's MAC address. Raises OSError."""
    answer = _ioctl(_SIOCGIFHWADDR, interface, bytes(24))
    return answer[18:24]


def driver(interface: str) -> str:
    """Name of the driver, such as `veth`; empty where it does not tell."""
    request = ctypes.create_string_buffer(_DRIVER_INFO)
    struct.pack_into("=I", request, 0, _GET_DRIVER)
    try:
        _ethtool(interface, request)
    except OSError:
        return ""
    return request.raw[4:36].split(b"\0")[0].decode(errors="replace")


def strips_tags(interface: str) -> bool:
    """Whether the NIC takes VLAN tags out of frames before an XDP program sees them."""
    try:
        return bool(_flags(interface) & _RX_VLAN)
    except OSError:
        return False  # a driver without such flags leaves frames alone


def set_strips_tags(interface: str, on: bool) -> None:
    """Have the NIC take VLAN tags out of frames, or leave them. Needs CAP_NET_ADMIN. Raises OSError."""
    flags = _flags(interface)
    request = ctypes.create_string_buffer(_VALUE.pack(_SET_FLAGS, flags | _RX_VLAN if on else flags & ~_RX_VLAN))
    _ethtool(interface, request)


def merges_datagrams(interface: str) -> list[str]:
    """Which settings have GRO merge the datagrams of a UDP tunnel, as ethtool(8) names them; none by default."""
    try:
        places = _places_of_features(interface)
        active = _active_features(interface, len(places))
    except OSError:
        return []  # nothing that could be set
    return [name for name in _MERGING if name in places and active >> places[name] & 1]


def set_features(interface: str, names: Sequence[str], on: bool) -> None:
    """Turn features on or off, by ethtool's names. Needs CAP_NET_ADMIN. Raises OSError."""
    places = _places_of_features(interface)
    chosen = sum(1 << places[name] for name in names)
    request = struct.pack("=II", _SET_FEATURES, _words(len(places)))
    for word in range(_words(len(places))):
        bits = chosen >> 32 * word & 0xFFFFFFFF
        request += struct.pack("=II", bits, bits if on else 0)  # struct ethtool_set_features_block
    _ethtool(interface, ctypes.create_string_buffer(request, len(request)))


def _places_of_features(interface: str) -> dict[str, int]:
    """The bit of each feature that this kernel knows, by name."""
    question = ctypes.create_string_buffer(struct.pack("=IIQI", _COUNT_STRINGS, 0, 1 << _FEATURE_NAMES, 0), 20)
    _ethtool(interface, question)
    (count,) = struct.unpack_from("=I", question.raw, 16)
    names = ctypes.create_string_buffer(struct.pack("=III", _GET_STRINGS, _FEATURE_NAMES, count), 12 + count * _NAME)
    _ethtool(interface, names)
    rows = (names.raw[12 + at * _NAME : 12 + (at + 1) * _NAME] for at in range(count))
    return {row.split(b"\0")[0].decode(): place for place, row in enumerate(rows)}


def _active_features(interface: str, count: int) -> int:
    """A bit for each feature that is on."""
    words = _words(count)
    request = ctypes.create_string_buffer(struct.pack("=II", _GET_FEATURES, words), 8 + 16 * words)
    _ethtool(interface, request)
    blocks = struct.iter_unpack("=4I", request.raw[8:])  # available, requested, active, never changed
    return sum(active << 32 * word for word, (_, _, active, _) in enumerate(blocks))


def _words(bits: int) -> int:
    return (bits + 31) // 32


def features(index: int) -> Features | None:
    """What the interface with this number can do now; None where the kernel cannot tell (before 6.3)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as channel:
        channel.settimeout(2.0)
        channel.bind((0, 0))
        try:
            family = _ask(channel, _CONTROL, _GET_FAMILY, _attribute(_FAMILY_NAME, b"netdev\0"))
            (number,) = struct.unpack("=H", family[_FAMILY_ID])
            device = _ask(channel, number, _DEVICE_GET, _attribute(_DEVICE_INDEX, struct.pack("=I", index)))
        except OSError:
            return None
    return Features(struct.unpack("=Q", device[_DEVICE_FEATURES])[0])


def _flags(interface: str) -> int:
    request = ctypes.create_string_buffer(_VALUE.pack(_GET_FLAGS, 0), _VALUE.size)
    _ethtool(interface, request)
    return int(_VALUE.unpack(request.raw)[1])


def _ethtool(interface: str, request: ctypes.Array[ctypes.c_char]) -> None:
    _ioctl(_SIOCETHTOOL, interface, struct.pack("=Q16x", ctypes.addressof(request)))


def _ioctl(number: int, interface: str, argument: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        return fcntl.ioctl(channel, number, _IFREQ.pack(interface.encode(), argument))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _ask(channel: socket.socket, family: int, command: int, attributes: bytes) -> dict[int, bytes]:
    """Attributes of the one answer to a request. Raises OSError with the kernel's errno."""
    header = _HEADER.pack(_HEADER.size + len(attributes), family, _REQUEST, 1, 0, command, 1, 0)
    channel.send(header + attributes)
    answer = channel.recv(65536)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        raise OSError(-struct.unpack_from("=i", answer, 16)[0], "generic netlink")
    found, at = {}, _HEADER.size
    while at + _ATTRIBUTE.size <= len(answer):
        length, name = _ATTRIBUTE.unpack_from(answer, at)
        if length < _ATTRIBUTE.size:
            break
        found[name & 0x3FFF] = answer[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
