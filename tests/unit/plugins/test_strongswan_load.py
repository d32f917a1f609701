"""What charon is told of our files, against a charon that is a list of what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_load import load
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session, ViciError, decode, encode

# libcharon/plugins/vici/README.md of strongSwan, "Encoding example".
MESSAGE = {"key1": b"value1", "section1": {"sub-section": {"key2": b"value2"}, "list1": [b"item1", b"item2"]}}
ENCODED = (
    b"\x03\x04key1\x00\x06value1"
    b"\x01\x08section1\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02"
    b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06\x02"
)
CONNECTIONS = """
connections {
  laptop {
    version = 2
    local_addrs = 203.0.113.20
    pools = laptop
    remote { auth = psk
      id = laptop@home.example
    }
    children {
      intranet {
        local_ts = 192.0.2.32/27,192.0.2.64/27
      }
    }
  }
}
pools {
  laptop { addrs = 192.0.2.69/32 }
}
"""
SECRETS = 'secrets {\n ike-laptop {\n  id-node = laptop@home.example\n  secret = "a key, of 24 characters"\n }\n}\n'


def test_message_is_encoded_as_the_protocol_says() -> None:
    assert encode(MESSAGE) == ENCODED
    assert decode(ENCODED) == MESSAGE


@pytest.mark.parametrize("length", range(1, len(ENCODED)))
def test_cut_message_is_refused_or_ends_between_elements(length: int) -> None:
    try:
        found = decode(ENCODED[:length])
    except ViciError:
        return
    assert length == len(b"\x03\x04key1\x00\x06value1"), found


class Charon:
    """Answers as charon does, by what it was asked before."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.leased = False
        self.has: dict[str, dict[str, Any]] = {
            "conn": {"theirs": {}}, "pool": {"users": {}}, "shared": {"ike-users": {}},
        }  # fmt: skip
        self.keys: dict[str, bytes] = {"id-of-theirs": b"theirs"}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while header := connection.recv(4, socket.MSG_WAITALL):
                    packet = connection.recv(struct.unpack("!I", header)[0], socket.MSG_WAITALL)
                    name = packet[2 : 2 + packet[1]].decode()
                    answer = b"\x01" + encode(self._answer(name, decode(packet[2 + packet[1] :])))
                    connection.sendall(struct.pack("!I", len(answer)) + answer)

    def _answer(self, command: str, asked: dict[str, Any]) -> dict[str, Any]:
        verb, kind = command.split("-")
        if kind.startswith("key"):
            return self._answer_of_keys(verb, asked)
        has = self.has[kind.removesuffix("s")]
        if verb == "get":
            listed: dict[str, dict[str, Any]] = {
                "conns": {"conns": [*has]},
                "pools": {name: {} for name in has},
                "shared": {"keys": [*has]},
            }
            return listed[kind]
        if verb == "unload":
            if kind == "pool" and self.leased:
                return {"success": "no", "errmsg": "vici pool has 1 online leases, unable to unload"}
            name = asked["id" if kind == "shared" else "name"].decode()
            gone = has.pop(name, None)
            return {"success": "yes"} if gone is not None else {"success": "no", "errmsg": f"{name} not found"}
        if kind == "shared":
            has[asked["id"].decode()] = asked
        else:
            if any("refused" in name for name in asked):
                return {"success": "no", "errmsg": "invalid value"}
            has.update(asked)
        return {"success": "yes"}

    def _answer_of_keys(self, verb: str, asked: dict[str, Any]) -> dict[str, Any]:
        if verb == "get":
            return {"keys": [*self.keys]}
        if verb == "unload":
            del self.keys[asked["id"].decode()]
            return {"success": "yes"}
        name = "id-of-" + asked["data"].decode()
        self.keys[name] = asked["data"]
        return {"success": "yes", "id": name}


@pytest.fixture
def charon(tmp_path: Path) -> Iterator[Charon]:
    found = Charon(tmp_path / "vici")
    yield found
    found.close()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "mobileip.conf", tmp_path / "mobileip-secrets.conf"]
    for path, text in zip(found, (CONNECTIONS, SECRETS), strict=True):
        path.write_text(text, encoding="utf-8")
    return found


def load_all(charon: Charon, paths: list[Path]) -> None:
    with Session(charon.path) as session:
        load(paths, session, Path(charon.path).with_name("record.json"))


def test_what_the_files_say_is_loaded_beside_what_others_have(charon: Charon, paths: list[Path]) -> None:
    load_all(charon, paths)
    assert charon.has["conn"]["laptop"] == {
        "version": b"2",
        "local_addrs": [b"203.0.113.20"],
        "pools": [b"laptop"],
        "remote": {"auth": b"psk", "id": b"laptop@home.example"},
        "children": {"intranet": {"local_ts": [b"192.0.2.32/27", b"192.0.2.64/27"]}},
    }
    assert charon.has["pool"]["laptop"] == {"addrs": b"192.0.2.69/32"}
    assert charon.has["shared"]["ike-laptop"] == {
        "id": b"ike-laptop",
        "type": b"IKE",
        "data": b"a key, of 24 characters",
        "owners": [b"laptop@home.example"],
    }
    assert [next(iter(names)) for names in charon.has.values()] == ["theirs", "users", "ike-users"]


