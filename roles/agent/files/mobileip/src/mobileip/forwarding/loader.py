"""Load, pin and attach the BPF programs; replace their code without touching their tables; take all of it away.

Below the pin directory (in a bpffs, such as /sys/fs/bpf/mobileip/INSTANCE): `maps/NAME` and `programs/NAME`. What is
pinned and attached works without any process. Loading the same object again changes nothing. New code takes the place
of the old one filter by filter, atomically, and works on the tables that are there, if their layout is the same.

Interfaces are those of the network namespace of the caller (`nsenter --net=` keeps /sys/fs/bpf, `ip netns exec` not).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mobileip.forwarding import layouts, needs, netdev, xdp
from mobileip.forwarding._libbpf import Map, Program, check, library
from mobileip.forwarding.build import xdp_object

# One filter an interface and direction: ours is known by its priority and handle, whatever its code.
PRIORITY = 434
PRIORITY_BEFORE = PRIORITY - 1
BEHIND_GENERIC_XDP = "restore_ethernet"
"""The program that makes whole again what XDP behind the driver has passed; a filter of its own, before the others."""
HANDLE = 1
ETH_P_ALL = 0x0003
BPFFS_MAGIC = 0xCAFE4A11
_IDENTITY = struct.pack("=I", 0)
_UNFILLED = "unfilled"
"""A folder that is there from when a table is made until it has been filled: a load that was cut short is noticed."""


class LoadError(RuntimeError):
    """The programs could not be loaded or attached; what was there before is unchanged."""


class LayoutDiffers(LoadError):  # noqa: N818 (what the one who loads answers with `migrate`)
    """The tables that are there were made by a release with another layout."""


class Direction(StrEnum):
    """Side of an interface, seen from the host."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def parent(self) -> int:
        """The clsact qdisc's hook."""
        return 0xFFFFFFF2 if self is Direction.INGRESS else 0xFFFFFFF3


@dataclass(frozen=True)
class Attachment:
    """Which program looks at an interface's packets in a direction.

    `is_wire`: this host's own stack is at the other end, as in one box.
    """

    interface: str
    direction: Direction
    program: str
    is_wire: bool = False
    priority: int = PRIORITY


def proxy_attachments(public: str, private: str, wire: str | None = None) -> list[Attachment]:
    """The proxy's, for its two interfaces, and in one box for its end of the wire to the gateway."""
    return [
        Attachment(public, Direction.INGRESS, "proxy_pub"),
        Attachment(private, Direction.INGRESS, "proxy_priv"),
        *([] if wire is None else [Attachment(wire, Direction.INGRESS, "proxy_pub", is_wire=True)]),
    ]


def home_agent_attachments(core: str, home_links: Sequence[str]) -> list[Attachment]:
    """The home agent's: where tunnels arrive, and its home links."""
    return [
        Attachment(core, Direction.INGRESS, "ha_core"),
        *(Attachment(link, Direction.INGRESS, "ha_home") for link in home_links),
    ]


def foreign_agent_attachments(uplink: str, link: str) -> list[Attachment]:
    """The foreign agent's, for uplink and the visitors' link."""
    return [Attachment(uplink, Direction.INGRESS, "fa_uplink"), Attachment(link, Direction.INGRESS, "fa_link")]


def mobile_node_attachments(interface: str) -> list[Attachment]:
    """The mobile node's, for the interface that moves."""
    return [
        Attachment(interface, Direction.INGRESS, "mn_ingress"),
        Attachment(interface, Direction.EGRESS, "mn_egress"),
    ]


