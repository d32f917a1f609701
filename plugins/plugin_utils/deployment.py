"""A deployment as data: who stands where, with which addresses, and what each firewall lets through.

`describe` takes the variables of the roles, as plain data, and refuses what cannot be drawn. No key is among what it
reads: `WANTED` lists every variable, and of lists and sections every entry, that it ever looks at.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network

Wanted = Mapping[str, "Wanted"] | Sequence["Wanted"] | None
"""What of a value is read: these entries of a section, this of each in a list, or all of a plain value."""

_ADDRESS: Wanted = {"address": None, "interface": None}
_TEXTS: Wanted = [None]
WANTED: Mapping[str, Wanted] = {
    "mip_proxy_pub": _ADDRESS,
    "mip_proxy_priv": _ADDRESS,
    "mip_proxy_vpn_gateways": [
        {"name": None, "vpngw_pub": None, "vpngw_priv": None, "home_networks": _TEXTS, "other_sources": _TEXTS}
    ],
    "mip_proxy_one_box": {"gateway_interface": None, "proxy_interface": None},
    "mip_proxy_home_agents": [{"address": None, "home_networks": _TEXTS}],
    "mip_proxy_mobile_nodes": [{"name": None, "home_address": None, "nai": None, "home_agent": None, "gateway": None}],
    "mip_proxy_mobility_delivery": None,
    "mip_proxy_passes": _TEXTS,
    "mip_proxy_encapsulations": _TEXTS,
    "vpn_gateway_pub_address": None,
    "vpn_gateway_pub_interface": None,
    "vpn_gateway_priv_interface": None,
    "vpn_gateway_wire_interface": None,
    "vpn_gateway_mipp_pub": None,
    "vpn_gateway_home_networks": _TEXTS,
    "vpn_gateway_local_ts": _TEXTS,
    "vpn_gateway_trusted_agents": [{"name": None}],
    "dmz_firewall_kind": None,
    "dmz_firewall_mipp_pub": None,
    "dmz_firewall_mipp_priv": None,
    "dmz_firewall_home_agents": _TEXTS,
    "dmz_firewall_outside_interface": None,
    "dmz_firewall_dmz_interface": None,
    "dmz_firewall_inside_interfaces": _TEXTS,
    "dmz_firewall_internal_prefixes": _TEXTS,
    "dmz_firewall_dmz_prefixes": _TEXTS,
    "dmz_firewall_home_networks": _TEXTS,
    "dmz_firewall_intranet_networks": _TEXTS,
    "dmz_firewall_vpngw_priv": None,
    "dmz_firewall_vpngw_priv_macs": _TEXTS,
    "dmz_firewall_mipp_priv_macs": _TEXTS,
    "dmz_firewall_wire_interface": None,
    "dmz_firewall_direct_delivery": None,
    "dmz_firewall_other_sources": _TEXTS,
    "dmz_firewall_tunnel_protocols": _TEXTS,
    "dmz_firewall_haleg_source_ports": _TEXTS,
    "dmz_firewall_allow": [{"reason": None, "from": None, "to": None, "match": None}],
    "home_agent_address": None,
    "home_agent_interface": None,
    "home_agent_home_links": [{"interface": None, "network": None}],
    "foreign_agent_uplink": {"interface": None, "care_of_address": None},
    "foreign_agent_link": _ADDRESS,
    "mobile_node_home_address": None,
    "mobile_node_mipp_pub": None,
    "mobile_node_interface": None,
}


KINDS = ("outer", "host", "guard", "inner")
"""Of packet filters, from outside to inside. The guard is the VPN gateway's own, against clear packets."""


class DeploymentError(Exception):
    """A variable that is missing or cannot be; the text names host, variable, value and expectation."""


@dataclass(frozen=True)
class Port:
    """Where a host stands on a segment. `name` is the draft's; what is not known is empty."""

    interface: str
    address: str
    name: str = ""


@dataclass(frozen=True)
class Proxy:
    """The MIP Proxy; with `wire`, the two ends of the wire to the VPN gateway on the same host, the gateway's first."""

    host: str
    pub: Port
    priv: Port
    wire: tuple[str, str] | None
    direct_delivery: bool
    encapsulations: tuple[str, ...]
    passes: tuple[str, ...]


