"""The picture of an inventory: what stands in it, that nothing overlaps, and that no name becomes more than a name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.mobileip.vpn.plugins.filter.deployment import FilterModule as Plugin
from ansible_collections.mobileip.vpn.plugins.filter.deployment import topology_svg
from ansible_collections.mobileip.vpn.plugins.plugin_utils.deployment import (
    WANTED,
    Deployment,
    DeploymentError,
    Firewall,
    describe,
)
from ansible_collections.mobileip.vpn.plugins.plugin_utils.topology_layout import (
    SHOWN,
    Box,
    Line,
    Picture,
    Tag,
    Text,
    cut,
    lay_out,
    text_width,
)
from ansible_collections.mobileip.vpn.plugins.plugin_utils.topology_svg import draw
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
KEY = "badc0ffee0ddf00d" * 2
SVG = "{http://www.w3.org/2000/svg}"
DEFAULTS = {
    name: value
    for file in sorted(ROOT.glob("roles/*/defaults/main.yml"))
    for name, value in yaml.safe_load(file.read_text(encoding="utf-8")).items()
}
ADDRESS = {"address": "203.0.113.10", "interface": "pub"}


def site(**changed: Any) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Two boxes between two firewalls, as plain data; `changed` by host."""
    hosts: dict[str, dict[str, Any]] = {
        "mipp": {
            "mip_proxy_pub": ADDRESS,
            "mip_proxy_priv": {"address": "192.0.2.10", "interface": "priv"},
            "mip_proxy_vpn_gateways": [
                {"name": "gw", "vpngw_pub": "203.0.113.20", "vpngw_priv": "192.0.2.20",
                 "home_networks": ["192.0.2.64/27"]}
            ],
            "mip_proxy_home_agents": [{"address": "192.0.2.40", "home_networks": ["192.0.2.64/27"]}],
            "mip_proxy_mobile_nodes": [{"name": "mn", "home_address": "192.0.2.69", "home_agent": "192.0.2.40"}],
            "dmz_firewall_kind": "host",
            "dmz_firewall_mipp_pub": "203.0.113.10",
            "dmz_firewall_mipp_priv": "192.0.2.10",
            "dmz_firewall_home_agents": ["192.0.2.40"],
        },
        "vpngw": {
            "vpn_gateway_pub_address": "203.0.113.20",
            "vpn_gateway_pub_interface": "pub",
            "vpn_gateway_priv_interface": "priv",
            "vpn_gateway_home_networks": ["192.0.2.64/27"],
            "vpn_gateway_local_ts": ["192.0.2.32/27", "192.0.2.64/27"],
        },
        "outer_fw": {
            "dmz_firewall_kind": "outer",
            "dmz_firewall_mipp_pub": "203.0.113.10",
            "dmz_firewall_outside_interface": "outside",
            "dmz_firewall_dmz_interface": "dmz",
            "dmz_firewall_internal_prefixes": ["192.0.2.0/24"],
            "dmz_firewall_dmz_prefixes": ["203.0.113.0/26"],
        },
        "inner_fw": {
            "dmz_firewall_kind": "inner",
            "dmz_firewall_mipp_pub": "203.0.113.10",
            "dmz_firewall_mipp_priv": "192.0.2.10",
            "dmz_firewall_dmz_interface": "dmz",
            "dmz_firewall_inside_interfaces": ["core", "visited"],
            "dmz_firewall_home_agents": ["192.0.2.40"],
            "dmz_firewall_home_networks": ["192.0.2.64/27"],
            "dmz_firewall_intranet_networks": ["192.0.2.32/27"],
        },
    }  # fmt: skip
    for host, more in changed.items():
        hosts[host] = hosts.get(host, {}) | more
    groups = {"all": [*hosts], "mip_proxies": ["mipp"], "vpn_gateways": ["vpngw"]}
    return hosts, groups


def deployment(**changed: Any) -> Deployment:
    return describe(*site(**changed), DEFAULTS)


def texts(picture: Picture) -> list[str]:
    return [shape.text for shape in picture.shapes if isinstance(shape, (Text, Tag))]


def overlapping(picture: Picture) -> Iterator[tuple[str, str]]:
    """Labels that would run into each other, or out of the picture."""
    labels = [(shape.extent, shape.text) for shape in picture.shapes if isinstance(shape, (Text, Tag))]
    for (left, top, right, bottom), text in labels:
        if left < 0 or top < 0 or right > picture.width or bottom > picture.height:
            yield text, "the edge"
    above: list[tuple[tuple[float, float, float, float], str]] = []
    for extent, text in sorted(labels, key=lambda label: label[0][1]):
        left, top, right, _ = extent
        above = [(other, name) for other, name in above if other[3] > top]
        yield from ((name, text) for other, name in above if left < other[2] and other[0] < right)
        above.append((extent, text))


