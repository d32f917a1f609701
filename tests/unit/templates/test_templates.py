"""Each template, rendered with the example inventory's facts and read by the program it is for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).parents[3]
SITE = yaml.safe_load((ROOT / "inventories/two_box/group_vars/all/site.yml").read_text(encoding="utf-8"))
SECRET = "0123456789abcdef0123456789abcdef"


def defaults(role: str) -> dict[str, Any]:
    """The role's defaults, as Ansible hands them to its templates."""
    found: dict[str, Any] = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
    return found


def render(template: str, variables: dict[str, Any]) -> str:
    """The template's text as Ansible renders it; an undefined variable is an error."""
    text = (ROOT / "templates" / template).read_text(encoding="utf-8")
    managed = {"ansible_managed": "Ansible managed"}
    templar = Templar(loader=DataLoader(), variables={**managed, **variables})
    return str(templar.template(trust_as_template(text)))


def gateway(**other: Any) -> dict[str, Any]:
    return {
        **defaults("vpn_gateway"),
        "vpn_gateway_backend": "libipsec",
        "vpn_gateway_pub_address": SITE["site_vpngw_pub"],
        "vpn_gateway_pub_interface": "pub",
        "vpn_gateway_priv_interface": "priv",
        "vpn_gateway_mipp_pub": SITE["site_mipp_pub"],
        "vpn_gateway_home_networks": SITE["site_home_networks"],
        "vpn_gateway_local_ts": SITE["site_intranet"] + SITE["site_home_networks"],
        "vpn_gateway_identity": SITE["site_vpngw_identity"],
        "vpn_gateway_mobile_nodes": SITE["site_mobile_nodes"],
        "vpn_gateway_ike_secrets": {node["name"]: SECRET for node in SITE["site_mobile_nodes"]},
        **other,
    }


def node(backend: str) -> dict[str, Any]:
    this = SITE["site_mobile_nodes"][0]
    return {
        **defaults("mobile_node"),
        "mobile_node_backend": backend,
        "mobile_node_vpn_gateway": SITE["site_vpngw_pub"],
        "mobile_node_home_address": this["home_address"],
        "mobile_node_identity": this["identity"],
        "mobile_node_gateway_identity": SITE["site_vpngw_identity"],
        "mobile_node_ike_secret": SECRET,
        "mobile_node_remote_ts": SITE["site_intranet"] + SITE["site_home_networks"],
    }


def firewall(**other: Any) -> dict[str, Any]:
    return {
        **defaults("dmz_firewall"),
        "dmz_firewall_mipp_pub": SITE["site_mipp_pub"],
        "dmz_firewall_mipp_priv": SITE["site_mipp_priv"],
        "dmz_firewall_outside_interface": "outside",
        "dmz_firewall_dmz_interface": "dmz",
        "dmz_firewall_inside_interfaces": ["core", "visited"],
        "dmz_firewall_internal_prefixes": SITE["site_internal_prefixes"],
        "dmz_firewall_dmz_prefixes": [SITE["site_dmz_public"]],
        "dmz_firewall_home_agents": [agent["address"] for agent in SITE["site_home_agents"]],
        "dmz_firewall_home_networks": SITE["site_home_networks"],
        "dmz_firewall_intranet_networks": SITE["site_intranet"],
        "__dmz_firewall_vpngw_priv_macs": ["02:00:00:00:00:14"],
        "__dmz_firewall_mipp_priv_macs": ["02:00:00:00:00:0a"],
        **other,
    }


@pytest.fixture(scope="module")
def namespace() -> Iterator[list[str]]:
    """A network namespace in which rulesets are checked and routes are laid; the start of a command in it."""
    name = f"gw-templates-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        inside = ["ip", "netns", "exec", name]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True, timeout=10)
        wire = ["ip", "-n", name, "link", "add", "pub", "type", "veth", "peer", "name", "far"]
        subprocess.run(wire, check=True, timeout=10)
        subprocess.run(["ip", "-n", name, "address", "add", "203.0.113.20/26", "dev", "pub"], check=True, timeout=10)
        for end in ("pub", "far"):
            subprocess.run(["ip", "-n", name, "link", "set", end, "up"], check=True, timeout=10)
        yield inside
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


