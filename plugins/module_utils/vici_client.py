"""A client of VICI, charon's control protocol: one request, one answer, with the events that it streams in between.

Format: libcharon/plugins/vici/README.md of strongSwan. A packet is its length (4 bytes), its type and a message; a
message is a list of elements, names have 1 byte of length, values 2.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeAlias

Message: TypeAlias = Mapping[str, Any]
"""Values are bytes, lists of bytes, or messages; to be sent also str and lists of str."""

SOCKET = "/run/charon.vici"
_SECONDS = 10.0
_REQUEST, _RESPONSE, _UNKNOWN, _REGISTER, _UNREGISTER, _CONFIRM, _EVENT_UNKNOWN, _EVENT = range(8)
_SECTION_START, _SECTION_END, _KEY_VALUE, _LIST_START, _LIST_ITEM, _LIST_END = range(1, 7)


class ViciError(Exception):
    """Charon does not answer, or refuses; the text says what was asked and why not."""


def encode(message: Message) -> bytes:
    """Return a message as bytes."""
    parts = []
    for name, value in message.items():
        if isinstance(value, Mapping):
            parts += [_named(_SECTION_START, name), encode(value), bytes([_SECTION_END])]
        elif isinstance(value, (list, tuple)):
            items = [bytes([_LIST_ITEM]) + _value(item) for item in value]
            parts += [_named(_LIST_START, name), *items, bytes([_LIST_END])]
        else:
            parts += [_named(_KEY_VALUE, name), _value(value)]
    return b"".join(parts)


def _named(kind: int, name: str) -> bytes:
    encoded = name.encode()
    return bytes([kind, len(encoded)]) + encoded


def _value(value: str | bytes) -> bytes:
    encoded = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(encoded)) + encoded


def decode(data: bytes) -> dict[str, Any]:
    """Return what bytes say. Raises `ViciError` where they are no message."""
    try:
        message, end = _section(data, 0)
    except (IndexError, struct.error, UnicodeDecodeError) as exc:
        raise ViciError(f"an answer of {len(data)} bytes is no message: {exc}") from exc
    if end != len(data):
        raise ViciError(f"an answer of {len(data)} bytes ends after {end}")
    return message


def _section(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(data) and data[at] != _SECTION_END:
        kind, length = data[at], data[at + 1]
        name, at = data[at + 2 : at + 2 + length].decode(), at + 2 + length
        if kind == _SECTION_START:
            found[name], at = _section(data, at)
            # Over its end.
            at += 1
        elif kind == _KEY_VALUE:
            found[name], at = _read(data, at)
        elif kind == _LIST_START:
            found[name] = []
            while data[at] == _LIST_ITEM:
                item, at = _read(data, at + 1)
                found[name].append(item)
            at += 1
        else:
            raise ViciError(f"element {kind} of an answer is of no known type")
    return found, at


def _read(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", data, at)
    return data[at + 2 : at + 2 + length], at + 2 + length


class Session:
    """A connection to charon."""

    def __init__(self, path: str = SOCKET) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(path)
        except OSError as exc:
            self._socket.close()
            raise ViciError(f"{path}: {exc}; expected charon to listen there") from exc

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, command: str, message: Message) -> dict[str, Any]:
        """Return the answer to a command. Raises `ViciError` where charon refuses."""
        self._send(command, _named(_REQUEST, command) + encode(message))
        return self._answer(command, self._receive(command))

    def stream(self, command: str, event: str, message: Message) -> list[dict[str, Any]]:
        """Return the events that a command streams before its answer. Raises `ViciError` where charon refuses."""
        self._subscribe(_REGISTER, event)
        self._send(command, _named(_REQUEST, command) + encode(message))
        events, packet = [], self._receive(command)
        while packet[:1] == bytes([_EVENT]):
            # After its name, which only this one can have.
            events.append(decode(packet[2 + packet[1] :]))
            packet = self._receive(command)
        self._answer(command, packet)
        self._subscribe(_UNREGISTER, event)
        return events

    def _subscribe(self, kind: int, event: str) -> None:
        self._send(event, _named(kind, event))
        if self._receive(event)[:1] != bytes([_CONFIRM]):
            raise ViciError(f"{event}: charon does not know this event")

    @staticmethod
    def _answer(command: str, packet: bytes) -> dict[str, Any]:
        if packet[:1] != bytes([_RESPONSE]):
            raise ViciError(f"{command}: charon does not know this command")
        said = decode(packet[1:])
        if said.get("success", b"yes") != b"yes":
            raise ViciError(f"{command}: {said.get('errmsg', b'refused').decode()}")
        return said

    def _send(self, what: str, packet: bytes) -> None:
        try:
            self._socket.sendall(struct.pack("!I", len(packet)) + packet)
        except OSError as exc:
            raise ViciError(f"{what}: {exc}") from exc

    def _receive(self, what: str) -> bytes:
        try:
            (length,) = struct.unpack("!I", self._exactly(4))
            return self._exactly(length)
        except OSError as exc:
            raise ViciError(f"{what}: {exc}") from exc

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._socket.recv(length - len(data))
            if not more:
                raise OSError("charon has closed the connection")
            data += more
        return data