def load(
    object_path: Path | str,
    pin_dir: Path | str,
    attachments: Sequence[Attachment],
    *,
    owner: tuple[int, int] | None = None,
    max_bindings: int | None = None,
    programs: Sequence[str] = (),
    attach: xdp.Attach = xdp.Attach.AUTO,
    fill: Callable[[Path], None] | None = None,
) -> bool:
    """Load, pin and attach. Needs root or `needs.CAPABILITIES`, and write access to the pin directory.

    `owner` (user and group number) gets the pinned tables, so that a daemon with another user may write them.
    `max_bindings` bounds the table of bindings (default 1,048,576); it counts at the first load only.
    `programs` are pinned as well, attached or not.
    `attach` says where XDP programs look at packets before tc's, which are attached always.
    `fill` is given the pin directory where this object has tables that the one before had not: the new programs take
    over when it has returned. What it raises leaves the old ones in force, and is for the next load to do.
    Returns whether anything changed. Raises LayoutDiffers, or LoadError with what to do; a program that is already
    attached stays then.
    """
    path, directory = Path(object_path), Path(pin_dir)
    try:
        code = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}; expected the compiled object mobileip.bpf.o") from error
    digest = _digest(path, code)
    _prepare(directory)
    attachments = _with_restorers(attachments, attach)
    names = sorted({attachment.program for attachment in attachments} | set(programs))
    changed = False
    found = identity(directory)
    if found is not None and found["layout"] != layouts.fingerprint():
        raise LayoutDiffers(
            f"{directory / 'maps'}: these tables were made by a release whose layout differs, so nothing was changed: "
            "packets go on by the code and the tables that are there"
        )
    if found is None or found["object"] != digest or any(not _program_path(directory, n).exists() for n in names):
        _load_object(path, directory, names, max_bindings)
        _load_xdp(xdp_object(path), directory, names)
        changed = True
    if owner is not None:
        _hand_over(directory, owner)
    if changed and (directory / _UNFILLED).is_dir():
        if found is not None and fill is not None:
            fill(directory)
        (directory / _UNFILLED).rmdir()
    pinned = {name: Program(_program_path(directory, name)) for name in names}
    with IPRoute() as netlink:
        for attachment in attachments:
            changed |= _attach(netlink, attachment, pinned[attachment.program])
    changed |= _keep_datagrams_apart(directory, attachments)
    try:
        changed |= xdp.attach(directory, _places(attachments), attach, loaded=_has_xdp(directory, names))
        changed |= _detach_restorers(attachments, attach)
    except xdp.AttachError as error:
        raise LoadError(str(error)) from error
    if found is None or found["object"] != digest:
        # Last, so that a load that was cut short is done again.
        value = layouts.OBJECT_IDENTITY.pack(object=digest, layout=layouts.fingerprint())
        Map(directory / "maps" / "object_identity").put(_IDENTITY, value)
    return changed


def migrate(
    object_path: Path | str,
    pin_dir: Path | str,
    attachments: Sequence[Attachment],
    fill: Callable[[Path], None],
    *,
    owner: tuple[int, int] | None = None,
    attach: xdp.Attach = xdp.Attach.AUTO,
) -> None:
    """Programs and tables of this release in the place of others, whatever the layout of those.

    They are made beside the old ones, and `fill` writes the new tables; it is given the pin directory that they have
    until then. Only then the programs are attached, filter by filter, in one step each: packets go on by the old tables
    until then, and by the new ones from then. What `fill` does not write is lost, counters among it. Nobody may write
    to the old tables meanwhile: the daemon has to be stopped. Raises LoadError; the old ones stay, or come back, then.
    """
    directory = Path(pin_dir)
    beside, before = directory.with_name(f"{directory.name}_new"), directory.with_name(f"{directory.name}_old")
    old_bindings = directory / "maps" / "bindings"
    most = Map(old_bindings).max_entries if old_bindings.exists() else None
    attachments = _with_restorers(attachments, attach)
    names = sorted({attachment.program for attachment in attachments})
    for left_over in (beside, before):
        _unpin(left_over)
    try:
        load(object_path, beside, [], owner=owner, max_bindings=most, programs=names)
        fill(beside)
        _replace(directory, beside, attachments, attach)
    except BaseException:
        with suppress(LoadError, OSError):
            _replace(beside, directory, attachments, attach)
        _unpin(beside)
        raise
    if directory.is_dir():
        with suppress(FileNotFoundError):
            (directory / "apart").rename(beside / "apart")
        directory.rename(before)
    beside.rename(directory)
    _unpin(before)