@dataclass(frozen=True)
class Gateway:
    """A VPN gateway that a proxy knows; one that is no host of the inventory has no `host`."""

    name: str
    host: str
    pub: Port
    priv: Port
    home_networks: tuple[str, ...]
    reached: tuple[str, ...]
    """What nodes reach through their SA, if the inventory says so."""
    other_sources: tuple[str, ...]


@dataclass(frozen=True)
class HomeAgent:
    """A home agent that a proxy registers nodes with, a host of the inventory or not."""

    host: str
    core: Port
    home_links: tuple[Port, ...]
    """Interfaces towards home networks; `address` is the network."""


@dataclass(frozen=True)
class ForeignAgent:
    """A foreign agent of the inventory."""

    host: str
    uplink: Port
    link: Port


@dataclass(frozen=True)
class MobileNode:
    """A node that the proxy knows, by its home address (MN-Perm) or its NAI; `host` if the inventory has it, too."""

    name: str
    host: str
    interface: str
    home_address: str
    home_agent: str


@dataclass(frozen=True)
class Rule:
    """One rule: `key` says what it is for, `match` is nftables' own text as the role writes it."""

    key: str
    number: str
    match: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Firewall:
    """A host with a packet filter of ours, and its rules in the order in which they are asked."""

    host: str
    kind: str
    """One of `KINDS`."""
    outside: str
    """The interface towards foreign networks, or of an inner firewall towards the DMZ."""
    inside: tuple[str, ...]
    """Those towards the DMZ, or of an inner firewall towards the intranet."""
    rules: tuple[Rule, ...]
    sets: tuple[tuple[str, str], ...]
    """Named sets of addresses that the rules speak of, and what is in them."""

    def numbers(self, *keys: str) -> tuple[str, ...]:
        """The numbers of its rules with these keys, in their order."""
        return tuple(rule.number for rule in self.rules if rule.key in keys)


@dataclass(frozen=True)
class Deployment:
    """All of it, each kind in the inventory's order."""

    proxies: tuple[Proxy, ...]
    gateways: tuple[Gateway, ...]
    home_agents: tuple[HomeAgent, ...]
    foreign_agents: tuple[ForeignAgent, ...]
    nodes: tuple[MobileNode, ...]
    firewalls: tuple[Firewall, ...]
    public_networks: tuple[str, ...] = ()
    intranet_networks: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Firewall, ...]:
        """The firewalls of one kind."""
        return tuple(firewall for firewall in self.firewalls if firewall.kind == kind)

    @property
    def one_box(self) -> bool:
        """Whether a VPN gateway is on a proxy's host."""
        return any(proxy.wire for proxy in self.proxies)


@dataclass(frozen=True)
class Host:
    """One host's variables over the roles' defaults; each is checked when it is asked for."""

    name: str
    variables: Mapping[str, object]
    defaults: Mapping[str, object] = field(default_factory=dict)

    def has(self, variable: str) -> bool:
        return self.variables.get(variable) is not None

    def value(self, path: str, default: object = None) -> object:
        """The value at `variable` or `variable.entry`."""
        variable, dot, entry = path.partition(".")
        found = self.variables.get(variable, self.defaults.get(variable))
        if dot and found is not None:
            if not isinstance(found, Mapping):
                raise self.wrong(variable, found, f"a section with {entry}")
            found = found.get(entry)
        return default if found is None else found

    def text(self, path: str, default: str | None = None) -> str:
        found = self.value(path, default)
        if found is None or isinstance(found, (Mapping, list, tuple)):
            raise self.wrong(path, found, "a text")
        return str(found)

    def flag(self, path: str) -> bool:
        return str(self.value(path, False)).lower() in ("true", "yes", "on", "1")

    def texts(self, path: str) -> tuple[str, ...]:
        found = self.value(path, [])
        if not isinstance(found, (list, tuple)) or any(isinstance(one, (Mapping, list, tuple)) for one in found):
            raise self.wrong(path, found, "a list of texts")
        return tuple(str(one) for one in found)

    def entries(self, path: str) -> list[Host]:
        """The sections of a list, each with its own place in what is said of it."""
        found = self.value(path, [])
        if not isinstance(found, (list, tuple)):
            raise self.wrong(path, found, "a list")
        for index, one in enumerate(found):
            if not isinstance(one, Mapping):
                raise self.wrong(f"{path}[{index}]", one, "a section")
        return [Host(f"{self.name}: {path}[{index}]", one) for index, one in enumerate(found)]

    def address(self, path: str, default: str | None = None) -> str:
        found = self.text(path, default)
        if found and found != default:
            try:
                IPv4Address(found)
            except AddressValueError:
                raise self.wrong(path, found, "an IPv4 address such as 192.0.2.10") from None
        return found

    def networks(self, path: str) -> tuple[str, ...]:
        found = self.texts(path)
        for one in found:
            try:
                IPv4Network(one)
            except ValueError:
                raise self.wrong(path, one, "an IPv4 network such as 192.0.2.64/27, host bits zero") from None
        return found

    def addresses(self, path: str) -> tuple[str, ...]:
        found = self.texts(path)
        for one in found:
            try:
                IPv4Address(one)
            except AddressValueError:
                raise self.wrong(path, one, "an IPv4 address such as 192.0.2.40") from None
        return found

    def port(self, variable: str, name: str) -> Port:
        return Port(self.text(f"{variable}.interface"), self.address(f"{variable}.address"), name)

    def wrong(self, path: str, value: object, expected: str) -> DeploymentError:
        shown = "not set" if value is None else repr(value)
        return DeploymentError(f"{self.name}: {path}: {shown}; expected {expected}")


