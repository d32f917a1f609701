"""The variables behind our tables of nftables, rule by rule; what our templates would not have written is said aloud.

The patterns below are the rules of templates/firewall, in the same order, with variables for values. A rule that fits
one is a witness for each variable in it. One that fits none is somebody else's: between two interfaces and to be
accepted it is an entry of `dmz_firewall_allow`, otherwise a remark. So is a pattern that no rule fits.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.filter_listing import protocol_number
from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import (
    Remark,
    Said,
    Witness,
    networks,
    without,
)

DMZ, GATEWAY = "inet mobileip_dmz", "inet mobileip_gateway"
NODE_MSS, NODE_IPV6 = "ip mobileip_node", "ip6 mobileip_node"
OURS = (DMZ, GATEWAY, NODE_MSS, NODE_IPV6)
"""Family and name of each table that the roles make."""

# Parts of a rule that change nothing about whom it is for.
_SILENT = ("counter", "comment")
_VERDICTS = ("accept", "drop", "notrack", "continue", "return")
_TOO_BIG_CODE = {"4": "frag-needed"}
UNKNOWN_REASON = "found in the packet filter"
"""The reason of an entry of `dmz_firewall_allow` whose rule has no comment."""


class FilterError(Exception):
    """A listing that cannot be read; the text says where."""


@dataclass(frozen=True)
class Rule:
    """One rule: what it asks, by what it asks of, and what it does. Values are texts, in order; `!` begins a denial."""

    chain: str
    handle: int
    asks: Mapping[str, tuple[str, ...]]
    does: tuple[str, ...]
    comment: str = ""

    def __str__(self) -> str:
        asked = (f"{what} {' '.join(values)}" for what, values in self.asks.items())
        return " ".join((f"chain {self.chain}:", *asked, *self.does))


@dataclass(frozen=True)
class Table:
    """One table of ours, or what is left of it."""

    name: str
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[int, str] = field(default_factory=dict)
    """How nft writes each rule, by its handle."""


def tables(listing: str, texts: Mapping[str, str]) -> dict[str, Table]:
    """Return our tables by family and name, of `nft -j list ruleset`. Raises `FilterError`.

    `texts` is how `nft -a -s list table` writes each of them.
    """
    try:
        objects = [entry for entry in json.loads(listing)["nftables"] if isinstance(entry, dict)]
        return {name: _table(name, objects, texts.get(name, "")) for name in OURS if name in names(listing)}
    except (ValueError, KeyError, TypeError) as exc:
        raise FilterError(f"nft -j list ruleset: cannot be read: {exc!r}") from exc


def names(listing: str) -> list[str]:
    """Return family and name of each table of a listing. Raises `ValueError` and others for what is none."""
    found = (entry["table"] for entry in json.loads(listing)["nftables"] if "table" in entry)
    return [f"{table['family']} {table['name']}" for table in found]


def _table(name: str, objects: list[dict[str, Any]], text: str) -> Table:
    def each(kind: str) -> Iterator[dict[str, Any]]:
        for entry in objects:
            if kind in entry and f"{entry[kind]['family']} {entry[kind].get('table')}" == name:
                yield entry[kind]

    return Table(
        name,
        {entry["name"]: tuple(map(_text, entry.get("elem", []))) for entry in each("set")},
        tuple(_rule(entry) for entry in each("rule")),
        {entry["name"]: entry["policy"] for entry in each("chain") if "policy" in entry},
        {int(handle): line.strip() for line, handle in re.findall(r"(?m)^(.*[^{\s]) # handle (\d+)$", text)},
    )


def _rule(entry: dict[str, Any]) -> Rule:
    asks: dict[str, tuple[str, ...]] = {}
    does: list[str] = []
    for part in entry["expr"]:
        (kind,) = part
        value = part[kind]
        if kind == "match":
            left, right = _left(value["left"]), _right(value)
            # From nftables 1.1 on by its number.
            asks[left] = tuple(_TOO_BIG_CODE.get(each, each) for each in right) if left == "icmp code" else right
        elif kind in ("goto", "jump"):
            does.append(f"{kind} {value['target']}")
        elif kind in _VERDICTS:
            does.append(kind)
        elif kind == "log":
            does.append(f"log {value.get('prefix', '').strip()}")
        elif kind not in _SILENT:
            does.append(f"{kind} {json.dumps(value, sort_keys=True)}")
    return Rule(entry["chain"], entry["handle"], asks, tuple(does), entry.get("comment", ""))


def _left(left: Any) -> str:
    if isinstance(left, dict) and len(left) == 1:
        ((kind, what),) = left.items()
        if kind == "payload" and "field" in what:
            return f"{what['protocol']} {what['field']}"
        if kind == "meta" and what["key"] in ("iifname", "oifname"):
            return str(what["key"])
        if kind == "fib":
            return f"fib {' . '.join(what['flags'])} {what['result']}"
        if kind in ("meta", "ct", "rt") and "key" in what:
            return f"{kind} {what['key']}"
    return json.dumps(left, sort_keys=True)


def _right(match: dict[str, Any]) -> tuple[str, ...]:
    right = match["right"]
    values = right.get("set", [right]) if isinstance(right, dict) else right if isinstance(right, list) else [right]
    negation = {"==": "", "in": "", "!=": "!"}.get(match["op"], f"{match['op']} ")
    return tuple(negation + _text(value) for value in values)


def _text(element: Any) -> str:
    if isinstance(element, dict):
        ((kind, value),) = element.items()
        if kind == "prefix":
            return f"{value['addr']}/{value['len']}"
        if kind == "range":
            return "-".join(map(_text, value))
        if kind == "elem":
            return _text(value["val"])
        return json.dumps(element, sort_keys=True)
    return "missing" if element is False else str(element)


@dataclass(frozen=True)
class Pattern:
    """A rule of a template: `{name}` stands for the one value, `{name*}` for all values, of a variable."""

    chain: str
    asks: Mapping[str, str]
    does: tuple[str, ...]
    needed: bool = True

    def fits(self, rule: Rule) -> dict[str, Any] | None:
        """Return the variables' values; None where the rule is another one."""
        if rule.chain != self.chain or rule.does != self.does or rule.asks.keys() != self.asks.keys():
            return None
        found: dict[str, Any] = {}
        for what, expected in self.asks.items():
            values = rule.asks[what]
            name = re.fullmatch(r"(!?)\{(\w+)(\*?)\}", expected)
            if name is None:
                if sorted(values) != sorted(expected.split()):
                    return None
            elif name[3]:
                found[name[2]] = list(values)
            elif len(values) == 1 and values[0].startswith("!") == bool(name[1]) and "@" not in values[0]:
                found[name[2]] = values[0].removeprefix("!")
            else:
                return None
        return found

    def __str__(self) -> str:
        asked = (f"{what} {value}" for what, value in self.asks.items())
        return " ".join((f"chain {self.chain}:", *asked, *self.does))


