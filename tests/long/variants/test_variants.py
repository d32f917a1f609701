"""Each way to let a node in and to protect it: strongSwan sets the SA up from the roles' files, and the node roams."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests.integration.site import CN, GATEWAY, HOME, until
from tests.long.variants.ground import (
    BRANCH,
    CARE_OF,
    HOME_AGENT,
    IDENTITY,
    PASSWORD,
    SECRET,
    SwanSite,
    Variant,
    capture,
    certificates,
    heard,
    running,
)

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or None in map(shutil.which, ("clang", "mmdebstrap")), reason="needs root, clang, mmdebstrap"
    ),
]
V1 = ["aes256-sha384-ecp384"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return certificates(tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwanSite]:
    with running(tmp_path_factory.mktemp("site")) as made:
        yield made


def both(**settings: Any) -> Variant:
    """The same at both ends."""
    return Variant(
        {f"vpn_gateway_{key}": value for key, value in settings.items()},
        {f"mobile_node_{key}": value for key, value in settings.items()},
    )


def and_also(variant: Variant, *, gateway: dict[str, Any] | None = None, node: dict[str, Any] | None = None) -> Variant:
    """A variant with more settings at one end or the other."""
    return Variant({**variant.gateway, **(gateway or {})}, {**variant.node, **(node or {})})


def with_certificates(variant: Variant, pki: dict[str, Any]) -> Variant:
    """The certificates that an authority of the site's own has signed."""
    gateway, node, ca = pki["certificates"]["gateway"], pki["certificates"]["node-mn"], pki["ca"]["certificate"]
    return and_also(
        variant,
        gateway={
            "vpn_gateway_certificate": gateway["certificate"],
            "vpn_gateway_private_key": gateway["key"],
            "vpn_gateway_ca_certificate": ca,
        },
        node={
            "mobile_node_certificate": node["certificate"],
            "mobile_node_private_key": node["key"],
            "mobile_node_ca_certificate": ca,
        },
    )


def certified(variant: Variant, request: pytest.FixtureRequest) -> Variant:
    """The variant with certificates, where it needs some: they take a while to make."""
    if variant.gateway.get("vpn_gateway_authentication", "psk") == "psk":
        return variant
    return with_certificates(variant, request.getfixturevalue("pki"))


def with_password(variant: Variant) -> Variant:
    return and_also(
        variant, gateway={"vpn_gateway_passwords": {"mn": PASSWORD}}, node={"mobile_node_password": PASSWORD}
    )


VARIANTS = {
    "IKEv2, PSK": both(),
    "IKEv2, certificates": both(authentication="certificate"),
    "IKEv2, EAP": with_password(both(authentication="eap")),
    "IKEv2, PSK and EAP": with_password(both(second_authentication="eap")),
    "IKEv2, certificates and EAP": with_password(both(authentication="certificate", second_authentication="eap")),
    "IKEv1, PSK": both(ike_version=1, ike_proposals=V1),
    "IKEv1, certificates": both(ike_version=1, ike_proposals=V1, authentication="certificate"),
    "IKEv1, XAuth after PSK": with_password(both(ike_version=1, ike_proposals=V1, second_authentication="xauth")),
    "IKEv1, XAuth after certificates": with_password(
        both(ike_version=1, ike_proposals=V1, authentication="certificate", second_authentication="xauth")
    ),
    "ESP in UDP": both(esp_in_udp=True),
    "static inner address": Variant({"vpn_gateway_inner_address": "static"}, {"mobile_node_inner_address": "static"}),
    "full tunnel": Variant(
        {"vpn_gateway_full_tunnel": True, "vpn_gateway_local_ts": ["0.0.0.0/0"]},
        {"mobile_node_remote_ts": ["0.0.0.0/0"]},
    ),
}

