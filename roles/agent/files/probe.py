"""Say what a preflight needs to know about this host, as JSON; change nothing. Runs with the daemon's future Python.

`probe.py '{"now": UNIX_SECONDS, "addresses": [...]}'` with addresses as
`{"variable", "address", "interface_variable", "interface", "same_segment": {VARIABLE: [ADDRESS]}}`.

Any Python from 3.7 on runs this file, because one that is too old must be told, not crash. `now` is the controller's
clock as this task was sent, so `clock_offset` contains the time that the connection took (a fraction of a second).
"""

import ctypes
import errno
import ipaddress
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_KERNEL = (5, 14)
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "ppc64le": 361, "s390x": 351, "riscv64": 280}
BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_MAP_UPDATE_BATCH = 0, 5, 26
HASH, RING_BUFFER = 1, 27
SCHED_CLS = 3
RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
# What the programs call: number in linux/bpf.h, and the release of Linux that has it first.
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
MOUNT_UNIT = "/etc/systemd/system/mobileip-bpffs.service"


def python_problems(found):
    """Whether the daemon runs on the interpreter with version `found`."""
    if tuple(found[:2]) >= OLDEST_PYTHON:
        return []
    expected = ".".join(map(str, OLDEST_PYTHON))
    have = ".".join(map(str, found[:3]))
    return [f"agent_python: {sys.executable} is Python {have}, expected {expected} or newer"]


def kernel_problems():
    """What the kernel lacks for the data path, by trying: what is loaded or made for it is forgotten at once."""
    problems = []
    release = platform.release()
    if tuple(int(part) for part in release.split("-")[0].split(".")[:2]) < OLDEST_KERNEL:
        problems.append("kernel {}: expected {} or newer".format(release, ".".join(map(str, OLDEST_KERNEL))))
    if "\tbpf\n" not in Path("/proc/filesystems").read_text():
        problems.append(f"kernel {release}: has no bpf file system (CONFIG_BPF_SYSCALL)")
        return problems
    if machine_number() is None:
        problems.append("machine {}: expected one of {}".format(platform.machine(), ", ".join(sorted(BPF_SYSCALL))))
        return problems
    why = load_program(RETURN_ZERO)
    if why:
        text = "kernel {}: loads no BPF program for tc ({}); expected CONFIG_NET_CLS_BPF"
        problems.append(text.format(release, os.strerror(why)))
        return problems
    lacks = [f"{name} (Linux {since})" for name, (number, since) in HELPERS.items() if lacks_helper(number)]
    lacks += ["tables written by batches (Linux 5.6)"] if lacks_batches() else []
    lacks += ["ring buffers (Linux 5.8)"] if create_map(RING_BUFFER, 0, 0, 4096)[1] else []
    lacks += traffic_control_lacks()
    if lacks:
        problems.append("kernel {}: lacks {}; the data path needs it".format(release, ", ".join(lacks)))
    return problems


def machine_number():
    """Number of the system call bpf(2) on this machine; None where nobody has tried."""
    return BPF_SYSCALL.get(platform.machine())


def bpf(command, *fields):
    """bpf(2) with its attributes as (value, bytes) pairs; (file descriptor or 0, errno)."""
    attributes = b"".join(value.to_bytes(size, sys.byteorder) for value, size in fields)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(machine_number(), command, attributes, len(attributes))
    return (result, 0) if result >= 0 else (-1, ctypes.get_errno())


