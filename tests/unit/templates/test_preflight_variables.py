"""What the roles say of variables that do not fit together, before they look at a host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RESULT = re.compile(r"^(?:fatal|failed): \[(\S+)\].*?=> (\{.*\})$", re.MULTILINE)
KEY = "badc0ffee0ddf00d" * 4
SITE: dict[str, Any] = {
    "role": "mip_proxy",
    "mip_proxy_pub": {"address": "203.0.113.10", "interface": "pub"},
    "mip_proxy_priv": {"address": "192.0.2.10", "interface": "priv"},
    "mip_proxy_vpn_gateways": [{"name": "one"}, {"name": "two"}],
    "mip_proxy_home_agents": [{"address": "192.0.2.40"}, {"address": "192.0.2.41"}],
    "mip_proxy_internal_prefixes": ["192.0.2.0/24"],
    "mip_proxy_node_keys": {"mn": KEY, "mn2": KEY},
    "mip_proxy_home_agent_keys": {"mn": KEY, "mn2": KEY},
    "mip_proxy_mobile_nodes": [],
    "dmz_firewall_kind": "host",
}
MN = {"name": "mn", "home_address": "192.0.2.69", "proxy_spi": 2001, "home_agent_spi": 3001}
MN2 = {"name": "mn2", "home_address": "192.0.2.70", "proxy_spi": 2002, "home_agent_spi": 3002}
NAMED = {"name": "mn", "nai": "mn@home.example", "proxy_spi": 2001, "home_agent_spi": 3001}


def nodes(*listed: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"mip_proxy_mobile_nodes": [*listed], **more}


def twin(**more: Any) -> dict[str, Any]:
    return nodes({**MN, "gateway": "one", "home_agent": "192.0.2.40"}, {**MN2, "home_address": "192.0.2.69", **more})


GOOD = {
    "nodes by address": nodes(MN, MN2),
    "a node by name with a home agent": nodes({**NAMED, "home_agent": "192.0.2.40"}),
    "a node by name with the default home agent": nodes(NAMED, mip_proxy_default_home_agent="192.0.2.40"),
    "a node by name and a pool": nodes(
        NAMED,
        mip_proxy_home_agents=[{"address": "192.0.2.40", "assignable": True, "nai": True}, {"address": "192.0.2.41"}],
    ),
    "one address behind two gateways": twin(gateway="two", home_agent="192.0.2.41"),
    "keys as long as their digests": nodes(
        {**MN, "proxy_algorithm": "hmac-sha256", "home_agent_algorithm": "hmac-sha1"}
    ),
    "fewer ports than the firewall guards": {"mip_proxy_haleg_source_ports": 2},
    "no ports but 434": {"mip_proxy_haleg_source_ports": 0, "dmz_firewall_haleg_source_ports": []},
    "another firewall's business": {"mip_proxy_haleg_first_source_port": 30000, "dmz_firewall_kind": "inner"},
    "another VPN": {"mip_proxy_passes": ["ESP", 115, "udp/51820", "tcp/443"]},
    "other VPN users beside the home network": {
        "mip_proxy_vpn_gateways": [
            {"name": "one", "home_networks": ["192.0.2.64/27"], "other_sources": ["192.0.2.128/27"]}
        ]
    },
    "other ports, and the firewall knows": {
        "mip_proxy_haleg_first_source_port": 30000,
        "dmz_firewall_haleg_source_ports": ["434", "30000-30015"],
    },
}
WRONG = {
    "a node without any name": (
        nodes({"name": "mn", "proxy_spi": 2001, "home_agent_spi": 3001}), "home_address or a nai"
    ),
    "a node by name, no home agent, no pool": (nodes(NAMED), "no home_agent for mn; expected"),
    "a home agent that is not listed": (nodes({**MN, "home_agent": "192.0.2.49"}), "home agent 192.0.2.49"),
    "an assignable home agent that knows no NAI": (
        nodes(NAMED, mip_proxy_home_agents=[{"address": "192.0.2.40", "assignable": True}, {"address": "192.0.2.41"}]),
        "assignable: true for 192.0.2.40 without nai; expected nai: true",
    ),
    "a default home agent that is not listed": (
        {"mip_proxy_default_home_agent": "192.0.2.49"}, "home agent 192.0.2.49"
    ),
    "a gateway that is not listed": (nodes({**MN, "gateway": "three"}), "gateway three; expected"),
    "one address behind one gateway": (
        twin(gateway="one", home_agent="192.0.2.41"),
        "192.0.2.69 is the home address of mn, mn2, with gateway one, one",
    ),
    "one address and no gateway": (twin(home_agent="192.0.2.41"), "with gateway one, none"),
    "one address at one home agent": (
        twin(gateway="two", home_agent="192.0.2.40"), "with home_agent 192.0.2.40, 192.0.2.40"
    ),
    "an algorithm that there is not": (nodes({**MN, "proxy_algorithm": "sha3"}), "mn: proxy_algorithm sha3."),
    "a style that there is not": (nodes({**MN, "replay": "nonces"}), "mn: replay nonces."),
    "a reserved SPI": (nodes({**MN, "proxy_spi": 255}), "mn: proxy_spi 255."),
    "a missing SPI": (
        nodes({"name": "mn", "home_address": "192.0.2.69", "proxy_spi": 2001}), "mn: home_agent_spi (not set)."
    ),
    "a key too short for its digest": (
        nodes({**MN, "proxy_algorithm": "hmac-sha256"}, mip_proxy_node_keys={"mn": KEY[:32]}),
        "mip_proxy_node_keys: mn: 32 digits for hmac-sha256, which takes 64.",
    ),
    "no key for MN-AAA": (nodes({**MN, "aaa_spi": 2}), "mip_proxy_aaa_keys: wrong"),
    "no key for a foreign agent": (
        {"mip_proxy_foreign_agents": [{"name": "cafe", "address": "198.51.100.100", "spi": 5001}]},
        "no key for cafe; expected",
    ),
    "no key for FA-HA": (
        {"mip_proxy_home_agents": [{"address": "192.0.2.40", "fa_ha_spi": 6001}]}, "no key for 192.0.2.40; expected"
    ),
    "nothing that may pass": ({"mip_proxy_passes": []}, "mip_proxy_passes: empty; expected one or more of esp"),
    "what cannot pass": (
        {"mip_proxy_passes": ["esp", "udp", 17, "udp/434", "icmp"]},
        "mip_proxy_passes: udp, 17, udp/434, icmp; expected",
    ),
    "other VPN users in the home network": (
        {"mip_proxy_vpn_gateways": [
            {"name": "one", "home_networks": ["192.0.2.64/27"], "other_sources": ["192.0.2.64/28"]}
        ]},
        "mip_proxy_vpn_gateways[].other_sources: 192.0.2.64/28; expected networks",
    ),
    "ports that the firewall does not guard": (
        {"mip_proxy_haleg_first_source_port": 20440}, "the ports 20440-20455; expected them in one of"
    ),
}  # fmt: skip


HOME_AGENT_SITE: dict[str, Any] = {
    "role": "home_agent",
    "home_agent_address": "192.0.2.40",
    "home_agent_interface": "core",
    "home_agent_home_links": [{"interface": "home", "network": "192.0.2.64/27"}],
    "home_agent_proxy_keys": {"mn": KEY},
    "home_agent_direct_keys": {"mn": KEY},
}
POOL = [{"interface": "home", "network": "192.0.2.64/27", "pool": {"first": "192.0.2.80", "last": "192.0.2.81"}}]


def at_home(node: dict[str, Any], **more: Any) -> dict[str, Any]:
    return HOME_AGENT_SITE | {"home_agent_mobile_nodes": [{"direct_spi": 4001, **node}]} | more


GOOD |= {
    "home agent: a node by address": at_home(MN),
    "home agent: a node by name and a pool": at_home(NAMED, home_agent_home_links=POOL),
}
WRONG |= {
    "home agent: a node without any name": (at_home({"name": "mn", "home_agent_spi": 3001}), "home_address or a nai"),
    "home agent: a node by name and no pool": (at_home(NAMED), "no pool, for mn; expected"),
    "home agent: one SPI for proxy and node": (
        at_home({**MN, "direct_spi": 3001}), "direct_spi 3001, as home_agent_spi"
    ),
    "home agent: an algorithm that there is not": (at_home({**MN, "direct_algorithm": "x"}), "direct_algorithm x."),
    "home agent: no key for MN-AAA": (at_home({**MN, "aaa_spi": 2}), "home_agent_aaa_keys: wrong"),
    "home agent: a key too short for its digest": (
        at_home({**MN, "direct_algorithm": "hmac-sha1"}, home_agent_direct_keys={"mn": KEY[:32]}),
        "home_agent_direct_keys: mn: 32 digits for hmac-sha1, which takes 40.",
    ),
}  # fmt: skip


ONE_GATEWAY = [{"name": "one", "vpngw_pub": "203.0.113.20", "vpngw_priv": "192.0.2.20"}]
ONE_BOX: dict[str, Any] = {
    "mip_proxy_one_box": {},
    "mip_proxy_vpn_gateways": ONE_GATEWAY,
    "vpn_gateway_pub_address": "203.0.113.20",
    "vpn_gateway_wire_interface": "mip0",
    "dmz_firewall_wire_interface": "mip0",
}
GATEWAY_SITE: dict[str, Any] = {
    "role": "vpn_gateway",
    "vpn_gateway_pub_address": "203.0.113.20",
    "vpn_gateway_pub_interface": "pub",
    "vpn_gateway_priv_interface": "priv",
    "vpn_gateway_mipp_pub": "203.0.113.10",
    "vpn_gateway_home_networks": ["192.0.2.64/27"],
    "vpn_gateway_local_ts": ["192.0.2.32/27", "192.0.2.64/27"],
    "vpn_gateway_identity": "vpngw.example",
    "vpn_gateway_mobile_nodes": [{"name": "mn", "home_address": "192.0.2.69", "identity": "mn@home.example"}],
    "vpn_gateway_ike_secrets": {"mn": KEY},
}
FIREWALL_SITE: dict[str, Any] = {
    "role": "dmz_firewall",
    "dmz_firewall_kind": "host",
    "dmz_firewall_mipp_pub": "203.0.113.10",
    "dmz_firewall_mipp_priv": "192.0.2.10",
    "dmz_firewall_home_agents": ["192.0.2.40"],
}

GOOD |= {
    "one box": ONE_BOX,
    "one box, a gateway by other means": {
        name: ONE_BOX[name] for name in ("mip_proxy_one_box", "mip_proxy_vpn_gateways", "dmz_firewall_wire_interface")
    },
    "gateway": GATEWAY_SITE,
    "gateway in one box": GATEWAY_SITE | {"vpn_gateway_wire_interface": "mip0"},
    "firewall of the proxy's host": FIREWALL_SITE,
    "firewall of one box": FIREWALL_SITE
    | {"dmz_firewall_wire_interface": "mip0", "dmz_firewall_home_networks": ["192.0.2.64/27"]},
}
PASSWORDS = GATEWAY_SITE | {
    "vpn_gateway_second_authentication": "eap",
    "vpn_gateway_passwords": {"mn": KEY, "mn2": KEY},
}
AGENT = {"name": "branch", "address": "198.51.100.20", "identity": "branch.example", "networks": ["198.51.100.100/32"]}
AGENTS = GATEWAY_SITE | {
    "vpn_gateway_trusted_agents": [AGENT],
    "vpn_gateway_trusted_agent_secrets": {"branch": KEY},
    "vpn_gateway_home_agents": ["192.0.2.40"],
}
L2TP = GATEWAY_SITE | {"vpn_gateway_l2tp": True, "vpn_gateway_l2tp_address": "192.0.2.20"}
GOOD |= {
    "gateway: a trusted agent": AGENTS,
    "gateway: L2TP": L2TP,
    "gateway: a password after the key": PASSWORDS,
    "gateway: a full tunnel": GATEWAY_SITE | {"vpn_gateway_full_tunnel": True, "vpn_gateway_local_ts": ["0.0.0.0/0"]},
}
WRONG |= {
    "one box: two names of one wire": (
        ONE_BOX | {"mip_proxy_one_box": {"gateway_interface": "wire0"}},
        "whose end of the wire is wire0; there are 1 in mip_proxy_vpn_gateways (203.0.113.20)",
    ),
    "one box: no wire for the firewall": (
        {name: value for name, value in ONE_BOX.items() if name != "dmz_firewall_wire_interface"},
        "'dmz_firewall_wire_interface': 'not set'}; expected the same",
    ),
    "one box: another gateway's address": (
        ONE_BOX | {"vpn_gateway_pub_address": "203.0.113.21"}, "vpn_gateway_pub_address is 203.0.113.21, and"
    ),
    "one box: two gateways": (
        ONE_BOX | {"mip_proxy_vpn_gateways": [*ONE_GATEWAY, {"name": "two", "vpngw_pub": "203.0.113.21"}]},
        "there are 2 in mip_proxy_vpn_gateways (203.0.113.20, 203.0.113.21)",
    ),
    "a wire and no box": (
        {"vpn_gateway_wire_interface": "mip0"}, "mip_proxy_one_box: not set, and vpn_gateway_wire_interface is mip0"
    ),
    "gateway: the wire is the segment": (
        GATEWAY_SITE | {"vpn_gateway_wire_interface": "pub"},
        "vpn_gateway_wire_interface: 'pub'; expected the gateway's end of the wire",
    ),
    "gateway: no address": (
        GATEWAY_SITE | {"vpn_gateway_mipp_pub": "203.0.113.300"},
        "vpn_gateway_mipp_pub: '203.0.113.300' is no IPv4 address; expected one",
    ),
    "gateway: a node that is not of its home networks": (
        GATEWAY_SITE | {"vpn_gateway_home_networks": ["192.0.2.96/27"]}, "home_address in one of 192.0.2.96/27"
    ),
    "gateway: an SA that carries the proxy": (
        GATEWAY_SITE | {"vpn_gateway_local_ts": ["0.0.0.0/0"]}, "vpn_gateway_local_ts: 0.0.0.0/0 contains 203.0.113"
    ),
    "gateway: a full tunnel to some networks": (
        GATEWAY_SITE | {"vpn_gateway_full_tunnel": True},
        "with vpn_gateway_full_tunnel; expected 0.0.0.0/0 alone",
    ),
    "gateway: a second authentication of IKEv2 in IKEv1": (
        PASSWORDS | {"vpn_gateway_ike_version": 1, "vpn_gateway_ike_proposals": ["aes256-sha384-ecp384"]},
        "vpn_gateway_second_authentication: eap with vpn_gateway_ike_version 1; expected xauth",
    ),
    "gateway: one of IKEv1 in IKEv2": (
        PASSWORDS | {"vpn_gateway_second_authentication": "xauth"},
        "vpn_gateway_second_authentication: xauth with vpn_gateway_ike_version 2; expected eap",
    ),
    "gateway: combined ciphers in IKEv1": (
        GATEWAY_SITE | {"vpn_gateway_ike_version": 1},
        "with vpn_gateway_ike_version 1; expected a cipher and a hash each",
    ),
    "gateway: a password twice": (
        PASSWORDS | {"vpn_gateway_authentication": "eap"}, "after vpn_gateway_authentication eap; expected psk or"
    ),
    "gateway: a node without a password": (
        PASSWORDS | {"vpn_gateway_passwords": {}}, "vpn_gateway_passwords: no usable password for mn; expected 12"
    ),
    "gateway: certificates without a certificate": (
        GATEWAY_SITE | {"vpn_gateway_authentication": "certificate"},
        "vpn_gateway_certificate: no certificate in PEM; expected one",
    ),
    "gateway: RADIUS that nobody asks": (
        GATEWAY_SITE | {"vpn_gateway_password_check": "radius"},
        "vpn_gateway_password_check: radius, and no node is asked",
    ),
    "gateway: addresses of RADIUS without it": (
        PASSWORDS | {"vpn_gateway_inner_address": "radius"}, "vpn_gateway_inner_address: radius with"
    ),
    "gateway: RADIUS without a server": (
        PASSWORDS | {"vpn_gateway_password_check": "radius"}, "vpn_gateway_radius_server: ''"
    ),
    "gateway: a trusted agent without a key": (
        AGENTS | {"vpn_gateway_trusted_agent_secrets": {}},
        "vpn_gateway_trusted_agent_secrets: no usable secret for branch; expected 24",
    ),
    "gateway: a trusted agent and nobody to reach": (
        AGENTS | {"vpn_gateway_home_agents": []}, "vpn_gateway_home_agents: empty; expected IPv4 addresses"
    ),
    "gateway: a trusted agent in the home network": (
        AGENTS | {"vpn_gateway_trusted_agents": [AGENT | {"networks": ["192.0.2.64/28"]}]}, "and are no home network"
    ),
    "gateway: a trusted agent that is the gateway": (
        AGENTS | {"vpn_gateway_trusted_agents": [AGENT | {"networks": ["203.0.113.0/26"]}]},
        "that contain none of 203.0.113.20, 203.0.113.10",
    ),
    "gateway: a trusted agent with a node's name": (
        AGENTS | {"vpn_gateway_trusted_agents": [AGENT | {"name": "mn"}]},
        "vpn_gateway_trusted_agents: name mn, mn, nodes' included; expected no two alike",
    ),
    "gateway: L2TP without an address": (
        GATEWAY_SITE | {"vpn_gateway_l2tp": True},
        "vpn_gateway_l2tp_address: ''; expected an IPv4 address such as VPNGW-Priv",
    ),
    "gateway: L2TP whose links have the SA's address": (
        L2TP | {"vpn_gateway_l2tp_address": "203.0.113.20"}, "vpn_gateway_l2tp_address: '203.0.113.20'; expected"
    ),
    "gateway: L2TP without ESP of the kernel": (
        L2TP | {"vpn_gateway_ipsec_backend": "libipsec"}, "vpn_gateway_ipsec_backend: libipsec with vpn_gateway_l2tp"
    ),
    "gateway: L2TP and an address by RADIUS": (
        L2TP | {"vpn_gateway_inner_address": "static"}, "vpn_gateway_inner_address: static with vpn_gateway_l2tp"
    ),
    "gateway: L2TP in large packets": (
        L2TP | {"vpn_gateway_l2tp_mtu": 1500}, "vpn_gateway_l2tp_mtu: 1500; expected 576 to 1400"
    ),
    "gateway: L2TP that never gives up": (
        L2TP | {"vpn_gateway_l2tp_retries": 0}, "vpn_gateway_l2tp_retries: 0; expected 1 to 1000"
    ),
    "firewall: no home agent": (
        FIREWALL_SITE | {"dmz_firewall_home_agents": []}, "dmz_firewall_home_agents is empty; expected one entry"
    ),
    "firewall of one box: no home networks": (
        FIREWALL_SITE | {"dmz_firewall_wire_interface": "mip0"}, "dmz_firewall_home_networks is not set"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case is told: nothing if its variables fit together. One run; each case is a host."""
    directory = tmp_path_factory.mktemp("preflight")
    cases = {**GOOD, **{name: variables for name, (variables, _) in WRONG.items()}}
    hosts = {
        f"case{number}": {"role": "mip_proxy", **SITE, **variables} for number, variables in enumerate(cases.values())
    }
    inventory, playbook = directory / "hosts.json", directory / "play.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": {"ansible_connection": "local"}}}))
    task = {"ansible.builtin.include_role": {"name": "mobileip.vpn.{{ role }}", "tasks_from": "consistency.yml"}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook)],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    told = dict.fromkeys(hosts, "")
    for host, result in RESULT.findall(done.stdout):
        told[host] += json.loads(result)["msg"]
    ended = set(re.findall(r"^(case\d+) +: ", done.stdout.partition("PLAY RECAP")[2], re.MULTILINE))
    assert ended == set(hosts), done.stdout + done.stderr
    return dict(zip(cases, told.values(), strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_variables_that_fit_together_pass(said: dict[str, str], name: str) -> None:
    assert said[name] == ""


@pytest.mark.parametrize("name", WRONG)
def test_variables_that_do_not_are_told_with_value_and_expectation(said: dict[str, str], name: str) -> None:
    assert WRONG[name][1] in said[name]
    assert KEY[:16] not in said[name]
