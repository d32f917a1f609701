"""What the role foreign_agent writes is what its variables say, and passes the daemon's checks."""

from __future__ import annotations

from pathlib import Path

from mobileip.config import ForeignAgentConfig
from tests.unit.templates.test_configurations import loaded, variables

OWN = {
    "foreign_agent_nai": "fa1@example.org",
    "foreign_agent_registration_required": True,
    "foreign_agent_challenge": "required",
    "foreign_agent_legacy": True,
    "foreign_agent_known_extensions": [126, 100],
    "foreign_agent_vendor_extensions": [{"vendor": 10000, "type": 1}],
    "foreign_agent_max_visitors": 9,
    "foreign_agent_allowed_home_agents": ["203.0.113.10"],
    "foreign_agent_home_agents": [{"address": "203.0.113.10", "spi": 6001, "algorithm": "hmac-sha256"}],
    "foreign_agent_home_agent_keys": {"203.0.113.10": "11" * 16},
    "foreign_agent_mobile_nodes": [
        {"name": "mn", "home_address": "192.0.2.69", "foreign_spi": 5001},
        {"name": "bob", "nai": "bob@example.org", "foreign_spi": 5002, "aaa_spi": 7002},
    ],
    "foreign_agent_node_keys": {"mn": "22" * 16, "bob": "33" * 16},
    "foreign_agent_aaa_keys": {"bob": "44" * 16},
}


def test_example_inventory_configures_an_agent_without_keys(tmp_path: Path) -> None:
    host = variables("foreign_agent", "foreign_agents")
    config = loaded(tmp_path, "foreign_agent", "foreign_agent.yml.j2", host).config
    assert isinstance(config, ForeignAgentConfig)
    assert list(config.associations()) == []
    assert (config.challenge.mode, config.udp_tunnelling, config.legacy) == ("none", True, False)


def test_every_variable_reaches_the_daemon_with_its_keys(tmp_path: Path) -> None:
    written = loaded(
        tmp_path, "foreign_agent", "foreign_agent.yml.j2", variables("foreign_agent", "foreign_agents", **OWN)
    )
    config = written.config
    assert isinstance(config, ForeignAgentConfig)
    assert (config.advertisement.nai, config.advertisement.registration_required) == ("fa1@example.org", True)
    assert (config.challenge.mode, config.legacy, config.known_extensions) == ("required", True, [126, 100])
    assert (config.vendor_extensions[0].vendor, config.max_visitors) == (10000, 9)
    assert [str(address) for address in config.allowed_home_agents] == ["203.0.113.10"]
    found = {
        association.spi: (association.algorithm, written.key(association)[0])
        for _, association in config.associations()
    }
    assert found == {
        6001: ("hmac-sha256", 0x11),
        5001: ("hmac-md5", 0x22),
        5002: ("hmac-md5", 0x33),
        7002: ("hmac-md5", 0x44),
    }
