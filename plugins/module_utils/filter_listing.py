"""Chains from what `nft -j list ruleset` and `iptables-save` say. What is not understood becomes `Unknown`."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import re
import shlex
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.filter_chains import (
    Chain,
    Condition,
    DestinationTypes,
    Interfaces,
    Never,
    Not,
    NumberKey,
    Numbers,
    Range,
    Rule,
    States,
    Table,
    Unknown,
    Verdict,
)

# Families whose chains see IPv4.
_FAMILIES = ("ip", "inet")
_FINAL = {"accept": Verdict("accept"), "drop": Verdict("drop"), "reject": Verdict("drop"), "return": Verdict("return")}
# Parts of a rule that neither ask nor decide.
_SILENT = ("counter", "log", "comment", "notrack", "mangle", "meter", "flow", "ct helper", "ct timeout")
_HOOKS = {"INPUT": "input", "FORWARD": "forward", "PREROUTING": "prerouting"}
_MORE_PROTOCOLS = {"mobile": 55, "ipip": 4, "ipv4": 4, "ipencap": 4}


class ListingError(Exception):
    """A listing that cannot be read; the text says where."""


def addresses(text: str) -> Range:
    """Return the first and last address of `10.0.0.0/8`, `10.0.0.1` or `10.0.0.1-10.0.0.9`. Raises `ValueError`."""
    first, dash, last = text.partition("-")
    if dash:
        return int(IPv4Address(first)), int(IPv4Address(last))
    network = IPv4Network(text, strict=False)
    return int(network.network_address), int(network.broadcast_address)


def protocol_number(name: str | int) -> int:
    """Return the number of an IP protocol. Raises `ValueError` for a name that nobody knows."""
    if str(name).isdigit():
        return int(name)
    known = _MORE_PROTOCOLS.get(str(name))
    if known is not None:
        return known
    try:
        return socket.getprotobyname(str(name))
    except OSError as exc:
        raise ValueError(f"{name}: no IP protocol") from exc


def dormant(text: str) -> set[str]:
    """Return family and name of the tables that `nft list ruleset` shows as switched off; its JSON may not say so."""
    return set(re.findall(r"(?m)^table (.+) \{\n\s+flags [\w,]*\bdormant\b", text))


def from_nft(listing: str, off: Collection[str] = ()) -> list[Table]:
    """Return the tables that see IPv4, but for those that are `off`. Raises `ListingError`."""
    try:
        objects = [entry for entry in json.loads(listing)["nftables"] if isinstance(entry, dict)]
        return [table for table in _Nft(objects).tables() if f"{table.family} {table.name}" not in off]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ListingError(f"nft -j list ruleset: cannot be read: {exc!r}") from exc


class _Nft:
    """One listing of nft's."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self._objects = objects
        self._sets = {
            (each["family"], each["table"], each["name"]): each for kind in ("set", "map") for each in self._each(kind)
        }

    def _each(self, kind: str) -> Iterator[dict[str, Any]]:
        return (entry[kind] for entry in self._objects if kind in entry)

    def tables(self) -> Iterator[Table]:
        for table in self._each("table"):
            place = (table["family"], table["name"])
            if table["family"] in _FAMILIES:
                yield Table(*place, {chain.name: chain for chain in self._chains(place)})

    def _chains(self, place: tuple[str, str]) -> Iterator[Chain]:
        for chain in self._each("chain"):
            if (chain["family"], chain["table"]) == place:
                rules = tuple(
                    rule
                    for entry in self._each("rule")
                    if (entry["family"], entry["table"], entry["chain"]) == (*place, chain["name"])
                    for rule in self._rules(entry.get("expr", []), place)
                )
                hook = chain["hook"] if chain.get("type") == "filter" else ""
                yield Chain(chain["name"], rules, hook, chain.get("policy", "accept"))

    def _rules(self, parts: Iterable[dict[str, Any]], place: tuple[str, str]) -> Iterator[Rule]:
        """Yield one rule; where it ends in a map of verdicts, one for each of its elements."""
        conditions: list[Condition] = []
        for part in parts:
            (kind,) = part
            value = part[kind]
            if kind == "match":
                conditions.append(self._match(value, place))
            elif kind in _FINAL:
                yield Rule(tuple(conditions), _FINAL[kind])
                return
            elif kind in ("jump", "goto"):
                target: str = value["target"]
                yield Rule(tuple(conditions), Verdict("jump", target) if kind == "jump" else Verdict("goto", target))
                return
            elif kind == "vmap":
                yield from self._map(conditions, value, place)
                return
            elif kind not in _SILENT:
                # A rate, a verdict of another kind, an extension of iptables: may be anything.
                conditions.append(Unknown())
                if kind in ("xt", "queue"):
                    yield Rule(tuple(conditions), Verdict("unknown"))
        yield Rule(tuple(conditions), Verdict("continue"))

    def _map(self, conditions: list[Condition], value: dict[str, Any], place: tuple[str, str]) -> Iterator[Rule]:
        data = value["data"]
        entries = self._elements(data, place)
        if entries is None:
            yield Rule((*conditions, Unknown()), Verdict("unknown"))
            return
        for key, verdict in entries:
            condition = self._match({"op": "==", "left": value["key"], "right": key}, place)
            for rule in self._rules([verdict], place):
                yield Rule((*conditions, condition, *rule.conditions), rule.verdict)

    def _elements(self, value: Any, place: tuple[str, str]) -> list[Any] | None:
        """Return a set's elements; None where they are not known, or come and go."""
        if isinstance(value, str) and value.startswith("@"):
            named = self._sets.get((*place, value[1:]))
            if named is None or {"dynamic", "timeout"} & set(named.get("flags", ())):
                return None
            elements: list[Any] = named.get("elem", [])
        elif isinstance(value, dict) and "set" in value:
            elements = value["set"]
        elif isinstance(value, list):
            elements = value
        else:
            elements = [value]
        return [each["elem"]["val"] if isinstance(each, dict) and "elem" in each else each for each in elements]

    def _match(self, match: dict[str, Any], place: tuple[str, str]) -> Condition:
        operator, elements = match["op"], self._elements(match["right"], place)
        if operator not in ("==", "!=", "in") or elements is None:
            return Unknown()
        try:
            condition = _condition(match["left"], elements)
        except (ValueError, TypeError, KeyError):
            return Unknown()
        return Not(condition) if operator == "!=" else condition


