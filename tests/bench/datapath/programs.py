"""The yardsticks' object (yardsticks.bpf.c) through libbpf: load it, attach it, run a program many times."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable
from ctypes import byref, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from mobileip.forwarding._libbpf import LIBRARY, TestRun, check, possible_cpus
from mobileip.forwarding.build import build

SOURCE = Path(__file__).parent / "yardsticks.bpf.c"
LIVE_FRAMES = 1 << 1
"""BPF_F_TEST_XDP_LIVE_FRAMES: the frames are sent, not only changed."""
NATIVE = 1 << 2
"""XDP_FLAGS_DRV_MODE."""
INGRESS = 1 << 0
"""BPF_TC_INGRESS."""
BATCH = 50_000
_SHAPE = struct.Struct("=9I4x96s")
_FIRST = struct.pack("=I", 0)


class _TcHook(ctypes.Structure):
    """`struct bpf_tc_hook`."""

    _fields_ = [("size", ctypes.c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32)]


class _TcOptions(ctypes.Structure):
    """`struct bpf_tc_opts`."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("program", c_int),
        ("flags", c_uint32),
        ("program_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    ]


@cache
def _library() -> ctypes.CDLL:
    """libbpf with the functions that only the bench uses."""
    found = ctypes.CDLL(LIBRARY, use_errno=True)
    pointers = {
        "bpf_object__open_file": [c_char_p, c_void_p],
        "bpf_object__find_program_by_name": [c_void_p, c_char_p],
        "bpf_object__find_map_by_name": [c_void_p, c_char_p],
    }
    integers = {
        "bpf_object__load": [c_void_p],
        "bpf_program__fd": [c_void_p],
        "bpf_map__fd": [c_void_p],
        "bpf_map__set_max_entries": [c_void_p, c_uint32],
        "bpf_map_update_elem": [c_int, c_char_p, c_void_p, c_uint64],
        "bpf_map_lookup_elem": [c_int, c_char_p, c_void_p],
        "bpf_map_update_batch": [c_int, c_char_p, c_char_p, c_void_p, c_void_p],
        "bpf_prog_test_run_opts": [c_int, c_void_p],
        "bpf_xdp_attach": [c_int, c_int, c_uint32, c_void_p],
        "bpf_tc_hook_create": [c_void_p],
        "bpf_tc_attach": [c_void_p, c_void_p],
        "bpf_obj_get": [c_char_p],
    }
    for table, result in ((pointers, c_void_p), (integers, c_int)):
        for name, arguments in table.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, result
    found.bpf_object__close.argtypes = [c_void_p]
    found.bpf_object__close.restype = None
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """`struct shape`: the frame of binding 0, and where that of another binding differs."""

    frame: bytes
    address_at: tuple[int, ...]
    checksum_at: tuple[int, ...]

    HEADERS = 96
    SCRATCH = 112
    SHORTEST = 130
    SLOTS = (2, 3)

    def pack(self, bindings: int, ifindex: int = 0, arrived_length: int = 0) -> bytes:
        """As the programs read it; `arrived_length` is that of the frames which the sink counts."""
        addresses, checksums = (
            (*at, *[self.SCRATCH] * (slots - len(at)))
            for at, slots in zip((self.address_at, self.checksum_at), self.SLOTS, strict=True)
        )
        head = self.frame[: self.HEADERS]
        return _SHAPE.pack(len(self.frame), bindings, ifindex, arrived_length, *addresses, *checksums, head)


class Yardsticks:
    """The loaded object; a context manager that leaves nothing behind (what is attached must be detached before)."""

    def __init__(self, directory: Path, bare_entries: int = 1) -> None:
        """Compile into `directory` where that was not done, and load; `bare_entries` is the size of the bare hash."""
        code = directory / "yardsticks.bpf.o"
        if not code.exists():
            build(code, SOURCE)
        bpf = _library()
        self._handle = bpf.bpf_object__open_file(bytes(code), None)
        if not self._handle:
            raise OSError(ctypes.get_errno(), f"open {code}")
        check(bpf.bpf_map__set_max_entries(self._map("bare"), bare_entries), "size the bare hash")
        check(bpf.bpf_object__load(self._handle), f"load {code}")

    def __enter__(self) -> Yardsticks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _library().bpf_object__close(self._handle)

    def program(self, name: str) -> int:
        """File descriptor of one of the programs."""
        found = _library().bpf_object__find_program_by_name(self._handle, name.encode())
        return check(_library().bpf_program__fd(found), f"find the program {name}")

    def write(self, shape: bytes) -> None:
        """Give all programs this shape."""
        check(_library().bpf_map_update_elem(self._fd("shapes"), _FIRST, shape, 0), "write the shape")

    def measure(self, program: int) -> None:
        """Let `restore` end in this program (a file descriptor).

        Raises `OSError` when the kernel refuses the tail call: both must be XDP programs that take fragments.
        """
        entry = struct.pack("=i", program)
        check(_library().bpf_map_update_elem(self._fd("measured"), _FIRST, entry, 0), "enter the program to measure")

    def arrived(self) -> int:
        """Packets that the sink has counted."""
        slots = ctypes.create_string_buffer(8 * possible_cpus())
        check(_library().bpf_map_lookup_elem(self._fd("arrived"), _FIRST, slots), "read what arrived")
        return sum(value for (value,) in struct.iter_unpack("=Q", slots.raw))

    def fill_bare(self, keys: Iterable[bytes]) -> None:
        """Put 8-byte keys into the bare hash, each with itself as its value."""
        rows = list(keys)
        for at in range(0, len(rows), BATCH):
            chunk = b"".join(rows[at : at + BATCH])
            count = c_uint32(len(chunk) // 8)
            done = _library().bpf_map_update_batch(self._fd("bare"), chunk, chunk, byref(count), None)
            check(done, "fill the bare hash")

    def _map(self, name: str) -> Any:
        return _library().bpf_object__find_map_by_name(self._handle, name.encode())

    def _fd(self, name: str) -> int:
        return check(_library().bpf_map__fd(self._map(name)), f"find the table {name}")


def attach_xdp(ifindex: int, program: int) -> None:
    """Attach an XDP program to an interface of the caller's namespace, in its driver; -1 takes it away."""
    check(_library().bpf_xdp_attach(ifindex, program, NATIVE, None), f"attach XDP to interface {ifindex}")


def attach_tc(ifindex: int, program: int) -> None:
    """Attach a tc program to the ingress of an interface of the caller's namespace."""
    hook = _TcHook(size=ctypes.sizeof(_TcHook), ifindex=ifindex, attach_point=INGRESS)
    options = _TcOptions(size=ctypes.sizeof(_TcOptions), program=program)
    check(_library().bpf_tc_hook_create(byref(hook)), f"add clsact to interface {ifindex}")
    check(_library().bpf_tc_attach(byref(hook), byref(options)), f"attach to interface {ifindex}")


def pinned(path: Path) -> int:
    """A file descriptor of a pinned program or table; the caller closes it."""
    return check(_library().bpf_obj_get(bytes(path)), f"open {path}")


def run(program: int, frame: bytes, ifindex: int, repeat: int) -> tuple[int, int]:
    """BPF_PROG_TEST_RUN `repeat` times, as if on interface `ifindex`: (return code of the last, ns a run)."""
    opts = _opts(frame, repeat)
    context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0)
    held = ctypes.create_string_buffer(context, len(context))
    opts.ctx_in, opts.ctx_size_in = ctypes.addressof(held), len(context)
    check(_library().bpf_prog_test_run_opts(program, byref(opts)), "run a program")
    return opts.retval, opts.duration


def send(program: int, frame: bytes, repeat: int) -> None:
    """Run a generator with live frames from the caller's namespace."""
    opts = _opts(frame, repeat)
    opts.flags, opts.batch_size = LIVE_FRAMES, 64
    while True:
        done = _library().bpf_prog_test_run_opts(program, byref(opts))
        if done == -errno.EINTR:
            continue
        check(done, "generate packets")
        return


def _opts(frame: bytes, repeat: int) -> TestRun:
    held = ctypes.create_string_buffer(frame, len(frame))
    opts = TestRun(size=ctypes.sizeof(TestRun), data_in=ctypes.addressof(held), data_size_in=len(frame))
    opts.repeat = repeat
    opts.held = held
    return opts