def _replace(old: Path, new: Path, attachments: Sequence[Attachment], attach: xdp.Attach) -> None:
    """Attach what is pinned below `new` where what is pinned below `old` is attached."""
    with IPRoute() as netlink:
        for attachment in attachments:
            pin = _program_path(new, attachment.program)
            if pin.exists():
                _attach(netlink, attachment, Program(pin))
    xdp.inherit(new, old)
    try:
        xdp.attach(new, _places(attachments), attach, loaded=_has_xdp(new, [each.program for each in attachments]))
        _detach_restorers(attachments, attach)
    except xdp.AttachError as error:
        raise LoadError(str(error)) from error


def unload(pin_dir: Path | str, attachments: Sequence[Attachment]) -> None:
    """Detach our filters (an interface that is gone is no error) and remove all that is pinned, bindings included."""
    directory = Path(pin_dir)
    xdp.detach(directory)
    with IPRoute() as netlink:
        for attachment in [*attachments, *_restorers(attachments)]:
            _detach(netlink, attachment)
    _let_datagrams_be_merged(directory)
    _unpin(directory)


def _restorers(attachments: Sequence[Attachment]) -> list[Attachment]:
    """Where XDP may be behind the driver."""
    return [
        Attachment(place.interface, Direction.INGRESS, BEHIND_GENERIC_XDP, priority=PRIORITY_BEFORE)
        for place in _places(attachments)
        if not place.local
    ]


def _with_restorers(attachments: Sequence[Attachment], attach: xdp.Attach) -> Sequence[Attachment]:
    return [*attachments, *_restorers(attachments)] if attach is xdp.Attach.GENERIC else attachments


def _detach_restorers(attachments: Sequence[Attachment], attach: xdp.Attach) -> bool:
    """They go when nothing is behind the driver any more. True if there were any."""
    if attach is xdp.Attach.GENERIC:
        return False
    with IPRoute() as netlink:
        detached = [_detach(netlink, each) for each in _restorers(attachments)]
    return any(detached)


def _keep_datagrams_apart(directory: Path, attachments: Sequence[Attachment]) -> bool:
    """No program can part the datagrams of a UDP tunnel that GRO has merged. True if anything was turned off.

    What was is remembered for `unload`. A bpffs holds pins and folders alone: it is a folder, `apart/INDEX/FEATURE`.
    """
    changed = False
    for interface in sorted({each.interface for each in attachments}):
        features = netdev.merges_datagrams(interface)
        if not features:
            continue
        with suppress(OSError):  # a driver that insists: the programs drop what is merged, and count it
            netdev.set_features(interface, features, False)
            for feature in features:
                folder = directory / "apart" / str(socket.if_nametoindex(interface)) / feature
                folder.mkdir(parents=True, exist_ok=True)
            changed = True
    return changed


def kept_apart(pin_dir: Path | str) -> list[tuple[str, str]]:
    """Interfaces and what was turned off there, so that no datagrams are merged."""
    found = []
    for folder in sorted((Path(pin_dir) / "apart").glob("*/*")):
        with suppress(OSError):
            found.append((socket.if_indextoname(int(folder.parent.name)), folder.name))
    return found


def _let_datagrams_be_merged(directory: Path) -> None:
    """Put back what `_keep_datagrams_apart` turned off."""
    for interface, feature in kept_apart(directory):
        with suppress(OSError):
            netdev.set_features(interface, [feature], True)


