"""What a user may write into `/etc/mobileip/INSTANCE.yml`, and what is said when it is wrong.

One file configures one party; its `role` chooses the schema. The file holds no secret: a security association names
its key, and the keys file (`name: hex`, root only) holds it. Loading has three steps, and each reports every error
that it finds, with file, line, key, value and expectation:

1. YAML to plain data, remembering the line of every key (`_read_yaml`);
2. the schema below: types, ranges, unknown keys;
3. what no single field can know: overlaps, addresses that must differ, key names (`_cross_checks`).

Field descriptions are the expectation that an error prints, so they are written for the person who reads that error.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

KEY_LENGTHS: Mapping[str, int] = {"hmac-md5": 16}
"""Bytes of key that each authentication algorithm takes (RFC 5944 5.1: 128 bits)."""

DEFAULT_BPF_OBJECT = Path("/opt/mobileip/lib/mobileip.bpf.o")

KeyPath = tuple[str | int, ...]


# --- Errors -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: where, what stands there, what was expected, what to do."""

    file: str
    line: int
    key: str
    value: str | None
    expected: str
    advice: str = ""

    def __str__(self) -> str:
        got = "" if self.value is None else f"{self.value}: "
        advice = f"; {self.advice}" if self.advice else ""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{got}{self.expected}{advice}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


# --- Values -----------------------------------------------------------------------------------------------------------


def _ipv4(value: object) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value) if isinstance(value, str) else IPv4Address("")
    except ValueError:
        if isinstance(value, str) and ":" in value:
            raise ValueError("expected an IPv4 address: Mobile IPv4 carries no IPv6") from None
        raise ValueError("expected an IPv4 address, four decimal numbers such as 203.0.113.10") from None


def _unicast(value: object) -> IPv4Address:
    address = _ipv4(value)
    kinds = {
        "a multicast": address.is_multicast,
        "a loopback": address.is_loopback,
        "the unspecified": address.is_unspecified,
        "a link-local": address.is_link_local,
        "the broadcast": address == IPv4Address("255.255.255.255"),
        "a reserved": address.is_reserved,
    }
    for kind, applies in kinds.items():
        if applies:
            raise ValueError(f"this is {kind} address, expected a unicast IPv4 address of a host")
    return address


def _network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("expected an IPv4 network with its prefix length, such as 192.0.2.64/27")
    try:
        return IPv4Network(value)
    except ValueError:
        try:
            intended = IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError("expected an IPv4 network with its prefix length, such as 192.0.2.64/27") from None
        raise ValueError(f"has host bits set, expected the network itself; did you mean {intended}?") from None


def _interface(value: object) -> str:
    # The kernel's own rule: dev_valid_name(), IFNAMSIZ 16 with the closing zero.
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/:]{1,15}", value) or value in {".", ".."}:
        raise ValueError("expected the name of a network interface: 1 to 15 characters, no blank, '/' or ':'")
    return value


def _mac(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}", value):
        raise ValueError("expected an Ethernet address in quotes, such as '02:00:00:00:00:14'")
    if int(value[:2], 16) & 1:
        raise ValueError("this is a group address, expected the Ethernet address of one station")
    return value.lower()


def _key_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", value):
        raise ValueError("expected the name of a key in the keys file: letters, digits and . _ @ -")
    if re.fullmatch(r"(?i)[0-9a-f]{32,}", value):
        # Never echo it: somebody has pasted the secret itself.
        raise ValueError(_SECRET_IN_CONFIG)
    return value


_SECRET_IN_CONFIG = "looks like the key itself, expected the key's name; put the key into the keys file under that name"

