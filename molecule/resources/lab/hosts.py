"""The hosts: containers that boot systemd in a network namespace which the wires have prepared."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from lab import image, names
from lab.commands import run
from lab.errors import LabError
from lab.machine import podman
from lab.topology import Frr, Host

# Limits that a caller without CAP_SYS_RESOURCE may set, too: podman would raise them for a privileged container.
LIMITS = ["--pids-limit=-1", "--ulimit=nofile=20000:20000", "--ulimit=nproc=1000:1000"]


def _pid_file(host: Host) -> Path:
    return names.RUN_DIRECTORY / f"{host.name}.pid"


def existing() -> dict[str, str]:
    """State (`running`, `exited` and so on) of this checkout's containers by host name."""
    listed = json.loads(run(podman("ps", "--all", "--format", "json", "--filter", f"name=^{names.PREFIX}-")) or "[]")
    return {entry["Names"][0].removeprefix(f"{names.PREFIX}-"): entry["State"] for entry in listed}


def pid(host: Host) -> int:
    """The process id of the host's init. Raises LabError where the host is not up."""
    try:
        number = int(_pid_file(host).read_text(encoding="ascii"))
        same = Path(f"/proc/{number}/ns/net").samefile(f"/run/netns/{names.of_host(host.name)}")
    except (OSError, ValueError):
        same, number = False, 0
    if not same:
        raise LabError(f"{host.name} is not up: `lab up --hosts {host.name}` starts it")
    return number


def inside(host: Host, command: list[str]) -> list[str]:
    """The command line that runs `command` in all namespaces of the host, without podman."""
    return ["nsenter", f"--target={pid(host)}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *command]


def create_key() -> None:
    """Makes the SSH key of this checkout's hosts, once."""
    names.BUILD_DIRECTORY.mkdir(parents=True, exist_ok=True)
    if not names.SSH_KEY.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", names.PREFIX, "-f", str(names.SSH_KEY)])


def start(host: Host) -> None:
    """Boots a host whose network namespace is there: anew, or again where its container exists."""
    name = names.of_host(host.name)
    _pid_file(host).unlink(missing_ok=True)
    if host.name in existing():
        run(podman("start", name), timeout=120)
        return
    command = podman(
        *("run", "--detach", f"--name={name}", f"--hostname={host.name.replace('_', '-')}"),
        *("--privileged", "--systemd=always", f"--network=ns:/run/netns/{name}", f"--pidfile={_pid_file(host)}"),
        *LIMITS,
        f"--volume={names.SSH_KEY}.pub:/etc/ssh/lab_authorized_keys:ro",
        *(image.HOST.tag(), "/sbin/init"),
    )
    run(command, timeout=120)


def wait_until_booted(host: Host, timeout: float = 60.0) -> list[str]:
    """Waits for systemd to start everything; returns the units that failed. Raises LabError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    state = ""
    while time.monotonic() < deadline:
        done = subprocess.run(
            inside(host, ["systemctl", "is-system-running", "--wait"]),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        state = done.stdout.strip() or done.stderr.strip()
        if state == "running":
            return []
        if state == "degraded":
            failed = run(inside(host, ["systemctl", "--failed", "--plain", "--no-legend"])).splitlines()
            return [line.split()[0] for line in failed]
        time.sleep(0.2)
    raise LabError(f"{host.name} has not booted in {timeout:.0f} s: systemd says {state!r}")


def trust_host_key(host: Host) -> None:
    """Writes the hosts' key (the image's, so the same on all) to where the inventory's SSH options look for it."""
    key = Path(f"/proc/{pid(host)}/root/etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii")
    kind, value = key.split()[:2]
    names.KNOWN_HOSTS.write_text(f"{names.PREFIX}-* {kind} {value}\n", encoding="ascii")


def configure_routing(host: Host) -> None:
    """Starts FRR on a host that has a routing neighbour. A restart of the host starts it again."""
    if host.frr is None:
        return
    path = Path(f"/proc/{pid(host)}/root/etc/frr/frr.conf")
    text = _frr_configuration(host.name, host.frr)
    if path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        run(inside(host, ["systemctl", "enable", "--quiet", "frr.service"]))
        run(inside(host, ["systemctl", "restart", "frr.service"]), timeout=60)


def _frr_configuration(name: str, frr: Frr) -> str:
    lines = [
        "frr defaults traditional",
        f"hostname {name.replace('_', '-')}",
        "log syslog informational",
        "service integrated-vtysh-config",
        *(f"ip route {route.to} {route.via}" for route in frr.static),
        "router ospf",
        f" ospf router-id {frr.router_id}",
        *(f" redistribute {what}" for what in frr.redistribute),
        "exit",
        f"interface {frr.interface}",
        " ip ospf area 0.0.0.0",
        " ip ospf network point-to-point",
        " ip ospf hello-interval 1",
        " ip ospf dead-interval 4",
        "exit",
    ]
    return "\n".join(lines) + "\n"


def stop(host: Host, *, hard: bool) -> None:
    """Shuts a host down as its own `poweroff` would, or cuts its power."""
    run(podman("stop", "--time", "0" if hard else "20", names.of_host(host.name)), timeout=60)


def remove(found: list[str]) -> None:
    """Removes hosts with everything in them."""
    if found:
        run(podman("rm", "--force", "--time=0", "--volumes", *(names.of_host(host) for host in found)), timeout=180)
    for host in found:
        (names.RUN_DIRECTORY / f"{host}.pid").unlink(missing_ok=True)
