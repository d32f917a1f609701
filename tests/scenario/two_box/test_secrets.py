"""The keys are in the files that root alone reads, and nowhere else that anybody looks.

All looking is done here, on what the hosts hand over: a key in a search's arguments would be in their process lists.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from roaming.lab_hosts import LabHosts

from lab import names
from tests.scenario.plays import play

SECRETS = names.CHECKOUT / "inventories/two_box/group_vars/all/secrets.yml"
VAULT_PASSWORD = names.CHECKOUT / ".ansible/vault-password"
KEY_FILES = {
    "mipp": ["/etc/mobileip/keys/proxy.yml"],
    "ha": ["/etc/mobileip/keys/home_agent.yml"],
    "fa": ["/etc/mobileip/keys/foreign_agent.yml"],
    "mn": ["/etc/mobileip/keys/node.yml", "/etc/swanctl/conf.d/mobileip-secrets.conf"],
    "mn2": ["/etc/mobileip/keys/node.yml", "/etc/swanctl/conf.d/mobileip-secrets.conf"],
    "vpngw": ["/etc/swanctl/conf.d/mobileip-secrets.conf"],
}
INSTANCES = {"mipp": "proxy", "ha": "home_agent", "fa": "foreign_agent", "mn": "node", "mn2": "node"}
HIGHEST_EXPOSURE = 3.0
# CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF (linux/capability.h).
NETWORK_CAPABILITIES = (10, 12, 13, 39)
# The key of each kind that the check run shall foretell: no host has it.
NEW_KEY = "f00dfacef00dfacef00dfacef00dface"


class Keys:
    """Keys by name that show themselves to nobody, a failing test's report included."""

    def __init__(self, keys: dict[str, str]) -> None:
        self._keys = keys

    def __repr__(self) -> str:
        return f"<the keys {', '.join(sorted(self._keys))}>"

    def names(self, *kinds: str) -> set[str]:
        """Return the names of the keys of these kinds."""
        return {name for name in self._keys if name.split()[0] in kinds}

    def distinct(self) -> int:
        """Return how many different keys there are."""
        return len(set(self._keys.values()))

    def seen_in(self, text: bytes) -> set[str]:
        """Return the names of the keys that `text` shows as they are written, as their bytes, or in base64."""
        return {name for name, key in self._keys.items() if any(form in text for form in _forms(key))}


def _forms(key: str) -> set[bytes]:
    octets = bytes.fromhex(key)
    return {key.encode(), key.upper().encode(), octets, base64.b64encode(octets), base64.b64encode(key.encode())}


