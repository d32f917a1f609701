"""What is loaded: attachments, programs, tables, and what the verifier said. For an operator; nothing is changed.

Programs belong to root, so all of this needs root.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from mobileip.forwarding import layouts, xdp
from mobileip.forwarding._libbpf import Map, Program, check, library
from mobileip.forwarding.build import xdp_object
from mobileip.forwarding.loader import (
    Direction,
    LoadError,
    choose_programs,
    each_of,
    filter_names,
    identity,
    log_of_libbpf,
)
from mobileip.forwarding.needs import needs
from mobileip.forwarding.tables import Tables

_MAP_TYPES = {1: "hash", 2: "array", 6: "array a CPU", 9: "LRU hash", 11: "longest prefix", 27: "ring buffer"}
_COUNTED = {1, 9}
"""Types whose entries come and go, and can be read by batches."""
_STATISTICS = re.compile(r"^(processed \d+ insns .*|verification time .*|stack depth .*)$", re.MULTILINE)
_LOG_BYTES = 1 << 20
_STATISTICS_ONLY = 4
"""The verifier's log level for its last lines alone (BPF_LOG_STATS)."""


def describe(pin_dir: Path | str) -> dict[str, Any]:
    """All that is known of the data path below a pin directory, as JSON data. Raises LoadError, OSError."""
    directory = Path(pin_dir)
    found = identity(directory) if (directory / "maps").is_dir() else None
    if found is None:
        raise LoadError(f"{directory}: nothing is loaded there; run mobileip load")
    programs = [
        (hook, Program(path))
        for hook, folder in (("tc", "programs"), ("XDP", "xdp"))
        if (directory / folder).is_dir()
        for path in sorted((directory / folder).iterdir())
    ]
    return {
        "kernel": _kernel(),
        "object": found["object"].hex(),
        "layout_is_ours": found["layout"] == layouts.fingerprint(),
        "attachments": _attachments({program.id: program.path.name for _, program in programs}),
        "hooks": [
            {
                "interface": each.interface,
                "attach": each.attach.value,
                "why": each.why.text.format(interface=each.interface),
            }
            for each in xdp.chosen(directory)
        ],
        "programs": [_program_row(hook, program) for hook, program in programs],
        "tables": [_table_row(Map(path)) for path in sorted((directory / "maps").iterdir())],
        "interfaces": _interface_rows(directory),
        "needs": [{"what": need.what, "since": need.since, "is_there": need.why_not is None} for need in needs()],
    }


def _kernel() -> dict[str, Any]:
    bpf = library()
    return {
        "release": os.uname().release,
        "libbpf": f"{bpf.libbpf_major_version()}.{bpf.libbpf_minor_version()}",
        "jit": _number("/proc/sys/net/core/bpf_jit_enable") != 0,
        "run_time_counted": _number("/proc/sys/kernel/bpf_stats_enabled") == 1,
    }


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _attachments(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Where in this network namespace one of the programs is attached, `names` by its number, or another of ours."""
    rows = []
    with IPRoute() as netlink:
        for link in netlink.get_links():
            interface = str(link.get_attr("IFLA_IFNAME"))
            rows += [
                {"interface": interface, "direction": direction.value, "hook": "tc", **row}
                for direction in Direction
                for row in _filters(netlink, interface, direction, names)
            ]
            express = link.get_attr("IFLA_XDP")
            number = None if express is None else express.get_attr("IFLA_XDP_PROG_ID")
            if number is not None and number in names:
                mode = "generic" if express.get_attr("IFLA_XDP_SKB_PROG_ID") else "native"
                row = {"program": names[number], "id": number, "is_current": True}
                rows.append({"interface": interface, "direction": "ingress", "hook": f"XDP {mode}", **row})
    return rows


def _filters(netlink: IPRoute, interface: str, direction: Direction, names: Mapping[int, str]) -> list[dict[str, Any]]:
    found = [name.split(":") for name in filter_names(netlink, interface, direction)]
    return [{"program": name, "id": int(number), "is_current": int(number) in names} for _, name, number in found]


def _program_row(hook: str, program: Program) -> dict[str, Any]:
    sizes = program.sizes()
    return {
        "name": program.path.name,
        "hook": hook,
        "id": program.id,
        "verified_instructions": sizes.verified,
        "translated_bytes": sizes.translated,
        "jited_bytes": sizes.jited,
        "memory_bytes": program.memory(),
        "runs": sizes.runs,
        "ns_a_run": round(sizes.run_ns / sizes.runs) if sizes.runs else None,
    }


def _table_row(table: Map) -> dict[str, Any]:
    return {
        "name": table.path.name,
        "id": table.id,
        "type": _MAP_TYPES.get(table.type, str(table.type)),
        "key_bytes": table.key_size,
        "value_bytes": table.value_size,
        "max_entries": table.max_entries,
        "entries": table.count() if table.type in _COUNTED else None,
        "memory_bytes": table.memory(),
    }


def _interface_rows(directory: Path) -> list[dict[str, Any]]:
    """Packets and bytes that came in on each interface, by what became of them."""
    rows = []
    for index, traffic in Tables(directory).interfaces().items():
        try:
            name = socket.if_indextoname(index)
        except OSError:
            name = f"#{index}"  # gone
        counts = {
            f"{way}_{what}": getattr(getattr(traffic, way), what)
            for way in traffic._fields
            for what in ("packets", "bytes")
        }
        rows.append({"interface": name, **counts})
    return rows


def verifier_logs(object_path: Path, programs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`verifier_statistics` of loaded programs (rows of `describe`) by hook; or what is missing. Raises LoadError."""
    found: dict[str, Any] = {}
    for hook, path in (("tc", object_path), ("XDP", xdp_object(object_path))):
        names = [program["name"] for program in programs if program["hook"] == hook]
        if names and not path.exists():
            found[hook] = f"{path} is not there: name the BPF object with --object"
        elif names:
            found[hook] = verifier_statistics(path, names)
    return found


def verifier_statistics(object_path: Path | str, names: Sequence[str]) -> dict[str, list[str]]:
    """What this kernel's verifier says at the end of its work on each program: loads them once more, attached and
    pinned nowhere. Raises LoadError."""
    bpf, path = library(), Path(object_path)
    buffers = {name: ctypes.create_string_buffer(_LOG_BYTES) for name in names}
    with log_of_libbpf() as log:
        handle = bpf.bpf_object__open_file(bytes(path), None)
        if not handle:
            raise LoadError(f"{path}: {os.strerror(ctypes.get_errno())}; expected a BPF object")
        try:
            for name, item in each_of(handle, "bpf_object__next_map", "bpf_map__name"):
                if name == "bindings":
                    check(bpf.bpf_map__set_max_entries(item, 1), f"size the table {name}")
            for name, item in choose_programs(handle, names).items():
                if name in buffers:
                    check(bpf.bpf_program__set_log_level(item, _STATISTICS_ONLY), f"ask the verifier about {name}")
                    check(bpf.bpf_program__set_log_buf(item, buffers[name], _LOG_BYTES), f"ask about {name}")
            if bpf.bpf_object__load(handle) < 0:
                raise LoadError("\n".join([f"{path}: the kernel refused to load it", *log]))
        finally:
            bpf.bpf_object__close(handle)
    return {name: _STATISTICS.findall(buffer.value.decode(errors="replace")) for name, buffer in buffers.items()}