Unicast = Annotated[IPv4Address, BeforeValidator(_unicast)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]
Interface = Annotated[str, BeforeValidator(_interface)]
Mac = Annotated[str, BeforeValidator(_mac)]
KeyName = Annotated[str, BeforeValidator(_key_name)]
Seconds = Annotated[int, Field(ge=1, le=65534)]
"""A lifetime that fits the 16 bits of a registration; 65535 would mean "for ever" (RFC 5944 3.3)."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --- Pieces that several roles share ----------------------------------------------------------------------------------


class SecurityAssociation(_Model):
    """A mobility security association (RFC 5944 1.6): SPI, algorithm and the name of the key."""

    spi: int = Field(ge=256, le=0xFFFFFFFF, description="SPI, 256 to 4294967295 (0 to 255 are reserved, RFC 5944 1.6)")
    key: KeyName = Field(description="name of the key in the keys file")
    algorithm: Literal["hmac-md5"] = Field(default="hmac-md5", description="authentication algorithm")


class Replay(_Model):
    """Protection by timestamps (RFC 5944 5.7.1)."""

    window: int = Field(default=7, ge=1, le=3600, description="seconds that two clocks may differ; RFC 5944 proposes 7")


class Nat(_Model):
    """UDP tunnelling through address translators (RFC 3519)."""

    keepalive: int = Field(
        default=110, ge=1, le=65535, description="seconds between keepalives; 110 suits a NAT of 2 minutes"
    )
    max_lifetime: Seconds = Field(
        default=60, description="longest lifetime in seconds granted behind a NAT, 1 to 65534"
    )


class _Party(_Model):
    """Paths of one instance; each has a default made from the instance's name."""

    bpf_object: Path = Field(default=DEFAULT_BPF_OBJECT, strict=False, description="path of the compiled BPF object")
    state: Path | None = Field(default=None, strict=False, description="path of the SQLite file with bindings")
    control_socket: Path | None = Field(default=None, strict=False, description="path of the control socket")
    pin_directory: Path | None = Field(default=None, strict=False, description="directory below /sys/fs/bpf for pins")


# --- Role: proxy ------------------------------------------------------------------------------------------------------


class ProxyInterface(_Model):
    address: Unicast = Field(description="IPv4 address of the MIP Proxy on this side")
    interface: Interface = Field(description="network interface that has this address")


class VpnGateway(_Model):
    name: str = Field(min_length=1, max_length=64, description="name of the gateway, used in logs")
    vpngw_pub: Unicast = Field(description="VPNGW-Pub, the gateway's address on the DMZ-public segment")
    vpngw_priv: Unicast = Field(description="VPNGW-Priv, the gateway's address on the DMZ-private segment")
    macs: list[Mac] = Field(
        default_factory=list, description="Ethernet addresses the gateway sends from, besides the one that ARP shows"
    )
    home_networks: list[Network] = Field(min_length=1, description="home networks whose nodes use this gateway")


class ProxyHomeAgent(_Model):
    address: Unicast = Field(description="address of the home agent")
    home_networks: list[Network] = Field(min_length=1, description="home networks that this home agent serves")


class ProxyMobileNode(_Model):
    home_address: Unicast = Field(description="MN-Perm, the node's home address")
    node_sa: SecurityAssociation = Field(description="security association between node and proxy")
    home_agent_sa: SecurityAssociation = Field(description="security association between proxy and home agent")
    home_agent: Unicast | None = Field(
        default=None, description="home agent where the node sends no HA Parameter extension"
    )


class Pending(_Model):
    timeout: int = Field(
        default=7, ge=1, le=300, description="seconds to wait for the home agent's reply (RFC 5944 3.7.1: 7)"
    )
    max_per_node: int = Field(default=5, ge=1, le=64, description="requests of one node that may wait at a time")


class HaParameter(_Model):
    type: int = Field(default=126, ge=1, le=255, description="type number of the HA Parameter extension (draft 4.1)")
    subtype: int = Field(default=0, ge=0, le=255, description="sub-type number of the HA Parameter extension")