BY_RADIUS = {
    "vpn_gateway_password_check": "radius",
    "vpn_gateway_radius_server": CN,
    "vpn_gateway_radius_secret": SECRET,
    "vpn_gateway_inner_address": "radius",
}
RADIUS = and_also(VARIANTS["IKEv2, PSK and EAP"], gateway=BY_RADIUS)
RADIUS_XAUTH = and_also(VARIANTS["IKEv1, XAuth after PSK"], gateway=BY_RADIUS)
VARIANTS |= {
    "IKEv2, EAP, by RADIUS": and_also(VARIANTS["IKEv2, EAP"], gateway=BY_RADIUS),
    "IKEv2, PSK and EAP, by RADIUS": RADIUS,
    "IKEv1, XAuth after PSK, by RADIUS": RADIUS_XAUTH,
}
REFUSED = {
    "a wrong key": (both(), {"mobile_node_ike_secret": "another-key-of-24-chars-0"}),
    "the key, and no password": (VARIANTS["IKEv2, PSK and EAP"], {"mobile_node_second_authentication": "none"}),
    "the key, and a wrong password": (VARIANTS["IKEv2, PSK and EAP"], {"mobile_node_password": "another password"}),
    "a wrong password alone": (VARIANTS["IKEv2, EAP"], {"mobile_node_password": "another password"}),
    "a wrong password of XAuth": (VARIANTS["IKEv1, XAuth after PSK"], {"mobile_node_password": "another password"}),
    "a certificate of somebody else's authority": (VARIANTS["IKEv2, certificates"], {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_node_roams_under_one_sa(name: str, site: SwanSite, request: pytest.FixtureRequest) -> None:
    variant = certified(VARIANTS[name], request)
    server = site.radius(HOME) if variant.gateway.get("vpn_gateway_password_check") == "radius" else nullcontext()
    with server, site.protected(variant):
        until(lambda: site.show("mn", "location")["location"] == "outside", 20, what=site.log("mn"))
        site.initiate()
        until(lambda: site.ping() == 3, 10, what=site.sas("node-swan"))
        before = site.spis()
        assert len(before) == 2
        listening = capture(site)
        for network in ("fa", "open"):
            site.move(network)
            until(lambda: site.ping() == 3, 20, what=f"{network}: {site.sas('node-swan')} {site.log('mn')[-900:]}")
        lines = heard(listening)
        assert site.spis() == before, "no new SA"
    esp = [line for line in lines if "ESP(" in line]
    assert [line for line in lines if line not in esp] == [], "neither IKE nor anything in clear"
    assert len(esp) >= 12, "both ways, in both networks"
    assert {"UDP-encap" in line for line in esp} == {name == "ESP in UDP"}


@pytest.mark.parametrize("why", REFUSED)
def test_nobody_else_is_let_in(why: str, site: SwanSite, request: pytest.FixtureRequest) -> None:
    variant, wrong = REFUSED[why]
    variant = certified(variant, request)
    if "certificate" in why:
        node = request.getfixturevalue("pki")["certificates"]["node-mn"]
        # Signed by itself, with the node's name in it.
        own = signed_by_itself(node["key"])
        wrong = {"mobile_node_certificate": own}
    with site.protected(and_also(variant, node=wrong)):
        site.initiate(check=False)
        assert "INSTALLED" not in site.sas("gateway-swan"), why
        assert site.ping() == 0


INNER = {"pool": both(), "static": VARIANTS["static inner address"], "radius": RADIUS, "radius, XAuth": RADIUS_XAUTH}


@pytest.mark.parametrize("by", INNER)
def test_another_inner_address_is_refused_even_if_radius_gives_it(by: str, site: SwanSite) -> None:
    with site.radius("192.0.2.70"), site.protected(INNER[by]):
        site.initiate()
        assert "remote 192.0.2.69/32" in " ".join(site.sas("gateway-swan").split())
        file = "/etc/swanctl/conf.d/mobileip.conf"
        other = "s|local_ts = .*|local_ts = 192.0.2.70/32|; s|vips = .*|vips = 192.0.2.70|"
        site.inside("node-swan", "sed", "-i", other, file)
        site.inside("node-swan", "swanctl", "--terminate", "--ike", "vpngw")
        site.inside("node-swan", "swanctl", "--load-all", "--noprompt")
        said = site.initiate(check=False)
        assert "INSTALLED" not in site.sas("gateway-swan"), said
        version = INNER[by].gateway.get("vpn_gateway_ike_version", 2)
        refusal = {1: "INVALID_ID_INFORMATION", 2: "TS_UNACCEPTABLE"}[version]
        assert f"received {refusal}" in said, said


@pytest.mark.parametrize("asked", [RADIUS, RADIUS_XAUTH], ids=["EAP", "XAuth"])
def test_a_node_that_radius_does_not_know_is_refused(asked: Variant, site: SwanSite) -> None:
    with site.radius(HOME), site.protected(and_also(asked, node={"mobile_node_password": "another password"})):
        said = site.initiate(check=False)
        assert "INSTALLED" not in site.sas("gateway-swan"), said


TRUSTED = Variant(
    {
        "vpn_gateway_home_agents": [HOME_AGENT],
        "vpn_gateway_trusted_agents": [
            {"name": "branch", "address": BRANCH, "identity": "branch.example", "networks": [f"{CARE_OF}/32"]}
        ],
        "vpn_gateway_trusted_agent_secrets": {"branch": SECRET},
    }
)


@pytest.fixture
def trusting(site: SwanSite) -> Iterator[None]:
    """The node, which trusts the foreign agent for a test."""
    site.reconfigure("mn", trusted_agents={"addresses": ["198.51.100.129"]})
    yield
    site.reconfigure("mn", trusted_agents={"addresses": []})


@pytest.mark.usefixtures("trusting")
def test_behind_a_trusted_agent_all_goes_by_its_networks_sa_and_nothing_to_the_proxy(site: SwanSite) -> None:
    with site.protected(TRUSTED), site.guarded(TRUSTED), site.branch():
        site.move("open")
        until(lambda: site.show("mn", "location")["location"] == "outside", 20, what=site.log("mn"))
        site.initiate()
        until(lambda: site.ping() == 3, 10, what=site.sas("node-swan"))
        own = site.spis()
        listening = capture(site, "inet", "dmz", "ip")
        site.move("fa")
        site.park(True)
        try:
            until(lambda: site.ping() == 3, 30, what=f"{site.sas('branch-swan')} {site.log('mn')[-900:]}")
            said = site.show("mn", "location")
            assert (said["location"], said["trusted_agent"]) == ("inside", True)
            lines = heard(listening)
            protected = site.spis("branch-swan")
            assert len(protected) == 2
            assert site.ping(20) == 20
            assert site.spis("branch-swan") == protected
        finally:
            site.park(False)
        site.move("open")
        until(lambda: site.ping() == 3, 20, what=site.log("mn")[-900:])
        assert site.spis() == own, "the node's own SA is the one from before"
    between = [line for line in lines if f"{BRANCH}" in line and GATEWAY in line]
    assert [line for line in lines if line not in between] == []
    assert len([line for line in between if "ESP(" in line]) >= 8
    assert {"isakmp" in line or "ESP(" in line for line in between} == {True}


def test_nothing_of_a_trusted_agent_passes_the_gateway_in_clear(site: SwanSite) -> None:
    def asked() -> int:
        """How many requests in clear, sent to the gateway past every SA, the home agent hears."""
        listening = capture(site, "ha", "core", f"icmp[icmptype] == icmp-echo and src {CARE_OF}")
        site.run("fa", "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", "-I", CARE_OF, HOME_AGENT, check=False)
        return len(heard(listening))

    astray = ("route", "add", HOME_AGENT, "via", GATEWAY)
    site.run("inet", "ip", *astray)
    try:
        with site.protected(TRUSTED):
            with site.guarded(TRUSTED):
                assert asked() == 0
                assert (
                    "packets 3 " in site.run("gw", "nft", "list", "chain", "inet", "mobileip_gateway", "refuse").stdout
                )
            assert asked() == 3
            site.run("inner", "ip", "route", "add", CARE_OF, "via", "192.0.2.20")
            listening = capture(site, "inet", "dmz", "ip")
            site.run("ha", "ping", "-q", "-c", "3", "-i", "0.3", "-W", "1", CARE_OF, check=False)
            lines = heard(listening)
            # Nobody answers there: what the home agent sends waits for an SA.
            assert lines != []
            assert [line for line in lines if f"{GATEWAY}.500 > {BRANCH}.500" not in line] == []
    finally:
        site.run("inet", "ip", *("del" if word == "add" else word for word in astray))
        site.run("inner", "ip", "route", "del", CARE_OF, check=False)


def signed_by_itself(key: str) -> str:
    """A certificate that the node has signed itself."""
    name = ("-subj", f"/CN={IDENTITY}", "-addext", f"subjectAltName=email:{IDENTITY}")
    command = ["openssl", "req", "-x509", "-key", "/dev/stdin", "-days", "2", *name]
    return subprocess.run(command, input=key, capture_output=True, text=True, timeout=30, check=True).stdout