def run(command: list[str], text: str = "") -> str:
    """What the command prints; what it complains about fails the test."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{text}"
    return done.stdout


ALLOW = [{"reason": "Mail of the branch", "from": "dmz", "to": "core", "match": "ip daddr 192.0.2.50 tcp dport 25"}]
RULESETS = {
    "outer": ("firewall/outer.nft.j2", firewall()),
    "outer with the site's own": ("firewall/outer.nft.j2", firewall(dmz_firewall_allow=ALLOW)),
    "inner": ("firewall/inner.nft.j2", firewall()),
    "inner, direct delivery": ("firewall/inner.nft.j2", firewall(dmz_firewall_direct_delivery=True)),
    "inner, other VPN users": ("firewall/inner.nft.j2", firewall(dmz_firewall_other_sources=["192.0.2.128/27"])),
    "inner, other VPN users, any MAC": (
        "firewall/inner.nft.j2",
        firewall(dmz_firewall_other_sources=["192.0.2.128/27"], __dmz_firewall_mipp_priv_macs=[]),
    ),
    "inner, any MAC": ("firewall/inner.nft.j2", firewall(__dmz_firewall_vpngw_priv_macs=[])),
    "inner with the site's own": ("firewall/inner.nft.j2", firewall(dmz_firewall_allow=ALLOW)),
    "host": ("firewall/host.nft.j2", firewall()),
    "host, port 434 alone": ("firewall/host.nft.j2", firewall(dmz_firewall_haleg_source_ports=[])),
    "gateway, kernel": ("firewall/gateway-guard.nft.j2", gateway(vpn_gateway_backend="kernel")),
    "gateway, L2TP": ("firewall/gateway-guard.nft.j2", gateway(vpn_gateway_backend="kernel", vpn_gateway_l2tp=True)),
    "gateway, L2TP in one box": (
        "firewall/gateway-guard.nft.j2",
        gateway(vpn_gateway_backend="kernel", vpn_gateway_l2tp=True, vpn_gateway_wire_interface="mip0"),
    ),
    "gateway, libipsec": ("firewall/gateway-guard.nft.j2", gateway()),
}


@pytest.mark.namespaces
@pytest.mark.parametrize("name", RULESETS)
def test_ruleset_loads_twice_and_leaves_other_tables_alone(name: str, namespace: list[str]) -> None:
    text = render(*RULESETS[name])
    run([*namespace, "nft", "-f", "-"], "flush ruleset\ntable inet other {\n  chain theirs {\n    counter\n  }\n}\n")
    run([*namespace, "nft", "-c", "-f", "-"], text)
    for _ in range(2):
        run([*namespace, "nft", "-f", "-"], text)
    tables = run([*namespace, "nft", "list", "tables"]).splitlines()
    ours = "mobileip_gateway" if name.startswith("gateway") else "mobileip_dmz"
    assert sorted(tables) == [f"table inet {ours}", "table inet other"]
    assert "counter" in run([*namespace, "nft", "list", "table", "inet", "other"])


@pytest.mark.namespaces
@pytest.mark.parametrize("name", [name for name in RULESETS if not name.startswith("gateway")])
def test_forwarding_is_denied_by_default(name: str, namespace: list[str]) -> None:
    run([*namespace, "nft", "-f", "-"], "flush ruleset\n" + render(*RULESETS[name]))
    forward = run([*namespace, "nft", "list", "chain", "inet", "mobileip_dmz", "forward"])
    assert "hook forward priority filter; policy drop;" in forward


@pytest.mark.parametrize("name", ["outer", "inner", "outer with the site's own", "inner with the site's own"])
def test_ipv6_is_refused_before_anything_is_accepted(name: str) -> None:
    forward = render(*RULESETS[name]).split("chain forward {")[1]
    rules = [line.strip() for line in forward.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert rules[1] == "meta nfproto ipv6 counter goto refuse"


@pytest.mark.parametrize("name", RULESETS)
def test_each_group_of_rules_has_its_reason_above(name: str) -> None:
    lines = render(*RULESETS[name]).splitlines()
    for number, line in enumerate(lines):
        if re.search(r"\b(accept|notrack|goto refuse)\b", line) and "policy" not in line:
            above = lines[number - 1].strip()
            assert above.startswith("#") or re.search(r"\b(accept|notrack|goto|iifname|oifname)\b", above), line


def test_home_sources_pass_from_the_gateways_mac_only() -> None:
    inner = render(*RULESETS["inner"])
    assert "ether saddr { 02:00:00:00:00:14 } ip saddr @home_networks ip daddr @intranet counter accept" in inner
    assert "02:00:00:00:00:0a" not in inner


def test_host_guards_the_ports_that_the_proxy_asks_home_agents_from_by_default_AMB_14() -> None:
    proxy = defaults("mip_proxy")
    first, count = proxy["mip_proxy_haleg_first_source_port"], proxy["mip_proxy_haleg_source_ports"]
    assert f"udp dport {{ 434, {first}-{first + count - 1} }} ip saddr != @home_agents goto refuse" in render(
        *RULESETS["host"]
    )
    assert "udp dport { 434 } ip saddr != @home_agents goto refuse" in render(*RULESETS["host, port 434 alone"])


def test_inner_firewall_lets_the_proxy_hear_that_a_home_agent_is_unreachable_D_2_6_7_a() -> None:
    to_dmz = render(*RULESETS["inner"]).split("chain to_dmz {")[1].split("chain site {")[0]
    assert f"ip daddr {SITE['site_mipp_priv']} icmp type destination-unreachable counter accept" in to_dmz


def test_guard_knows_a_missing_policy_by_what_the_backend_offers() -> None:
    kernel, userspace = (render(*RULESETS[f"gateway, {name}"]) for name in ("kernel", "libipsec"))
    assert 'iifname "priv" ip daddr @home_networks rt ipsec missing goto refuse' in kernel
    assert 'iifname "priv" ip daddr @home_networks oifname != "ipsec0" goto refuse' in userspace
    assert "ipsec0" not in kernel
    assert "rt ipsec" not in userspace


@pytest.mark.namespaces
def test_routes_at_boot_lay_a_private_table_and_two_rules(namespace: list[str], tmp_path: Path) -> None:
    batch = tmp_path / "routes.batch"
    batch.write_text(render("routes/gateway-routes.batch.j2", gateway()), encoding="utf-8")
    for _ in range(2):
        run([*namespace, "ip", "-batch", str(batch)])
    assert run([*namespace, "ip", "route", "show", "table", "434"]).strip() == (
        "192.0.2.64/27 via 203.0.113.10 dev pub proto 143"
    )
    rules = [line.split(":\t")[1].strip() for line in run([*namespace, "ip", "rule"]).splitlines() if "434" in line]
    assert rules == [
        "from 203.0.113.20 to 192.0.2.64/27 lookup 434 proto 143",
        "from 192.0.2.64/27 to 192.0.2.64/27 lookup 434 proto 143",
    ]
    run([*namespace, "ip", "rule", "flush", "protocol", "143"])


@pytest.mark.namespaces
def test_routes_at_boot_of_one_box_lead_into_the_wire_and_keep_the_proxys_answers_out_of_sas(
    namespace: list[str], tmp_path: Path
) -> None:
    run([*namespace, "ip", "link", "add", "mip0", "up", "type", "veth", "peer", "name", "mip1"])
    run([*namespace, "ip", "link", "set", "mip1", "up"])
    batch = tmp_path / "routes.batch"
    batch.write_text(
        render("routes/gateway-routes.batch.j2", gateway(vpn_gateway_wire_interface="mip0")), encoding="utf-8"
    )
    for _ in range(2):
        run([*namespace, "ip", "-batch", str(batch)])
    route = run([*namespace, "ip", "route", "show", "table", "434"]).strip()
    assert route == "192.0.2.64/27 dev mip0 proto 143 scope link"
    rules = [line.split() for line in run([*namespace, "ip", "rule"]).splitlines() if "proto 143" in line]
    assert [(rule[0], rule[2], rule[6]) for rule in rules] == [
        ("210:", "203.0.113.10", "main"),
        ("434:", "203.0.113.20", "434"),
        ("435:", "192.0.2.64/27", "434"),
    ]
    run([*namespace, "ip", "rule", "flush", "protocol", "143"])
    run([*namespace, "ip", "link", "del", "mip0"])


@pytest.mark.namespaces
@pytest.mark.parametrize("off", [False, "false"], ids=["a boolean", "a text"])
def test_routes_at_boot_go_into_main_with_the_leak_guard_off(
    namespace: list[str], tmp_path: Path, off: bool | str
) -> None:
    batch = tmp_path / "routes.batch"
    batch.write_text(render("routes/gateway-routes.batch.j2", gateway(vpn_gateway_leak_guard=off)), encoding="utf-8")
    run([*namespace, "ip", "-batch", str(batch)])
    assert "192.0.2.64/27 via 203.0.113.10" in run([*namespace, "ip", "route", "show", "table", "main"])
    assert "lookup 434" not in run([*namespace, "ip", "rule"])


@pytest.mark.namespaces
def test_rules_of_a_node_put_mobile_ip_before_strongswan(namespace: list[str], tmp_path: Path) -> None:
    batch = tmp_path / "rules.batch"
    batch.write_text(render("routes/node-rules.batch.j2", node("libipsec")), encoding="utf-8")
    for _ in range(2):
        run([*namespace, "ip", "-batch", str(batch)])
    rules = [line for line in run([*namespace, "ip", "rule"]).splitlines() if line.startswith("210:")]
    assert len(rules) == 2
    assert all("ipproto udp" in rule and "lookup main" in rule for rule in rules)


def parse(text: str) -> dict[str, Any]:
    """Read strongSwan's configuration language: sections and `key = value` lines. What is neither fails the test."""
    top: dict[str, Any] = {}
    open_sections = [top]
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if section := re.fullmatch(r"([\w-]+) \{", stripped):
            assert section[1] not in open_sections[-1], f"{section[1]} twice"
            open_sections.append(open_sections[-1].setdefault(section[1], {}))
        elif stripped == "}":
            open_sections.pop()
        else:
            setting = re.fullmatch(r"([\w-]+) = (.+)", stripped)
            assert setting, stripped
            open_sections[-1][setting[1]] = setting[2]
    assert open_sections == [top], "a section is not closed"
    return top