def test_picture_has_the_drafts_names_with_addresses_and_interfaces() -> None:
    found = texts(lay_out(deployment()))
    for label, address in (
        ("MIPP-Pub · pub", "203.0.113.10"),
        ("MIPP-Priv · priv", "192.0.2.10"),
        ("VPNGW-Pub · pub", "203.0.113.20"),
        ("VPNGW-Priv · priv", "192.0.2.20"),
        ("MN-Perm", "192.0.2.69"),
    ):
        assert found[found.index(label) + 1] == address
    assert "public 203.0.113.0/26" in found
    assert {"mipp", "vpngw", "outer_fw", "inner_fw", "mn"} <= set(found)


def test_who_is_no_host_of_the_inventory_is_drawn_with_dashes() -> None:
    picture = lay_out(deployment())
    assert "home agent, not in this inventory" in texts(picture)
    assert sum(isinstance(shape, Box) and shape.style == "stranger" for shape in picture.shapes) == 2  # ha and mn
    hosts, groups = site(ha={"home_agent_address": "192.0.2.40", "home_agent_interface": "core",
                             "home_agent_home_links": [{"interface": "home", "network": "192.0.2.64/27"}]},
                         mn={"mobile_node_interface": "eth0"})  # fmt: skip
    groups |= {"home_agents": ["ha"], "mobile_nodes": ["mn"]}
    known = lay_out(describe(hosts, groups, DEFAULTS))
    assert not [shape for shape in known.shapes if isinstance(shape, Box) and shape.style == "stranger"]
    assert {"ha", "serves 192.0.2.64/27 on home", "MN-Perm · eth0"} <= set(texts(known))


def test_one_box_has_one_frame_and_a_wire() -> None:
    hosts, groups = site(mipp={"mip_proxy_one_box": {}, "dmz_firewall_wire_interface": "mip0",
                               "dmz_firewall_home_networks": ["192.0.2.64/27"]})  # fmt: skip
    hosts["mipp"] |= hosts.pop("vpngw") | {"vpn_gateway_wire_interface": "mip0"}
    groups |= {"vpn_gateways": ["mipp"], "all": [*hosts]}
    picture = lay_out(describe(hosts, groups, DEFAULTS), "ours")
    assert picture.title == "ours: MIP Proxy and VPN gateway, one box"
    assert {"mipp: one host", "mip0", "mip1"} <= set(texts(picture))
    assert [shape for shape in picture.shapes if isinstance(shape, Line) and shape.style == "wire"]
    assert 'iifname { "mip0", "ipsec0" } ip saddr @home_networks' in texts(picture)


def test_each_rule_is_listed_and_named_on_a_flow() -> None:
    drawn = deployment()
    picture = lay_out(drawn)
    listed = {rule.number for firewall in drawn.firewalls for rule in firewall.rules}
    shown = [shape.text for shape in picture.shapes if isinstance(shape, Tag)]
    assert len(listed) == sum(len(firewall.rules) for firewall in drawn.firewalls)
    # Once in the list, and at least once where it matters; what does not find room on a lane is counted there.
    rest = sum(int(text) for text in shown if text.startswith("+"))
    unused = {number for number in listed if shown.count(number) < 2}
    assert len(unused) == rest + 1  # between the intranet's own networks: no flow of ours


def test_a_firewall_that_is_the_sites_own_is_there_without_rules() -> None:
    hosts, groups = site()
    del hosts["outer_fw"], hosts["inner_fw"]
    drawn = describe(hosts, groups, DEFAULTS)
    found = texts(lay_out(drawn))
    assert found.count("the site's own") == 2  # in the heads of their columns
    assert {"outer firewall", "inner firewall", "not in this inventory"} <= set(found)
    assert {firewall.kind for firewall in drawn.firewalls} == {"host", "guard"}


def test_what_the_site_allows_besides_is_in_the_list_with_its_reason() -> None:
    allow = [{"reason": "Mail", "from": "dmz", "to": "core", "match": "tcp dport 25"}]
    found = texts(lay_out(deployment(inner_fw={"dmz_firewall_allow": allow})))
    assert 'iifname "dmz" oifname "core" tcp dport 25 ct state { new, untracked }' in found
    assert "Mail" in found