def describe(
    variables: Mapping[str, Mapping[str, object]],
    groups: Mapping[str, Sequence[str]],
    defaults: Mapping[str, object],
) -> Deployment:
    """Return an inventory's deployment, from its hosts' variables (those of `WANTED`), groups, and roles' defaults.

    Raises `DeploymentError` on what is missing or cannot be.
    """
    hosts = {name: Host(name, found, defaults) for name, found in variables.items()}

    def members(group: str) -> list[Host]:
        return [hosts[name] for name in groups.get(group, ()) if name in hosts]

    at_proxies = members("mip_proxies")
    if not at_proxies:
        raise DeploymentError("mip_proxies: no host in this group; expected one or more, the MIP Proxies")
    filters = [_firewall(host) for host in hosts.values() if host.has("dmz_firewall_kind")]
    filters += [_guard(host) for host in members("vpn_gateways")]
    outer = [host for host in hosts.values() if host.value("dmz_firewall_kind") == "outer"]
    inner = [host for host in hosts.values() if host.value("dmz_firewall_kind") == "inner"]
    return Deployment(
        proxies=tuple(_proxy(host) for host in at_proxies),
        gateways=tuple(_gateways(at_proxies, members("vpn_gateways"))),
        home_agents=tuple(_home_agents(at_proxies, members("home_agents"))),
        foreign_agents=tuple(_foreign_agent(host) for host in members("foreign_agents")),
        nodes=tuple(_nodes(at_proxies, members("mobile_nodes"))),
        firewalls=tuple(sorted(filters, key=lambda firewall: KINDS.index(firewall.kind))),
        public_networks=_unique(one for host in outer for one in host.networks("dmz_firewall_dmz_prefixes")),
        intranet_networks=_unique(one for host in inner for one in host.networks("dmz_firewall_intranet_networks")),
    )


