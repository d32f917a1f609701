"""What BIRD's answers mean. `recorded/bird-2.0` holds what birdc printed on a gateway that announced the route."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.bird import parse_protocols, parse_routes, read
from ansible_collections.mobileip.vpn.plugins.module_utils.bird_configuration import Configuration, Kernel, parse
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError, Held, NextHop, Question

RECORDED = Path(__file__).parent / "recorded" / "bird-2.0"
QUESTION = Question((IPv4Network("192.0.2.64/27"),), "203.0.113.10", "pub", 434, 143)
PROXY = NextHop("203.0.113.10", "pub")


def text(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def ask(command: str) -> str:
    """BIRD as it was recorded."""
    words = command.split()
    if words[:2] == ["show", "protocols"]:
        return text("protocols.txt")
    return text("routes.txt" if "table" in words else f"export-{words[words.index('export') + 1]}.txt")


def parsed(main: str, **included: str) -> Configuration:
    """A configuration /etc/bird.conf with files beside it."""
    found = {"/etc/bird.conf": main, **{f"/etc/{name}.conf": said for name, said in included.items()}}

    def opened(pattern: str) -> Iterable[tuple[str, str]]:
        return [(path, said) for path, said in found.items() if path == pattern]

    return parse("/etc/bird.conf", opened)


CONFIGURATION = parse("bird.conf", lambda path: [(path, text("bird.conf"))])


def test_protocols_that_announce_are_told_with_route_and_line() -> None:
    reading = read(ask, "BIRD", QUESTION, CONFIGURATION)
    of_network = [leak for leak in reading.leaks if leak.route.startswith("192.0.2.64/27")]
    assert [(leak.protocol, leak.does, leak.line) for leak in of_network] == [
        ("BGP (dis)", "may announce, once it is up,", "bird.conf:12: kernel table 434;"),
        ("BGP (dual)", "may announce, once it is up,", "bird.conf:12: kernel table 434;"),
        ("BGP (gone)", "may announce, once it is up,", "bird.conf:12: kernel table 434;"),
        ("BGP (upstream)", "announces", "bird.conf:12: kernel table 434;"),
        ("OSPF (inside)", "announces", "bird.conf:12: kernel table 434;"),
    ]
    assert reading.leaks[0].does == "reads table 434, where the route to the proxy is kept private"
    assert "RIP (ripx)" in reading.protocols
    assert not any("ripx" in leak.protocol for leak in reading.leaks), "its filter lets nothing out"


def test_a_route_that_leads_elsewhere_is_told_beside() -> None:
    reading = read(ask, "BIRD", QUESTION, CONFIGURATION)
    assert "OSPF (inside): 192.0.2.70/32" in reading.others
    assert not any("192.0.2.64/27" in other for other in reading.others)


def test_our_protocol_number_gives_the_route_away_wherever_it_leads() -> None:
    routes = list(parse_routes(text("routes.txt")))
    assert Held("192.0.2.64/27", (PROXY,), "imported", "mip4", 143) in routes
    elsewhere = replace(QUESTION, via="203.0.113.99")
    assert [route.prefix for route in routes if elsewhere.leads_to_proxy(route)] == ["192.0.2.64/27"] * 2


def test_each_way_of_a_route_and_each_route_to_a_prefix_is_read() -> None:
    routes = {route.prefix: route for route in parse_routes(text("routes.txt"))}
    assert routes["192.0.2.72/32"].next_hops == (NextHop("203.0.113.1", "pub"), PROXY)
    assert routes["192.0.2.70/32"].next_hops == (NextHop("", "pub"),)
    assert routes["192.0.2.71/32"].next_hops == ()
    two = (
        "Table master4:\n192.0.2.64/27        unicast [inwards 18:04:44.993] * (200)\n\tvia 192.0.2.1 on priv\n"
        "                     unicast [main 18:04:44.993] (10)\n\tvia 203.0.113.10 on pub\n"
    )
    assert [(route.prefix, route.source) for route in parse_routes(two)] == [
        ("192.0.2.64/27", "inwards"), ("192.0.2.64/27", "main"),
    ]  # fmt: skip


def test_protocols_have_the_tables_and_filters_of_their_channels() -> None:
    found = {protocol.name: protocol for protocol in parse_protocols(text("protocols.txt"))}
    assert found["dual"].channels == (("master4", "ACCEPT"), ("master6", "ACCEPT"))
    assert (found["gone"].up, found["gone"].channels) == (False, (("master4", "(unnamed)"),))
    assert found["pp"].channels == ()


def test_without_the_guard_who_will_announce_is_told_before() -> None:
    question = replace(QUESTION, leak_guard=False, planned=True, moving=frozenset())
    reading = read(ask, "BIRD", question, CONFIGURATION)
    told = [leak for leak in reading.leaks if leak.does == "would announce"]
    assert {leak.protocol for leak in told} == {"OSPF (inside)", "BGP (upstream)", "BGP (dis)", "BGP (dual)"}
    assert {leak.line for leak in told} == {"bird.conf:5: protocol kernel {"}


def test_a_protocol_that_goes_down_while_it_is_asked_counts_as_down() -> None:
    def going(command: str) -> str:
        if "export upstream" in command:
            raise DaemonError("BIRD: `…` fails: No valid tables; expected an answer")
        return ask(command)

    reading = read(going, "BIRD", QUESTION, CONFIGURATION)
    (leak,) = (leak for leak in reading.leaks if "upstream" in leak.protocol and "192.0.2.64/27" in leak.route)
    assert leak.does == "may announce, once it is up,"


def test_an_answer_without_protocols_is_an_error_and_no_silence() -> None:
    with pytest.raises(DaemonError, match="expected a table of protocols"):
        read(lambda _: "BIRD 2.0.12 ready.\n", "BIRD", QUESTION, CONFIGURATION)


@pytest.mark.parametrize(
    ("main", "kernel"),
    [
        ("protocol kernel { learn; ipv4 { export all; }; }", Kernel(254, learns=True)),
        ("protocol kernel { kernel table 434; ipv4 { import all; }; }", Kernel(434)),
        (
            "protocol kernel { kernel table 434; learn; ipv4 { import none; }; }",
            Kernel(434, learns=True, imports=False),
        ),
        ("protocol kernel { # learn;\n /* kernel table 434; */ ipv4; }", Kernel()),
        ("define T = 434;\nprotocol kernel { kernel table T; learn; ipv4; }", Kernel(434, learns=True)),
        ("protocol kernel { kernel table (400 + 34); learn; ipv4; }", Kernel(None, learns=True)),
        ("template kernel base { learn; }\nprotocol kernel kernel1 from base { kernel table 434; }", Kernel(434, True)),
        ("protocol device {}\nprotocol kernel { learn off; ipv4; }", Kernel()),
    ],
)
def test_what_a_kernel_protocol_takes(main: str, kernel: Kernel) -> None:
    assert parsed(main).kernels == {"kernel1": kernel}


def test_lines_of_included_files_are_named_by_their_file() -> None:
    found = parsed(
        'protocol device { }\ninclude "tables.conf";\n', tables="\nprotocol kernel {\n  kernel table 434;\n}\n"
    )
    assert found.lines["kernel1"] == "/etc/tables.conf:3: kernel table 434;"


def test_files_that_include_each_other_are_an_error() -> None:
    with pytest.raises(DaemonError, match="included more than 8 files deep"):
        parsed('include "bird.conf";')


def test_a_long_line_is_cut() -> None:
    line = parsed(f"protocol kernel {{ {'# ' * 60}\n learn; }}").lines["kernel1"]
    assert line.endswith(" …")
    assert len(line) < 110
