"""The foreign agent's file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding
from mobileip.config.shared import Party
from mobileip.config.values import Interface, Model, Seconds, Unicast


class Uplink(Model):
    interface: Interface = Field(description="network interface towards the Internet")
    care_of_address: Unicast = Field(description="address on that interface that visitors use as care-of address")


class VisitorLink(Model):
    interface: Interface = Field(description="network interface on which visitors are")
    address: Unicast = Field(description="the foreign agent's address on that interface")


class Advertisement(Model):
    interval: float = Field(
        default=1.0,
        ge=0.05,
        le=600,
        strict=False,
        description="seconds between agent advertisements (RFC 5944 2.3: about 1)",
    )
    lifetime: int | None = Field(
        default=None, ge=1, le=9000, description="seconds an advertisement is valid; 3 intervals"
    )
    registration_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds accepted, 1 to 65534")


class ForeignAgentConfig(Party):
    """The foreign agent (RFC 5944)."""

    role: Literal["foreign_agent"]
    uplink: Uplink
    link: VisitorLink
    advertisement: Advertisement = Field(default_factory=Advertisement)
    reverse_tunnelling: bool = Field(default=True, description="true or false: offer reverse tunnelling (RFC 3024)")
    udp_tunnelling: bool = Field(
        default=True, description="true or false: ask home agents for a UDP tunnel where a NAT is in between (RFC 3519)"
    )

    def findings(self) -> Iterator[Finding]:
        return _check(self)

    def summary(self) -> str:
        return f"foreign agent {self.uplink.care_of_address}, visitors on {self.link.interface}"


def _check(config: ForeignAgentConfig) -> Iterator[Finding]:
    if config.link.interface == config.uplink.interface:
        yield (
            ("link", "interface"),
            config.link.interface,
            "is the uplink's interface, too",
            "visitors need a link of their own",
        )
    if config.link.address == config.uplink.care_of_address:
        yield ("link", "address"), config.link.address, "is the care-of address, too", "use the link's own address"
    advertisement = config.advertisement
    if advertisement.lifetime is not None and advertisement.lifetime < advertisement.interval:
        yield (
            ("advertisement", "lifetime"),
            advertisement.lifetime,
            f"is shorter than the interval of {advertisement.interval:g} s",
            "RFC 5944 2.3 wants three intervals",
        )
