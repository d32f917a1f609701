"""What this machine needs before podman boots systemd on it: told apart by looking, not assumed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab import names
from lab.commands import run
from lab.errors import LabError

_TOOLS = ("podman", "crun", "ip", "nsenter", "unshare", "ethtool", "nft", "socat", "sysctl", "ssh-keygen")
_MOUNT_NAMESPACE = names.RUN_DIRECTORY / "mnt"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH_INSTANCES = 2048


def require() -> None:
    """Raises LabError unless the caller is root and the tools are there."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces and privileged containers: run it as root")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}. Run `make deps`")


def has_unified_control_groups() -> bool:
    """Whether /sys/fs/cgroup is plain cgroup v2, as podman wants it."""
    return (_CONTROL_GROUPS / "cgroup.controllers").exists()


def _is_mount(path: Path) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def prepare() -> None:
    """Makes what all podman calls share. Call it when the first named network namespace exists.

    Where control groups are mounted in hybrid mode (v1 and v2), podman refuses to boot systemd. All its calls then run
    in one lasting mount namespace with a pure v2 view. It is a slave of the machine's: network namespaces that are
    named later show up in it, because the first `ip netns add` made /run/netns a shared mount; none of it leaks out.
    """
    names.RUN_DIRECTORY.mkdir(parents=True, exist_ok=True)
    # A booted systemd holds about five, counted over all containers of root; where they run out, hosts exit at once.
    if int(_INOTIFY_INSTANCES.read_text(encoding="ascii")) < _ENOUGH_INSTANCES:
        _INOTIFY_INSTANCES.write_text(str(_ENOUGH_INSTANCES), encoding="ascii")
    if has_unified_control_groups() or _is_mount(_MOUNT_NAMESPACE):
        return
    if not _is_mount(names.RUN_DIRECTORY):
        run(["mount", "--bind", str(names.RUN_DIRECTORY), str(names.RUN_DIRECTORY)])
        run(["mount", "--make-private", str(names.RUN_DIRECTORY)])
    _MOUNT_NAMESPACE.touch()
    view = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"
    run(["unshare", f"--mount={_MOUNT_NAMESPACE}", "--propagation", "slave", "sh", "-ec", view])


def clean_up() -> None:
    """Removes what `prepare` made."""
    if _is_mount(_MOUNT_NAMESPACE):
        run(["umount", str(_MOUNT_NAMESPACE)])
    if _is_mount(names.RUN_DIRECTORY):
        run(["umount", "-l", str(names.RUN_DIRECTORY)])
    shutil.rmtree(names.RUN_DIRECTORY, ignore_errors=True)


def podman(*arguments: str) -> list[str]:
    """A podman command line that works here."""
    command = ["podman", "--log-level=error"]
    if not Path("/run/systemd/system").exists():
        command += ["--cgroup-manager=cgroupfs", "--events-backend=file"]
    if _is_mount(_MOUNT_NAMESPACE):
        command = ["nsenter", f"--mount={_MOUNT_NAMESPACE}", f"--wdns={Path.cwd()}", "--", *command]
    return [*command, *arguments]