def load_program(instructions):
    """0, or the errno with which the kernel refuses this program for tc; it is forgotten at once."""
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"GPL")
    handle, why = bpf(
        BPF_PROG_LOAD,
        (SCHED_CLS, 4),
        (len(instructions) // 8, 4),
        (ctypes.addressof(code), 8),
        (ctypes.addressof(licence), 8),
        (0, 24),
    )
    if not why:
        os.close(handle)
    return why


def lacks_helper(number):
    """A kernel that knows the helper refuses its unset arguments only (EACCES)."""
    call = bytes([0x85, 0, 0, 0]) + number.to_bytes(4, sys.byteorder)
    return load_program(call + RETURN_ZERO) not in (0, errno.EACCES)


def create_map(kind, key_size, value_size, entries):
    """(file descriptor, 0) or (-1, errno)."""
    return bpf(BPF_MAP_CREATE, (kind, 4), (key_size, 4), (value_size, 4), (entries, 4), (0, 4))


def lacks_batches():
    """Whether one entry cannot be written as a batch."""
    table, why = create_map(HASH, 4, 4, 1)
    if why:
        return True
    key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(4)
    addresses = [(0, 8), (0, 8), (ctypes.addressof(key), 8), (ctypes.addressof(value), 8)]
    why = bpf(BPF_MAP_UPDATE_BATCH, *addresses, (1, 4), (table, 4), (0, 8), (0, 8))[1]
    os.close(table)
    return bool(why)


def traffic_control_lacks():
    """Whether a filter can be attached, tried in a network namespace of its own, which ends with the trial.

    Nothing is said where it cannot be tried: without the right to make a namespace, or without `tc`.
    """
    steps = {
        "clsact (CONFIG_NET_SCH_INGRESS)": "tc qdisc add dev lo clsact",
        "BPF filters (CONFIG_NET_CLS_BPF)": "tc filter add dev lo ingress bpf bytecode '1,6 0 0 0'",
    }
    if run(["unshare", "--net", "tc", "-V"]) != 0:
        return []
    done = []
    for what, command in steps.items():
        done.append(command)
        if run(["unshare", "--net", "sh", "-c", " && ".join(done)]) != 0:
            return [what]
    return []


def run(command):
    """Exit status of a command; 127 where it is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False)
        return done.returncode
    except (OSError, subprocess.TimeoutExpired):
        return 127


def mount_problems():
    """Whether systemd can hand credentials to services: it mounts them aside and counts on shared mounts."""
    lines = Path("/proc/1/mountinfo").read_text().splitlines()
    root = [line for line in lines if line.split()[4] == "/"]
    if root and "shared:" not in root[-1]:
        return ["the mount of / is private (a container?), LoadCredential= expects it shared: mount --make-rshared /"]
    return []


def interfaces():
    """IPv4 addresses with prefix length by interface name."""
    listed = subprocess.run(["ip", "-json", "-4", "address", "show"], stdout=subprocess.PIPE, check=True, text=True)
    return {
        link["ifname"]: ["{}/{}".format(a["local"], a["prefixlen"]) for a in link.get("addr_info", [])]
        for link in json.loads(listed.stdout)
        if "ifname" in link
    }


def address_problems(wanted, have):
    """Addresses that are missing, on another interface, or whose neighbours are on another subnet."""
    problems = []
    for want in wanted:
        name, interface = want["interface_variable"], want["interface"]
        if interface not in have:
            problems.append(
                "{}: {} is no interface of this host, expected one of {}".format(
                    name, interface or "(not set)", ", ".join(sorted(have))
                )
            )
            continue
        name = want["variable"]
        networks = [ipaddress.IPv4Interface(entry) for entry in have[interface]]
        own = [entry for entry in networks if str(entry.ip) == want["address"]]
        if not own:
            there = ", ".join(have[interface]) or "no address"
            text = "{}: {} is not on {}, which has {}"
            problems.append(text.format(name, want["address"] or "(not set)", interface, there))
            continue
        for variable, addresses in want.get("same_segment", {}).items():
            problems += [text for text in (neighbour_problem(variable, a, own[0], name) for a in addresses) if text]
    return problems


def neighbour_problem(variable, address, own, name):
    """What is wrong with a neighbour's address beside `own`, the address and subnet that `name` stands for."""
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return "{}: {} is no IPv4 address, expected one in {}".format(variable, address or "(not set)", own.network)
    if found == own.ip:
        return f"{variable}: {address} is the address of {name}, too: expected two addresses"
    if found not in own.network:
        text = "{}: {} is not in {}, the subnet of {}: expected both on one segment (hand-over by layer 2)"
        return text.format(variable, address, own.network, name)
    return None


def bpf_mount():
    """Who mounts /sys/fs/bpf: `ours` (this role's unit), `system`, or `none`."""
    if Path(MOUNT_UNIT).exists():
        return "ours"
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return "system" if any(line.split()[1] == "/sys/fs/bpf" for line in mounts) else "none"


def main():
    """Command line."""
    now = time.time()
    asked = json.loads(sys.argv[1])
    report = {
        "clock_offset": now - asked["now"],
        "python": "{}.{}".format(*sys.version_info[:2]),
        "interpreter": f"{sys.executable} {platform.python_version()}",
        "machine": platform.machine(),
        "bpf_mount": bpf_mount(),
        "problems": python_problems(sys.version_info)
        + kernel_problems()
        + mount_problems()
        + address_problems(asked["addresses"], interfaces()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
