"""The few functions of libbpf (1.0 or newer) that loading and table access need, by ctypes.

libbpf 1.x returns a negative errno or NULL with errno set; here both become `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libbpf.so.1"
BATCH = 4096
_PER_CPU_ARRAY = 6
_SCHED_CLS = 3


class LibraryMissingError(RuntimeError):
    """libbpf is not installed."""


class _MapInfo(ctypes.Structure):
    """The first fields of `struct bpf_map_info` (linux/bpf.h); the kernel fills as much as it is asked for."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
    ]


class _ProgramInfo(ctypes.Structure):
    """`struct bpf_prog_info` as far as it is read; what an older kernel does not fill stays 0."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_length", c_uint32),
        ("translated_length", c_uint32),
        ("_addresses", c_uint64 * 2),
        ("load_time", c_uint64),
        ("_owner_maps_name_types", ctypes.c_uint8 * 144),
        ("run_time_ns", c_uint64),
        ("run_count", c_uint64),
        ("recursion_misses", c_uint64),
        ("verified_instructions", c_uint32),
        ("_attach", c_uint32 * 3),
    ]


class _BatchOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64)]


class TestRun(ctypes.Structure):
    """`struct bpf_test_run_opts` (bpf/bpf.h)."""

    _fields_ = [
        ("size", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


SAMPLE_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
"""What a ring buffer calls for each record: its own argument, address and length of the record."""

_POINTER_FUNCTIONS = {
    "ring_buffer__new": [c_int, SAMPLE_CALLBACK, c_void_p, c_void_p],
    "bpf_object__open_file": [c_char_p, c_void_p],
    "bpf_object__next_map": [c_void_p, c_void_p],
    "bpf_object__next_program": [c_void_p, c_void_p],
}
_NAME_FUNCTIONS = {"bpf_map__name": [c_void_p], "bpf_program__name": [c_void_p]}
_INTEGER_FUNCTIONS = {
    "bpf_object__load": [c_void_p],
    "bpf_map__fd": [c_void_p],
    "bpf_map__type": [c_void_p],
    "bpf_map__key_size": [c_void_p],
    "bpf_map__value_size": [c_void_p],
    "bpf_map__max_entries": [c_void_p],
    "bpf_map__set_max_entries": [c_void_p, c_uint32],
    "bpf_map__set_pin_path": [c_void_p, c_char_p],
    "bpf_program__fd": [c_void_p],
    "bpf_program__set_autoload": [c_void_p, ctypes.c_bool],
    "bpf_program__set_log_level": [c_void_p, c_uint32],
    "bpf_program__set_log_buf": [c_void_p, c_void_p, c_size_t],
    "bpf_prog_load": [c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p],
    "bpf_map_create": [c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p],
    "bpf_obj_pin": [c_int, c_char_p],
    "bpf_obj_get": [c_char_p],
    "bpf_link_create": [c_int, c_int, c_int, c_void_p],
    "bpf_link_detach": [c_int],
    "bpf_link_update": [c_int, c_int, c_void_p],
    "bpf_xdp_query": [c_int, c_int, c_void_p],
    "bpf_obj_get_info_by_fd": [c_int, c_void_p, POINTER(c_uint32)],
    "bpf_map_lookup_elem": [c_int, c_char_p, c_void_p],
    "bpf_map_update_elem": [c_int, c_char_p, c_char_p, c_uint64],
    "bpf_map_delete_elem": [c_int, c_char_p],
    "bpf_map_get_next_key": [c_int, c_char_p, c_void_p],
    "bpf_map_lookup_batch": [c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p],
    "bpf_map_update_batch": [c_int, c_char_p, c_char_p, POINTER(c_uint32), c_void_p],
    "bpf_map_delete_batch": [c_int, c_char_p, POINTER(c_uint32), c_void_p],
    "bpf_prog_test_run_opts": [c_int, c_void_p],
    "libbpf_num_possible_cpus": [],
    "libbpf_major_version": [],
    "libbpf_minor_version": [],
    "ring_buffer__poll": [c_void_p, c_int],
}


@cache
def library() -> ctypes.CDLL:
    """The loaded library, with the types of what is used. Raises LibraryMissingError."""
    try:
        found = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise LibraryMissingError(f"{LIBRARY}: {error}; install libbpf 1.0 or newer (Debian: libbpf1)") from error
    for table, result in ((_POINTER_FUNCTIONS, c_void_p), (_NAME_FUNCTIONS, c_char_p), (_INTEGER_FUNCTIONS, c_int)):
        for name, arguments in table.items():
            function = getattr(found, name)
            function.argtypes = arguments
            function.restype = result
    for name in ("bpf_object__close", "ring_buffer__free"):
        function = getattr(found, name)
        function.argtypes, function.restype = [c_void_p], None
    return found


def check(result: int, what: str) -> int:
    """The result of a libbpf call unless it is a negative errno: then OSError naming what was tried."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


