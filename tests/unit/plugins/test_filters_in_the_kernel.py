"""What is said of a flow is what becomes of its packets: the same rules in a kernel that forwards, and a datagram.

Besides single rules that show one thing, `rulesets/` has what managers load: firewalld 1.3.3 by `nft -s list ruleset`,
ufw 0.36.2 by `iptables-save`, both run in a namespace (`allowed` after the commands that this collection gives), and
Docker Engine's chains as versions up to 27 and from 28 on are known to lay them out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_chains import Flow, Table
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_listing import (
    addresses,
    dormant,
    from_iptables,
    from_nft,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_owners import commands, findings, owners

from tests.forwarding.conftest import PATIENCE, Namespace
from tests.unit.templates.test_templates import RULESETS, render

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

CAPTURED = Path(__file__).with_name("rulesets")
PROXY, FIREWALL = "203.0.113.10", "203.0.113.1"
PORT = 434
SILENCE = 0.3 * PATIENCE
FORWARDED = Flow(
    "registrations of nodes", "forward", "outside", "dmz",
    destination=addresses(PROXY), protocol=17, destination_port=(PORT, PORT),
)  # fmt: skip
RECEIVED = Flow(
    "registrations of nodes", "input", "outside",
    destination=addresses(FIREWALL), protocol=17, destination_port=(PORT, PORT),
)  # fmt: skip


@dataclass
class Ground:
    """A node, a firewall that forwards, and a proxy behind it."""

    node: Namespace
    firewall: Namespace
    proxy: Namespace

    def arrives(self, flow: Flow) -> bool:
        """Whether a datagram of this flow gets to its socket."""
        end, address = (self.proxy, PROXY) if flow.hook == "forward" else (self.firewall, FIREWALL)
        channel = end.run(listening, address)
        with channel:
            self.node.run(send, address)
            try:
                return channel.recv(64) == b"registration"
            except TimeoutError:
                return False

    def load(self, text: str) -> None:
        """Replace all rules of the firewall, by the program whose language it is."""
        iptables = text.startswith(("*", "#"))
        self.firewall.shell("nft flush ruleset")
        program = ["iptables-nft-restore"] if iptables else ["nft", "-f", "-"]
        self.firewall.run(subprocess.run, program, input=text, text=True, check=True, timeout=20)

    def tables(self) -> list[Table]:
        """What the collection reads of it, as the module does."""
        listing = json.loads(self.firewall.shell("nft -j list ruleset"))
        families = {entry["table"]["family"] for entry in listing["nftables"] if "table" in entry}
        names = {entry["table"]["name"] for entry in listing["nftables"] if "table" in entry}
        if families == {"ip"} and names <= {"filter", "nat", "mangle", "raw"} and shutil.which("iptables-nft-save"):
            return from_iptables(self.firewall.shell("iptables-nft-save"))
        return from_nft(json.dumps(listing), dormant(self.firewall.shell("nft -s list ruleset")))


def listening(address: str) -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((address, PORT))
    channel.settimeout(SILENCE)
    return channel


def send(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"registration", (address, PORT))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    made = Ground(Namespace(), Namespace(), Namespace())
    for name, far, there, here in (
        ("outside", made.node, "198.51.100.10/24", "198.51.100.1/24"),
        ("dmz", made.proxy, f"{PROXY}/26", f"{FIREWALL}/26"),
    ):
        made.firewall.shell(
            f"""
            ip link add {name} type veth peer name eth0 netns {far.path}
            ip address add {here} dev {name}
            ip link set {name} up
            ip link set lo up
            sysctl -q -w net.ipv4.ip_forward=1
            """
        )
        far.shell(
            f"""
            ip address add {there} dev eth0
            ip link set eth0 up
            ip route add default via {here.split("/")[0]}
            """
        )
    made.firewall.shell("nft flush ruleset")
    assert made.arrives(FORWARDED)
    assert made.arrives(RECEIVED)
    yield made
    for namespace in (made.node, made.firewall, made.proxy):
        namespace.close()


def chain(rules: str, policy: str = "drop", more: str = "") -> str:
    """One table of the site's own."""
    return (
        f"table inet site {{\n{more}\nchain forward {{\ntype filter hook forward priority filter; policy {policy};\n"
        f"{rules}\n}}\n}}\n"
    )


