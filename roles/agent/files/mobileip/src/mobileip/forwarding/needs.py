"""What the data path needs of the kernel, found by trying; the preflight of the roles asks the same (probe.py there).

A helper is called with registers that were never written: a kernel that knows it refuses those (EACCES), one that does
not know it, or does not give it to programs for tc, refuses the call (EINVAL).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

from mobileip.forwarding._libbpf import (
    LibraryMissingError,
    create_map,
    library,
    load_instructions,
    update_batch_of_one,
)

HELPERS = {
    "bpf_skb_get_xfrm_state": (66, "4.18"),
    "bpf_fib_lookup": (69, "4.18"),
    "bpf_jiffies64": (118, "5.6"),
    "bpf_ktime_get_boot_ns": (125, "5.8"),
    "bpf_ringbuf_reserve": (131, "5.8"),
    "bpf_redirect_neigh": (152, "5.10"),
    "bpf_check_mtu": (163, "5.12"),
    "bpf_loop": (181, "5.17"),
}
"""Number in linux/bpf.h, and the release of Linux that has it first."""
_HASH, _RING_BUFFER = 1, 27
_CALL, _RETURN_ZERO = 0x85, struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)


class Need(NamedTuple):
    """One thing that the kernel must have. `why_not`: what it said when it was tried, None if it has it."""

    what: str
    since: str
    why_not: str | None


CAPABILITIES = "CAP_BPF with CAP_NET_ADMIN (before Linux 6.17 with CAP_PERFMON, too)"
"""What loads the programs without root. Older verifiers refuse, without CAP_PERFMON, what only a mispredicted branch
would do; newer ones put a barrier there."""


def needs() -> list[Need]:
    """All of them, tried one by one. Needs the capabilities that loading needs. Raises LibraryMissingError."""
    found = [Need("programs for tc (CONFIG_NET_CLS_BPF)", "4.1", _why_not(load_instructions(_RETURN_ZERO)))]
    for name, (number, since) in HELPERS.items():
        result = load_instructions(struct.pack("=BBhi", _CALL, 0, 0, number) + _RETURN_ZERO)
        found.append(Need(name, since, _why_not(0 if result == -errno.EACCES else result)))
    found.append(Need("tables written by batches", "5.6", _why_not(_try_batch())))
    found.append(Need("ring buffers", "5.8", _why_not(create_map(_RING_BUFFER, 0, 0, 4096))))
    return found


def probe() -> list[str]:
    """What this host lacks for the data path, one readable line each; empty if nothing."""
    release = os.uname().release
    try:
        library()
    except LibraryMissingError as error:
        return [str(error)]
    if load_instructions(_RETURN_ZERO) in (-errno.EPERM, -errno.EACCES):
        return [f"kernel {release}: not allowed to load BPF programs; expected root, or {CAPABILITIES}"]
    return [
        f"kernel {release}: lacks {need.what} ({need.why_not}), there since Linux {need.since}; expected 5.14 or newer"
        for need in needs()
        if need.why_not is not None
    ]


def _try_batch() -> int:
    table = create_map(_HASH, 4, 4, 1)
    if table < 0:
        return table
    try:
        return update_batch_of_one(table, bytes(4), bytes(4))
    finally:
        os.close(table)


def _why_not(result: int) -> str | None:
    """A file descriptor is closed: it was asked for to see whether it could be had."""
    if result > 0:
        os.close(result)
    return None if result >= 0 else os.strerror(-result)