def _p(chain: str, does: str, *asks: str, needed: bool = True) -> Pattern:
    """Return a pattern; each of `asks` is what it asks of, `=` and the values."""
    return Pattern(chain, dict(ask.split("=", 1) for ask in asks), tuple(does.split(", ")), needed)


def _refusal(prefix: str) -> tuple[Pattern, Pattern]:
    limit = 'limit {"burst": 20, "per": "second", "rate": 10}'
    return (
        Pattern("refuse", {}, (limit, f"log {prefix}")),
        Pattern("refuse", {}, ("drop",)),
    )


_SITE_ANSWERS = "ct state=established related"
_TOO_BIG = ("icmp type=destination-unreachable", "icmp code=frag-needed")
_TOO_FAR = "icmp type=time-exceeded"

OUTER = (
    _p("untracked", "notrack", "ip daddr={mipp_pub}", "udp dport=434"),
    _p("untracked", "notrack", "ip saddr={mipp_pub}", "udp sport=434"),
    _p("untracked", "notrack", "ip daddr={mipp_pub}", "ip protocol={tunnel_protocols*}"),
    _p("untracked", "notrack", "ip saddr={mipp_pub}", "ip protocol={tunnel_protocols*}"),
    _p("forward", "goto refuse", "meta nfproto=ipv6"),
    _p("forward", "goto refuse", "iifname={outside_interface}", "ip saddr=@inside"),
    _p(
        "forward", "accept", "iifname={outside_interface}", "oifname={dmz_interface}",
        "ip daddr={mipp_pub}", "udp dport=434",
    ),
    _p(
        "forward", "accept", "iifname={dmz_interface}", "oifname={outside_interface}",
        "ip saddr={mipp_pub}", "udp sport=434",
    ),
    _p(
        "forward", "accept", "iifname={outside_interface}", "oifname={dmz_interface}",
        "ip daddr={mipp_pub}", "ip protocol={tunnel_protocols*}",
    ),
    _p(
        "forward", "accept", "iifname={dmz_interface}", "oifname={outside_interface}",
        "ip saddr={mipp_pub}", "ip protocol={tunnel_protocols*}",
    ),
    _p("forward", "accept", "iifname={outside_interface}", *_TOO_BIG),
    _p("forward", "accept", "iifname={outside_interface}", _TOO_FAR),
    _p("forward", "accept", _SITE_ANSWERS, needed=False),
    _p("forward", "goto refuse"),
    *_refusal("mip-outer-drop"),
)  # fmt: skip
INNER = (
    _p("untracked", "notrack", "ip saddr=@home_networks"),
    _p("untracked", "notrack", "ip daddr=@home_networks"),
    _p("untracked", "notrack", "ip saddr={mipp_priv}", "ip daddr=@home_agents"),
    _p("untracked", "notrack", "ip saddr=@home_agents", "ip daddr={mipp_priv}"),
    _p("untracked", "notrack", "ip daddr={mipp_pub}", "udp dport=434"),
    _p("untracked", "notrack", "ip saddr={mipp_pub}", "udp sport=434"),
    _p("forward", "goto refuse", "meta nfproto=ipv6"),
    _p("forward", "goto from_dmz", "iifname={dmz_interface}"),
    _p("forward", "goto to_dmz", "oifname={dmz_interface}"),
    _p(
        "forward", "accept", "iifname={inside_interfaces*}", "oifname={inside_interfaces*}",
        "ip saddr=@intranet", "ip daddr=@intranet",
    ),
    _p("forward", "goto site"),
    _p("from_dmz", "accept", "ip saddr={mipp_priv}", "ip daddr=@home_agents", "udp dport=434"),
    _p("from_dmz", "accept", "ip saddr={mipp_priv}", "ip daddr=@home_agents", "ip protocol={tunnel_protocols*}"),
    _p("from_dmz", "accept", "ip saddr={mipp_pub}", "ip daddr=@intranet", "udp sport=434"),
    _p(
        "from_dmz", "accept", "ether saddr={vpngw_priv_macs*}", "ip saddr=@home_networks", "ip daddr=@intranet",
        needed=False,
    ),
    _p("from_dmz", "accept", "ip saddr=@home_networks", "ip daddr=@intranet", needed=False),
    _p(
        "from_dmz", "accept", "ether saddr={mipp_priv_macs*}", "ip saddr=@home_networks", "ip daddr=@home_networks",
        needed=False,
    ),
    _p("from_dmz", "accept", "ip saddr=@home_networks", "ip daddr=@home_networks", needed=False),
    _p(
        "from_dmz", "accept", "ether saddr={mipp_priv_macs*}", "ip saddr=@other_sources", "ip daddr=@home_networks",
        needed=False,
    ),
    _p("from_dmz", "accept", "ip saddr=@other_sources", "ip daddr=@home_networks", needed=False),
    _p("from_dmz", "goto refuse", "ip saddr=@other_sources", "ip daddr=@home_networks", needed=False),
    _p("from_dmz", "goto refuse", "ip saddr=@intranet"),
    _p("from_dmz", "accept", *_TOO_BIG),
    _p("from_dmz", "accept", _TOO_FAR),
    _p("from_dmz", "goto site"),
    _p("to_dmz", "accept", "ip saddr=@home_agents", "ip daddr={mipp_priv}", "udp sport=434"),
    _p("to_dmz", "accept", "ip saddr=@home_agents", "ip daddr={mipp_priv}", "ip protocol={tunnel_protocols*}"),
    _p("to_dmz", "accept", "ip daddr={mipp_priv}", "icmp type=destination-unreachable"),
    _p("to_dmz", "accept", "ip saddr=@home_networks", "ip daddr=@other_sources", needed=False),
    _p("to_dmz", "accept", "ip saddr=@intranet", "ip daddr={mipp_pub}", "udp dport=434"),
    _p("to_dmz", "accept", *_TOO_BIG),
    _p("to_dmz", "accept", _TOO_FAR),
    _p("to_dmz", "goto site"),
    _p("site", "accept", _SITE_ANSWERS, needed=False),
    _p("site", "goto refuse"),
    *_refusal("mip-inner-drop"),
)  # fmt: skip
HOST = (
    _p("input", "goto refuse", "ip daddr={mipp_priv}", "udp dport={ports*}", "ip saddr=!@home_agents"),
    _p("input", "goto refuse", "ip daddr={mipp_priv}", "ip protocol={tunnel_protocols*}", "ip saddr=!@home_agents"),
    _p("forward", "accept", "iifname={wire*}", "ip saddr=@home_networks", needed=False),
    _p("forward", "accept", "iifname={wire*}", "ip daddr=@home_networks", needed=False),
    _p("forward", "accept", _SITE_ANSWERS, needed=False),
    _p("forward", "goto refuse"),
    *_refusal("mip-host-drop"),
)
KINDS: Mapping[str, Sequence[Pattern]] = {"outer": OUTER, "inner": INNER, "host": HOST}