SETS = "set zone { type ipv4_addr; flags interval; elements = { 203.0.113.0/26, 192.0.2.1-192.0.2.9 }; }"
VERDICTS = "chain yes { accept; }\nchain no { drop; }"
CERTAIN = {
    "policy drop": ("", False),
    "udp by port": ("udp dport 434 accept", True),
    "tcp by port": ("tcp dport 434 accept", False),
    "both by port": ("meta l4proto { tcp, udp } th dport 434 accept", True),
    "range of ports": ("udp dport 400-500 accept", True),
    "set of ports": ("udp dport { 53, 434 } accept", True),
    "other port": ("udp dport != 434 accept", False),
    "ways": ('iifname "outside" oifname "dmz" accept', True),
    "way back": ('iifname "dmz" oifname "outside" accept', False),
    "begin of a name": ('iifname "out*" accept', True),
    "prefix": ("ip daddr 203.0.113.0/26 accept", True),
    "named set": ("ip daddr @zone accept", True),
    "not in the named set": ("ip daddr != @zone accept", False),
    "protocol": ("ip protocol udp accept", True),
    "IPv6": ("meta nfproto ipv6 accept", False),
    "IPv4": ("meta nfproto ipv4 accept", True),
    "IPv6's address": ("ip6 daddr ::/0 accept", False),
    "answers only": ("ct state established,related accept", False),
    "new ones": ("ct state new accept", True),
    "by state": ("ct state vmap { established : accept, new : drop }\naccept", False),
    "invalid first": ("ct state invalid drop\naccept", True),
    "translated only": ("ct status dnat accept", False),
    "for us only": ("fib daddr type local accept", False),
    "jump": ("jump no", False),
    "goto": ("goto yes", True),
    "by interface": ('iifname vmap { "outside" : jump yes, "dmz" : jump no }', True),
    "by ports": ("udp dport vmap { 0-433 : accept, 434 : drop, 435-65535 : accept }", False),
    "refused": ("reject\naccept", False),
}


@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_certain_is_what_happens(ground: Ground, name: str) -> None:
    rules, passes = CERTAIN[name]
    ground.load(chain(rules, more=f"{SETS}\n{VERDICTS}"))
    found = list(findings(ground.tables(), [FORWARDED]))
    assert [finding.certain for finding in found] == ([] if passes else [True])
    assert ground.arrives(FORWARDED) is passes


UNCERTAIN = ["ip saddr 198.51.100.0/24 accept", "limit rate 5/second accept", "meta mark 7 accept", "ip ttl > 3 accept"]


@pytest.mark.parametrize("rule", UNCERTAIN)
def test_what_is_not_known_or_not_understood_is_never_certain(ground: Ground, rule: str) -> None:
    ground.load(chain(rule))
    assert [finding.certain for finding in findings(ground.tables(), [FORWARDED])] == [False]


def test_own_tables_are_not_judged_and_dormant_ones_decide_nothing(ground: Ground) -> None:
    ground.load(chain("").replace("inet site", "inet mobileip_dmz"))
    assert list(findings(ground.tables(), [FORWARDED])) == []
    assert owners(ground.tables()) == []
    ground.load(chain("", more="flags dormant;"))
    assert list(findings(ground.tables(), [FORWARDED])) == []
    assert ground.arrives(FORWARDED)


def test_command_for_a_table_of_the_sites_own_lets_the_flow_through(ground: Ground) -> None:
    ground.load(chain('udp dport 53 accept\nlog prefix "site: " drop'))
    (finding,) = findings(ground.tables(), [FORWARDED])
    assert str(finding) == (
        "nftables table inet site (table inet site, chain forward) drops registrations of nodes: forward from outside"
        " to dmz udp destination 203.0.113.10:434"
    )
    ground.firewall.shell("\n".join(commands(finding, lambda _: "public")))
    assert list(findings(ground.tables(), [FORWARDED])) == []
    assert ground.arrives(FORWARDED)


LET_THROUGH = {
    "ufw": (
        "ufw route allow in on outside out on dmz proto udp from any to 203.0.113.10 port 434",
        "ufw allow in on outside proto udp from any to 203.0.113.1 port 434",
    ),
    "firewalld": (
        "firewall-cmd --permanent --new-policy=mip-extern-dmz",
        "firewall-cmd --permanent --policy=mip-extern-dmz --add-ingress-zone=external",
        "firewall-cmd --permanent --policy=mip-extern-dmz --add-egress-zone=dmz",
        'firewall-cmd --permanent --policy=mip-extern-dmz --add-rich-rule=\'rule family="ipv4"'
        ' destination address="203.0.113.10" port port="434" protocol="udp" accept\'',
        "firewall-cmd --reload",
        'firewall-cmd --permanent --zone=external --add-rich-rule=\'rule family="ipv4"'
        ' destination address="203.0.113.1" port port="434" protocol="udp" accept\'',
        "firewall-cmd --reload",
    ),
}
"""What made, of the captured rule sets, `allowed` of `default`."""