def _unpin(directory: Path) -> None:
    """Remove what is pinned; a program that tc runs lives on, and its tables with it."""
    for folder in ("xdp_links", "xdp", "programs", "maps"):
        if (directory / folder).is_dir():
            for pin in (directory / folder).iterdir():
                pin.unlink()
            (directory / folder).rmdir()
    for mark in (*sorted((directory / "apart").rglob("*"), reverse=True), directory / "apart", directory / _UNFILLED):
        with suppress(FileNotFoundError):
            mark.rmdir()
    with suppress(FileNotFoundError, OSError):
        directory.rmdir()


def is_loaded(object_path: Path | str, pin_dir: Path | str, attachments: Sequence[Attachment]) -> bool:
    """Whether `load` would change nothing."""
    directory = Path(pin_dir)
    found = identity(directory)
    path = Path(object_path)
    if found is None or found["object"] != _digest(path, path.read_bytes()):
        return False
    with IPRoute() as netlink:
        for attachment in attachments:
            if netdev.merges_datagrams(attachment.interface):
                return False
            pin = _program_path(directory, attachment.program)
            if not pin.exists() or _attached_name(netlink, attachment) != _filter_name(attachment, Program(pin)):
                return False
    return xdp.is_attached(directory, _places(attachments))


def _digest(path: Path, code: bytes) -> bytes:
    """Of both objects."""
    fast = xdp_object(path)
    return hashlib.sha256(code + (fast.read_bytes() if fast.exists() else b"")).digest()


def _places(attachments: Sequence[Attachment]) -> list[xdp.Place]:
    return [
        xdp.Place(attachment.interface, attachment.program, attachment.is_wire)
        for attachment in attachments
        if attachment.direction is Direction.INGRESS and attachment.program in xdp.PROGRAMS
    ]


def _has_xdp(directory: Path, names: Sequence[str]) -> bool:
    return all((directory / "xdp" / name).exists() for name in names if name in xdp.PROGRAMS)


def _load_xdp(path: Path, directory: Path, names: Sequence[str]) -> None:
    """The XDP forms of the named programs. A kernel that refuses them is no failure: tc does all that they do."""
    wanted = [name for name in names if name in xdp.PROGRAMS]
    if not wanted or not path.exists():
        return
    (directory / "xdp").mkdir(exist_ok=True)
    try:
        _load_object(path, directory, wanted, None, "xdp")
    except LoadError:
        for name in wanted:
            (directory / "xdp" / name).unlink(missing_ok=True)


def _program_path(directory: Path, name: str) -> Path:
    return directory / "programs" / name


def identity(directory: Path) -> dict[str, bytes] | None:
    """Which object and layout the pinned tables belong to; None if there are none, or a load was cut short."""
    pin = directory / "maps" / "object_identity"
    if not pin.exists():
        return None
    table = Map(pin)
    raw = table.get(_IDENTITY) if table.value_size == layouts.OBJECT_IDENTITY.size else None
    if not raw:
        raise LoadError(f"{pin}: not a table of ours; expected a pin directory of its own for each instance")
    return layouts.OBJECT_IDENTITY.unpack(raw) if any(raw) else None