def _unique(values: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _proxy(host: Host) -> Proxy:
    wire = None
    if host.has("mip_proxy_one_box"):
        ends = host.text("mip_proxy_one_box.gateway_interface", "mip0")
        wire = (ends, host.text("mip_proxy_one_box.proxy_interface", "mip1"))
    return Proxy(
        host=host.name,
        pub=host.port("mip_proxy_pub", "MIPP-Pub"),
        priv=host.port("mip_proxy_priv", "MIPP-Priv"),
        wire=wire,
        direct_delivery=host.text("mip_proxy_mobility_delivery", "reverse_tunnel") == "direct",
        encapsulations=host.texts("mip_proxy_encapsulations"),
        passes=host.texts("mip_proxy_passes"),
    )


def _gateways(proxies: list[Host], managed: list[Host]) -> Iterator[Gateway]:
    """Those that the proxies know, each once; a host of the inventory is known by VPNGW-Pub."""
    by_address = {host.address("vpn_gateway_pub_address"): host for host in managed}
    seen = set()
    for proxy in proxies:
        for entry in proxy.entries("mip_proxy_vpn_gateways"):
            address = entry.address("vpngw_pub")
            if address in seen:
                continue
            seen.add(address)
            host = by_address.get(address)
            yield Gateway(
                name=entry.text("name"),
                host=host.name if host else "",
                pub=Port(host.text("vpn_gateway_pub_interface") if host else "", address, "VPNGW-Pub"),
                priv=Port(
                    host.text("vpn_gateway_priv_interface") if host else "", entry.address("vpngw_priv"), "VPNGW-Priv"
                ),
                home_networks=entry.networks("home_networks"),
                reached=host.networks("vpn_gateway_local_ts") if host else (),
                other_sources=entry.networks("other_sources"),
            )
    for address, host in by_address.items():
        if address not in seen:
            raise host.wrong("vpn_gateway_pub_address", address, "vpngw_pub of one of mip_proxy_vpn_gateways")


def _home_agents(proxies: list[Host], managed: list[Host]) -> Iterator[HomeAgent]:
    """Those that the proxies know, each once; a host of the inventory is known by its address."""
    by_address = {host.address("home_agent_address"): host for host in managed}
    seen = set()
    for proxy in proxies:
        for entry in proxy.entries("mip_proxy_home_agents"):
            address = entry.address("address")
            if address in seen:
                continue
            seen.add(address)
            host = by_address.get(address)
            links = [Port("", network) for network in entry.networks("home_networks")]
            if host:
                entries = host.entries("home_agent_home_links")
                links = [Port(link.text("interface"), link.text("network")) for link in entries]
            interface = host.text("home_agent_interface") if host else ""
            yield HomeAgent(host.name if host else "", Port(interface, address), tuple(links))
    for address, host in by_address.items():
        if address not in seen:
            raise host.wrong("home_agent_address", address, "an address of one of mip_proxy_home_agents")


def _foreign_agent(host: Host) -> ForeignAgent:
    uplink = Port(host.text("foreign_agent_uplink.interface"), host.address("foreign_agent_uplink.care_of_address"))
    return ForeignAgent(host.name, uplink, host.port("foreign_agent_link", ""))


def _nodes(proxies: list[Host], managed: list[Host]) -> Iterator[MobileNode]:
    """Those that the proxies know, each once; a host of the inventory is known by its name or its home address."""
    by_name = {host.name: host for host in managed}
    by_address = {
        host.text("mobile_node_home_address"): host for host in managed if host.has("mobile_node_home_address")
    }
    seen, found = set(), set()
    for proxy in proxies:
        for entry in proxy.entries("mip_proxy_mobile_nodes"):
            name = entry.text("name")
            if name in seen:
                continue
            seen.add(name)
            host = by_name.get(name) or by_address.get(entry.text("home_address", ""))
            found.add(host.name if host else "")
            yield MobileNode(
                name=name,
                host=host.name if host else "",
                interface=host.text("mobile_node_interface", "") if host else "",
                home_address=entry.address("home_address", "") or entry.text("nai", ""),
                home_agent=entry.address("home_agent", ""),
            )
    for name, host in by_name.items():
        if name not in found:
            raise host.wrong(
                "mobile_node_home_address", host.value("mobile_node_home_address"), "one of mip_proxy_mobile_nodes"
            )


def _firewall(host: Host) -> Firewall:
    kind = host.text("dmz_firewall_kind")
    if kind not in _RULES:
        raise host.wrong("dmz_firewall_kind", kind, "outer, inner or host")
    rules = _numbered(_RULES[kind](host), kind)
    outer, dmz = kind == "outer", host.text("dmz_firewall_dmz_interface", "")
    return Firewall(
        host=host.name,
        kind=kind,
        outside=host.text("dmz_firewall_outside_interface", "") if outer else dmz,
        inside=(dmz,) if outer else host.texts("dmz_firewall_inside_interfaces"),
        rules=rules,
        sets=tuple(_sets(host, rules)),
    )


def _numbered(drafted: Iterator[_Drafted], kind: str) -> tuple[Rule, ...]:
    """With numbers from 1, behind the letter of the kind: O, I, H or G."""
    return tuple(Rule(key, f"{kind[0].upper()}{number}", *rest) for number, (key, *rest) in enumerate(drafted, start=1))


def _guard(host: Host) -> Firewall:
    home = _in_order(host.networks("vpn_gateway_home_networks"))
    return Firewall(host.name, "guard", "", (), _numbered(_guard_rules(host), "guard"), (("@home_networks", home),))


def _sets(host: Host, rules: tuple[Rule, ...]) -> Iterator[tuple[str, str]]:
    kept = {
        "@home_agents": host.addresses("dmz_firewall_home_agents"),
        "@home_networks": host.networks("dmz_firewall_home_networks"),
        "@intranet": host.networks("dmz_firewall_intranet_networks") + host.networks("dmz_firewall_home_networks"),
        "@other_sources": host.networks("dmz_firewall_other_sources"),
        "@inside": host.networks("dmz_firewall_internal_prefixes") + host.networks("dmz_firewall_dmz_prefixes"),
    }
    for name, values in kept.items():
        if any(name in rule.match.split() for rule in rules):
            yield name, _in_order(values)


def _in_order(networks: Sequence[str]) -> str:
    return ", ".join(sorted(networks, key=IPv4Network))


_Drafted = tuple[str, str, str, str]
"""Key, match, verdict and reason of a rule, before it has a number."""


def _protocols(host: Host) -> str:
    numbers = sorted(int(one) for one in host.texts("dmz_firewall_tunnel_protocols") if one.isdigit())
    return "{ " + ", ".join(str(number) for number in numbers) + " }"


def _outer_rules(host: Host) -> Iterator[_Drafted]:
    pub, protocols = host.address("dmz_firewall_mipp_pub"), _protocols(host)
    outside, dmz = host.text("dmz_firewall_outside_interface"), host.text("dmz_firewall_dmz_interface")
    inwards, outwards = f'iifname "{outside}" oifname "{dmz}"', f'iifname "{dmz}" oifname "{outside}"'
    yield _NO_IPV6
    yield "spoofed", f'iifname "{outside}" ip saddr @inside', "drop", "nothing from outside with an inside source"
    to_proxy = f"{inwards} ip daddr {pub}"
    yield "register", f"{to_proxy} udp dport 434", "accept", "registrations, and tunnels of nodes behind NAT"
    yield "register", f"{outwards} ip saddr {pub} udp sport 434", "accept", "the same back to anywhere"
    yield "tunnel", f"{to_proxy} ip protocol {protocols}", "accept", "tunnels of nodes and foreign agents"
    yield "tunnel", f"{outwards} ip saddr {pub} ip protocol {protocols}", "accept", "the same back to anywhere"
    for match, reason in _ICMP:
        yield "errors", f'iifname "{outside}" {match}', "accept", reason
    yield from _allowed(host)


def _inner_rules(host: Host) -> Iterator[_Drafted]:
    priv, pub = host.address("dmz_firewall_mipp_priv"), host.address("dmz_firewall_mipp_pub")
    tunnels = f"ip protocol {_protocols(host)}"
    yield _NO_IPV6
    outwards, back = f"ip saddr {priv} ip daddr @home_agents", f"ip saddr @home_agents ip daddr {priv}"
    yield "register", f"{outwards} udp dport 434", "accept", "the proxy registers nodes with their home agents"
    yield "tunnel", f"{outwards} {tunnels}", "accept", "tunnels between them"
    yield "inside", f"ip saddr {pub} ip daddr @intranet udp sport 434", "accept", "a node inside is told so (code 206)"
    gateways, proxys = _sender(host, "vpngw_priv", "VPNGW-Priv"), _sender(host, "mipp_priv", "MIPP-Priv")
    to_intranet = "ip saddr @home_networks ip daddr @intranet"
    yield "clear", f"{gateways}{to_intranet}", "accept", "nodes outside, decrypted by the VPN gateway"
    if host.flag("dmz_firewall_direct_delivery"):
        match = f"{proxys}ip saddr @home_networks ip daddr @home_networks"
        yield "direct", match, "accept", "direct delivery by the proxy"
    others = host.networks("dmz_firewall_other_sources")
    if others:
        match = "ip saddr @other_sources ip daddr @home_networks"
        yield "others", f"{proxys}{match}", "accept", "other VPN users to home networks, by the proxy"
        yield "others", match, "drop", "and by nobody else"
    yield "spoofed", "ip saddr @intranet", "drop", "nothing else from the DMZ with an inside source"
    for match, reason in _ICMP:
        yield "errors", match, "accept", f"from the DMZ: {reason}"
    yield "register", f"{back} udp sport 434", "accept", "home agents answer the proxy"
    yield "tunnel", f"{back} {tunnels}", "accept", "home agents tunnel what is for nodes outside"
    unreachable = f"ip daddr {priv} icmp type destination-unreachable"
    yield "errors", unreachable, "accept", "the proxy hears that a home agent cannot be reached"
    if others:
        match = "ip saddr @home_networks ip daddr @other_sources"
        yield "others", match, "accept", "answers of home networks to other VPN users"
    yield "inside", f"ip saddr @intranet ip daddr {pub} udp dport 434", "accept", "a node inside asks where it is"
    for match, reason in _ICMP:
        yield "errors", match, "accept", f"to the DMZ: {reason}"
    inside = ", ".join(f'"{name}"' for name in sorted(host.texts("dmz_firewall_inside_interfaces")))
    between = f"iifname {{ {inside} }} oifname {{ {inside} }} ip saddr @intranet ip daddr @intranet"
    yield "intranet", between, "accept", "between the intranet's own networks"
    yield from _allowed(host)


def _host_rules(host: Host) -> Iterator[_Drafted]:
    priv = host.address("dmz_firewall_mipp_priv")
    ports = ", ".join(("434", *host.texts("dmz_firewall_haleg_source_ports")))
    not_agents = "ip saddr != @home_agents"
    strangers = "MIPP-Priv speaks Mobile IP with home agents alone"
    yield "strangers", f"ip daddr {priv} udp dport {{ {ports} }} {not_agents}", "drop", strangers
    yield "strangers", f"ip daddr {priv} ip protocol {_protocols(host)} {not_agents}", "drop", strangers
    if host.has("dmz_firewall_wire_interface"):
        wire = f'iifname {{ "{host.text("dmz_firewall_wire_interface")}", "ipsec0" }}'
        yield "clear", f"{wire} ip saddr @home_networks", "accept", "nodes outside, decrypted by the VPN gateway"
        yield "handed", f"{wire} ip daddr @home_networks", "accept", "for nodes outside: handed over by the proxy"
    yield from _allowed(host)


def _guard_rules(host: Host) -> Iterator[_Drafted]:
    wire = host.text("vpn_gateway_wire_interface", "")
    on, pub = wire or host.text("vpn_gateway_priv_interface"), host.text("vpn_gateway_pub_interface")
    decrypted = " meta ipsec missing" if wire else ""
    match = f'iifname "{on}" ip daddr @home_networks{decrypted} rt ipsec missing'
    yield "no_sa", match, "drop", "for a node without an SA: never in clear"
    impostors = "nobody speaks for a node in clear"
    yield "impostor", f'iifname "{pub}" ip saddr @home_networks meta ipsec missing', "drop", impostors
    if wire:
        match = f'iifname "{wire}" ip saddr @home_networks ip daddr != @home_networks meta ipsec missing'
        yield "impostor", match, "drop", impostors
    if host.entries("vpn_gateway_trusted_agents"):
        private = host.text("vpn_gateway_priv_interface")
        by_sa = "home agents and trusted foreign agents: by their SA"
        yield "no_sa", f'iifname "{private}" ip saddr @home_agents ip daddr @agents rt ipsec missing', "drop", by_sa
        yield "impostor", f'iifname "{pub}" ip saddr @agents ip daddr @home_agents meta ipsec missing', "drop", by_sa


def _allowed(host: Host) -> Iterator[_Drafted]:
    """What the site lets pass besides, and the answers to it."""
    allowed = host.entries("dmz_firewall_allow")
    if allowed:
        yield "site", "ct state established,related", "accept", "answers to what the site allows"
    for entry in allowed:
        match = f'iifname "{entry.text("from")}" oifname "{entry.text("to")}" {entry.text("match")}'
        yield "site", f"{match} ct state {{ new, untracked }}", "accept", entry.text("reason")


def _sender(host: Host, who: str, name: str) -> str:
    """The match on the Ethernet source, as the role writes it; asked by ARP at roll-out unless it is given."""
    if not host.has(f"dmz_firewall_{who}_macs"):
        return f"ether saddr {{ {name}'s by ARP }} "
    macs = sorted(host.texts(f"dmz_firewall_{who}_macs"))
    return f"ether saddr {{ {', '.join(macs)} }} " if macs else ""


_NO_IPV6 = ("ipv6", "meta nfproto ipv6", "drop", "nothing by IPv6")
_ICMP = (
    ("icmp type destination-unreachable icmp code frag-needed", "a packet was too big"),
    ("icmp type time-exceeded", "a packet went in circles"),
)
_RULES = {"outer": _outer_rules, "inner": _inner_rules, "host": _host_rules}