def _condition(left: Any, elements: list[Any]) -> Condition:
    """Return the condition of nft's `left` being among `elements`. Raises `ValueError` and others for odd ones."""
    if not isinstance(left, dict) or len(left) != 1:
        return Unknown()
    ((kind, what),) = left.items()
    if kind == "meta":
        return _meta(what["key"], elements)
    if kind == "ct" and what.get("key") == "state":
        return States(tuple(str(each) for each in elements))
    if kind == "ct" and what.get("key") == "status" and {str(each) for each in elements} <= {"dnat", "snat"}:
        return Never()
    if kind == "fib" and what.get("result") == "type" and "daddr" in what.get("flags", ()):
        return DestinationTypes(tuple(str(each).upper() for each in elements))
    if kind == "payload" and "field" in what:
        return _payload(what["protocol"], what["field"], elements)
    return Unknown()


def _meta(key: str, elements: list[Any]) -> Condition:
    if key in ("iifname", "iif"):
        return Interfaces("from_interface", tuple(str(each) for each in elements))
    if key in ("oifname", "oif"):
        return Interfaces("to_interface", tuple(str(each) for each in elements))
    if key == "l4proto":
        return _numbers("protocol", elements)
    if key in ("nfproto", "protocol"):
        return Not(Never()) if {"ipv4", "ip"} & {str(each) for each in elements} else Never()
    return Unknown()


def _payload(protocol: str, name: str, elements: list[Any]) -> Condition:
    if protocol == "ip":
        fields: Mapping[str, NumberKey] = {"saddr": "source", "daddr": "destination", "protocol": "protocol"}
        return _numbers(fields[name], elements) if name in fields else Unknown()
    if protocol in ("ip6", "icmpv6"):
        return Never()
    if protocol in ("udp", "tcp", "th") and name in ("sport", "dport"):
        of = None if protocol == "th" else protocol_number(protocol)
        return _numbers("source_port" if name == "sport" else "destination_port", elements, of)
    return Unknown()


def _numbers(key: NumberKey, elements: Iterable[Any], of: int | None = None) -> Numbers:
    return Numbers(key, tuple(_range(key, each) for each in elements), of)