@pytest.mark.parametrize("backend", ["kernel", "libipsec"])
def test_gateway_gives_each_identity_its_home_address_and_nothing_else(backend: str) -> None:
    found = parse(render("strongswan/gateway/connections.conf.j2", gateway(vpn_gateway_backend=backend)))
    for entry in SITE["site_mobile_nodes"]:
        connection = found["connections"][entry["name"]]
        assert connection["remote"]["id"] == entry["identity"]
        assert found["pools"][connection["pools"]] == {"addrs": f"{entry['home_address']}/32"}
        assert connection["mobike"] == "no"
        assert connection["unique"] == "replace"
        child = connection["children"]["intranet"]
        assert child["mode"] == "tunnel"
        assert "remote_ts" not in child
        assert set(child["local_ts"].split(",")) == set(SITE["site_intranet"] + SITE["site_home_networks"])


def test_gateway_passes_registrations_by_only_where_the_backend_knows_pass_policies() -> None:
    kernel, userspace = (
        parse(render("strongswan/gateway/connections.conf.j2", gateway(vpn_gateway_backend=backend)))["connections"]
        for backend in ("kernel", "libipsec")
    )
    children = kernel["mobileip-registration"]["children"]
    assert {child["mode"] for child in children.values()} == {"pass"}
    assert children["to-434"]["remote_ts"] == "192.0.2.64/27[udp/434]"
    assert "mobileip-registration" not in userspace


