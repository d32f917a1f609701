"""The fast path's programs on their interfaces: what is attached how, and why.

Beside tc's programs, which are attached always, an interface gets the XDP form of its program where its driver can run
it. The attachment is a pinned link (`xdp_links/INDEX` below the pin directory): it outlives every process, nobody
replaces it by mistake, and its end is the pin's removal. What others attached is never replaced.

The table `links` says it to the programs, to the daemon, and to `mobileip show`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from pathlib import Path

from mobileip.forwarding import layouts, netdev
from mobileip.forwarding._libbpf import Map, Pinned, Program, check, library

PROGRAMS = frozenset({"proxy_pub", "proxy_priv", "ha_core", "ha_home", "fa_uplink", "fa_link"})
"""What has an XDP form."""
_FIRST = struct.pack("=I", 0)
_BPF_XDP = 37
_NATIVE, _GENERIC = 1 << 2, 1 << 1  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE


class AttachError(RuntimeError):
    """What was asked for cannot be attached; tc's programs are."""


class Attach(StrEnum):
    """`datapath.attach`."""

    AUTO = "auto"
    NATIVE = "xdp-native"
    GENERIC = "xdp-generic"
    TC = "tc"


class Why(IntEnum):
    """Why an interface has what it has."""

    UNKNOWN = 0
    ABLE = 1
    FORCED = 2
    NO_PROGRAM = 3
    OTHERS_PROGRAM = 4
    NO_DRIVER = 5
    REFUSED = 6
    NO_FORWARDING = 7
    NO_OBJECT = 8
    TAGS = 9
    UNFINISHED = 10

    @property
    def text(self) -> str:
        """The same for people; `{interface}` is to be filled in."""
        return _TEXTS[self]


_TEXTS = {
    Why.UNKNOWN: "never attached",
    Why.ABLE: "the driver runs XDP programs",
    Why.FORCED: "datapath.attach says so",
    Why.NO_PROGRAM: "this interface's own host sends what arrives there, with checksums unfinished",
    Why.OTHERS_PROGRAM: "another XDP program is attached, see `ip link show {interface}`",
    Why.NO_DRIVER: "the driver cannot run XDP programs",
    Why.REFUSED: "the driver refused, as some do with this MTU or number of queues",
    Why.NO_FORWARDING: "net.ipv4.conf.{interface}.forwarding is 0, and XDP asks the kernel's routes for forwarding",
    Why.NO_OBJECT: "the XDP object is missing, or this kernel refused it",
    Why.TAGS: "the NIC takes VLAN tags out of frames and `ethtool -K {interface} rxvlan off` fails",
    Why.UNFINISHED: "frames of a veth may come with checksums unfinished, which only tc's programs can carry",
}


class Flags(IntFlag):
    """Of `struct link`."""

    TAKES_FRAMES = 1
    TAKES_BUFFERS = 2
    TAGS_KEPT = 4
    NATIVE = 8
    GENERIC = 16


@dataclass(frozen=True)
class Chosen:
    """What sees an interface's packets first, and why. `attach` is never AUTO."""

    interface: str
    attach: Attach
    why: Why

    def __str__(self) -> str:
        return f"{self.interface} {self.attach} ({self.why.text.format(interface=self.interface)})"


@dataclass(frozen=True)
class Place:
    """An interface that may get an XDP program. `local`: this host's own stack is at its other end."""

    interface: str
    program: str
    local: bool = False


def attach(directory: Path, places: Sequence[Place], want: Attach, *, loaded: bool) -> bool:
    """Attach each program as wanted, or as far as the interface can do it; True if anything changed.

    `loaded`: the programs are pinned below `directory`. Raises AttachError where something else than AUTO and TC is
    wanted and cannot be had.
    """
    known = {entry.index: entry for entry in entries(directory)}
    made, changed = [], False
    indices = {socket.if_nametoindex(place.interface): place for place in places}
    for pin in _pins(directory):
        if int(pin.name) not in indices:
            _end(pin)
            changed = True
    for index, place in indices.items():
        tags = known[index].flags & Flags.TAGS_KEPT if index in known else Flags(0)
        mode, why, kept, is_new = _attach_one(directory, index, place, want, loaded)
        if tags and not mode:
            netdev.set_strips_tags(place.interface, True)
            tags = Flags(0)
        changed |= is_new
        made.append(Entry(index, b"", mode | kept | tags, why))
    return _write(directory, made) or changed


def detach(directory: Path) -> None:
    """Remove our programs from all interfaces, and nobody else's."""
    for entry in entries(directory):
        if entry.flags & Flags.TAGS_KEPT and (name := _name(entry.index)):
            netdev.set_strips_tags(name, True)
    for pin in _pins(directory):
        _end(pin)