def _range(key: NumberKey, element: Any) -> Range:
    if isinstance(element, dict) and "prefix" in element:
        return addresses(f"{element['prefix']['addr']}/{element['prefix']['len']}")
    if isinstance(element, dict) and "range" in element:
        first, last = (_range(key, each) for each in element["range"])
        return first[0], last[1]
    if key in ("source", "destination"):
        return addresses(element)
    if key == "protocol":
        return (protocol_number(element),) * 2
    number = int(element) if str(element).isdigit() else socket.getservbyname(str(element))
    return number, number


def from_iptables(listing: str) -> list[Table]:
    """Return the tables of `iptables-save`. Raises `ListingError`."""
    tables: list[Table] = []
    chains: dict[str, Chain] = {}
    for line in listing.splitlines():
        try:
            words = shlex.split(line, comments=line.startswith("#"))
            if not words:
                continue
            if words[0].startswith("*"):
                chains = {}
                tables.append(Table("ip", words[0][1:], chains))
            elif words[0].startswith(":"):
                name = words[0][1:]
                hook = _HOOKS.get(name, "") if tables[-1].name != "nat" else ""
                chains[name] = Chain(name, (), hook, "drop" if words[1] == "DROP" else "accept")
            elif words[0] == "-A":
                chain = chains[words[1]]
                chains[words[1]] = replace(chain, rules=(*chain.rules, _iptables_rule(words[2:])))
        except (ValueError, KeyError, IndexError) as exc:
            raise ListingError(f"iptables-save: '{line}': cannot be read: {exc!r}") from exc
    return tables


_TARGETS = {
    "ACCEPT": Verdict("accept"),
    "DROP": Verdict("drop"),
    "REJECT": Verdict("drop"),
    "RETURN": Verdict("return"),
    **dict.fromkeys(("LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TRACE", "TCPMSS", "SET"), Verdict("continue")),
    **dict.fromkeys(("QUEUE", "NFQUEUE", "SYNPROXY", "TPROXY"), Verdict("unknown")),
}
# Extensions that are nothing without their options; any other one may be a condition of its own.
_OPTIONS_ONLY = ("conntrack", "state", "udp", "tcp", "multiport", "comment", "addrtype")


def _iptables_rule(words: list[str]) -> Rule:
    conditions: list[Condition] = []
    rest = words
    while rest:
        negated = rest[0] == "!"
        option, rest = rest[negated], rest[negated + 1 :]
        length = next((at for at, word in enumerate(rest) if word == "!" or word.startswith("-")), len(rest))
        values, rest = rest[:length], rest[length:]
        if option in ("-j", "-g"):
            # What follows are the target's own options.
            verdict = Verdict("jump", values[0]) if option == "-j" else Verdict("goto", values[0])
            return Rule(tuple(conditions), _TARGETS.get(values[0], verdict))
        if option == "--comment" or (option == "-m" and values[0] in _OPTIONS_ONLY):
            continue
        condition = _iptables_condition(option, values)
        conditions.append(Not(condition) if negated else condition)
    return Rule(tuple(conditions), Verdict("continue"))


def _iptables_condition(option: str, values: list[str]) -> Condition:
    listed = [each for value in values for each in value.split(",")]
    try:
        if option in ("-i", "-o"):
            name = values[0][:-1] + "*" if values[0].endswith("+") else values[0]
            return Interfaces("from_interface" if option == "-i" else "to_interface", (name,))
        if option in ("-s", "-d"):
            return Numbers("source" if option == "-s" else "destination", (addresses(values[0]),))
        if option == "-p":
            return Numbers("protocol", ((protocol_number(values[0]),) * 2,))
        if option in ("--dport", "--dports", "--sport", "--sports"):
            key: NumberKey = "source_port" if option.startswith("--s") else "destination_port"
            return Numbers(key, tuple(_ports(each) for each in listed))
    except ValueError:
        return Unknown()
    if option in ("--ctstate", "--state"):
        return States(tuple(each.lower() for each in listed))
    if option == "--ctstatus" and {"DNAT", "SNAT"} >= set(listed):
        return Never()
    if option == "--dst-type":
        return DestinationTypes(tuple(listed))
    return Unknown()


def _ports(text: str) -> Range:
    first, colon, last = text.partition(":")
    return int(first), int(last) if colon else int(first)
