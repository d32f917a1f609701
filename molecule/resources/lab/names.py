"""Names and places. All names carry a prefix derived from the checkout, so that two checkouts do not collide."""

from __future__ import annotations

import hashlib
from pathlib import Path

RESOURCES = Path(__file__).resolve().parent.parent
CHECKOUT = RESOURCES.parent.parent
PREFIX = "mip-" + hashlib.sha1(str(CHECKOUT).encode()).hexdigest()[:8]

# What lives as long as the hosts do: process ids, and the mount namespace where one is needed.
RUN_DIRECTORY = Path("/run") / PREFIX
# Which deployment the hosts that are up were wired for.
DEPLOYMENT = RUN_DIRECTORY / "deployment"
# What a checkout keeps: the SSH key of its hosts. The inventory lab.yml names these files, too.
BUILD_DIRECTORY = CHECKOUT / "build" / "lab"
SSH_KEY = BUILD_DIRECTORY / "id_ed25519"
KNOWN_HOSTS = BUILD_DIRECTORY / "known_hosts"

WIRES = f"{PREFIX}-wires"


def recorded_deployment() -> str:
    """The deployment that the hosts were wired for; empty where none is up."""
    return DEPLOYMENT.read_text(encoding="ascii") if DEPLOYMENT.exists() else ""


def of_host(host: str) -> str:
    """The name of a host's container, and of its network namespace."""
    return f"{PREFIX}-{host}"


def of_peer(host: str, port: str) -> str:
    """The name of a port's other end, in the wires' namespace. An interface's name has at most 15 bytes."""
    return f"{host}.{port}"[:15]


def mac_of(host: str, port: str) -> str:
    """A port's MAC address: locally administered, and the same after a restart, as a real card's is."""
    return "02:" + hashlib.sha1(f"{host}.{port}".encode()).digest()[:5].hex(":")