class ProxyConfig(_Party):
    """The MIP Proxy: surrogate home agent to the node, surrogate mobile node to the home agent."""

    role: Literal["proxy"]
    mipp_pub: ProxyInterface
    mipp_priv: ProxyInterface
    vpn_gateways: list[VpnGateway] = Field(min_length=1, description="the VPN gateways, at least one")
    mobility_subnets: list[Network] | None = Field(
        default=None, description="subnets reached by clear packets (draft 5.2)"
    )
    mobility_delivery: Literal["reverse_tunnel", "direct"] = "reverse_tunnel"
    internal_prefixes: list[Network] = Field(min_length=1, description="prefixes of the intranet, at least one")
    location_mode: Literal["address+interface", "address", "interface"] = "address+interface"
    home_agents: list[ProxyHomeAgent] = Field(min_length=1, description="the home agents allowed, at least one")
    mobile_nodes: list[ProxyMobileNode] = Field(default_factory=list, description="the mobile nodes")
    replay: Replay = Field(default_factory=Replay)
    pending: Pending = Field(default_factory=Pending)
    nat: Nat = Field(default_factory=Nat)
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")
    ha_parameter: HaParameter = Field(default_factory=HaParameter)

    @property
    def home_networks(self) -> tuple[IPv4Network, ...]:
        return tuple(network for gateway in self.vpn_gateways for network in gateway.home_networks)

    @property
    def effective_mobility_subnets(self) -> tuple[IPv4Network, ...]:
        return self.home_networks if self.mobility_subnets is None else tuple(self.mobility_subnets)


# --- Role: home agent -------------------------------------------------------------------------------------------------


class HomeLink(_Model):
    interface: Interface = Field(description="network interface on the home network")
    network: Network = Field(description="the home network on that interface")


class HomeMobileNode(_Model):
    home_address: Unicast = Field(description="the node's home address")
    security_associations: list[SecurityAssociation] = Field(
        min_length=1, description="one security association a peer that may register this node: proxy, node itself"
    )


class HomeAgentConfig(_Party):
    """The home agent (RFC 5944), for a site that has none."""

    role: Literal["home_agent"]
    address: Unicast = Field(description="address of the home agent")
    interface: Interface = Field(description="network interface where tunnels arrive")
    home_links: list[HomeLink] = Field(min_length=1, description="the home networks, at least one")
    mobile_nodes: list[HomeMobileNode] = Field(default_factory=list, description="the mobile nodes")
    replay: Replay = Field(default_factory=Replay)
    nat: Nat = Field(default_factory=Nat)
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")


# --- Role: foreign agent ----------------------------------------------------------------------------------------------


class Uplink(_Model):
    interface: Interface = Field(description="network interface towards the Internet")
    care_of_address: Unicast = Field(description="address on that interface that visitors use as care-of address")


class VisitorLink(_Model):
    interface: Interface = Field(description="network interface on which visitors are")
    address: Unicast = Field(description="the foreign agent's address on that interface")


class Advertisement(_Model):
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


class ForeignAgentConfig(_Party):
    """The foreign agent (RFC 5944)."""

    role: Literal["foreign_agent"]
    uplink: Uplink
    link: VisitorLink
    advertisement: Advertisement = Field(default_factory=Advertisement)
    reverse_tunnelling: bool = Field(default=True, description="true or false: offer reverse tunnelling (RFC 3024)")
    udp_tunnelling: bool = Field(
        default=True, description="true or false: ask home agents for a UDP tunnel where a NAT is in between (RFC 3519)"
    )


# --- Role: mobile node ------------------------------------------------------------------------------------------------


class StrongSwanSa(_Model):
    connection: str = Field(default="vpngw", min_length=1, description="name of the connection in swanctl.conf")
    child: str = Field(default="intranet", min_length=1, description="name of the child SA in swanctl.conf")
    at_home: Literal["park", "delete"] = "park"
    backend: Literal["auto", "kernel", "libipsec"] = "auto"


