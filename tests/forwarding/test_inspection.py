"""`mobileip show datapath` and `show drops --follow`, asked as a person would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mobileip import cli
from mobileip.forwarding import layouts, loader
from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.inspection import describe, verifier_statistics
from mobileip.forwarding.tables import ProxyTables
from mobileip.forwarding.xdp import Attach
from tests.forwarding.comparison import CONTEXT
from tests.forwarding.conftest import Namespace
from tests.forwarding.test_counters import from_node
from tests.forwarding.test_loader import ATTACHMENTS, BINDING

pytestmark = pytest.mark.namespaces


@pytest.fixture
def host(namespace: Namespace, bpf_object: Path, pin_dir: Path) -> Namespace:
    namespace.shell("ip link add pub type veth peer name p\nip link add priv type veth peer name q")
    namespace.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, max_bindings=64)
    return namespace


def test_it_tells_attachments_programs_and_tables(host: Namespace, pin_dir: Path) -> None:
    ProxyTables(pin_dir).put(BINDING)
    found = host.run(describe, pin_dir)
    assert [(row["interface"], row["direction"], row["hook"], row["program"]) for row in found["attachments"]] == [
        ("pub", "ingress", "tc", "proxy_pub"),
        ("priv", "ingress", "tc", "proxy_priv"),
    ]
    assert all(row["is_current"] for row in found["attachments"])
    assert found["layout_is_ours"] is True
    for row in found["programs"]:
        shown = json.loads(host.shell(f"bpftool -j prog show id {row['id']}"))
        assert (row["translated_bytes"], row["jited_bytes"]) == (shown["bytes_xlated"], shown["bytes_jited"])
        assert 1000 < row["verified_instructions"] < 1_000_000
    (bindings,) = [row for row in found["tables"] if row["name"] == "bindings"]
    assert (bindings["entries"], bindings["max_entries"], bindings["type"]) == (1, 64, "hash")
    assert bindings["value_bytes"] == layouts.BINDING.size
    shown = json.loads(host.shell(f"bpftool -j map show id {bindings['id']}"))
    assert bindings["memory_bytes"] == shown["bytes_memlock"]
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_a_filter_that_runs_other_code_than_is_loaded_is_told(
    host: Namespace, pin_dir: Path, bpf_object: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "other.o"
    copy.write_bytes(bpf_object.read_bytes() + b"\0")  # another object of the same programs, without one for XDP
    host.run(loader.load, copy, pin_dir, ATTACHMENTS[:1])
    current = {row["interface"]: row["is_current"] for row in host.run(describe, pin_dir)["attachments"]}
    assert current == {"pub": True, "priv": True}, "what is not asked for keeps its program"
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_what_sees_the_packets_first_is_told(host: Namespace, pin_dir: Path, bpf_object: Path) -> None:
    host.shell("sysctl -qw net.ipv4.ip_forward=1\nip link set pub up")
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, attach=Attach.NATIVE)
    found = host.run(describe, pin_dir)
    assert {"interface": "pub", "attach": "xdp-native", "why": "datapath.attach says so"} in found["hooks"]
    (shown,) = [row for row in found["attachments"] if (row["interface"], row["hook"]) == ("pub", "XDP native")]
    assert shown["program"] == "proxy_pub"
    assert shown["id"] in {row["id"] for row in found["programs"] if row["hook"] == "XDP"}
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_the_verifiers_last_lines_are_shown(bpf_object: Path, needs_root: None) -> None:
    names = ["proxy_pub", "fa_link"]
    found = verifier_statistics(bpf_object, names)
    assert list(found) == names
    for lines in found.values():
        assert any(line.startswith("processed ") and "limit 1000000" in line for line in lines)


def test_the_command_prints_tables_and_json(
    host: Namespace, pin_dir: Path, bpf_object: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["show", "datapath", "--pins", str(pin_dir)]
    assert host.run(cli.main, [*command, "--object", str(bpf_object)]) == 0
    text = capsys.readouterr().out
    assert "attachments:\n  interface  direction  hook  program" in text
    assert "\n  proxy_pub " in text
    assert "\n  bindings " in text
    assert re.search(r"verifier:\n  tc:\n    proxy_priv  .*processed \d+ insns \(limit 1000000\)", text)
    assert host.run(cli.main, [*command, "--json", "--object", str(bpf_object)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["kernel"]["release"]
    assert set(answer["verifier"]["tc"]) == set(answer["verifier"]["XDP"]) == {"proxy_pub", "proxy_priv"}
    assert host.run(cli.main, [*command, "--json", "--object", "/nowhere/mobileip.bpf.o"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verifier"]["tc"] == "/nowhere/mobileip.bpf.o is not there: name the BPF object with --object"
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_nothing_loaded_is_one_clear_line(bpffs: Path, pin_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "datapath", "--pins", str(pin_dir)]) == 1
    assert capsys.readouterr().err == f"mobileip: {pin_dir}: nothing is loaded there; run mobileip load\n"


def test_drops_are_followed_with_their_headers(host: Namespace, pin_dir: Path) -> None:
    """The command in a process of its own; a packet for no configured address every now and then."""
    (link,) = json.loads(host.shell("ip -json link show pub"))
    frame, context = (
        from_node(mac=bytes.fromhex(link["address"].replace(":", ""))),
        CONTEXT.pack(0, link["ifindex"], 0, 0),
    )
    command = [sys.executable, "-m", "mobileip", "show", "drops", "--follow", "--rate", "100", "--pins", str(pin_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    follower = host.run(subprocess.Popen, command, stdout=subprocess.PIPE, text=True, env=environment)
    program = Program(pin_dir / "programs" / "proxy_pub")
    stop = threading.Event()

    def drop() -> None:
        while not stop.wait(0.1):
            host.run(program.test_run, frame, context)

    sender, end = threading.Thread(target=drop), threading.Timer(60, follower.kill)
    sender.start()
    end.start()
    try:
        assert follower.stdout is not None
        lines = [follower.stdout.readline() for _ in range(4)]
    finally:
        stop.set()
        end.cancel()
        sender.join()
        follower.terminate()
        follower.wait(10)
    assert lines[0].rstrip().endswith("  not_configured  pub  70 bytes")
    assert lines[1].startswith("  Ethernet ")
    assert lines[2].startswith("  IPv4 198.51.100.10 > 203.0.113.10, IP-in-IP (4), TTL 64, 56 bytes")
    assert lines[3].startswith("  IPv4 192.0.2.69 > 203.0.113.20, ESP (50), TTL 64, 36 bytes")
    host.run(loader.unload, pin_dir, ATTACHMENTS)