def test_node_asks_from_and_for_its_home_address_and_waits_for_its_daemon() -> None:
    found = parse(render("strongswan/node/connections.conf.j2", node("libipsec")))["connections"]["vpngw"]
    assert found["local_addrs"] == found["vips"] == SITE["site_mobile_nodes"][0]["home_address"]
    assert found["mobike"] == "no"
    assert {name: child["start_action"] for name, child in found["children"].items()} == {"intranet": "none"}


def test_node_parks_by_a_pass_policy_with_kernel_esp() -> None:
    children = parse(render("strongswan/node/connections.conf.j2", node("kernel")))["connections"]["vpngw"]["children"]
    assert children["at-home"]["mode"] == "pass"
    assert children["at-home"]["start_action"] == "none"
    for selector in ("local_ts", "remote_ts"):
        assert children["at-home"][selector] == children["intranet"][selector]


def test_both_ends_agree_on_proposals_and_secrets() -> None:
    ours = parse(render("strongswan/gateway/connections.conf.j2", gateway()))["connections"]["mn"]
    theirs = parse(render("strongswan/node/connections.conf.j2", node("libipsec")))["connections"]["vpngw"]
    assert set(ours["proposals"].split(",")) & set(theirs["proposals"].split(","))
    esp = [set(end["children"]["intranet"]["esp_proposals"].split(",")) for end in (ours, theirs)]
    assert esp[0] & esp[1]
    here = parse(render("strongswan/gateway/secrets.conf.j2", gateway()))["secrets"]["ike-mn"]
    there = parse(render("strongswan/node/secrets.conf.j2", node("libipsec")))["secrets"]["ike-vpngw"]
    assert here == {"id-node": SITE["site_mobile_nodes"][0]["identity"], "secret": f'"{SECRET}"'}
    assert there == {"id-gateway": SITE["site_vpngw_identity"], "secret": f'"{SECRET}"'}