_WIRE_SPEAKS = ("iifname={wire_interface}", "ip saddr=@home_networks", "ip daddr=!@home_networks")


def _by_tunnels(name: str) -> tuple[Pattern, ...]:
    """Patterns of a gateway in two boxes where nodes with an SA are behind interfaces of their own."""
    registrations = (
        _p("forward", "goto refuse", f"{way}={name}", f"ip {end}=@home_networks", f"udp {port}=434")
        for way, end in (("oifname", "daddr"), ("iifname", "saddr"))
        for port in ("sport", "dport")
    )
    return (
        _p("forward", "goto refuse", "iifname={priv_interface}", "ip daddr=@home_networks", f"oifname=!{name}"),
        *registrations,
        _p("forward", "goto refuse", "iifname={pub_interface}", "ip saddr=@home_networks"),
    )


def _in_one_box(patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """The same where what is handed over comes by the wire."""
    handed, *others = patterns
    asks = {**handed.asks, "iifname": "{wire_interface}"}
    return (replace(handed, asks=asks), *others, _p("forward", "goto refuse", *_WIRE_SPEAKS))


_L2TP = (
    _p("forward", "goto refuse", "iifname=ppp*", "ip saddr=@home_networks", "fib saddr . iif oif=missing"),
    _p("forward", "goto refuse", "iifname=ppp*", "ip saddr=@home_networks", "ip daddr=!@reached"),
    _p("forward", "goto refuse", "oifname=ppp*", "ip daddr=@home_networks", "ip saddr=!@reached"),
    _p("input", "goto refuse", "ip daddr={pub_address}", "udp dport=1701", "meta ipsec=missing"),
    _p("output", "goto refuse", "ip saddr={pub_address}", "udp sport=1701", "rt ipsec=missing"),
)
_TO_AGENTS = ("iifname={priv_interface}", "ip saddr=@home_agents", "ip daddr=@agents")
_FROM_AGENTS = ("iifname={pub_interface}", "ip saddr=@agents", "ip daddr=@home_agents")
# Where the gateway has SAs for trusted agents, by whose ESP it is.
_AGENTS = {
    "libipsec": (
        _p("forward", "goto refuse", *_TO_AGENTS, "oifname=!ipsec0", needed=False),
        _p("forward", "goto refuse", *_FROM_AGENTS, needed=False),
    ),
    "kernel": (
        _p("forward", "goto refuse", *_TO_AGENTS, "rt ipsec=missing", needed=False),
        _p("forward", "goto refuse", *_FROM_AGENTS, "meta ipsec=missing", needed=False),
    ),
}
GUARDS: Mapping[tuple[str, str], Sequence[Pattern]] = {
    ("libipsec", "two boxes"): _by_tunnels("ipsec0"),
    ("libipsec", "one box"): _in_one_box(_by_tunnels("ipsec0")),
    ("kernel", "two boxes, L2TP"): (*_by_tunnels("ppp*"), *_L2TP),
    ("kernel", "one box, L2TP"): (*_in_one_box(_by_tunnels("ppp*")), *_L2TP),
    ("kernel", "two boxes"): (
        _p("forward", "goto refuse", "iifname={priv_interface}", "ip daddr=@home_networks", "rt ipsec=missing"),
        _p("forward", "goto refuse", "iifname={pub_interface}", "ip saddr=@home_networks", "meta ipsec=missing"),
    ),
    ("kernel", "one box"): (
        _p(
            "forward", "goto refuse",
            "iifname={wire_interface}", "ip daddr=@home_networks", "meta ipsec=missing", "rt ipsec=missing",
        ),
        _p("forward", "goto refuse", "iifname={pub_interface}", "ip saddr=@home_networks", "meta ipsec=missing"),
        _p("forward", "goto refuse", *_WIRE_SPEAKS, "meta ipsec=missing"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Reading:
    """How a table compares with patterns."""

    values: tuple[tuple[str, Any], ...]
    others: tuple[Rule, ...]
    missing: tuple[Pattern, ...]


def _read(table: Table, patterns: Iterable[Pattern]) -> _Reading:
    left, values, missing = list(table.rules), [], []
    for pattern in patterns:
        for rule in left:
            found = pattern.fits(rule)
            if found is not None:
                values += list(found.items())
                left.remove(rule)
                break
        else:
            if pattern.needed:
                missing.append(pattern)
    return _Reading(tuple(values), tuple(left), tuple(missing))


def _source(table: Table) -> str:
    return f"table {table.name}"


def _remarks(table: Table, reading: _Reading) -> Iterator[Remark]:
    for rule in reading.others:
        yield Remark(_source(table), f"a rule that no variable writes: {table.texts.get(rule.handle) or rule}")
    for pattern in reading.missing:
        yield Remark(_source(table), f"without the rule of {pattern}")


def dmz_firewall(table: Table) -> Iterator[Said]:
    """Yield what a table `mobileip_dmz` says of the role `dmz_firewall`."""
    prefixes = [word.removeprefix("log ") for rule in table.rules for word in rule.does if word.startswith("log ")]
    kind = next((kind for kind in KINDS if f"mip-{kind}-drop" in prefixes), None)
    if kind is None:
        yield Remark(_source(table), f"no rule logs as one of {', '.join(f'mip-{each}-drop' for each in KINDS)}")
        return
    yield from (_firewall_witness(table, "kind", kind), *_sets(table, kind))
    reading = _read(table, KINDS[kind])
    for name, value in reading.values:
        yield from _firewall_value(table, name, value)
    allowed = [rule for rule in reading.others if _between_interfaces(rule)]
    yield _firewall_witness(table, "allow", [_allow(table, rule) for rule in allowed])
    if kind == "inner":
        yield from _inner(table)
    if table.policies.get("forward") != "drop":
        yield Remark(_source(table), f"chain forward: policy {table.policies.get('forward')}; expected drop")
    rest = tuple(rule for rule in reading.others if rule not in allowed)
    yield from _remarks(table, _Reading((), rest, reading.missing))


def _firewall_witness(table: Table, name: str, value: Any) -> Witness:
    return Witness(f"dmz_firewall_{name}", value, _source(table))


def _firewall_value(table: Table, name: str, value: Any) -> Iterator[Witness]:
    if name == "tunnel_protocols":
        yield _firewall_witness(table, name, sorted(protocol_number(each) for each in value))
    elif name == "ports":
        yield _firewall_witness(table, "haleg_source_ports", [each for each in value if each != "434"])
    elif name == "wire":
        yield from (_firewall_witness(table, "wire_interface", each) for each in value if each != "ipsec0")
    else:
        yield _firewall_witness(table, name, sorted(value) if isinstance(value, list) else value)


def _sets(table: Table, kind: str) -> Iterator[Witness]:
    """Yield what the sets hold; two variables that share one cannot be told apart, and are said together."""
    sets = table.sets
    if "inside" in sets:
        yield _firewall_witness(table, "internal_prefixes", networks(sets["inside"]))
    if "home_agents" in sets:
        yield _firewall_witness(table, "home_agents", list(sets["home_agents"]))
    if "home_networks" in sets:
        yield _firewall_witness(table, "home_networks", networks(sets["home_networks"]))
    if "intranet" in sets:
        # Those of the home networks are always among them.
        inside = without(networks(sets["intranet"]), networks(sets.get("home_networks", ())))
        yield _firewall_witness(table, "intranet_networks", inside)
    if kind == "inner":
        yield _firewall_witness(table, "other_sources", networks(sets.get("other_sources", ())))


def _inner(table: Table) -> Iterator[Witness]:
    """Yield what rules say by being there."""
    asked = [
        (rule.asks.get("ip saddr"), rule.asks.get("ip daddr"), "ether saddr" in rule.asks)
        for rule in table.rules
        if rule.chain == "from_dmz" and rule.does == ("accept",)
    ]
    home, intranet, others = ("@home_networks",), ("@intranet",), ("@other_sources",)
    yield _firewall_witness(table, "direct_delivery", any(each[:2] == (home, home) for each in asked))
    if (home, intranet, False) in asked:
        yield _firewall_witness(table, "vpngw_priv_macs", [])
    if (home, home, False) in asked or (others, home, False) in asked:
        yield _firewall_witness(table, "mipp_priv_macs", [])


def _between_interfaces(rule: Rule) -> bool:
    return (
        rule.chain in ("forward", "site")
        and rule.does == ("accept",)
        and all(len(rule.asks.get(key, ())) == 1 for key in ("iifname", "oifname"))
    )


def _allow(table: Table, rule: Rule) -> dict[str, str]:
    """Return the entry of `dmz_firewall_allow` that would write the rule."""
    match = table.texts.get(rule.handle, "")
    for part in (r'^iifname "[^"]*" ', r'oifname "[^"]*" ?', r'( comment "[^"]*")$', r" ?(counter )?accept$"):
        match = re.sub(part, "", match, count=1)
    match = re.sub(r" ?ct state (\{ )?new, ?untracked( \})?$", "", match.strip())
    (source,), (target,) = rule.asks["iifname"], rule.asks["oifname"]
    return {"reason": rule.comment or UNKNOWN_REASON, "from": source, "to": target, "match": match.strip()}


def gateway(table: Table) -> Iterator[Said]:
    """Yield what a table `mobileip_gateway` says of the role `vpn_gateway`."""
    readings = {
        what: _read(table, (*patterns, *_AGENTS[what[0]], *_refusal("mip-gateway-drop")))
        for what, patterns in GUARDS.items()
    }
    # The one that it comes closest to.
    what = min(readings, key=lambda each: len(readings[each].others) + len(readings[each].missing))
    yield Witness("vpn_gateway_ipsec_backend", what[0], _source(table))
    for name, value in readings[what].values:
        yield Witness(f"vpn_gateway_{name}", value, _source(table))
    if "home_networks" in table.sets:
        yield Witness("vpn_gateway_home_networks", networks(table.sets["home_networks"]), _source(table))
    if "reached" in table.sets:
        yield Witness("vpn_gateway_local_ts", networks(table.sets["reached"]), _source(table))
    yield Witness("vpn_gateway_home_agents", sorted(table.sets.get("home_agents", ())), _source(table))
    yield from _remarks(table, readings[what])


_MSS = re.compile(r"ip saddr (\S+) .*tcp option maxseg size > (\d+) tcp option maxseg size set (\d+)")


def node(found: Mapping[str, Table], ipv6: str) -> Iterator[Said]:
    """Yield what the tables `mobileip_node` say of the role `mobile_node`; `ipv6` is what its daemon goes by."""
    if NODE_MSS in found:
        table = found[NODE_MSS]
        for rule in table.rules:
            text = table.texts.get(rule.handle, "")
            fits = _MSS.search(text)
            if fits:
                yield Witness("mobile_node_home_address", fits[1], _source(table))
                yield Witness("mobile_node_tcp_mss", int(fits[3]), _source(table))
            else:
                yield Remark(_source(table), f"a rule that no variable writes: {text or rule}")
    blocks = NODE_IPV6 in found and bool(found[NODE_IPV6].rules)
    if blocks:
        yield Witness("mobile_node_ipv6", "block", f"table {NODE_IPV6}")
    elif ipv6 == "block":
        yield Remark(f"table {NODE_IPV6}", "blocks nothing, though the daemon goes by mobile_node_ipv6: block")
