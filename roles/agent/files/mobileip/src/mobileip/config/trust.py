"""What proxy and home agent are told of messages to believe, and of replies to those that they do not believe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mobileip.config.findings import Finding, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Association, Party
from mobileip.config.values import Model, Network, Unicast


def _aaa_spi(value: int) -> int:
    if value != 2 and not 256 <= value <= 0xFFFFFFFF:
        raise ValueError("expected 2 (CHAP), or 256 to 4294967295")
    return value


class AaaAssociation(Association):
    """What a node and its AAA server share, for MN-AAA authentication (RFC 4721)."""

    spi: Annotated[int, AfterValidator(_aaa_spi)] = Field(
        default=2, description="SPI; 2 is CHAP as RADIUS servers know it, whatever the algorithm (RFC 4721 8)"
    )


class ForeignAgentAssociations(Model):
    address: Unicast = Field(description="address that the foreign agent's requests come from")
    security_associations: list[Association] = Field(
        min_length=1, description="security associations with the foreign agent (FA-HA authentication), at least one"
    )


class Auth(Model):
    fail_reply: Literal["none", 131] = Field(
        default="none", description="answer to a wrong authenticator: none, or 131 within the reply limits"
    )


class KnownSource(Model):
    """A foreign agent or NAT behind which many nodes may sit."""

    network: Network = Field(description="addresses that requests come from, such as 198.51.100.40/32")
    rate: float = Field(gt=0, le=100000, strict=False, description="replies a second, more than 0")
    burst: int = Field(ge=1, le=100000, description="replies at once, 1 or more")


class ReplyLimits(Model):
    """Replies that anybody can provoke (131, 133, 134, 136, 144), for each source and for each node."""

    rate: float = Field(default=1, gt=0, le=1000, strict=False, description="replies a second, more than 0")
    burst: int = Field(default=5, ge=1, le=1000, description="replies at once, 1 or more")
    known: list[KnownSource] = Field(default_factory=list, description="sources with larger allowances")


class VendorExtension(Model):
    """A critical vendor extension that is known here, or may pass (RFC 3115 2.1)."""

    vendor: int = Field(ge=0, le=0xFFFFFF, description="SMI enterprise number of the vendor, 0 to 16777215")
    type: int = Field(ge=0, le=0xFFFF, description="the vendor's type number, 0 to 65535")


class AnsweringParty(Party):
    """Whoever plays a home agent: the proxy to nodes, the home agent to both."""

    auth: Auth = Field(default_factory=Auth)
    reply_limits: ReplyLimits = Field(default_factory=ReplyLimits)
    strict_reserved_bits: bool = Field(
        default=False, description="true to deny requests with the bits r or x set (134), false to ignore these bits"
    )
    vendor_extensions: list[VendorExtension] = Field(
        default_factory=list, description="critical vendor extensions (RFC 3115) that are known here; others are 140"
    )
    foreign_agents: list[ForeignAgentAssociations] = Field(
        default_factory=list, description="foreign agents that FA-HA authentication was agreed on with"
    )

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        for index, agent in enumerate(self.foreign_agents):
            for number, association in enumerate(agent.security_associations):
                yield ("foreign_agents", index, "security_associations", number), association

    def findings(self) -> Iterator[Finding]:
        agents = list(enumerate(self.foreign_agents))
        yield from repeated([(("foreign_agents", i, "address"), agent.address) for i, agent in agents], "foreign agent")
        for index, agent in agents:
            base = ("foreign_agents", index, "security_associations")
            numbered = enumerate(agent.security_associations)
            yield from repeated(
                [((*base, n, "spi"), one.spi) for n, one in numbered], "security association of an agent"
            )
        known = list(enumerate(self.reply_limits.known))
        yield from repeated([(("reply_limits", "known", i, "network"), one.network) for i, one in known], "source")


class HomeAgentFaHa(Association):
    """FA-HA authentication with a home agent that takes MIPP-Priv for a foreign agent (AMB-4)."""

    home_agent: Unicast = Field(description="address of the home agent")
