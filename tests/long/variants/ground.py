"""The small site of tests/integration, with strongSwan for its IPsec: two charons that have what the roles would write.

A charon runs in its host's network namespace, in a Debian 13 of its own (image/), over which the roles' files are laid.
The kernel may have no ESP: it is strongSwan's in userspace, native on the wire.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.integration.site import GATEWAY, HOME, MIPP_PUB, Site, started, until

ROOT = Path(__file__).parents[3]
INTRANET = ["192.0.2.32/27", "192.0.2.64/27"]
IDENTITY, GATEWAY_IDENTITY = "mn@home.example", "vpngw.example"
CARE_OF, HOME_AGENT, BRANCH, BRANCH_INSIDE = "198.51.100.100", "192.0.2.40", "198.51.100.20", "198.51.100.98"
"""The foreign agent, who it registers nodes with, and the router of its network, where a site-to-site SA ends."""
SECRET, PASSWORD = "a-key-of-24-characters-00", "a password of theirs"
_IMAGE = Path(__file__).with_name("image")
_BUILD = ROOT / "molecule/resources/image/build.sh"
_LOUD = "charon-systemd {\n  filelog {\n    stderr {\n      default = 1\n      flush_line = yes\n    }\n  }\n}\n"
_CLIENT = "client gateway {{\n  ipaddr = 192.0.2.20\n  secret = {}\n}}\n"
_USER = '{} Cleartext-Password := "{}"\n        Framed-IP-Address = {}\n'
_EAP = "eap {\n  default_eap_type = mschapv2\n  mschapv2 {\n  }\n}\n"
_START = """
set -e
mount -t tmpfs tmpfs "$1/mnt"
mkdir "$1/mnt/upper" "$1/mnt/work" "$1/mnt/root"
cp -a "$1/files/." "$1/mnt/upper/"
mount -t overlay -o "lowerdir=$2,upperdir=$1/mnt/upper,workdir=$1/mnt/work" overlay "$1/mnt/root"
cd "$1/mnt/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p run/freeradius run/xl2tpd
shift 2
exec chroot . "$@"
"""


@dataclass(frozen=True)
class Variant:
    """What differs from the roles' defaults."""

    gateway: Mapping[str, Any] = field(default_factory=dict)
    node: Mapping[str, Any] = field(default_factory=dict)


