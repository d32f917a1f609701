"""Parsers raise `Malformed` and nothing else; what they take, they can write again."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from mobileip.config import ConfigError, load_config
from mobileip.decode import decode
from mobileip.runtime.control import ControlServer
from mobileip.wire import agent_discovery, encapsulation, messages
from mobileip.wire.authentication import Authentication, SecurityAssociation
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, parse_extensions
from mobileip.wire.typed_extensions import (
    FaError,
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    MessageString,
    Nai,
    UdpTunnelReply,
    UdpTunnelRequest,
)
from tests.fuzz.conftest import Inputs
from tests.fuzz.datagrams import Cast, Datagrams, icmp, mutated

NOW = 1_700_000_000.0
CAST = Cast(tuple(IPv4Address(0xC0000240 + number) for number in range(4)), (SecurityAssociation(2001, bytes(16)),))
LONG_PARAMETER = HomeAgentParameterFormat(127, 0, HomeAgentParameterEncoding.RFC4064_LONG)
SKIPPABLE_PARAMETER = HomeAgentParameterFormat(255, 1, HomeAgentParameterEncoding.SKIPPABLE)

Parser = Callable[[bytes], Any]
# Of whole messages: each takes any bytes.
MESSAGES: tuple[Parser, ...] = (
    messages.parse_request,
    messages.parse_reply,
    messages.parse_message,
    messages.read_request,
    agent_discovery.parse_advertisement,
    agent_discovery.parse_solicitation,
    encapsulation.IPv4Packet.parse,
    encapsulation.TunnelData.parse,
    encapsulation.UdpDatagram.parse,
    encapsulation.Echo.parse,
    encapsulation.MinimalForwarding.parse,
    encapsulation.Gre.parse,
    lambda payload: parse_extensions(payload, 0),
)
# Of extensions that are framed already.
EXTENSIONS: tuple[Callable[[Extension], Any], ...] = (
    Authentication.of,
    UdpTunnelRequest.of,
    UdpTunnelReply.of,
    MessageString.of,
    Nai.of,
    FaError.of,
    lambda extension: HomeAgentParameter.of(extension, HomeAgentParameterFormat()),
    lambda extension: HomeAgentParameter.of(extension, LONG_PARAMETER),
    lambda extension: HomeAgentParameter.of(extension, SKIPPABLE_PARAMETER),
)
CONFIGURATION = """\
role: proxy
mipp_pub: {address: 203.0.113.10, interface: pub}
mipp_priv: {address: 192.0.2.10, interface: priv}
vpn_gateways:
  - {name: gw, vpngw_pub: 203.0.113.20, vpngw_priv: 192.0.2.20, home_networks: [192.0.2.64/27]}
location: {internal_prefixes: [192.0.2.0/24]}
home_agents: [{address: 192.0.2.40, home_networks: [192.0.2.64/27]}]
mobile_nodes:
  - home_address: 192.0.2.69
    node_sa: {spi: 2001, key: a, algorithm: hmac-md5}
    home_agent_sa: {spi: 3001, key: b}
nat: {keepalive: 110, max_lifetime: 60}
"""


def _payload(dice: random.Random) -> bytes:
    return icmp(dice) if dice.random() < 0.3 else Datagrams(CAST).any(dice, NOW)


def _parsed(parser: Callable[..., Any], argument: Any) -> Any:
    """What the parser makes of it; None where it is malformed. Everything else that it raises is a finding."""
    try:
        return parser(argument)
    except Malformed:
        return None
    except Exception as error:
        error.add_note(f"input {argument.hex() if isinstance(argument, bytes) else argument!r}")
        raise


def test_any_bytes_are_parsed_or_malformed(inputs: Inputs) -> None:
    for dice in inputs:
        payload = _payload(dice)
        for parser in MESSAGES:
            _parsed(parser, payload)
        for extension in _parsed(lambda data: parse_extensions(data, 0), payload[24:]) or ():
            for of in EXTENSIONS:
                _parsed(of, extension)


def test_what_is_parsed_is_written_as_it_was_read(inputs: Inputs) -> None:
    for dice in inputs:
        payload = _payload(dice)
        for parse in (messages.parse_request, messages.parse_reply):
            message = _parsed(parse, payload)
            if message is not None:
                assert message.serialize() == payload == message.raw, payload.hex()
                assert [payload[each.start : each.end] for each in message.extensions] == [
                    each.serialize() for each in message.extensions
                ], payload.hex()


def test_decoder_has_lines_for_any_bytes(inputs: Inputs) -> None:
    for dice in inputs:
        payload = _payload(dice)
        lines, _ = decode(payload, NOW)
        assert lines
        assert all(line.isprintable() for line in lines), (payload.hex(), lines)


def test_any_request_to_the_control_socket_gets_an_answer(inputs: Inputs) -> None:
    server = ControlServer(Path("unused"), {"status": lambda request: sorted(request)})
    requests = (b'{"command": "status"}\n', b'{"command": ["status"]}\n', b'[{"command": {}}]\n', b"[" * 9000)
    for dice in inputs:
        line = dice.choice(requests) if dice.random() < 0.1 else mutated(dice, dice.choice(requests[:3]))
        answer = server._answer(line)
        assert set(answer) in ({"ok", "result"}, {"ok", "error"}), line


def test_any_configuration_is_loaded_or_explained(inputs: Inputs, tmp_path: Path) -> None:
    file = tmp_path / "proxy.yml"
    for dice in inputs:
        words = CONFIGURATION.split(" ")
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(words))
            words[at] = dice.choice(
                ("", "0", "-1", "{}", "[]", "null", "&a", "*a", "<<:", "!!python/name:os", "1e400", *words[:20])
            )
        text = " ".join(words).encode()
        file.write_bytes(mutated(dice, text) if dice.random() < 0.5 else text)
        try:
            load_config(file)
        except ConfigError as refused:
            problems = refused.problems
        except Exception as error:
            error.add_note(file.read_bytes().decode(errors="replace"))
            raise
        else:
            continue
        assert problems