def test_firewalls_that_are_alike_are_listed_once() -> None:
    hosts, groups = site()
    hosts["outer_fw2"] = dict(hosts["outer_fw"])
    assert "outer_fw, outer_fw2: outer firewall" in texts(lay_out(describe(hosts, groups, DEFAULTS)))


NAMES = st.text(max_size=80) | st.sampled_from(["W" * 64, "漢" * 30, "<script>", "a\u202egnp.exe", "x" * 500])


@settings(max_examples=20, deadline=None)
@given(
    nodes=st.integers(0, 12),
    agents=st.integers(1, 12),
    networks=st.integers(1, 9),
    name=NAMES,
    direct=st.booleans(),
    one_box=st.booleans(),
)
def test_no_label_runs_into_another_whatever_there_is(
    nodes: int, agents: int, networks: int, name: str, direct: bool, one_box: bool
) -> None:
    home = [f"192.0.2.{number * 8}/29" for number in range(networks)]
    hosts, groups = site(
        mipp={
            "mip_proxy_mobile_nodes": [
                {"name": f"{name}{number}", "home_address": f"192.0.2.{number}", "home_agent": "192.0.2.40"}
                for number in range(nodes)
            ],
            "mip_proxy_home_agents": [
                {"address": f"198.51.100.{number}", "home_networks": home} for number in range(agents)
            ],
            "mip_proxy_vpn_gateways": [
                {"name": name, "vpngw_pub": f"203.0.113.2{number}", "vpngw_priv": f"192.0.2.2{number}",
                 "home_networks": home, "other_sources": ["198.51.100.0/24"]} for number in range(2)
            ],
            "mip_proxy_mobility_delivery": "direct" if direct else "reverse_tunnel",
        },
        inner_fw={"dmz_firewall_direct_delivery": direct, "dmz_firewall_other_sources": ["198.51.100.0/24"],
                  "dmz_firewall_inside_interfaces": [name, "b", "c"]},
    )  # fmt: skip
    if one_box:
        wire = {"mip_proxy_one_box": {}, "dmz_firewall_wire_interface": "mip0", "dmz_firewall_home_networks": home}
        hosts["mipp"] |= hosts.pop("vpngw") | wire | {"vpn_gateway_wire_interface": "mip0"}
        groups |= {"vpn_gateways": ["mipp"], "all": [*hosts]}
    picture = lay_out(describe(hosts, groups, DEFAULTS), name)
    assert list(overlapping(picture)) == []
    ElementTree.fromstring(draw(picture))


def test_of_many_the_first_are_drawn_and_the_rest_is_a_number() -> None:
    many = [{"name": f"n{number}", "home_address": "192.0.2.69"} for number in range(500)]
    found = texts(lay_out(deployment(mipp={"mip_proxy_mobile_nodes": many})))
    assert f"and {500 - SHOWN} more" in found
    assert "n0" in found
    assert f"n{SHOWN}" not in found


def test_a_long_text_is_cut_to_its_place_and_told_in_full() -> None:
    text = cut(0, 0, "W" * 200, "label", 100)
    assert text_width(text.text, "label") <= 100
    assert text.full == "W" * 200
    picture = replace(lay_out(deployment()), shapes=(text,))
    title = ElementTree.fromstring(draw(picture)).find(f"{SVG}text/{SVG}title")
    assert title is not None
    assert title.text == "W" * 200