def file_system() -> Path:
    """Return the tree of the hosts' file system, built where it is not there or its recipe has changed."""
    digest = hashlib.sha256()
    for path in (_BUILD, *sorted(_IMAGE.iterdir())):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    tree = ROOT / "build/variants" / digest.hexdigest()[:12]
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        begun = tree.with_suffix(".begun")
        shutil.rmtree(begun, ignore_errors=True)
        done = subprocess.run(
            ["bash", str(_BUILD), str(_IMAGE), str(begun)], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        begun.rename(tree)
    return tree


def certificates(directory: Path) -> dict[str, Any]:
    """Return `site_pki` as playbooks/generate_pki.yml makes it, for the gateway and the node `mn`."""
    facts = directory / "group_vars/all"
    facts.mkdir(parents=True)
    node = {"name": "mn", "identity": IDENTITY}
    site = {"site_vpngw_identity": GATEWAY_IDENTITY, "site_mobile_nodes": [node]}
    (facts / "site.yml").write_text(yaml.safe_dump(site), encoding="utf-8")
    (directory / "hosts.yml").write_text("all:\n", encoding="utf-8")
    password = directory / "password"
    password.write_text("of this test\n", encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert "PRIVATE KEY" not in done.stdout or command[0] == "ansible-vault"
        return done.stdout

    run("ansible-playbook", "-i", str(directory), "playbooks/generate_pki.yml")
    found: dict[str, Any] = yaml.safe_load(run("ansible-vault", "view", str(facts / "pki.yml")))["site_pki"]
    return found


def gateway_variables(variant: Variant) -> dict[str, Any]:
    """Return what an inventory says of the gateway."""
    return {
        "vpn_gateway_backend": "libipsec",
        "vpn_gateway_pub_address": GATEWAY,
        "vpn_gateway_pub_interface": "pub",
        "vpn_gateway_priv_interface": "priv",
        "vpn_gateway_mipp_pub": MIPP_PUB,
        "vpn_gateway_home_networks": ["192.0.2.64/27"],
        "vpn_gateway_local_ts": INTRANET,
        "vpn_gateway_identity": GATEWAY_IDENTITY,
        "vpn_gateway_mobile_nodes": [{"name": "mn", "home_address": HOME, "identity": IDENTITY}],
        "vpn_gateway_ike_secrets": {"mn": SECRET},
        **variant.gateway,
    }


def node_variables(variant: Variant) -> dict[str, Any]:
    """Return what an inventory says of the node."""
    return {
        "mobile_node_backend": "libipsec",
        "mobile_node_home_address": HOME,
        "mobile_node_vpn_gateways": [GATEWAY],
        "mobile_node_identity": IDENTITY,
        "mobile_node_gateway_identity": GATEWAY_IDENTITY,
        "mobile_node_ike_secret": SECRET,
        "mobile_node_remote_ts": INTRANET,
        **variant.node,
    }


def write(disk: Path, role: str, variables: Mapping[str, Any]) -> None:
    """Write below `disk` what the role's own tasks would about strongSwan and L2TP."""
    own = ROOT / "roles" / role
    known: dict[str, Any] = {}
    for file in (own / "defaults/main.yml", own / "vars/main.yml"):
        known |= DataLoader().load_from_file(str(file), trusted_as_template=True)
    known |= {"ansible_managed": "Ansible managed", "role_path": str(own), **variables}
    files = {"vpn_gateway": ("configure.yml", "l2tp.yml"), "mobile_node": ("ipsec.yml",)}[role]
    for task in (each for file in files for each in yaml.safe_load((own / "tasks" / file).read_text(encoding="utf-8"))):
        for item in task.get("loop", [None]) if isinstance(task.get("loop"), list) else [None]:
            _write_one(disk, task, Templar(loader=DataLoader(), variables={**known, "item": trust(item)}))


def trust(value: Any) -> Any:
    """Return an item of a task's loop, as the task has it: its strings are templates."""
    if isinstance(value, dict):
        return {key: trust(inner) for key, inner in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value


def _write_one(disk: Path, task: Mapping[str, Any], templar: Templar) -> None:
    def resolved(text: str) -> str:
        return str(templar.template(trust_as_template(text)))

    action = task.get("ansible.builtin.template") or task.get("ansible.builtin.copy")
    if action is None or resolved(f"{{{{ ({task.get('when', 'true')}) | bool }}}}") != "True":
        return
    if not resolved(action["dest"]).startswith(("/etc/strongswan.d/", "/etc/swanctl/", "/etc/mobileip/l2tp")):
        return
    text = resolved(action["content"] if "content" in action else Path(resolved(action["src"])).read_text("utf-8"))
    file = disk / resolved(action["dest"]).lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(int(action["mode"], 8))


class SwanSite(Site):
    """The site; what is protected, and how, comes with `protected`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ports["branch"] = [("inside", "faup", f"{BRANCH_INSIDE}/27"), ("outside", "open", f"{BRANCH}/27")]
        self._tree = file_system()
        self._made = 0

    def tunnel(self) -> None:
        """Lay the gateway's routes and the node's rules as the roles do at boot."""
        for role, host, template, variables in (
            ("vpn_gateway", "gw", "gateway-routes", gateway_variables(Variant())),
            ("mobile_node", "mn", "node-rules", node_variables(Variant())),
        ):
            known = DataLoader().load_from_file(str(ROOT / f"roles/{role}/defaults/main.yml"))
            text = (ROOT / f"templates/routes/{template}.batch.j2").read_text(encoding="utf-8")
            templar = Templar(loader=DataLoader(), variables={"ansible_managed": "", **known, **variables})
            batch = self.directory / f"{template}.batch"
            batch.write_text(str(templar.template(trust_as_template(text))), encoding="utf-8")
            self.run(host, "ip", "-batch", str(batch))

    def disk(self) -> Path:
        """Return a new, empty directory for a host's files."""
        self._made += 1
        disk = self.directory / f"disk{self._made}"
        (disk / "mnt").mkdir(parents=True)
        (disk / "files").mkdir()
        return disk

    def daemon(self, name: str, host: str, disk: Path, *command: str) -> None:
        """Start a program on a host, in the file system with the disk's files over it."""
        start = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _START, "start"]
        self.spawn(name, host, [*start, str(disk), str(self._tree), *command])

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        """Run a command beside a program of `daemon`; what it says."""
        target = f"--target={self.processes[name].pid}"
        done = subprocess.run(
            ["nsenter", target, "--mount", "--net", "--root", "--wd=/", *command],
            capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}\n{self.log(name)[-3000:]}"
        return done.stdout + done.stderr

    def end(self, *names: str) -> None:
        """End programs, which clear up behind them."""
        for process in (self.processes.pop(name) for name in names if name in self.processes):
            process.terminate()
            process.wait(10)

    def charon(self, name: str, host: str, role: str, variables: Mapping[str, Any], instead: str | None = None) -> None:
        """Start a charon with the files of a role and have it load them, as a boot does.

        `instead` is what swanctl finds in the place of the role's connections and secrets.
        """
        disk = self.disk()
        write(disk / "files", role, variables)
        if instead is not None:
            (disk / "files/etc/swanctl/conf.d/mobileip-secrets.conf").unlink()
            (disk / "files/etc/swanctl/conf.d/mobileip.conf").write_text(instead, encoding="utf-8")
        loud = disk / "files/etc/strongswan.d/zz-log.conf"
        loud.write_text(_LOUD, encoding="utf-8")
        self.daemon(name, host, disk, "/usr/sbin/charon-systemd")
        vici = f"/proc/{self.processes[name].pid}/root/run/charon.vici"
        until(lambda: Path(vici).exists(), 15, what=self.log(name))
        self.inside(name, "swanctl", "--load-all", "--noprompt")

    @contextmanager
    def protected(self, variant: Variant) -> Iterator[None]:
        """A charon on the gateway and one on the node; no SA yet."""
        try:
            self.charon("gateway-swan", "gw", "vpn_gateway", gateway_variables(variant))
            self.charon("node-swan", "mn", "mobile_node", node_variables(variant))
            yield
        finally:
            self.end("node-swan", "gateway-swan")

    @contextmanager
    def guarded(self, variant: Variant) -> Iterator[None]:
        """The gateway's packet filter, as the role writes it."""
        known = DataLoader().load_from_file(str(ROOT / "roles/vpn_gateway/defaults/main.yml"))
        text = (ROOT / "templates/firewall/gateway-guard.nft.j2").read_text(encoding="utf-8")
        variables = {"ansible_managed": "", **known, **gateway_variables(variant)}
        rules = self.directory / "guard.nft"
        templar = Templar(loader=DataLoader(), variables=variables)
        rules.write_text(str(templar.template(trust_as_template(text))), encoding="utf-8")
        self.run("gw", "nft", "-f", str(rules))
        try:
            yield
        finally:
            self.run("gw", "nft", "delete", "table", "inet", "mobileip_gateway")

    @contextmanager
    def branch(self) -> Iterator[None]:
        """The router of the foreign agent's network, with the SA and the routes of the how-to page."""
        page = (ROOT / "docs/how-to/a-trusted-foreign-agent.md").read_text(encoding="utf-8")
        (connections,) = re.findall(r"^```\n(connections .*?)^```$", page, re.MULTILINE | re.DOTALL)
        said = connections.replace("the same as vault_branch_ike", SECRET)
        assert said != connections
        routes = [
            ("branch", "default", "198.51.100.1"),
            ("fa", HOME_AGENT, BRANCH_INSIDE),
            ("inner", CARE_OF, "192.0.2.20"),
        ]
        for host, network, via in routes:
            self.run(host, "ip", "route", "add", network, "via", via)
        try:
            self.charon("branch-swan", "branch", "vpn_gateway", gateway_variables(Variant()), said)
            yield
        finally:
            self.end("branch-swan")
            for host, network, _ in routes:
                self.run(host, "ip", "route", "del", network)

    @contextmanager
    def radius(self, framed: str) -> Iterator[None]:
        """A FreeRADIUS on the host `cn`, which gives the node the address `framed`."""
        disk = self.disk()
        for name, text in (
            ("clients.conf", _CLIENT.format(SECRET)),
            ("mods-config/files/authorize", _USER.format(IDENTITY, PASSWORD, framed)),
            ("mods-enabled/eap", _EAP),
        ):
            file = disk / "files/etc/freeradius/3.0" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        try:
            self.daemon("radius", "cn", disk, "freeradius", "-f", "-l", "/tmp/log")
            log = Path(f"/proc/{self.processes['radius'].pid}/root/tmp/log")
            until(lambda: log.exists() and "Ready to process" in log.read_text(), 20, what=self.log("radius"))
            yield
        finally:
            self.end("radius")

    def initiate(self, *, check: bool = True) -> str:
        """Have the node set its SA up; what strongSwan says."""
        command = ("swanctl", "--initiate", "--child", "intranet", "--timeout", "15")
        return self.inside("node-swan", *command, check=check)

    def spis(self, name: str = "node-swan") -> set[str]:
        """Return the SPIs of the SA that a charon has, the node's or another's, of both directions."""
        return set(re.findall(r"^\s+(?:in|out)\s+([0-9a-f]{8})", self.sas(name), re.MULTILINE))

    def sas(self, name: str) -> str:
        """Return what a charon says of its SAs."""
        return self.inside(name, "swanctl", "--list-sas")


@contextmanager
def running(directory: Path) -> Iterator[SwanSite]:
    """The site, all daemons started, the node on the open network; no charon yet."""
    with started(SwanSite(directory)) as site:
        yield site


def capture(
    site: Site, host: str = "gw", interface: str = "pub", what: str = f"ip and host {HOME}"
) -> subprocess.Popen[str]:
    """Hear what passes: unless said otherwise node and gateway, where it comes out of the Mobile IP tunnel."""
    command = [
        "nsenter",
        f"--net=/run/netns/{site.prefix}-{host}",
        "tcpdump",
        "-nl",
        "--immediate-mode",
        "-i",
        interface,
    ]
    process = subprocess.Popen([*command, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "listening" not in process.stderr.readline():
        assert process.poll() is None
    return process


def heard(process: subprocess.Popen[str]) -> list[str]:
    """Return the lines of `capture`, which ends."""
    process.terminate()
    return process.communicate(timeout=10)[0].strip().splitlines()