@pytest.fixture(scope="module")
def keys() -> Keys:
    """The example's keys, named by kind and node."""
    command = [str(Path(sys.executable).with_name("ansible-vault")), "view", str(SECRETS)]
    done = subprocess.run(command, cwd=names.CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    found = yaml.safe_load(done.stdout)["site_secrets"]
    return Keys({f"{kind} {node}": key for kind, nodes in found.items() for node, key in nodes.items()})


def said(hosts: LabHosts, host: str, *argv: str) -> bytes:
    """Return what a command on a host prints, as it is."""
    done = subprocess.run(
        hosts.command(host, argv), capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{host}: {' '.join(argv)}: {done.stderr.decode(errors='replace')[-500:]}"
    return done.stdout


def test_each_key_is_generated_apart_and_only_its_encryption_is_kept(keys: Keys) -> None:
    assert keys.distinct() == len(keys.names("proxy", "home_agent", "direct", "ike")) == 8
    stored = SECRETS.read_bytes()
    assert stored.startswith(b"$ANSIBLE_VAULT;")
    assert keys.seen_in(stored) == set()


@pytest.mark.parametrize("path", [SECRETS, VAULT_PASSWORD], ids=lambda path: path.name)
def test_secrets_and_their_password_are_the_owners_alone_and_never_committed(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    ignored = ["git", "check-ignore", "--quiet", str(path)]
    assert subprocess.run(ignored, cwd=names.CHECKOUT, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize("host", KEY_FILES)
def test_key_files_are_roots_alone_and_hold_what_the_host_needs(hosts: LabHosts, keys: Keys, host: str) -> None:
    found = set()
    for path in KEY_FILES[host]:
        assert said(hosts, host, "stat", "--format=%U:%G %a %F", path).decode().strip() == "root:root 600 regular file"
        found |= keys.seen_in(said(hosts, host, "cat", path))
    needed = {
        "mipp": keys.names("proxy", "home_agent"),
        "ha": keys.names("home_agent", "direct"),
        "fa": set(),
        "mn": {"proxy mn", "direct mn", "ike mn"},
        "mn2": {"proxy mn2", "direct mn2", "ike mn2"},
        "vpngw": keys.names("ike"),
    }
    assert found == needed[host]


# What shows that the place was looked at, and how one looks.
PLACES = {
    "systemctl show": (b"\nId=ssh.service\n", ["systemctl", "show", "--all", "--no-pager", "*"]),
    "process lists": (b"/sbin/init", ["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"]),
    "journal": (b"MESSAGE=", ["journalctl", "--no-pager", "--output=export"]),
    "files that others may read": (
        b"/etc/hostname",
        [
            *("sh", "-c"),
            "find /etc /run/mobileip /var/lib/mobileip /var/log /tmp /var/tmp /opt/mobileip/share -xdev -type f "
            r"\( -perm /0077 -o ! -user root \) -print0 2>/dev/null | xargs -0 tail -n +1 -v 2>/dev/null; true",
        ],
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("host", KEY_FILES)
def test_no_key_is_seen_in(hosts: LabHosts, keys: Keys, host: str, place: str) -> None:
    landmark, argv = PLACES[place]
    text = said(hosts, host, *argv)
    assert landmark in text
    assert keys.seen_in(text) == set()


@pytest.mark.parametrize("host", INSTANCES)
def test_the_daemons_unit_is_hardened_D_7_a(hosts: LabHosts, host: str) -> None:
    unit = f"mobileip@{INSTANCES[host]}.service"
    told = said(hosts, host, "systemd-analyze", "security", "--no-pager", unit).decode()
    level = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", told)
    assert level is not None, told
    assert float(level[1]) <= HIGHEST_EXPOSURE
    # And the process that runs is what the unit says: not root, nor able to become it, capable of networks only.
    pid = said(hosts, host, "systemctl", "show", "--property=MainPID", "--value", unit).decode().strip()
    status = dict(line.split(":", 1) for line in said(hosts, host, "cat", f"/proc/{pid}/status").decode().splitlines())
    assert "0" not in status["Uid"].split(), status["Uid"]
    assert status["NoNewPrivs"].strip() == "1"
    held = int(status["CapEff"], 16) | int(status["CapBnd"], 16)
    assert held & ~sum(1 << number for number in NETWORK_CAPABILITIES) == 0, f"{held:#x}"


@contextmanager
def watched_processes() -> Iterator[set[bytes]]:
    """Collect command lines and environments of all processes here and on the hosts while the block runs."""
    found: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        found.add((path / name).read_bytes())
                    except OSError:
                        continue  # it has ended

    thread = threading.Thread(target=watch, name="watch processes")
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def test_a_foretold_change_of_keys_shows_no_key_in_log_diff_or_process_list(keys: Keys, tmp_path: Path) -> None:
    changed = {kind: dict.fromkeys(("mn", "mn2"), NEW_KEY) for kind in ("proxy", "home_agent", "direct", "ike")}
    variables = tmp_path / "variables.yml"
    # And something that is no secret, so that there is a diff to look at.
    variables.write_text(yaml.safe_dump({"site_secrets": changed, "mip_proxy_max_lifetime": 1799}), encoding="utf-8")
    with watched_processes() as processes:
        run = play("site.yml", "--check", "--diff", "-vvv", "--limit=mipp,ha,vpngw,mn", "--extra-vars", f"@{variables}")
    assert run.status == 0, run.failures
    assert re.search(r"^\+max_lifetime: 1799$", run.output, re.MULTILINE), "the run shows no diff"
    for host in run.recap:
        foretold = re.findall(rf'^changed: \[{host}\] => \{{\s+"censored"', run.output, re.MULTILINE)
        assert len(foretold) == len(KEY_FILES[host]), f"{host}: no change of keys is foretold"
    output, listed = run.output.encode(), b"\n".join(processes)
    assert b"ansible-playbook" in listed
    for secret in (keys, Keys({"new": NEW_KEY})):
        assert secret.seen_in(output) == set()
        assert secret.seen_in(listed) == set()
