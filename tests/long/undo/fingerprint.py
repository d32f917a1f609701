"""Run on a host: prints what it is, a line a fact. Two outputs that are alike mean a host that is as it was."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("/etc", "/opt", "/var/lib", "/usr/local")
# What packages, clocks, systemd and the daemon's store keep for themselves, and the copies that useradd leaves.
OTHERS = re.compile(
    r"/var/lib/(dpkg|apt|systemd|logrotate|private|ucf|pam|mobileip/.)|/etc/(ld\.so\.cache|\.pwd\.lock|[a-z]+-|sub[ug]id)$"
)
SETTINGS = ("forwarding", "rp_filter", "send_redirects", "accept_redirects", "arp_announce", "arp_ignore")
COMMANDS = (
    "systemctl list-unit-files --plain --no-legend",
    "systemctl list-units --all --plain --no-legend --type=service",
    "nft -s list ruleset",
    "ip -4 rule show",
    "ip -4 route show table all",
    "ip -4 -o address show dev lo",
    "ip neighbour show proxy",
    "dpkg-query --show --showformat=${Package}:${db:Status-Status}\\n",
    "apt-mark showmanual",
    "getent passwd",
    "getent group",
)
# What a running system changes by itself, whoever rolls out.
PASSING = re.compile(
    r"^systemctl: (apt|dpkg|e2scrub|fstrim|logrotate|man-db|motd|user|session|ssh@|systemd-)|not-found"
    r"|^ip: .* proto (ospf|bgp) "
)


def files() -> Iterator[str]:
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            for name in sorted((*folders, *names)):
                path = Path(folder) / name
                if OTHERS.match(str(path)):
                    if name in folders:
                        folders.remove(name)
                    continue
                status = path.lstat()
                content = ""
                if stat.S_ISLNK(status.st_mode):
                    content = os.readlink(path)  # noqa: PTH115  # the host's Python may be old
                elif stat.S_ISREG(status.st_mode):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                yield f"{path} {stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}"


def commands() -> Iterator[str]:
    hooks = [
        f"tc {what} show dev {interface} {side}"
        for interface in sorted(os.listdir("/sys/class/net"))  # noqa: PTH208
        for what, side in (("qdisc", ""), ("filter", "ingress"), ("filter", "egress"))
    ]
    for command in (*COMMANDS, *hooks):
        try:
            said = subprocess.run(command.split(), capture_output=True, text=True, check=False, timeout=30).stdout
        except FileNotFoundError:
            continue
        for line in said.splitlines():
            yield f"{command.split()[0]}: {' '.join(line.split())}"


def settings() -> Iterator[str]:
    conf = Path("/proc/sys/net/ipv4/conf")
    for path in (
        conf.parent / "ip_forward",
        *(conf / each.name / name for each in conf.iterdir() for name in SETTINGS),
    ):
        yield f"{path} {path.read_text().strip()}"


if __name__ == "__main__":
    pins = Path("/sys/fs/bpf/mobileip")
    print(f"pins {sorted(each.name for each in pins.iterdir()) if pins.is_dir() else 'none'}")
    for line in (*files(), *commands(), *settings()):
        if not PASSING.search(line):
            print(line)