def inherit(directory: Path, predecessor: Path) -> None:
    """Take over the links of another pin directory and what is known of them; `attach` then replaces their programs."""
    table, known = Map(directory / "maps" / "links"), predecessor / "maps" / "links"
    if known.exists() and (old := Map(known)).value_size == table.value_size:
        table.put(_FIRST, old.get(_FIRST) or bytes(table.value_size))
    for pin in _pins(predecessor):
        (directory / "xdp_links").mkdir(exist_ok=True)
        pin.rename(directory / "xdp_links" / pin.name)


def refresh(directory: Path) -> bool:
    """Look again at what may change while we run: MAC addresses, and who takes frames. True if something had."""
    known = entries(directory)
    return bool(known) and _write(directory, known)


def chosen(directory: Path) -> list[Chosen]:
    """What is attached where. Nothing before the first load."""
    found = []
    for entry in entries(directory):
        mode = Attach.TC
        if entry.flags & Flags.NATIVE:
            mode = Attach.NATIVE
        elif entry.flags & Flags.GENERIC:
            mode = Attach.GENERIC
        if name := _name(entry.index):
            found.append(Chosen(name, mode, entry.why))
    return found


def is_attached(directory: Path, places: Sequence[Place]) -> bool:
    """Whether each place has been decided upon, and still has what was chosen for it then."""
    known = {entry.index: entry for entry in entries(directory)}
    for place in places:
        index = socket.if_nametoindex(place.interface)
        entry = known.get(index)
        if entry is None or bool(entry.flags & (Flags.NATIVE | Flags.GENERIC)) != (_link(directory, index) is not None):
            return False
    return True


# One interface


def _attach_one(
    directory: Path, index: int, place: Place, want: Attach, loaded: bool
) -> tuple[Flags, Why, Flags, bool]:
    """Mode, why, TAGS_KEPT if it was we who had the NIC keep them, and whether anything changed."""
    why = _hindrance(place, want, loaded)
    if why is None:
        flag = Flags.GENERIC if want is Attach.GENERIC else Flags.NATIVE
        if netdev.strips_tags(place.interface):
            kept, why = _keep_tags(place.interface)
        else:
            kept = Flags(0)
        if why is None:
            why, changed = _link_program(directory, index, place.program, flag)
            if why is None:
                return flag, Why.ABLE if want is Attach.AUTO else Why.FORCED, kept, changed
        if kept:
            netdev.set_strips_tags(place.interface, True)
    if want in (Attach.NATIVE, Attach.GENERIC) and why is not Why.NO_PROGRAM:
        reason = why.text.format(interface=place.interface)
        raise AttachError(
            f"interface {place.interface}: cannot attach {want}: {reason}; expected datapath.attach: auto"
        )
    pin = _pin(directory, index)
    if pin.exists():
        _end(pin)
        return Flags(0), why, Flags(0), True
    return Flags(0), why, Flags(0), False


def _hindrance(place: Place, want: Attach, loaded: bool) -> Why | None:
    """What speaks against XDP before the driver is asked."""
    if want is Attach.TC:
        return Why.FORCED
    if place.local:
        return Why.NO_PROGRAM
    if not loaded:
        return Why.NO_OBJECT
    if want is Attach.AUTO and netdev.driver(place.interface) == "veth":
        return Why.UNFINISHED
    forwarding = Path("/proc/sys/net/ipv4/conf") / place.interface / "forwarding"
    if forwarding.exists() and forwarding.read_text(encoding="ascii").strip() == "0":
        return Why.NO_FORWARDING
    return None


def _keep_tags(interface: str) -> tuple[Flags, Why | None]:
    """A frame without its tag would be taken for one of the network without VLAN."""
    with contextlib.suppress(OSError):
        netdev.set_strips_tags(interface, False)
    return (Flags(0), Why.TAGS) if netdev.strips_tags(interface) else (Flags.TAGS_KEPT, None)


def _link_program(directory: Path, index: int, program: str, flag: Flags) -> tuple[Why | None, bool]:
    """Put the program where it belongs: into our link if there is one of this mode, atomically, else into a new one."""
    pinned = Program(directory / "xdp" / program)
    link = _link(directory, index)
    if link is not None and _mode_of(index) == flag:
        if link.program_id == pinned.id:
            return None, False
        check(library().bpf_link_update(link.fd, pinned.fd, None), f"replace {program}")
        return None, True
    pin = _pin(directory, index)
    if pin.exists():  # of another mode, or of an interface that is gone
        _end(pin)
    options = _LinkOptions(ctypes.sizeof(_LinkOptions), _NATIVE if flag is Flags.NATIVE else _GENERIC)
    fd = library().bpf_link_create(pinned.fd, index, _BPF_XDP, ctypes.byref(options))
    if fd < 0:
        return _refusal(-fd), False
    try:
        pin.parent.mkdir(exist_ok=True)
        check(library().bpf_obj_pin(fd, bytes(pin)), f"pin {pin}")
    finally:
        os.close(fd)
    return None, True


