"""Have charon take the connections, pools, secrets and keys of our files, and nothing else.

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
KEYS = "keys"
"""In the record: ids of private keys, which have no names in charon."""
# As swanctl has it: the values of these are lists.
_LISTS = (
    *("local_addrs", "remote_addrs", "proposals", "esp_proposals", "ah_proposals", "local_ts", "remote_ts"),
    *("vips", "pools", "groups", "cert_policy"),
)
# Files, which charon takes by their content: in which folder below /etc/swanctl.
_FILES = {"certs": "x509", "cacerts": "x509ca"}
_PRIVATE = "private"
_SHARED = {"ike": "IKE", "eap": "EAP", "xauth": "XAUTH"}
"""Types of shared secrets, by how the name of their section begins."""
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


def connection(section: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return a section of swanctl.conf as VICI takes it; certificates are files below `directory`."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            found[key] = connection(value, directory)
        elif key in _FILES:
            found[key] = [(directory / _FILES[key] / name).read_bytes() for name in _list(value)]
        else:
            found[key] = _list(value) if key in _LISTS else value
    return found


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def secret(name: str, section: Mapping[str, str]) -> dict[str, Any]:
    """Return a pre-shared key or a password as VICI takes it."""
    owners = [value for key, value in section.items() if key.startswith("id")]
    kind = _SHARED[name.partition("-")[0]]
    return {"id": name, "type": kind, "data": _bytes(section["secret"]), "owners": owners}


def _bytes(text: str) -> bytes:
    """Return a secret's bytes; as in swanctl.conf, 0x begins hexadecimal digits and 0s base64."""
    if text.startswith("0x"):
        return bytes.fromhex(text[2:])
    return base64.b64decode(text[2:]) if text.startswith("0s") else text.encode()


def load(paths: Sequence[Path], session: Session, record: Path = RECORD) -> None:
    """Load what the files say, unload what an earlier call has loaded and they no longer say.

    Certificates and private keys that they name are looked for as swanctl does, beside the folder of the files.
    Raises `ViciError`, `OSError` for a file that cannot be read.
    """
    wanted = sections(paths)
    directory = paths[0].parent.parent
    private = {name: wanted["secrets"].pop(name) for name in [*wanted["secrets"]] if name.startswith(_PRIVATE)}
    before: dict[str, list[str]] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    keys = []
    for section in private.values():
        data = (directory / _PRIVATE / section["file"]).read_bytes()
        keys.append(session.ask("load-key", {"type": "any", "data": data})["id"].decode())
    for name, section in wanted["secrets"].items():
        session.ask("load-shared", secret(name, section))
    for name, section in wanted["pools"].items():
        session.ask("load-pool", {name: section})
    for name, section in wanted["connections"].items():
        session.ask("load-conn", {name: connection(section, directory)})
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
    gone = set(before.get(KEYS, ())) - set(keys)
    if gone:
        known = {key.decode() for key in session.ask("get-keys", {}).get("keys", [])}
        for key in sorted(gone & known):
            session.ask("unload-key", {"id": key})
    if any(stay.values()) or keys:
        loaded = {kind: sorted(stay[kind]) for kind in KINDS} | ({KEYS: sorted(keys)} if keys else {})
        record.write_text(json.dumps(loaded), encoding="utf-8")
    else:
        record.unlink(missing_ok=True)


def _loaded(session: Session) -> dict[str, set[str]]:
    """Return the names of all that charon has, connections first: a pool may be in use by one."""
    return {
        "connections": {name.decode() for name in session.ask("get-conns", {}).get("conns", [])},
        "pools": set(session.ask("get-pools", {})),
        "secrets": {name.decode() for name in session.ask("get-shared", {}).get("keys", [])},
    }