HOSTILE = (
    "</text><script>alert(1)</script>", '"><image href="http://192.0.2.1/x"/>', "]]><!--", "&lt;b&gt;&#60;",
    "\x00\x1b[31m", "\ud800", "a\u202eb", "{{ 7 * 7 }}", "url(javascript:alert(1))", "\ufeff\u2066x",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_never_becomes_markup(name: str) -> None:
    hosts, groups = site(
        mipp={
            "mip_proxy_pub": ADDRESS | {"interface": name},
            "mip_proxy_mobile_nodes": [{"name": name, "nai": name}],
        },
        outer_fw={"dmz_firewall_outside_interface": name},
        inner_fw={"dmz_firewall_allow": [{"reason": name, "from": name, "to": name, "match": name}]},
    )
    hosts[name] = hosts.pop("mipp")
    groups["mip_proxies"] = [name]
    plain, attacked = (draw(lay_out(one, title)) for one, title in (
        (deployment(), "x"), (describe(hosts, groups, DEFAULTS), name)))  # fmt: skip
    root = ElementTree.fromstring(attacked.encode("utf-8"))
    elements = {element.tag for element in root.iter()}
    assert elements == {element.tag for element in ElementTree.fromstring(plain).iter()} | {f"{SVG}title"}
    assert {key for element in root.iter() for key in element.attrib} <= {
        key for element in ElementTree.fromstring(plain).iter() for key in element.attrib
    }
    # Nothing of it is in any attribute, and nothing that turns text around or rings a bell is in the file.
    assert not [value for element in root.iter() for value in element.attrib.values() if name in value]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", attacked)


def test_no_key_is_among_what_is_read_nor_in_the_picture() -> None:
    def keys(value: Any) -> Iterator[str]:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value or ()):
            yield str(name)
            yield from keys(inner)

    assert not [name for name in keys(WANTED) if re.search("key|secret|password|psk", name)]
    hosts, groups = site(
        mipp={
            "mip_proxy_node_keys": {"mn": KEY},
            "mip_proxy_pub": ADDRESS | {"key": KEY},
            "mip_proxy_mobile_nodes": [{"name": "mn", "home_address": "192.0.2.69", "key": KEY}],
            "site_secrets": {"proxy": {"mn": KEY}},
        },
        vpngw={"vpn_gateway_ike_secrets": {"mn": KEY}},
    )
    assert KEY not in topology_svg(hosts, groups)


class Untouchable(dict[str, Any]):
    """Variables of which those that are no part of the picture may not even be looked at."""

    def __getitem__(self, name: str) -> Any:
        assert name in WANTED
        return super().__getitem__(name)


def test_other_variables_are_not_even_looked_at() -> None:
    hosts, groups = site(mipp={"mip_proxy_node_keys": {"mn": KEY}})
    guarded = {host: Untouchable(known) for host, known in hosts.items()}
    assert "203.0.113.10" in topology_svg(guarded, groups)


def test_the_same_inventory_gives_the_same_text() -> None:
    first, second = (topology_svg(*site(), name="x") for _ in range(2))
    assert hashlib.sha256(first.encode()).digest() == hashlib.sha256(second.encode()).digest()
    root = ElementTree.fromstring(first)
    assert root.attrib["aria-labelledby"] == "title description"
    said = root.find(f"{SVG}desc")
    assert said is not None
    assert "MIPP-Pub 203.0.113.10" in (said.text or "")


def test_text_is_large_enough_to_be_read_at_the_pictures_own_size() -> None:
    root = ElementTree.fromstring(draw(lay_out(deployment())))
    assert min(float(element.attrib["font-size"]) for element in root.iter(f"{SVG}text")) >= 11


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mipp": {"mip_proxy_pub": {"interface": "pub"}}}, "mipp: mip_proxy_pub.address: not set; expected"),
        (
            {"mipp": {"mip_proxy_priv": {"address": "192.0.2.300", "interface": "priv"}}},
            "mipp: mip_proxy_priv.address: '192.0.2.300'; expected an IPv4 address",
        ),
        ({"mipp": {"mip_proxy_home_agents": ["192.0.2.40"]}}, "mip_proxy_home_agents[0]: '192.0.2.40'; expected a sec"),
        ({"mipp": {"mip_proxy_vpn_gateways": []}}, "vpngw: vpn_gateway_pub_address: '203.0.113.20'; expected"),
        ({"vpngw": {"vpn_gateway_home_networks": ["192.0.2.65/27"]}}, "'192.0.2.65/27'; expected an IPv4 network"),
        ({"inner_fw": {"dmz_firewall_kind": "middle"}}, "inner_fw: dmz_firewall_kind: 'middle'; expected outer, inner"),
        ({"outer_fw": {"dmz_firewall_outside_interface": None}}, "outer_fw: dmz_firewall_outside_interface: not set"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told_with_host_variable_value_and_expectation(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeploymentError, match=re.escape(said)):
        deployment(**changed)


def test_a_site_without_a_proxy_is_no_deployment() -> None:
    with pytest.raises(DeploymentError, match="mip_proxies: no host in this group; expected one or more"):
        describe({}, {}, DEFAULTS)


def test_filters_have_their_documentation_beside_them() -> None:
    names = set(Plugin().filters())
    assert names == {"topology_svg", "deployment_problems"}
    assert all((ROOT / f"plugins/filter/{name}.yml").exists() for name in names)


def test_numbers_of_rules_are_found_by_what_they_are_for() -> None:
    (outer,) = deployment().of_kind("outer")
    assert isinstance(outer, Firewall)
    assert outer.numbers("register", "tunnel") == ("O3", "O4", "O5", "O6")
