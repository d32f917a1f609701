"""Say what a preflight needs to know about this host, as JSON; change nothing. Runs with the daemon's future Python.

`probe.py '{"now": UNIX_SECONDS, "addresses": [...]}'` with addresses as
`{"variable", "address", "interface_variable", "interface", "same_segment": {VARIABLE: [ADDRESS]}}`.

Any Python from 3.7 on runs this file, because one that is too old must be told, not crash. `now` is the controller's
clock as this task was sent, so `clock_offset` contains the time that the connection took (a fraction of a second).
"""

import ctypes
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
BPF_PROG_LOAD = 5
SCHED_CLS = 3
RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
MOUNT_UNIT = "/etc/systemd/system/mobileip-bpffs.service"


def python_problems(found):
    """Whether the daemon runs on the interpreter with version `found`."""
    if tuple(found[:2]) >= OLDEST_PYTHON:
        return []
    expected = ".".join(map(str, OLDEST_PYTHON))
    have = ".".join(map(str, found[:3]))
    return [f"agent_python: {sys.executable} is Python {have}, expected {expected} or newer"]


def kernel_problems():
    """What the kernel lacks for the data path; a program that only returns is loaded and forgotten."""
    problems = []
    release = platform.release()
    if tuple(int(part) for part in release.split("-")[0].split(".")[:2]) < OLDEST_KERNEL:
        problems.append("kernel {}: expected {} or newer".format(release, ".".join(map(str, OLDEST_KERNEL))))
    if "\tbpf\n" not in Path("/proc/filesystems").read_text():
        problems.append(f"kernel {release}: has no bpf file system (CONFIG_BPF_SYSCALL)")
        return problems
    code, licence = ctypes.create_string_buffer(RETURN_ZERO), ctypes.create_string_buffer(b"GPL")
    attributes = b"".join(
        (
            (SCHED_CLS).to_bytes(4, sys.byteorder),
            (len(RETURN_ZERO) // 8).to_bytes(4, sys.byteorder),
            ctypes.addressof(code).to_bytes(8, sys.byteorder),
            ctypes.addressof(licence).to_bytes(8, sys.byteorder),
            bytes(24),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    number = BPF_SYSCALL.get(platform.machine())
    if number is None:
        problems.append("machine {}: expected one of {}".format(platform.machine(), ", ".join(sorted(BPF_SYSCALL))))
        return problems
    handle = libc.syscall(number, BPF_PROG_LOAD, attributes, len(attributes))
    if handle < 0:
        why = os.strerror(ctypes.get_errno())
        problems.append(f"kernel {release}: loads no BPF program for tc ({why}); expected CONFIG_NET_CLS_BPF")
    else:
        os.close(handle)
    return problems


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