class MobileNodeConfig(_Party):
    """The mobile node (RFC 5944), with strongSwan for its IPsec tunnel."""

    role: Literal["mobile_node"]
    home_address: Unicast = Field(description="MN-Perm, this node's home address")
    home_network: Network = Field(description="the home network")
    home_agent: Unicast = Field(description="address of the home agent")
    mipp_pub: Unicast = Field(description="MIPP-Pub, the proxy's address as seen from outside")
    vpn_gateways: list[Unicast] = Field(min_length=1, description="VPNGW-Pub addresses, at least one")
    interface: Interface = Field(description="network interface that moves")
    proxy_sa: SecurityAssociation = Field(description="security association between node and proxy")
    home_agent_sa: SecurityAssociation = Field(description="security association between node and home agent")
    lifetime: Seconds = Field(default=300, description="lifetime in seconds to ask for, 1 to 65534")
    replay: Replay = Field(default_factory=Replay)
    nat: Nat = Field(default_factory=Nat)
    sa: StrongSwanSa | None = Field(default=None, description="the strongSwan connection; leave it out for no IPsec")
    encapsulate: Literal["gateways", "all"] = "gateways"


Config = ProxyConfig | HomeAgentConfig | ForeignAgentConfig | MobileNodeConfig

MODELS: Mapping[str, type[ProxyConfig] | type[HomeAgentConfig] | type[ForeignAgentConfig] | type[MobileNodeConfig]] = {
    "proxy": ProxyConfig,
    "home_agent": HomeAgentConfig,
    "foreign_agent": ForeignAgentConfig,
    "mobile_node": MobileNodeConfig,
}


# --- Paths of an instance ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paths:
    """Where one instance keeps its things; what the file does not say follows from the instance's name."""

    state: Path
    control_socket: Path
    pin_directory: Path
    bpf_object: Path


def control_socket_of(instance: str) -> Path:
    """The default control socket of an instance."""
    return Path("/run/mobileip") / f"{instance}.sock"


@dataclass(frozen=True)
class Loaded:
    """A configuration that passed every check. `keys` is None when no keys file was given."""

    config: Config
    instance: str
    keys: Mapping[str, bytes] | None = field(repr=False)

    @property
    def paths(self) -> Paths:
        config = self.config
        return Paths(
            state=config.state or Path("/var/lib/mobileip") / f"{self.instance}.sqlite",
            control_socket=config.control_socket or control_socket_of(self.instance),
            pin_directory=config.pin_directory or Path("/sys/fs/bpf/mobileip") / self.instance,
            bpf_object=config.bpf_object,
        )

    def key(self, association: SecurityAssociation) -> bytes:
        """The secret of a security association. Raises KeyError when no keys were loaded."""
        if self.keys is None:
            raise KeyError(f"no keys file was loaded, so the key {association.key!r} is not known")
        return self.keys[association.key]


# --- Step 1: YAML with line numbers -----------------------------------------------------------------------------------


class _Source:
    """A YAML file as plain data plus the line of each key path."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._loader = yaml.SafeLoader("")

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest thing around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, value: object, expected: str, advice: str = "") -> Problem:
        shown = None if value is _NOTHING else _shown(value)
        return Problem(self.name, self.line(path), dotted(path), shown, expected, advice)

    def plain(self, node: yaml.Node, path: KeyPath, *, strings: bool) -> Any:
        """Plain data of a YAML node; `strings` keeps scalars as they are written (a key of digits is no number)."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, strings=strings)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, index), strings=strings) for index, item in enumerate(node.value)]
        if strings:
            return node.value
        return self._loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call, unused-ignore]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, *, strings: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(getattr(key_node, "value", "?"))
            if key in result:
                first = self.lines[(*path, key)]
                self.problems.append(
                    Problem(
                        self.name,
                        line,
                        dotted((*path, key)),
                        None,
                        f"is given twice (first on line {first})",
                        "remove one of the two",
                    )
                )
                continue
            self.lines[(*path, key)] = line
            result[key] = self.plain(value_node, (*path, key), strings=strings)
        return result