def _prepare(directory: Path) -> None:
    """Make the pin directory. It has to lie in a bpffs, or the kernel pins nothing there."""
    try:
        for folder in (directory, directory / "maps", directory / "programs"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadError(
            f"{directory}: {error.strerror}; is a bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)"
        ) from error
    if _file_system(directory) != BPFFS_MAGIC:
        for folder in (directory / "programs", directory / "maps", directory):
            with suppress(OSError):
                folder.rmdir()
        raise LoadError(f"{directory}: not in a bpffs; mount one (mount -t bpf bpf /sys/fs/bpf) and load again")


def _file_system(path: Path) -> int:
    """Magic number of the file system at `path` (statfs(2); os.statvfs does not tell it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    if libc.statfs(bytes(path), buffer):
        raise LoadError(f"{path}: {os.strerror(ctypes.get_errno())}")
    return int.from_bytes(buffer.raw[:8], "little") & 0xFFFFFFFF


@contextmanager
def log_of_libbpf() -> Iterator[list[str]]:
    """libbpf's warnings, the verifier's log among them. Its messages come through a C va_list: vsnprintf prints it."""
    lines: list[str] = []
    libc = ctypes.CDLL(None)
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

    def remember(level: int, text: bytes, arguments: int) -> int:
        if level == 0:
            buffer = ctypes.create_string_buffer(1 << 24)
            libc.vsnprintf(buffer, ctypes.c_size_t(len(buffer)), text, ctypes.c_void_p(arguments))
            lines.append(buffer.value.decode(errors="replace").rstrip())
        return 0

    library().libbpf_set_print.restype = ctypes.c_void_p
    callback = callback_type(remember)  # kept: libbpf calls it as long as it is set
    previous = library().libbpf_set_print(callback)
    try:
        yield lines
    finally:
        library().libbpf_set_print(ctypes.c_void_p(previous))


def _load_object(
    path: Path, directory: Path, names: Sequence[str], max_bindings: int | None, folder: str = "programs"
) -> None:
    """Load the named programs on the pinned tables (made where missing), and pin them in the old ones' place."""
    bpf = library()
    with log_of_libbpf() as log:
        handle = bpf.bpf_object__open_file(bytes(path), None)
        if not handle:
            raise LoadError(f"{path}: {os.strerror(ctypes.get_errno())}; expected a BPF object\n" + "\n".join(log))
        try:
            _pin_tables(handle, directory, max_bindings)
            available = choose_programs(handle, names)
            result = bpf.bpf_object__load(handle)
            if result < 0:
                raise LoadError(_load_error(path, -result, log))
            for name in names:
                _pin_program(bpf.bpf_program__fd(available[name]), directory / folder / name)
        finally:
            bpf.bpf_object__close(handle)


def _load_error(path: Path, number: int, log: list[str]) -> str:
    what = f"{path}: the kernel refused to load it ({os.strerror(number)})"
    if number in (errno.EPERM, errno.EACCES):
        what += f"; expected root, or {needs.CAPABILITIES}, or the verifier says why below"
    return "\n".join([what, *(line for entry in log for line in entry.splitlines()[-30:])])


def each_of(handle: Any, step: str, name: str) -> Iterator[tuple[str, Any]]:
    """Maps or programs of an object by name."""
    bpf = library()
    item = getattr(bpf, step)(handle, None)
    while item:
        yield getattr(bpf, name)(item).decode(), item
        item = getattr(bpf, step)(handle, item)


def _pin_tables(handle: Any, directory: Path, max_bindings: int | None) -> None:
    """Say where each table is pinned: libbpf takes what is there, and makes and pins what is not."""
    bpf = library()
    for name, item in each_of(handle, "bpf_object__next_map", "bpf_map__name"):
        pin = directory / "maps" / name
        if name == "bindings" and max_bindings is not None and not pin.exists():
            check(bpf.bpf_map__set_max_entries(item, max_bindings), f"size the table {name}")
        if pin.exists():
            have = Map(pin)
            if name == "bindings":
                check(bpf.bpf_map__set_max_entries(item, have.max_entries), f"size the table {name}")
            want = (bpf.bpf_map__key_size(item), bpf.bpf_map__value_size(item), bpf.bpf_map__max_entries(item))
            if (have.key_size, have.value_size, have.max_entries) != want:
                raise LayoutDiffers(
                    f"{pin}: key, value and number of entries are {have.key_size}, {have.value_size}, "
                    f"{have.max_entries}, expected {want[0]}, {want[1]}, {want[2]}"
                )
        else:
            (directory / _UNFILLED).mkdir(exist_ok=True)
        check(bpf.bpf_map__set_pin_path(item, bytes(pin)), f"pin the table {name}")


def choose_programs(handle: Any, names: Sequence[str]) -> dict[str, Any]:
    """Load only what is wanted: each party has its own programs."""
    available = dict(each_of(handle, "bpf_object__next_program", "bpf_program__name"))
    for name in names:
        if name not in available:
            raise LoadError(f"program {name} is not in the object; expected one of {', '.join(sorted(available))}")
    for name, item in available.items():
        check(library().bpf_program__set_autoload(item, name in names), f"choose the program {name}")
    return available


def _pin_program(fd: int, pin: Path) -> None:
    """Pin beside the old one, then rename over it."""
    new = pin.with_name(pin.name + "_new")  # bpffs takes no dot in a name
    with suppress(FileNotFoundError):
        new.unlink()
    check(library().bpf_obj_pin(fd, bytes(new)), f"pin {new}")
    new.rename(pin)


def _hand_over(directory: Path, owner: tuple[int, int]) -> None:
    """The tables belong to the daemon's user; the programs stay with who loaded them."""
    for path in (directory, directory / "maps", directory / "programs"):
        path.chmod(0o755)
    for pin in (directory / "maps").iterdir():
        os.chown(pin, *owner)


def _index(netlink: IPRoute, interface: str) -> int:
    found = netlink.link_lookup(ifname=interface)
    if not found:
        raise LoadError(f"interface {interface}: not found; expected one of this network namespace")
    return int(found[0])


def _filter_name(attachment: Attachment, program: Program) -> str:
    """Our filter's name says which program it runs: pyroute2 does not read the kernel's number of it."""
    return f"mobileip:{attachment.program}:{program.id}"


def _attached_name(netlink: IPRoute, attachment: Attachment) -> str | None:
    """Name of our filter, None without one."""
    found = netlink.link_lookup(ifname=attachment.interface)
    if not found:
        return None
    try:
        filters = list(netlink.get_filters(index=found[0], parent=attachment.direction.parent))
    except NetlinkError as error:
        if error.code in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
            return None  # no clsact there
        raise
    for entry in filters:
        options = entry.get_attr("TCA_OPTIONS")
        if entry["info"] >> 16 == attachment.priority and entry["handle"] == HANDLE and options is not None:
            return str(options.get_attr("TCA_BPF_NAME"))
    return None


def filter_names(netlink: IPRoute, interface: str, direction: Direction) -> list[str]:
    """Names of our filters there, `mobileip:PROGRAM:NUMBER`, in the order in which they see packets."""
    filters = [Attachment(interface, direction, "", priority=each) for each in (PRIORITY_BEFORE, PRIORITY)]
    return [name for each in filters if (name := _attached_name(netlink, each)) is not None]


def _attach(netlink: IPRoute, attachment: Attachment, program: Program) -> bool:
    """Put the program into our filter of the hook, in one step. False if it is there."""
    index = _index(netlink, attachment.interface)
    if _attached_name(netlink, attachment) == _filter_name(attachment, program):
        return False
    try:
        try:
            netlink.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
        netlink.tc(
            "replace-filter",
            "bpf",
            index,
            HANDLE,
            parent=attachment.direction.parent,
            prio=attachment.priority,
            protocol=ETH_P_ALL,
            fd=program.fd,
            name=_filter_name(attachment, program),
            direct_action=True,
        )
    except NetlinkError as error:
        raise LoadError(
            f"interface {attachment.interface}: cannot attach {attachment.program} on {attachment.direction}: {error}"
        ) from error
    return True


def _detach(netlink: IPRoute, attachment: Attachment) -> bool:
    """Remove our filter, and the clsact qdisc when nothing else uses it. False if there was no filter of ours."""
    found = netlink.link_lookup(ifname=attachment.interface)
    if not found or _attached_name(netlink, attachment) is None:
        return False
    index = int(found[0])
    netlink.tc(
        "del-filter",
        "bpf",
        index,
        HANDLE,
        parent=attachment.direction.parent,
        prio=attachment.priority,
        protocol=ETH_P_ALL,
    )
    others = [entry for direction in Direction for entry in netlink.get_filters(index=index, parent=direction.parent)]
    if not others:
        with suppress(NetlinkError):
            netlink.tc("del", "clsact", index)
    return True
