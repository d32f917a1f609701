"""Settings of what is between the parties: source ports, ICMP."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobileip.config import ProxyConfig
from tests.unit.config.test_config import FOREIGN_AGENT, HOME_AGENT, MOBILE_NODE, PROXY, errors, load


def proxy(directory: Path, more: str = "") -> ProxyConfig:
    config = load(directory, PROXY + more).config
    assert isinstance(config, ProxyConfig)
    return config


def test_defaults_are_those_of_the_documents_AMB_14(tmp_path: Path) -> None:
    config = proxy(tmp_path)
    assert config.icmp.grace == 500
    assert config.haleg.ports == tuple(range(20434, 20450))


def test_no_source_ports_means_434_alone_AMB_14(tmp_path: Path) -> None:
    assert proxy(tmp_path, "haleg: {source_ports: 0}\n").haleg.ports == ()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("haleg: {source_ports: 257}", "haleg.source_ports: 257"),
        ("haleg: {first_source_port: 434}", "haleg.first_source_port: 434"),
        ("icmp: {grace: 5001}", "icmp.grace: 5001"),
        ("icmp: {grace: half a second}", "icmp.grace"),
        ("revocation: {enabled: 1}", "revocation.enabled: 1"),
        ("admission: {max_bindings: 1048577}", "admission.max_bindings: 1048577"),
        ("icmp: {pause: 1}", "did you mean|known here: grace"),
    ],
)
def test_what_is_out_of_range_is_named_with_the_range(tmp_path: Path, more: str, said: str) -> None:
    (line,) = errors(tmp_path, PROXY + more + "\n")
    assert any(words in line for words in said.split("|")), line


def test_revocation_is_taken_part_in_on_both_legs_unless_switched_off_AMB_10(tmp_path: Path) -> None:
    on = proxy(tmp_path).revocation
    off = proxy(tmp_path, "revocation: {enabled: false, home_agents: false}\n").revocation
    assert ((on.enabled, on.home_agents), (off.enabled, off.home_agents)) == ((True, True), (False, False))


def test_limits_of_admission(tmp_path: Path) -> None:
    assert (proxy(tmp_path).admission.max_bindings, proxy(tmp_path).admission.max_per_second) == (1 << 20, 0)
    section = "admission: {max_per_second: 500, home_networks: [{network: 192.0.2.64/27, max_bindings: 9}]}\n"
    admission = proxy(tmp_path, section).admission
    assert (admission.max_per_second, admission.home_networks[0].max_bindings) == (500, 9)


def test_limit_of_a_network_that_is_no_home_network_is_refused(tmp_path: Path) -> None:
    (line,) = errors(tmp_path, PROXY + "admission: {home_networks: [{network: 198.51.100.0/24, max_bindings: 9}]}\n")
    assert "admission.home_networks[0].network: '198.51.100.0/24': is inside no home network" in line


@pytest.mark.parametrize("text", [PROXY, HOME_AGENT, FOREIGN_AGENT, MOBILE_NODE])
def test_datagrams_without_checksum_are_accepted_unless_otherwise_configured_R5944_3_1_d(
    tmp_path: Path, text: str
) -> None:
    assert load(tmp_path, text).config.takes_datagrams_without_checksum
    assert not load(tmp_path, text + "udp: {zero_checksum: discard}\n").config.takes_datagrams_without_checksum
    (line,) = errors(tmp_path, text + "udp: {zero_checksum: maybe}\n")
    assert "udp.zero_checksum: 'maybe'" in line
