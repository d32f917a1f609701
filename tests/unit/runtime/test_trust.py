"""What a person writes about keys and trust arrives at the state machines as written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from mobileip.config import HomeAgentConfig, Loaded, ProxyConfig, load_config
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.rate_limit import Allowance, ReplyAllowances
from mobileip.registration.replay import NonceCheck, ReplayMode, ReplayPolicy
from mobileip.runtime.settings import home_agent_settings, proxy_settings
from mobileip.wire.authentication import Algorithm, ReplayStyle, SecurityAssociation
from tests.unit.config.test_config import HOME_AGENT, PROXY, changed

KEY = bytes(range(16))
TRUST = """\
auth: {fail_reply: 131}
reply_limits: {rate: 2, burst: 9, known: [{network: 198.51.100.0/24, rate: 1000, burst: 2000}]}
strict_reserved_bits: true
vendor_extensions: [{vendor: 9, type: 1}]
foreign_agents: [{address: 198.51.100.1, security_associations: [{spi: 5001, key: k, algorithm: hmac-sha1}]}]
"""
POLICY = GatePolicy(
    foreign_agents={IPv4Address("198.51.100.1"): {5001: SecurityAssociation(5001, KEY, Algorithm.HMAC_SHA1)}},
    reply_on_failed_authentication=True,
    strict_reserved_bits=True,
    vendors=frozenset({(9, 1)}),
    allowances=ReplyAllowances(Allowance(2, 9), {IPv4Network("198.51.100.0/24"): Allowance(1000, 2000)}),
)


def read(directory: Path, text: str, *names: str) -> Loaded:
    """The file, loaded; all keys are one."""
    file, keys = directory / "instance.yml", directory / "keys.yml"
    file.write_text(text)
    keys.write_text("".join(f"{name}: {KEY.hex()}\n" for name in ("k", *names)))
    return load_config(file, keys)


def test_proxys_choices_reach_its_machine(tmp_path: Path) -> None:
    text = changed(PROXY, "algorithm: hmac-md5}", "algorithm: md5-prefix-suffix, replay: nonce}")
    text = changed(text, "proxy-ha-192.0.2.69}", "proxy-ha-192.0.2.69, algorithm: hmac-sha256, replay: nonce}")
    text = changed(text, "    node_sa:", "    aaa_sa: {key: k}\n    node_sa:")
    text += TRUST + "replay: {window: 5, mode: monotonic, nonce_check: local, learn_home_agent_clock: true}\n"
    text += "haleg:\n  fa_ha_sa: [{home_agent: 192.0.2.40, spi: 7001, key: k}]\n"
    text += "  unauthenticated_denials: relay\n  other_acceptances: bind\n"
    loaded = read(tmp_path, text, "mn-proxy-192.0.2.69", "proxy-ha-192.0.2.69")
    assert isinstance(loaded.config, ProxyConfig)
    settings = proxy_settings(loaded, loaded.config)
    replay = ReplayPolicy(5, ReplayMode.MONOTONIC, NonceCheck.LOCAL, learn_clock=True)
    assert settings.checks.replay == replay
    assert settings.checks.foreign_agents == POLICY.foreign_agents
    assert settings.checks.allowances == POLICY.allowances
    assert (settings.checks.reply_on_failed_authentication, settings.checks.strict_reserved_bits) == (True, True)
    assert settings.checks.vendors >= POLICY.vendors
    fa_ha = {IPv4Address("192.0.2.40"): SecurityAssociation(7001, KEY)}
    assert settings.replies == HomeAgentReplies(fa_ha, True, True)
    (node,) = settings.nodes
    assert node.node_associations == (SecurityAssociation(2001, KEY, Algorithm.MD5_PREFIX_SUFFIX, ReplayStyle.NONCE),)
    assert node.home_agent_association == SecurityAssociation(3001, KEY, Algorithm.HMAC_SHA256, ReplayStyle.NONCE)
    assert node.aaa_association == SecurityAssociation(2, KEY)


def test_home_agents_choices_reach_its_machine(tmp_path: Path) -> None:
    text = changed(HOME_AGENT, "security_associations:", "aaa_sa: {spi: 6001, key: k}\n    security_associations:")
    loaded = read(tmp_path, text + TRUST, "a", "b")
    assert isinstance(loaded.config, HomeAgentConfig)
    settings = home_agent_settings(loaded, loaded.config)
    assert settings.checks == POLICY
    (node,) = settings.nodes
    assert node.aaa == SecurityAssociation(6001, KEY)