def possible_cpus() -> int:
    """Slots of a per-CPU table."""
    return check(library().libbpf_num_possible_cpus(), "count CPUs")


def program_id(fd: int) -> int:
    """The kernel's number of an open program."""
    return int(_program_info(fd).id)


def _program_info(fd: int) -> _ProgramInfo:
    info = _ProgramInfo()
    length = c_uint32(ctypes.sizeof(info))
    check(library().bpf_obj_get_info_by_fd(fd, byref(info), byref(length)), "ask about a program")
    return info


class Pinned:
    """A file descriptor of a pinned object, closed with the object or by `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = check(library().bpf_obj_get(bytes(path)), f"open {path}")

    def memory(self) -> int:
        """Bytes of kernel memory, as the kernel reckons them (fdinfo, memlock)."""
        lines = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

    def close(self) -> None:
        """Give the descriptor back; the pinned object stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


def load_instructions(raw: bytes) -> int:
    """Load a program for tc of raw instructions; a file descriptor or a negative errno."""
    code = ctypes.create_string_buffer(raw, len(raw))
    return int(library().bpf_prog_load(_SCHED_CLS, b"mobileip_probe", b"GPL", code, len(raw) // 8, None))


def create_map(kind: int, key_size: int, value_size: int, entries: int) -> int:
    """A table that nothing is pinned to; a file descriptor or a negative errno."""
    return int(library().bpf_map_create(kind, b"mobileip_probe", key_size, value_size, entries, None))


def update_batch_of_one(fd: int, key: bytes, value: bytes) -> int:
    """Write one entry as a batch; 0 or a negative errno."""
    count, options = c_uint32(1), _BatchOptions(size=ctypes.sizeof(_BatchOptions))
    return int(library().bpf_map_update_batch(fd, key, value, byref(count), byref(options)))


class ProgramSizes(NamedTuple):
    """Bytes of the kernel's instructions and of the machine's (0 without JIT); instructions that the verifier looked at
    (0 before Linux 5.16); runs and nanoseconds, counted while the sysctl kernel.bpf_stats_enabled is 1."""

    translated: int
    jited: int
    verified: int
    runs: int
    run_ns: int


class Program(Pinned):
    """A pinned program."""

    @property
    def id(self) -> int:
        """The kernel's number of the program."""
        return program_id(self.fd)

    def sizes(self) -> ProgramSizes:
        """How large the program is, and what it took the verifier."""
        info = _program_info(self.fd)
        return ProgramSizes(
            int(info.translated_length),
            int(info.jited_length),
            int(info.verified_instructions),
            int(info.run_count),
            int(info.run_time_ns),
        )

    def test_run(self, frame: bytes, context: bytes = b"") -> tuple[int, bytes]:
        """BPF_PROG_TEST_RUN once: (return code, frame afterwards). Raises OSError."""
        out = ctypes.create_string_buffer(len(frame) + 256)
        data = ctypes.create_string_buffer(frame, len(frame))
        ctx = ctypes.create_string_buffer(context, len(context))
        run = TestRun(
            size=ctypes.sizeof(TestRun),
            data_in=ctypes.addressof(data),
            data_out=ctypes.addressof(out),
            data_size_in=len(frame),
            data_size_out=len(out),
            ctx_in=ctypes.addressof(ctx) if context else None,
            ctx_size_in=len(context),
            repeat=1,
        )
        check(library().bpf_prog_test_run_opts(self.fd, byref(run)), f"run {self.path.name}")
        return run.retval, out.raw[: run.data_size_out]


class Map(Pinned):
    """A pinned table of bytes by bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        info = _MapInfo()
        length = c_uint32(ctypes.sizeof(info))
        check(library().bpf_obj_get_info_by_fd(self.fd, byref(info), byref(length)), f"ask about {path}")
        self.type, self.id = int(info.type), int(info.id)
        self.key_size, self.value_size = int(info.key_size), int(info.value_size)
        self.max_entries = int(info.max_entries)
        # Kept from call to call: entries are read one by one for each registration.
        self._lookup = library().bpf_map_lookup_elem
        # The kernel rounds each CPU's value up to 8 bytes.
        self.stride = (
            (self.value_size + 7) // 8 * 8 * possible_cpus() if self.type == _PER_CPU_ARRAY else self.value_size
        )
        self._value = ctypes.create_string_buffer(self.stride)

    def get(self, key: bytes) -> bytes | None:
        """The entry, or None."""
        if len(key) != self.key_size:
            raise self._wrong_key(key)
        result = self._lookup(self.fd, key, self._value)
        if not result:
            return self._value.raw
        if result == -errno.ENOENT:
            return None
        raise OSError(-result, f"read {self.path.name}: {os.strerror(-result)}")

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace an entry. Raises OSError, with E2BIG when the table is full."""
        if len(value) != self.value_size:
            raise ValueError(f"{self.path.name}: value of {len(value)} bytes, expected {self.value_size}")
        check(library().bpf_map_update_elem(self.fd, self._sized(key), value, 0), f"write {self.path.name}")

    def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Add or replace entries in order, many with one system call. Raises OSError, with E2BIG when the table is
        full: then those before the one that did not fit are in."""
        for at in range(0, len(entries), BATCH):
            chunk = entries[at : at + BATCH]
            keys = b"".join([key for key, _ in chunk])
            values = b"".join([value for _, value in chunk])
            if (len(keys), len(values)) != (self.key_size * len(chunk), self.value_size * len(chunk)):
                raise ValueError(
                    f"{self.path.name}: expected keys of {self.key_size} and values of {self.value_size} bytes"
                )
            count = c_uint32(len(chunk))
            options = _BatchOptions(size=ctypes.sizeof(_BatchOptions))
            result = library().bpf_map_update_batch(self.fd, keys, values, byref(count), byref(options))
            check(result, f"write {self.path.name}")

    def delete_many(self, keys: Sequence[bytes]) -> int:
        """Remove entries, many with one system call; how many were there."""
        found = 0
        for at in range(0, len(keys), BATCH):
            chunk = keys[at : at + BATCH]
            done = 0
            while done < len(chunk):
                count = c_uint32(len(chunk) - done)
                options = _BatchOptions(size=ctypes.sizeof(_BatchOptions))
                raw = b"".join(chunk[done:])
                result = library().bpf_map_delete_batch(self.fd, raw, byref(count), byref(options))
                found += count.value
                done += count.value
                if result == -errno.ENOENT:
                    done += 1  # the kernel stops at a key that is not there
                else:
                    check(result, f"delete from {self.path.name}")
        return found

    def delete(self, key: bytes) -> bool:
        """Remove an entry; False if it was not there."""
        result = library().bpf_map_delete_elem(self.fd, self._sized(key))
        if result == -errno.ENOENT:
            return False
        check(result, f"delete from {self.path.name}")
        return True

    def keys(self) -> list[bytes]:
        """All keys, one call each: for small tables (a key that is deleted meanwhile starts the walk again)."""
        found: dict[bytes, None] = {}
        key: bytes | None = None
        after = ctypes.create_string_buffer(self.key_size)
        while True:
            result = library().bpf_map_get_next_key(self.fd, key, after)
            if result == -errno.ENOENT or len(found) > self.max_entries:
                return list(found)
            check(result, f"walk {self.path.name}")
            key = after.raw
            found[key] = None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash table or array, each one once. Safe while others write: what comes or goes meanwhile
        may or may not be seen. A per-CPU array gives the values of all CPUs, one behind the other."""
        for count, keys, values in self.batches():
            for index in range(count):
                yield (
                    keys[index * self.key_size : (index + 1) * self.key_size],
                    values[index * self.stride : (index + 1) * self.stride],
                )

    def count(self) -> int:
        """How many entries a hash table or array has."""
        return sum(count for count, _, _ in self.batches())

    def batches(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The same as `items`, as it comes from the kernel: how many, their keys in a row, their values in a row."""
        size = min(BATCH, self.max_entries)
        token = ctypes.create_string_buffer(max(8, self.key_size))
        started = False
        while True:
            keys = ctypes.create_string_buffer(self.key_size * size)
            values = ctypes.create_string_buffer(self.stride * size)
            count = c_uint32(size)
            options = _BatchOptions(size=ctypes.sizeof(_BatchOptions))
            position: Any = byref(token) if started else None
            result = library().bpf_map_lookup_batch(
                self.fd, position, byref(token), keys, values, byref(count), byref(options)
            )
            if result == -errno.ENOSPC:  # one bucket holds more than fits: nothing was passed over
                size *= 2
                continue
            if result != -errno.ENOENT:
                check(result, f"read {self.path.name}")
            yield count.value, keys.raw, values.raw
            if result == -errno.ENOENT:
                return
            started = True

    def _sized(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise self._wrong_key(key)
        return key

    def _wrong_key(self, key: bytes) -> ValueError:
        return ValueError(f"{self.path.name}: key of {len(key)} bytes, expected {self.key_size}")