def _refusal(number: int) -> Why:
    if number in (errno.EBUSY, errno.EEXIST):
        return Why.OTHERS_PROGRAM
    return Why.NO_DRIVER if number in (errno.EOPNOTSUPP, errno.ENOTSUP) else Why.REFUSED


class _LinkOptions(ctypes.Structure):
    """The first fields of `struct bpf_link_create_opts`."""

    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("iter_info_length", ctypes.c_uint32)]


class _QueryOptions(ctypes.Structure):
    """The first fields of `struct bpf_xdp_query_opts`."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("drv_prog_id", ctypes.c_uint32),
        ("hw_prog_id", ctypes.c_uint32),
        ("skb_prog_id", ctypes.c_uint32),
        ("attach_mode", ctypes.c_uint8),
    ]


class _LinkInfo(ctypes.Structure):
    """The first fields of `struct bpf_link_info` of an XDP link."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 15),
    ]


class _Link(Pinned):
    """A pinned link that is still in force."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        info, length = _LinkInfo(), ctypes.c_uint32(ctypes.sizeof(_LinkInfo))
        check(library().bpf_obj_get_info_by_fd(self.fd, ctypes.byref(info), ctypes.byref(length)), f"ask about {path}")
        self.program_id, self.index = int(info.prog_id), int(info.ifindex)


def _link(directory: Path, index: int) -> _Link | None:
    """Our link of an interface; None without one, or when it belonged to an interface that is gone."""
    pin = _pin(directory, index)
    if not pin.exists():
        return None
    found = _Link(pin)
    return found if found.index == index else None


def _end(pin: Path) -> None:
    """Detach, and remove the pin. The removal alone would detach a little later."""
    link = _Link(pin)
    library().bpf_link_detach(link.fd)
    link.close()
    pin.unlink()


def _mode_of(index: int) -> Flags:
    """How the program that is on an interface runs."""
    options = _QueryOptions(size=ctypes.sizeof(_QueryOptions))
    check(library().bpf_xdp_query(index, 0, ctypes.byref(options)), "ask what is attached")
    if options.drv_prog_id:
        return Flags.NATIVE
    return Flags.GENERIC if options.skb_prog_id else Flags(0)


def _pin(directory: Path, index: int) -> Path:
    return directory / "xdp_links" / str(index)


def _pins(directory: Path) -> list[Path]:
    folder = directory / "xdp_links"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _name(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None


# The table


@dataclass(frozen=True)
class Entry:
    """`struct link`."""

    index: int
    mac: bytes
    flags: Flags
    why: Why


def entries(directory: Path) -> list[Entry]:
    """What the table says. Nothing before the first load."""
    pin = directory / "maps" / "links"
    if not pin.exists():
        return []
    raw = Map(pin).get(_FIRST) or b""
    return list(_unpack(raw))


def _unpack(raw: bytes) -> Iterator[Entry]:
    for at in range(0, len(raw), layouts.LINK.size):
        row = layouts.LINK.unpack(raw[at : at + layouts.LINK.size])
        if not row["ifindex"]:
            return
        why = Why(row["why"]) if row["why"] in iter(Why) else Why.UNKNOWN
        yield Entry(row["ifindex"], row["mac"], Flags(row["flags"]), why)


def _write(directory: Path, rows_of: Sequence[Entry]) -> bool:
    """Complete the entries by what the kernel says now, and write them where that is a change."""
    table = Map(directory / "maps" / "links")
    if len(rows_of) > layouts.MAX_LINKS:
        raise AttachError(f"{len(rows_of)} interfaces, expected {layouts.MAX_LINKS} at most")
    rows = []
    for entry in rows_of:
        name = _name(entry.index)
        if name is None:
            continue
        flags = entry.flags & ~(Flags.TAKES_FRAMES | Flags.TAKES_BUFFERS) | _takes(entry, name)
        rows.append(layouts.LINK.pack(ifindex=entry.index, mac=netdev.mac(name), flags=int(flags), why=int(entry.why)))
    raw = b"".join(rows).ljust(layouts.LINKS.size, b"\0")
    if table.get(_FIRST) == raw:
        return False
    table.put(_FIRST, raw)
    return True


def _takes(entry: Entry, name: str) -> Flags:
    """Whether frames may be redirected to an interface. In generic mode they leave as the stack's own do."""
    if entry.flags & Flags.GENERIC:
        return Flags.TAKES_FRAMES | Flags.TAKES_BUFFERS
    able = netdev.features(entry.index)
    if (
        able is None
    ):  # an old kernel: a driver that runs our program sends its frames as well, but of a veth nobody knows
        is_able = bool(entry.flags & Flags.NATIVE) and netdev.driver(name) != "veth"
        return Flags.TAKES_FRAMES if is_able else Flags(0)
    flags = Flags.TAKES_FRAMES if able & netdev.Features.TAKES_FRAMES else Flags(0)
    return flags | (Flags.TAKES_BUFFERS if able & netdev.Features.TAKES_BUFFERS else Flags(0))
