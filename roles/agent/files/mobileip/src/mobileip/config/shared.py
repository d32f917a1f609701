"""Pieces that several roles share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mobileip.config.findings import Finding
from mobileip.config.problems import KeyPath
from mobileip.config.values import KeyName, Model, Seconds

LEAST_KEY = 16
"""Bytes of the shortest key that is accepted: 128 bits (RFC 5944 5.1). Longer ones may hold any bytes."""

DEFAULT_BPF_OBJECT = Path("/opt/mobileip/lib/mobileip.bpf.o")


class Association(Model):
    """A mobility security association (RFC 5944 1.6): SPI, algorithm and the name of the key."""

    spi: int = Field(ge=256, le=0xFFFFFFFF, description="SPI, 256 to 4294967295 (0 to 255 are reserved, RFC 5944 1.6)")
    key: KeyName = Field(description="name of the key in the keys file")
    algorithm: Literal["hmac-md5", "md5-prefix-suffix", "md5-prefix-suffix-rfc2002", "hmac-sha1", "hmac-sha256"] = (
        Field(default="hmac-md5", description="authentication algorithm, the same at both ends")
    )


class SecurityAssociation(Association):
    """One with or about a node, whose requests are protected against replay."""

    replay: Literal["timestamp", "nonce"] = Field(
        default="timestamp", description="style of replay protection, the same at both ends (RFC 5944 5.7)"
    )


class Replay(Model):
    """Protection by timestamps (RFC 5944 5.7.1)."""

    window: int = Field(default=7, ge=1, le=3600, description="seconds that two clocks may differ; RFC 5944 proposes 7")


class SurrogateReplay(Replay):
    """The proxy's part, between a node and a home agent that both check for themselves."""

    mode: Literal["strict", "monotonic"] = Field(
        default="strict",
        description="how timestamps are judged, strict: near our clock and rising; monotonic: rising",
    )
    nonce_check: Literal["defer-to-ha", "local"] = Field(
        default="defer-to-ha", description="who denies a nonce that is not the last one: the home agent, or the proxy"
    )
    learn_home_agent_clock: bool = Field(
        default=False,
        description="true to judge a node by its home agent's clock, once that one has told it by code 133",
    )


class Nat(Model):
    """UDP tunnelling through address translators (RFC 3519)."""

    keepalive: int = Field(
        default=110, ge=1, le=65535, description="seconds between keepalives; 110 suits a NAT of 2 minutes"
    )
    max_lifetime: Seconds = Field(
        default=60, description="longest lifetime in seconds granted behind a NAT, 1 to 65534"
    )


class AgentNat(Nat):
    """What whoever plays a home agent grants."""

    allowed: bool = Field(default=True, description="true to grant UDP tunnels behind a NAT, false to deny them (129)")
    forced_allowed: bool = Field(
        default=True,
        description="true to grant UDP tunnels that are asked for without a NAT, false to deny them (129)",
    )


GreKey = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]


class Encapsulations(Model):
    """Tunnels besides IP in IP, which everybody takes apart (RFC 5944 4.1)."""

    granted: list[Literal["gre", "minimal", "udp-gre", "udp-minimal"]] = Field(
        default=["gre", "minimal", "udp-gre", "udp-minimal"],
        description="what is granted to who asks for it, any of gre, minimal, udp-gre, udp-minimal; IP in IP always is",
    )
    gre_key: GreKey | None = Field(
        default=None,
        description="key of GRE tunnels (RFC 2890), 0 to 4294967295, the same at their other ends; left out: none",
    )


class Revocation(Model):
    """Registration revocation (RFC 3543)."""

    enabled: bool = Field(default=True, description="true to take part in registration revocation")


class Udp(Model):
    """The sockets of registration messages."""

    zero_checksum: Literal["accept", "discard"] = Field(
        default="accept", description="what becomes of datagrams without a UDP checksum (RFC 5944 3.1: accept)"
    )


class Tunnels(Model):
    """What all tunnels of a host have in common."""

    icmp_errors: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description="ICMP errors a second that one source is sent at most, 0 to 100000; 0: none",
    )
    reassembly: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="tunnel packets a second that come in pieces and are put together, 0 to 100000; 0: none",
    )
    least_path_mtu: int = Field(
        default=576, ge=68, le=1500, description="bytes, 68 to 1500, below which no router's word on a path is believed"
    )
    dscp: Literal["copy"] | Annotated[int, Field(ge=0, le=63)] = Field(
        default="copy", description="DSCP of tunnel packets: a number, 0 to 63, or `copy` for that of what is inside"
    )
    tcp_mss: Literal[0] | Annotated[int, Field(ge=536, le=65495)] = Field(
        default=0, description="payload bytes of a TCP segment at most, 536 to 65495, in SYNs that pass; 0: no limit"
    )


class Datapath(Model):
    """The programs in the kernel that forward packets."""

    attach: Literal["auto", "xdp-native", "xdp-generic", "tc"] = Field(
        default="auto",
        description="which programs see packets first: XDP where the driver of a NIC runs it, else tc alone (auto); "
        "XDP in the driver, or behind it, or an error; or tc alone. A veth needs finished "
        "checksums for XDP (ethtool -K PEER tx off), so auto takes tc there",
    )


class Party(Model, ABC):
    """Paths of one instance; each has a default made from the instance's name."""

    bpf_object: Path = Field(default=DEFAULT_BPF_OBJECT, strict=False, description="path of the compiled BPF object")
    state: Path | None = Field(
        default=None,
        strict=False,
        description="path of the SQLite file with bindings; left out, /var/lib/mobileip/INSTANCE.sqlite",
    )
    control_socket: Path | None = Field(
        default=None, strict=False, description="path of the control socket; left out, /run/mobileip/INSTANCE.sock"
    )
    pin_directory: Path | None = Field(
        default=None, strict=False, description="directory for BPF pins; left out, /sys/fs/bpf/mobileip/INSTANCE"
    )
    udp: Udp = Field(default_factory=Udp)
    tunnels: Tunnels = Field(default_factory=Tunnels)

    @property
    def takes_datagrams_without_checksum(self) -> bool:
        """Whether a checksum of 0 is good enough."""
        return self.udp.zero_checksum == "accept"

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        """Every security association of the file with its key path."""
        yield from ()

    def findings(self) -> Iterator[Finding]:
        """What no single field can know: overlaps, addresses that must differ."""
        yield from ()

    @abstractmethod
    def summary(self) -> str:
        """What it configures, in a few words."""
