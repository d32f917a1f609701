"""The foreign agent's file: every key, and what is wrong with a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobileip.config import ConfigError, ForeignAgentConfig, Loaded, load_config
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.foreign_agent_settings import ChallengeMode
from mobileip.runtime.settings import foreign_agent_settings

SMALLEST = """\
role: foreign_agent
uplink: {interface: uplink, care_of_address: 198.51.100.100}
link: {interface: link, address: 198.51.100.129}
"""
WHOLE = (
    SMALLEST
    + """\
advertisement: {interval: 2, registration_lifetime: 600, nai: fa1@example.org, registration_required: true}
challenge: {mode: required, size: 8}
reverse_tunnel_required: true
encapsulating_delivery: false
udp_tunnelling: false
zero_home_address: false
fa_error: false
legacy: true
known_extensions: [126, 100]
vendor_extensions: [{vendor: 10000, type: 1}]
pending: {timeout: 5, max_per_node: 3, max: 50}
max_visitors: 20
allowed_home_agents: [203.0.113.10]
home_agents: [{address: 203.0.113.10, security_association: {spi: 6001, key: home, algorithm: hmac-sha256}}]
mobile_nodes:
  - {home_address: 192.0.2.69, foreign_sa: {spi: 5001, key: node}}
  - {nai: bob@example.org, foreign_sa: {spi: 5002, key: node}, aaa_sa: {spi: 2, key: aaa}}
"""
)
KEYS = f"home: '{'11' * 16}'\nnode: '{'22' * 16}'\naaa: '{'33' * 16}'\n"


def load(directory: Path, text: str) -> Loaded:
    file, keys = directory / "fa.yml", directory / "keys.yml"
    file.write_text(text, encoding="utf-8")
    keys.write_text(KEYS, encoding="utf-8")
    return load_config(file, keys)


def test_every_key_reaches_the_state_machine(tmp_path: Path) -> None:
    loaded = load(tmp_path, WHOLE)
    assert isinstance(loaded.config, ForeignAgentConfig)
    settings = foreign_agent_settings(loaded, loaded.config)
    assert (settings.nai, settings.registration_required) == ("fa1@example.org", True)
    assert (settings.challenge, settings.challenge_size) == (ChallengeMode.REQUIRED, 8)
    assert (settings.reverse_tunnel_required, settings.encapsulating_delivery, settings.udp_tunnelling) == (
        True,
        False,
        False,
    )
    assert (settings.zero_home_address, settings.fa_error, settings.legacy) == (False, False, True)
    assert (settings.known_extensions, settings.vendor_extensions) == (
        frozenset({126, 100}),
        frozenset({(10000, 1)}),
    )
    assert (settings.pending_timeout, settings.pending_per_node, settings.most_pending) == (5, 3, 50)
    assert (settings.most_visitors, settings.advertisement_lifetime, settings.registration_lifetime) == (20, 6, 600)
    (agent,) = settings.allowed_home_agents
    assert settings.home_agents[agent][6001].key == b"\x11" * 16
    alice, bob = settings.nodes
    assert (str(alice.home_address), alice.foreign[5001].key, alice.aaa) == ("192.0.2.69", b"\x22" * 16, {})
    assert (bob.nai, bob.aaa[2].key) == ("bob@example.org", b"\x33" * 16)


def test_defaults_ask_nothing_of_nodes_and_promise_what_the_data_path_can(tmp_path: Path) -> None:
    loaded = load(tmp_path, SMALLEST)
    assert isinstance(loaded.config, ForeignAgentConfig)
    settings = foreign_agent_settings(loaded, loaded.config)
    assert (settings.challenge, settings.nai, settings.nodes, settings.home_agents) == (
        ChallengeMode.NONE,
        None,
        (),
        {},
    )
    assert settings.encapsulations == set(Encapsulation)
    assert not settings.overlapping_home_addresses


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("nai: fa1@example.org", "nai: fa1", "advertisement.nai: 'fa1': "),
        ("mode: required", "mode: on", "challenge.mode: True: expected 'none', 'offered' or 'required'"),
        ("size: 8", "size: 3", "challenge.size: 3: expected greater than or equal to 4"),
        ("[126, 100]", "[126, 130]", "known_extensions[1]: 130: is no type of a non-skippable extension"),
        ("max_visitors: 20", "max_visitors: 0", "max_visitors: 0: expected greater than or equal to 1"),
        ("spi: 5001", "spi: 255", "mobile_nodes[0].foreign_sa.spi: 255: "),
        ("key: home", "key: hone", "home_agents[0].security_association.key: 'hone': is not in the keys file"),
        ("nai: bob@example.org", "home_address: 192.0.2.69", "mobile_nodes[1].home_address: '192.0.2.69': is already"),
        ("home_address: 192.0.2.69, ", "", "mobile_nodes[0]: 0: has no name"),
        (", foreign_sa: {spi: 5001, key: node}", "", "mobile_nodes[0]: 0: shares no key"),
    ],
)
def test_wrong_key_is_named_with_what_was_expected(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert WHOLE.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, WHOLE.replace(old, new))
    (problem,) = caught.value.problems
    assert expected in str(problem)
