"""Have charon take the connections, pools and secrets of our files, and nothing else.

`swanctl --load-all --clear` would do it as well, and more: it forgets all secrets for a moment, for good those that
somebody typed in, and unloads what other programs have loaded. Here each of ours is loaded by itself, and what was ours
before and is in no file any more is unloaded. No SA is touched.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import read
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session, ViciError

PATHS = ("/etc/swanctl/conf.d/mobileip.conf", "/etc/swanctl/conf.d/mobileip-secrets.conf")
RECORD = Path("/run/mobileip-strongswan.json")
"""What was loaded; it ends with the machine's uptime, as what charon has does."""
KINDS = ("connections", "pools", "secrets")
# As swanctl has it: the values of these are lists.
_LISTS = (
    *("local_addrs", "remote_addrs", "proposals", "esp_proposals", "ah_proposals", "local_ts", "remote_ts"),
    *("vips", "pools", "groups", "cert_policy"),
)
_UNLOAD = {"connections": ("unload-conn", "name"), "pools": ("unload-pool", "name"), "secrets": ("unload-shared", "id")}


def sections(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return what the files say, by kind and name; a file that is not there says nothing."""
    tree: dict[str, Any] = {}
    for path in paths:
        for key, value in (read(path, {}) if path.exists() else {}).items():
            *above, last = key.split(".")
            section = tree
            for name in above:
                section = section.setdefault(name, {})
            section[last] = value.text
    return {kind: dict(tree.get(kind, {})) for kind in KINDS}


def connection(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of swanctl.conf as VICI takes it."""
    return {
        key: connection(value) if isinstance(value, Mapping) else _list(value) if key in _LISTS else value
        for key, value in section.items()
    }


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def secret(name: str, section: Mapping[str, str]) -> dict[str, Any]:
    """Return a pre-shared key for IKE as VICI takes it."""
    owners = [value for key, value in section.items() if key.startswith("id")]
    return {"id": name, "type": "IKE", "data": _bytes(section["secret"]), "owners": owners}


def _bytes(text: str) -> bytes:
    """Return a secret's bytes; as in swanctl.conf, 0x begins hexadecimal digits and 0s base64."""
    if text.startswith("0x"):
        return bytes.fromhex(text[2:])
    return base64.b64decode(text[2:]) if text.startswith("0s") else text.encode()


def load(paths: Sequence[Path], session: Session, record: Path = RECORD) -> None:
    """Load what the files say, unload what an earlier call has loaded and they no longer say. Raises `ViciError`."""
    wanted = sections(paths)
    before: dict[str, list[str]] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for name, section in wanted["secrets"].items():
        session.ask("load-shared", secret(name, section))
    for name, section in wanted["pools"].items():
        session.ask("load-pool", {name: section})
    for name, section in wanted["connections"].items():
        session.ask("load-conn", {name: connection(section)})
    stay = {kind: set(names) for kind, names in wanted.items()}
    for kind, names in _loaded(session).items():
        for name in sorted(set(before.get(kind, ())) & names - set(wanted[kind])):
            command, key = _UNLOAD[kind]
            try:
                session.ask(command, {key: name})
            except ViciError:
                if kind != "pools":
                    raise
                # Its address is leased to an SA that stays. A later call tries again.
                stay[kind].add(name)
    if any(stay.values()):
        record.write_text(json.dumps({kind: sorted(stay[kind]) for kind in KINDS}), encoding="utf-8")
    else:
        record.unlink(missing_ok=True)


def _loaded(session: Session) -> dict[str, set[str]]:
    """Return the names of all that charon has, connections first: a pool may be in use by one."""
    return {
        "connections": {name.decode() for name in session.ask("get-conns", {}).get("conns", [])},
        "pools": set(session.ask("get-pools", {})),
        "secrets": {name.decode() for name in session.ask("get-shared", {}).get("keys", [])},
    }