_NOTHING = object()


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `vpn_gateways[0].macs[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: object) -> str:
    text = repr(str(value)) if isinstance(value, IPv4Address | IPv4Network | Path) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _read_yaml(file: Path, source: _Source, *, strings: bool = False) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError([Problem(source.name, 1, "", None, f"is not UTF-8 text (byte {exc.start})")]) from None
    except OSError as exc:
        advice = "check the path and who may read it"
        raise ConfigError([Problem(source.name, 1, "", None, f"cannot be read: {exc.strerror}", advice)]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = None if node is None else source.plain(node, (), strings=strings)
    except RecursionError:
        raise ConfigError([Problem(source.name, 1, "", None, "is nested too deeply or refers to itself")]) from None
    except (yaml.YAMLError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        what = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        raise ConfigError([Problem(source.name, line, "", None, f"is not valid YAML: {what}")]) from None
    if not isinstance(data, dict):
        raise ConfigError([Problem(source.name, 1, "", None, "expected a YAML mapping `key: value`, one a line")])
    return data


# --- Step 2: the schema -----------------------------------------------------------------------------------------------


def _closest(word: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else f"known here: {', '.join(sorted(known))}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _describe(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel], str]:
    """The model that holds the last key of `path`, and that key's description."""
    description = ""
    for position, part in enumerate(path):
        info = model.model_fields.get(str(part)) if not isinstance(part, int) else None
        if info is None:
            continue
        description = info.description or ""
        inner = next(_models_in(info.annotation), None)
        if inner is not None and any(not isinstance(rest, int) for rest in path[position + 1 :]):
            model = inner
    return model, description


def _schema_problem(source: _Source, model: type[BaseModel], error: Mapping[str, Any]) -> Problem:
    path: KeyPath = tuple(error["loc"])
    kind = error["type"]
    owner, description = _describe(model, path)
    value: object = error.get("input", _NOTHING)
    if kind == "missing":
        return source.problem(path, _NOTHING, f"is missing; expected {description or 'this section'}")
    if kind == "extra_forbidden":
        return source.problem(path, _NOTHING, "is not a known key", _closest(str(path[-1]), list(owner.model_fields)))
    if isinstance(value, dict | list):
        value = _NOTHING
    if kind == "value_error":
        expected = str(error["ctx"]["error"])
        if expected == _SECRET_IN_CONFIG:
            value = _NOTHING
        return source.problem(path, value, expected, description)
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return source.problem(path, value, f"expected a section with the keys {', '.join(owner.model_fields)}")
    message = error["msg"].replace("Input should be", "expected").replace("Input must be", "expected")
    return source.problem(path, value, message[0].lower() + message[1:], description)


def _validated(source: _Source, data: dict[str, Any]) -> Config:
    role = data.get("role", _NOTHING)
    if not isinstance(role, str) or role not in MODELS:
        expected = f"expected one of {', '.join(MODELS)}"
        advice = _closest(role, list(MODELS)) if isinstance(role, str) else "say which party this host is"
        raise ConfigError([*source.problems, source.problem(("role",), role, expected, advice)])
    model = MODELS[role]
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        problems = [_schema_problem(source, model, error) for error in exc.errors(include_url=False)]
        raise ConfigError([*source.problems, *problems]) from None


# --- Step 3: what no single field can know ----------------------------------------------------------------------------

Finding = tuple[KeyPath, object, str, str]
"""Key path, value, expectation, advice."""

T = TypeVar("T")


def _repeated(values: Sequence[tuple[KeyPath, T]], what: str) -> Iterator[Finding]:
    seen: dict[T, KeyPath] = {}
    for path, value in values:
        if value in seen:
            yield path, value, f"is already used at {dotted(seen[value])}", f"give each {what} one of its own"
        seen.setdefault(value, path)


def _overlapping(networks: Sequence[tuple[KeyPath, IPv4Network]], where: str) -> Iterator[Finding]:
    for index, (path, network) in enumerate(networks):
        for other_path, other in networks[:index]:
            if network.overlaps(other):
                yield (
                    path,
                    network,
                    f"overlaps {other} at {dotted(other_path)} {where}",
                    "home networks may overlap only behind different gateways: remove or shrink one of the two",
                )


def _host_in_network(
    path: KeyPath, address: IPv4Address, networks: Sequence[IPv4Network], where: str
) -> Iterator[Finding]:
    network = next((network for network in networks if address in network), None)
    if network is None:
        listed = ", ".join(str(network) for network in networks)
        yield path, address, f"is in no home network of {where} ({listed})", "correct the address or add its network"
    elif network.prefixlen < 31 and address in {network.network_address, network.broadcast_address}:
        yield path, address, f"is the network or broadcast address of {network}", "choose the address of a host"


def _check_proxy(config: ProxyConfig) -> Iterator[Finding]:
    pub, priv = config.mipp_pub, config.mipp_priv
    own = {pub.address: "MIPP-Pub", priv.address: "MIPP-Priv"}
    if priv.address == pub.address:
        yield ("mipp_priv", "address"), priv.address, "is MIPP-Pub, too", "the proxy needs an address on each side"
    if priv.interface == pub.interface and config.location_mode != "address":
        yield (
            ("mipp_priv", "interface"),
            priv.interface,
            "is the interface of MIPP-Pub, too",
            "the proxy tells inside from outside by the interface: use two, or location_mode: address",
        )
    gateways = list(enumerate(config.vpn_gateways))
    for index, gateway in gateways:
        base = ("vpn_gateways", index)
        for name, address in (("vpngw_pub", gateway.vpngw_pub), ("vpngw_priv", gateway.vpngw_priv)):
            if address in own:
                yield (
                    (*base, name),
                    address,
                    f"is {own[address]}, too",
                    "proxy and gateway need an address each, on one host also",
                )
        if gateway.vpngw_pub == gateway.vpngw_priv:
            yield (*base, "vpngw_priv"), gateway.vpngw_priv, "is VPNGW-Pub, too", "name the gateway's inside address"
        numbered = [((*base, "home_networks", n), network) for n, network in enumerate(gateway.home_networks)]
        yield from _overlapping(numbered, f"behind the same gateway {gateway.name!r}")
        for path, network in numbered:
            if config.location_mode != "interface" and not any(network.subnet_of(p) for p in config.internal_prefixes):
                yield (
                    path,
                    network,
                    "is inside none of internal_prefixes",
                    "a node at home would be taken to be outside: add the prefix",
                )
            for address, name in (*own.items(), (gateway.vpngw_pub, "VPNGW-Pub"), (gateway.vpngw_priv, "VPNGW-Priv")):
                if address in network:
                    yield path, network, f"contains {name} {address}", "a home network lies behind the home agent"
    yield from _repeated([(("vpn_gateways", i, "name"), g.name) for i, g in gateways], "gateway")
    yield from _repeated([(("vpn_gateways", i, "vpngw_pub"), g.vpngw_pub) for i, g in gateways], "gateway")
    yield from _repeated([(("vpn_gateways", i, "vpngw_priv"), g.vpngw_priv) for i, g in gateways], "gateway")
    yield from _check_proxy_home_agents(config)
    yield from _check_proxy_nodes(config)


def _check_proxy_home_agents(config: ProxyConfig) -> Iterator[Finding]:
    agents = list(enumerate(config.home_agents))
    yield from _repeated([(("home_agents", i, "address"), agent.address) for i, agent in agents], "home agent")
    for index, agent in agents:
        if agent.address in {config.mipp_pub.address, config.mipp_priv.address}:
            yield ("home_agents", index, "address"), agent.address, "is the proxy's own address", "name the actual one"
        for number, network in enumerate(agent.home_networks):
            if not any(network.overlaps(home) for home in config.home_networks):
                yield (
                    ("home_agents", index, "home_networks", number),
                    network,
                    "is a home network of no VPN gateway",
                    "add it to vpn_gateways[].home_networks or remove it here",
                )


def _check_proxy_nodes(config: ProxyConfig) -> Iterator[Finding]:
    nodes = list(enumerate(config.mobile_nodes))
    yield from _repeated([(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes], "mobile node")
    agents = {agent.address: agent for agent in config.home_agents}
    taken = dict.fromkeys(agents, "a home agent")
    for index, node in nodes:
        path: KeyPath = ("mobile_nodes", index)
        home: KeyPath = (*path, "home_address")
        yield from _host_in_network(home, node.home_address, config.home_networks, "any VPN gateway")
        if node.home_address in taken:
            yield home, node.home_address, f"is the address of {taken[node.home_address]}", "correct one of the two"
        if node.home_agent is not None and node.home_agent not in agents:
            yield (
                (*path, "home_agent"),
                node.home_agent,
                "is not in home_agents",
                "add it there: the proxy talks to listed home agents only",
            )
        elif not any(node.home_address in network for agent in agents.values() for network in agent.home_networks):
            advice = "add its network to home_agents[].home_networks"
            yield home, node.home_address, "is served by no home agent", advice


def _check_home_agent(config: HomeAgentConfig) -> Iterator[Finding]:
    links = list(enumerate(config.home_links))
    yield from _repeated([(("home_links", i, "interface"), link.interface) for i, link in links], "home link")
    yield from _overlapping([(("home_links", i, "network"), link.network) for i, link in links], "of this home agent")
    nodes = list(enumerate(config.mobile_nodes))
    yield from _repeated([(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes], "mobile node")
    networks = [link.network for link in config.home_links]
    for index, node in nodes:
        home: KeyPath = ("mobile_nodes", index, "home_address")
        yield from _host_in_network(home, node.home_address, networks, "this home agent")
        if node.home_address == config.address:
            yield home, node.home_address, "is the home agent's own address", "correct one of the two"
        associations = list(enumerate(node.security_associations))
        base = ("mobile_nodes", index, "security_associations")
        yield from _repeated([((*base, i, "spi"), sa.spi) for i, sa in associations], "security association of a node")


def _check_foreign_agent(config: ForeignAgentConfig) -> Iterator[Finding]:
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


def _check_mobile_node(config: MobileNodeConfig) -> Iterator[Finding]:
    yield from _host_in_network(("home_address",), config.home_address, [config.home_network], "this node")
    others: list[tuple[KeyPath, IPv4Address]] = [
        (("home_address",), config.home_address),
        (("home_agent",), config.home_agent),
        (("mipp_pub",), config.mipp_pub),
        *((("vpn_gateways", n), gateway) for n, gateway in enumerate(config.vpn_gateways)),
    ]
    yield from _repeated(others, "of these parties")
    for path, address in others[2:]:
        if address in config.home_network:
            yield path, address, f"is in the home network {config.home_network}", "this party stands in the DMZ"


def _findings(config: Config) -> Iterator[Finding]:
    match config:
        case ProxyConfig():
            yield from _check_proxy(config)
        case HomeAgentConfig():
            yield from _check_home_agent(config)
        case ForeignAgentConfig():
            yield from _check_foreign_agent(config)
        case MobileNodeConfig():
            yield from _check_mobile_node(config)


def associations(config: Config) -> Iterator[tuple[KeyPath, SecurityAssociation]]:
    """Every security association of a configuration with its key path."""
    match config:
        case ProxyConfig():
            for index, node in enumerate(config.mobile_nodes):
                yield ("mobile_nodes", index, "node_sa"), node.node_sa
                yield ("mobile_nodes", index, "home_agent_sa"), node.home_agent_sa
        case HomeAgentConfig():
            for index, home_node in enumerate(config.mobile_nodes):
                for number, association in enumerate(home_node.security_associations):
                    yield ("mobile_nodes", index, "security_associations", number), association
        case ForeignAgentConfig():
            return
        case MobileNodeConfig():
            yield ("proxy_sa",), config.proxy_sa
            yield ("home_agent_sa",), config.home_agent_sa


# --- The keys file ----------------------------------------------------------------------------------------------------


def load_keys(file: Path) -> dict[str, bytes]:
    """Read a keys file (`name: hex`). Raises `ConfigError`; no error shows any part of a key."""
    source = _Source(str(file))
    data = _read_yaml(file, source, strings=True)
    problems = list(source.problems)
    keys: dict[str, bytes] = {}
    for name, text in data.items():
        if not isinstance(text, str):
            problems.append(source.problem((name,), _NOTHING, "expected hexadecimal digits, not a list or section"))
            continue
        try:
            keys[name] = bytes.fromhex(text)
        except ValueError:
            expected = f"has {len(text)} characters that are not all pairs of hexadecimal digits"
            problems.append(source.problem((name,), _NOTHING, expected, "write the key as hex, 32 digits for hmac-md5"))
    if problems:
        raise ConfigError(problems)
    return keys


def _key_problems(source: _Source, config: Config, keys: Mapping[str, bytes], keys_file: _Source) -> Iterator[Problem]:
    for path, association in associations(config):
        key = keys.get(association.key)
        wanted = KEY_LENGTHS[association.algorithm]
        if key is None:
            advice = _closest(association.key, list(keys)) if keys else "the keys file is empty"
            yield source.problem((*path, "key"), association.key, f"is not in the keys file {keys_file.name}", advice)
        elif len(key) != wanted:
            yield source.problem(
                (*path, "key"),
                association.key,
                f"has {len(key)} bytes in {keys_file.name}, expected {wanted} bytes ({2 * wanted} hex digits) "
                f"for {association.algorithm}",
                "make a new key: openssl rand -hex 16",
            )


# --- Entry point ------------------------------------------------------------------------------------------------------


def default_keys_file() -> Path | None:
    """The systemd credential `keys`, if this process was started with one."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) / "keys" if directory else None


def load_config(file: Path, keys_file: Path | None = None) -> Loaded:
    """Read and check a configuration, with its keys if `keys_file` is given.

    Raises `ConfigError` with every problem found: a broken schema hides the cross checks, nothing else hides anything.
    """
    source = _Source(str(file))
    problems: list[Problem] = []
    keys: dict[str, bytes] | None = None
    if keys_file is not None:
        try:
            keys = load_keys(keys_file)
        except ConfigError as exc:
            problems.extend(exc.problems)
    config: Config | None = None
    try:
        config = _validated(source, _read_yaml(file, source))
    except ConfigError as exc:
        problems.extend(exc.problems)
    else:
        problems.extend(source.problems)
        problems.extend(source.problem(*finding) for finding in _findings(config))
        if keys is not None and keys_file is not None:
            problems.extend(_key_problems(source, config, keys, _Source(str(keys_file))))
    if problems or config is None:
        raise ConfigError(problems)
    return Loaded(config=config, instance=file.stem, keys=keys)


def summary(loaded: Loaded) -> str:
    """One line about a good configuration."""
    config = loaded.config
    keys = "keys not checked (no --keys)" if loaded.keys is None else f"{len(loaded.keys)} keys"
    match config:
        case ProxyConfig():
            what = (
                f"proxy {config.mipp_pub.address} / {config.mipp_priv.address}, {len(config.vpn_gateways)} gateways, "
                f"{len(config.home_agents)} home agents, {len(config.mobile_nodes)} mobile nodes"
            )
        case HomeAgentConfig():
            what = (
                f"home agent {config.address}, {len(config.home_links)} home links, "
                f"{len(config.mobile_nodes)} mobile nodes"
            )
        case ForeignAgentConfig():
            return f"ok: foreign agent {config.uplink.care_of_address}, visitors on {config.link.interface}"
        case MobileNodeConfig():
            what = f"mobile node {config.home_address}, home agent {config.home_agent}, proxy {config.mipp_pub}"
    return f"ok: {what}; {keys}"
