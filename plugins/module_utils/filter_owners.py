"""Whose packet filters a host has, which of ours they drop, and by what commands their owner lets it through."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, summarize_address_range

from ansible_collections.mobileip.vpn.plugins.module_utils.filter_chains import DROP, Chain, Flow, Range, Table

FIREWALLD, UFW, DOCKER, IPTABLES = "firewalld", "ufw", "Docker", "iptables"
# Tables of this collection's own.
_OURS = "mobileip_"
# What iptables calls its tables, in nftables as well.
IPTABLES_TABLES = ("filter", "mangle", "raw", "security", "nat")
# ufw knows few protocols by name.
_UFW_PROTOCOLS = {6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah"}
_PORTED = {6: "tcp", 17: "udp"}

# Zone of an interface, in firewalld.
ZoneOf = Callable[[str], str]


@dataclass(frozen=True)
class Finding:
    """What one base chain does to one flow: drops it, or may."""

    flow: Flow
    table: Table
    chain: Chain
    certain: bool

    @property
    def owner(self) -> str:
        """Return whose chain it is."""
        return owner(self.table)

    def __str__(self) -> str:
        place = f"table {self.table.family} {self.table.name}, chain {self.chain.name}"
        return f"{self.owner} ({place}) {'drops' if self.certain else 'may drop'} {text(self.flow)}"


def owner(table: Table) -> str:
    """Return who wrote a table, as far as its names tell."""
    if table.name == "firewalld":
        return FIREWALLD
    if table.name in IPTABLES_TABLES:
        if any(name.startswith("ufw-") for name in table.chains):
            return UFW
        return DOCKER if "DOCKER" in table.chains or "DOCKER-USER" in table.chains else IPTABLES
    if table.name.startswith("docker"):
        return DOCKER
    return f"nftables table {table.family} {table.name}"


def owners(tables: Iterable[Table]) -> list[str]:
    """Return whose filters there are: known managers, and tables with a chain that may drop."""
    found = set()
    for table in tables:
        drops = any(chain.hook and chain.policy == DROP for chain in table.chains.values())
        if not table.name.startswith(_OURS) and (drops or owner(table) in (FIREWALLD, UFW, DOCKER)):
            found.add(owner(table))
    return sorted(found)


def findings(tables: Iterable[Table], flows: Iterable[Flow]) -> Iterator[Finding]:
    """Yield what others' base chains on the flows' way drop, or may drop."""
    flows = list(flows)
    for table in tables:
        if table.name.startswith(_OURS):
            continue
        for chain in table.chains.values():
            for flow in flows:
                if chain.hook in ("prerouting", flow.hook):
                    outcomes = table.outcomes(chain, flow)
                    if DROP in outcomes:
                        yield Finding(flow, table, chain, len(outcomes) == 1)


def text(flow: Flow) -> str:
    """Return a flow as one says it."""
    parts = [flow.reason + ":", flow.hook]
    parts += [f"from {flow.from_interface}"] if flow.from_interface else []
    parts += [f"to {flow.to_interface}"] if flow.to_interface else []
    parts += [_PORTED.get(flow.protocol, f"protocol {flow.protocol}")] if flow.protocol is not None else []
    ends = (("source", flow.source, flow.source_port), ("destination", flow.destination, flow.destination_port))
    for name, place, port in ends:
        if place or port:
            parts.append(f"{name} {prefix(place) if place else 'any'}{f':{ports(port)}' if port else ''}")
    return " ".join(parts)


def prefix(place: Range) -> str:
    """Return a range of addresses as a prefix, one host without its length."""
    networks = list(summarize_address_range(IPv4Address(place[0]), IPv4Address(place[1])))
    if len(networks) > 1:
        return f"{IPv4Address(place[0])}-{IPv4Address(place[1])}"
    return str(networks[0].network_address) if networks[0].prefixlen == 32 else str(networks[0])


def ports(port: Range, sign: str = "-") -> str:
    """Return a range of ports."""
    return str(port[0]) if port[0] == port[1] else f"{port[0]}{sign}{port[1]}"


def commands(finding: Finding, zone_of: ZoneOf) -> list[str]:
    """Return the commands by which its owner lets a flow through, for good where the owner has a way for that."""
    makers: Mapping[str, Callable[[], list[str]]] = {
        FIREWALLD: lambda: _firewalld(finding.flow, zone_of),
        UFW: lambda: _ufw(finding.flow),
    }
    if finding.owner in makers:
        return makers[finding.owner]()
    if finding.table.name in IPTABLES_TABLES:
        user = "DOCKER-USER" in finding.table.chains and finding.flow.hook == "forward"
        chain = "DOCKER-USER" if user else finding.chain.name
        table = [] if finding.table.name == "filter" else ["-t", finding.table.name]
        return [" ".join(["iptables", *table, "-I", chain, *_iptables(finding.flow), "-j ACCEPT"])]
    place = f"{finding.table.family} {finding.table.name} {finding.chain.name}"
    return [" ".join(["nft insert rule", place, *_nft(finding.flow), "accept"])]


def _iptables(flow: Flow) -> Iterator[str]:
    if flow.from_interface:
        yield f"-i {flow.from_interface}"
    if flow.to_interface:
        yield f"-o {flow.to_interface}"
    if flow.source:
        yield f"-s {prefix(flow.source)}"
    if flow.destination:
        yield f"-d {prefix(flow.destination)}"
    if flow.protocol is not None:
        yield f"-p {_PORTED.get(flow.protocol, flow.protocol)}"
    if flow.source_port:
        yield f"--sport {ports(flow.source_port, ':')}"
    if flow.destination_port:
        yield f"--dport {ports(flow.destination_port, ':')}"


def _nft(flow: Flow) -> Iterator[str]:
    if flow.from_interface:
        yield f"iifname {flow.from_interface}"
    if flow.to_interface:
        yield f"oifname {flow.to_interface}"
    if flow.source:
        yield f"ip saddr {prefix(flow.source)}"
    if flow.destination:
        yield f"ip daddr {prefix(flow.destination)}"
    if flow.protocol is not None and not (flow.source_port or flow.destination_port):
        yield f"ip protocol {flow.protocol}"
    name = _PORTED.get(flow.protocol or 0, "th")
    if flow.source_port:
        yield f"{name} sport {ports(flow.source_port)}"
    if flow.destination_port:
        yield f"{name} dport {ports(flow.destination_port)}"


def _firewalld(flow: Flow, zone_of: ZoneOf) -> list[str]:
    rich = " ".join(_rich(flow))
    zone = zone_of(flow.from_interface or "")
    if flow.hook == "input":
        return [f"firewall-cmd --permanent --zone={zone} --add-rich-rule='{rich}'", "firewall-cmd --reload"]
    to = zone_of(flow.to_interface) if flow.to_interface else "ANY"
    policy = f"mip-{zone[:6]}-{to[:6]}"
    command = f"firewall-cmd --permanent --policy={policy}"
    return [
        f"firewall-cmd --permanent --new-policy={policy}",
        f"{command} --add-ingress-zone={zone}",
        f"{command} --add-egress-zone={to}",
        f"{command} --add-rich-rule='{rich}'",
        "firewall-cmd --reload",
    ]


def _rich(flow: Flow) -> Iterator[str]:
    yield 'rule family="ipv4"'
    if flow.source:
        yield f'source address="{prefix(flow.source)}"'
    if flow.destination:
        yield f'destination address="{prefix(flow.destination)}"'
    if flow.destination_port:
        yield f'port port="{ports(flow.destination_port)}" protocol="{_PORTED[flow.protocol or 17]}"'
    elif flow.source_port:
        yield f'source-port port="{ports(flow.source_port)}" protocol="{_PORTED[flow.protocol or 17]}"'
    elif flow.protocol is not None:
        yield f'protocol value="{flow.protocol}"'
    yield "accept"


def _ufw(flow: Flow) -> list[str]:
    if flow.protocol is not None and flow.protocol not in _UFW_PROTOCOLS:
        chain = "ufw-before-forward" if flow.hook == "forward" else "ufw-before-input"
        rule = " ".join(["-A", chain, *_iptables(flow), "-j ACCEPT"])
        # The first COMMIT is that of the table filter.
        return [f"sed -i '0,/^COMMIT/s#^COMMIT#{rule}\\n&#' /etc/ufw/before.rules", "ufw reload"]
    words = ["ufw", *(["route"] if flow.hook == "forward" else []), "allow"]
    words += ["in on", flow.from_interface] if flow.from_interface else []
    words += ["out on", flow.to_interface] if flow.to_interface else []
    words += ["proto", _UFW_PROTOCOLS[flow.protocol]] if flow.protocol is not None else []
    words += ["from", prefix(flow.source) if flow.source else "any"]
    words += ["port", ports(flow.source_port, ":")] if flow.source_port else []
    words += ["to", prefix(flow.destination) if flow.destination else "any"]
    words += ["port", ports(flow.destination_port, ":")] if flow.destination_port else []
    return [" ".join(words)]