@pytest.mark.parametrize("name", LET_THROUGH)
def test_commands_are_those_that_made_the_manager_let_it_through(ground: Ground, name: str) -> None:
    (default,) = CAPTURED.glob(f"{name}-default.*")
    ground.load(default.read_text(encoding="utf-8"))
    zones = {"outside": "external", "dmz": "dmz"}
    found = findings(ground.tables(), [FORWARDED, RECEIVED])
    dropped = sorted(found, key=lambda finding: finding.flow.hook)
    assert tuple(command for each in dropped for command in commands(each, zones.__getitem__)) == LET_THROUGH[name]


@pytest.mark.parametrize("name", ["docker-27.iptables", "docker-28.iptables"])
def test_docker_users_chain_lets_the_flow_through(ground: Ground, name: str) -> None:
    ground.load((CAPTURED / name).read_text(encoding="utf-8"))
    (finding,) = findings(ground.tables(), [FORWARDED])
    (command,) = commands(finding, lambda _: "public")
    assert command == "iptables -I DOCKER-USER -i outside -o dmz -d 203.0.113.10 -p udp --dport 434 -j ACCEPT"
    ground.firewall.shell(command.replace("iptables", "iptables-nft", 1))
    assert list(findings(ground.tables(), [FORWARDED])) == []
    assert ground.arrives(FORWARDED)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (
            Flow("tunnels", "forward", "outside", "dmz", protocol=55, destination=addresses("203.0.113.10")),
            "sed -i '0,/^COMMIT/s#^COMMIT#-A ufw-before-forward -i outside -o dmz -d 203.0.113.10 -p 55 -j ACCEPT\\n&#'"
            " /etc/ufw/before.rules",
        ),
        (
            Flow("answers", "input", source=addresses("192.0.2.40"), protocol=17, source_port=(434, 434)),
            "ufw allow proto udp from 192.0.2.40 port 434 to any",
        ),
        (
            Flow("ESP", "input", source=addresses("192.0.2.64/27"), protocol=50),
            "ufw allow proto esp from 192.0.2.64/27 to any",
        ),
    ],
)
def test_ufw_commands_for_what_its_language_has_and_has_not(flow: Flow, expected: str) -> None:
    (table,) = from_iptables("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:ufw-user-input - [0:0]\nCOMMIT\n")
    (finding,) = findings([table], [flow])
    assert commands(finding, lambda _: "public")[0] == expected


def captured() -> list[str]:
    return sorted(path.name for path in CAPTURED.iterdir())


@pytest.mark.parametrize("name", captured())
def test_captured_rule_sets_are_judged_as_the_kernel_does_and_stay_as_they_are(ground: Ground, name: str) -> None:
    if name.endswith(".iptables") and not shutil.which("iptables-nft-restore"):
        pytest.skip("no iptables on this machine")
    ground.load((CAPTURED / name).read_text(encoding="utf-8"))
    before = ground.firewall.shell("nft -s list ruleset")
    tables = ground.tables()
    assert owners(tables) == [name.split("-")[0].replace("docker", "Docker")]
    assert ground.arrives(FORWARDED) is ("allowed" in name)
    for flow in (FORWARDED, RECEIVED):
        dropped = [finding.certain for finding in findings(tables, [flow])]
        assert ground.arrives(flow) is (not dropped), f"{flow.hook}: {dropped}"
        assert dropped in ([], [True]), f"{flow.hook}: what this manager loads is understood"
    # What this collection loads beside it, takes away and puts back touches nothing of it.
    for ruleset in RULESETS:
        ours = render(*RULESETS[ruleset])
        ground.firewall.run(subprocess.run, ["nft", "-f", "-"], input=ours, text=True, check=True, timeout=20)
    ground.firewall.shell("nft delete table inet mobileip_dmz; nft delete table inet mobileip_gateway")
    assert ground.firewall.shell("nft -s list ruleset") == before
