"""Secrets that are recognised wherever they turn up: one for each variable of a role that holds any."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROXY, HOME_AGENT, TRUSTED_AGENT, GUARDED_AGENT = "192.0.2.10", "192.0.2.40", "198.51.100.129", "198.51.100.90"
BRANCH = "198.51.100.150"

# Whom each variable has a secret for; a name alone is a secret by itself. `.key` is that of an entry of a list.
HOLDERS: dict[str, tuple[str, ...]] = {
    "mip_proxy_node_keys": ("mn", "mn2"),
    "mip_proxy_home_agent_keys": ("mn", "mn2"),
    "mip_proxy_foreign_agent_keys": ("cafe",),
    "mip_proxy_aaa_keys": ("mn",),
    "mip_proxy_fa_ha_keys": (HOME_AGENT,),
    "home_agent_proxy_keys": ("mn", "mn2"),
    "home_agent_direct_keys": ("mn", "mn2"),
    "home_agent_foreign_agent_keys": ("mipp",),
    "home_agent_aaa_keys": ("mn",),
    "foreign_agent_home_agent_keys": (HOME_AGENT,),
    "foreign_agent_node_keys": ("mn",),
    "foreign_agent_aaa_keys": ("mn",),
    "mobile_node_proxy_key": (),
    "mobile_node_direct_key": (),
    "mobile_node_aaa_key": (),
    "mobile_node_ike_secret": (),
    "mobile_node_foreign_agents.key": (),
    "vpn_gateway_ike_secrets": ("mn", "mn2"),
    "vpn_gateway_trusted_agent_secrets": ("branch",),
    "vpn_gateway_passwords": ("mn", "mn2"),
    "vpn_gateway_radius_secret": (),
    "vpn_gateway_private_key": (),
    "mobile_node_password": (),
    "mobile_node_private_key": (),
}
# What pre-shared keys leave no use for: the roles are handed these like a user's, and write them nowhere.
UNUSED = frozenset(
    {
        "vpn_gateway_passwords",
        "vpn_gateway_radius_secret",
        "vpn_gateway_private_key",
        "mobile_node_password",
        "mobile_node_private_key",
    }
)
# Who shares one: both sides have the same secret.
SAME = {
    "mobile_node_proxy_key": ("mip_proxy_node_keys", "mn"),
    "mobile_node_direct_key": ("home_agent_direct_keys", "mn"),
    "mobile_node_aaa_key": ("home_agent_aaa_keys", "mn"),
    "mobile_node_ike_secret": ("vpn_gateway_ike_secrets", "mn"),
}


def secret(variable: str, holder: str, generation: int) -> str:
    """64 hexadecimal digits, the same in every run."""
    return hashlib.sha256(f"planted {name_of(variable, holder, generation)}".encode()).hexdigest()


def name_of(variable: str, holder: str, generation: int) -> str:
    """What a secret is called here, the same on both sides."""
    variable, holder = SAME.get(variable, (variable, holder))
    return f"{variable} {holder} {generation}".replace("  ", " ")


def every(generation: int) -> dict[str, str]:
    """The secrets of a generation by their names."""
    return {
        name_of(variable, holder, generation): secret(variable, holder, generation)
        for variable, holders in HOLDERS.items()
        for holder in holders or ("",)
    }


def variables(generation: int) -> dict[str, Any]:
    """What hands them to the roles, and what makes the roles use each of them."""
    found: dict[str, Any] = {
        variable: {holder: secret(variable, holder, generation) for holder in holders}
        if holders
        else secret(variable, "", generation)
        for variable, holders in HOLDERS.items()
        if "." not in variable
    }
    trusted = {"address": TRUSTED_AGENT, "spi": 5001, "key": secret("mobile_node_foreign_agents.key", "", generation)}
    nodes = [
        {
            "name": name, "home_address": f"192.0.2.{69 + number}", "home_network": "192.0.2.64/27",
            "home_agent": HOME_AGENT, "identity": f"{name}@home.example", "proxy_spi": 2001 + number,
            "home_agent_spi": 3001 + number, "direct_spi": 4001 + number, **({"aaa_spi": 7001} if name == "mn" else {}),
        }
        for number, name in enumerate(("mn", "mn2"))
    ]  # fmt: skip
    return found | {
        "site_mobile_nodes": nodes,
        "site_secrets": {},
        "site_home_agents": [{"address": HOME_AGENT, "home_networks": ["192.0.2.64/27"], "fa_ha_spi": 6001}],
        "mip_proxy_foreign_agents": [{"name": "cafe", "address": GUARDED_AGENT, "spi": 5003}],
        "foreign_agent_home_agents": [{"address": HOME_AGENT, "spi": 5004}],
        "foreign_agent_mobile_nodes": [
            {"name": "mn", "home_address": "192.0.2.69", "foreign_spi": 5001, "aaa_spi": 7002}
        ],
        "mobile_node_foreign_agents": [trusted],
        "vpn_gateway_home_agents": [HOME_AGENT],
        "vpn_gateway_trusted_agents": [
            {
                "name": "branch", "address": BRANCH, "identity": "vpn.branch.example",
                "networks": [f"{TRUSTED_AGENT}/32"],
            }
        ],
    }  # fmt: skip


class Needles:
    """What gives a planted secret away: its first half, as it is and in base64."""

    def __init__(self, planted: dict[str, str]) -> None:
        self._names: dict[bytes, str] = {}
        for name, value in planted.items():
            start = value[:24].encode()
            for needle in (start, start.upper(), base64.b64encode(start)):
                self._names[needle] = name
        self._pattern = re.compile(b"|".join(map(re.escape, self._names)))

    def found_in(self, content: str | bytes) -> set[str]:
        """The places whose secrets stand in `content`."""
        data = content.encode() if isinstance(content, str) else content
        return {self._names[match] for match in self._pattern.findall(data)}

    def hidden_in(self, text: str) -> str:
        """The text up to its first secret: a report is no place for one either."""
        return self._pattern.split(text.encode())[0].decode(errors="replace")

    def lines(self) -> str:
        """All of them, one a line, as `grep --file` takes them."""
        return "".join(f"{needle.decode()}\n" for needle in sorted(self._names))


def _processes() -> Iterator[tuple[str, bytes]]:
    """Each process of this machine, its containers' included: what it was called with, and its environment."""
    me = str(os.getpid())
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or entry.name == me:
            continue
        try:
            command = Path(entry.path, "cmdline").read_bytes()
            yield command.replace(b"\0", b" ")[:300].decode(errors="replace"), command
            yield (
                "the environment of " + command[:300].decode(errors="replace"),
                Path(entry.path, "environ").read_bytes(),
            )
        except OSError:
            continue  # it has ended


@contextmanager
def watched(needles: Needles) -> Iterator[dict[str, set[str]]]:
    """Look at all processes again and again; yields what was seen: by process, whose secrets."""
    seen: dict[str, set[str]] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for what, content in _processes():
                if found := needles.found_in(content):
                    seen.setdefault(needles.hidden_in(what), set()).update(found)

    watcher = threading.Thread(target=look, name="processes", daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def unexpected(paths: Iterable[str], allowed: tuple[str, ...]) -> list[str]:
    """The paths that begin with none of `allowed`."""
    return sorted(path for path in paths if not path.startswith(allowed))