@pytest.mark.parametrize("end", ["gateway", "node"])
def test_userspace_esp_keeps_ike_and_esp_out_of_its_own_tun(end: str) -> None:
    text = render(f"strongswan/{end}/charon.conf.j2", gateway() if end == "gateway" else node("libipsec"))
    plugins = parse(text)["charon-systemd"]["plugins"]
    marks = {name: plugins[name]["fwmark"] for name in ("kernel-libipsec", "kernel-netlink", "socket-default")}
    assert marks == {"kernel-libipsec": "0x42", "kernel-netlink": "!0x42", "socket-default": "0x42"}
    assert plugins["kernel-libipsec"]["raw_esp"] == plugins["kernel-libipsec"]["allow_peer_ts"] == "yes"


def test_secrets_are_nowhere_but_in_the_secrets_file() -> None:
    for end, variables in (("gateway", gateway()), ("node", node("libipsec"))):
        for name in ("charon", "connections"):
            assert SECRET not in render(f"strongswan/{end}/{name}.conf.j2", variables)


def test_no_template_flushes_what_is_not_ours() -> None:
    for path in (ROOT / "templates").rglob("*.j2"):
        text = path.read_text(encoding="utf-8")
        assert "flush ruleset" not in text, path


@pytest.mark.parametrize("backend", ["kernel", "libipsec"])
def test_node_renews_its_sas_before_they_end_D_5_5_a(backend: str) -> None:
    text = render("strongswan/node/connections.conf.j2", node(backend))
    connection, children = text.split("children {", 1)
    child = children.split("}", 1)[0]
    for section in (connection, child):
        (rekey,) = re.findall(r"^\s*rekey_time = (\d+)([smhd])$", section, re.MULTILINE)
        assert int(rekey[0]) > 0
        # What ends an SA without a renewal stays strongSwan's own: 10 % behind the renewal.
        assert not re.search(r"^\s*(life_time|over_time|reauth_time)", section, re.MULTILINE)
    (packets,) = re.findall(r"^\s*rekey_packets = (\d+)$", child, re.MULTILINE)
    assert 0 < int(packets) < 2**32


def test_registrations_pass_by_the_ipsec_tunnel_D_2_a() -> None:
    kernel = render("strongswan/node/connections.conf.j2", node("kernel"))
    passes = re.findall(r"(\S+) \{\s*mode = pass\s*start_action = trap\s*local_ts = (\S+)\s*remote_ts = (\S+)", kernel)
    home = node("kernel")["mobile_node_home_address"]
    assert passes == [
        ("to-434", f"{home}/32[udp]", "0.0.0.0/0[udp/434]"),
        ("from-434", f"{home}/32[udp/434]", "0.0.0.0/0[udp]"),
    ]
    rules = render("routes/node-rules.batch.j2", node("libipsec"))
    assert "dport 434" in rules