@pytest.mark.parametrize(
    ("said", "meant"), [("0x" + "00ff" * 12, b"\x00\xff" * 12), ("0sAAECAwQFBgcICQoLDA0ODw==", bytes(range(16)))]
)
def test_secret_in_hexadecimal_or_base64(charon: Charon, paths: list[Path], said: str, meant: bytes) -> None:
    paths[1].write_text(SECRETS.replace("a key, of 24 characters", said), encoding="utf-8")
    load_all(charon, paths)
    assert charon.has["shared"]["ike-laptop"]["data"] == meant


@pytest.fixture
def certified(tmp_path: Path) -> list[Path]:
    """The files of a gateway with a certificate, as they lie below /etc/swanctl."""
    for name, text in {"x509/gw.pem": "ours", "x509ca/ca.pem": "an authority", "private/gw.pem": "first"}.items():
        file = tmp_path / "swanctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    found = [tmp_path / "swanctl/conf.d/mobileip.conf", tmp_path / "swanctl/conf.d/mobileip-secrets.conf"]
    found[0].parent.mkdir()
    local = "  local { certs = gw.pem\n }\n"
    remote = "  remote { cacerts = ca.pem\n }\n"
    found[0].write_text(f"connections {{\n laptop {{\n{local}{remote} }}\n}}\n", encoding="utf-8")
    passwords = "".join(f" {kind}-laptop {{\n  id-node = laptop\n  secret = sesame\n }}\n" for kind in ("eap", "xauth"))
    secrets = f"secrets {{\n private-gw {{\n  file = gw.pem\n }}\n{passwords}}}\n"
    found[1].write_text(secrets, encoding="utf-8")
    return found


def test_certificates_keys_and_passwords_are_loaded_by_content(charon: Charon, certified: list[Path]) -> None:
    load_all(charon, certified)
    assert charon.has["conn"]["laptop"] == {"local": {"certs": [b"ours"]}, "remote": {"cacerts": [b"an authority"]}}
    shared = charon.has["shared"]
    assert {name: shared[name]["type"] for name in ("eap-laptop", "xauth-laptop")} == {
        "eap-laptop": b"EAP",
        "xauth-laptop": b"XAUTH",
    }
    assert charon.keys == {"id-of-theirs": b"theirs", "id-of-first": b"first"}


def test_private_key_that_is_replaced_or_named_no_more_is_unloaded(charon: Charon, certified: list[Path]) -> None:
    load_all(charon, certified)
    (certified[0].parents[1] / "private/gw.pem").write_text("second", encoding="utf-8")
    load_all(charon, certified)
    assert set(charon.keys) == {"id-of-theirs", "id-of-second"}
    for path in certified:
        path.unlink()
    load_all(charon, certified)
    assert set(charon.keys) == {"id-of-theirs"}
    assert not Path(charon.path).with_name("record.json").exists()


def test_what_is_in_no_file_any_more_is_unloaded_and_nothing_else(charon: Charon, paths: list[Path]) -> None:
    load_all(charon, paths)
    for path in paths:
        path.write_text(path.read_text(encoding="utf-8").replace("laptop", "tablet"), encoding="utf-8")
    load_all(charon, paths)
    assert [list(names) for names in charon.has.values()] == [
        ["theirs", "tablet"],
        ["users", "tablet"],
        ["ike-users", "ike-tablet"],
    ]
    for path in paths:
        path.unlink()
    load_all(charon, paths)
    assert [list(names) for names in charon.has.values()] == [["theirs"], ["users"], ["ike-users"]]
    assert not Path(charon.path).with_name("record.json").exists()


def test_pool_whose_address_is_leased_goes_with_a_later_call(charon: Charon, paths: list[Path]) -> None:
    load_all(charon, paths)
    for path in paths:
        path.unlink()
    charon.leased = True
    load_all(charon, paths)
    assert [list(names) for names in charon.has.values()] == [["theirs"], ["users", "laptop"], ["ike-users"]]
    charon.leased = False
    load_all(charon, paths)
    assert list(charon.has["pool"]) == ["users"]


def test_what_charon_has_lost_since_is_not_unloaded(charon: Charon, paths: list[Path]) -> None:
    load_all(charon, paths)
    charon.has["conn"].clear()
    paths[0].unlink()
    load_all(charon, paths)
    assert charon.has["conn"] == {}


def test_no_secret_is_in_the_record(charon: Charon, paths: list[Path]) -> None:
    load_all(charon, paths)
    record = json.loads(Path(charon.path).with_name("record.json").read_text(encoding="utf-8"))
    assert record == {"connections": ["laptop"], "pools": ["laptop"], "secrets": ["ike-laptop"]}


def test_refusal_says_what_was_asked_and_why_not(charon: Charon, paths: list[Path]) -> None:
    paths[0].write_text(CONNECTIONS.replace("laptop {", "refused {"), encoding="utf-8")
    with pytest.raises(ViciError, match=r"load-pool: invalid value"):
        load_all(charon, paths)


def test_charon_that_does_not_listen_is_said_by_its_socket(tmp_path: Path) -> None:
    with pytest.raises(ViciError, match=r"nowhere: .*; expected charon to listen there"):
        Session(str(tmp_path / "nowhere"))
