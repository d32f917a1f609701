"""The daemons as processes: they register, carry packets, survive kill -9, refuse replays, outlive bad datagrams."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.all import IP, Raw

from mobileip.forwarding import layouts
from mobileip.forwarding._libbpf import Map
from tests.integration.site import DEPLOYMENTS, GATEWAY, HOME, MIPP_PUB, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

OPEN, FOREIGN_AGENT = "198.51.100.10", "198.51.100.100"

_SEND = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.bind(("", int(sys.argv[3])))
for line in sys.stdin:
    channel.sendto(bytes.fromhex(line.strip()), (sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site"), one_box=request.param == "one box") as site:
        yield site


def registered(site: Site, care_of: str) -> None:
    until(
        lambda: site.bindings("mipp") == [(HOME, care_of)] and site.bindings("ha") == [(HOME, "192.0.2.10")],
        what=f"binding of {care_of}; proxy {site.log('mipp')[-2000:]} node {site.log('mn')[-2000:]}",
    )


def at(site: Site, network: str, care_of: str) -> None:
    if site.where != network:
        site.move(network)
    registered(site, care_of)


def send(site: Site, host: str, payloads: list[bytes], to: str, source_port: int = 0) -> None:
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{site.prefix}-{host}", sys.executable, "-c", _SEND, to, "434", str(source_port)],
        input="".join(payload.hex() + "\n" for payload in payloads), text=True, check=True, timeout=30,
    )  # fmt: skip


def dropped(site: Site, reason: str, host: str = "mipp") -> int:
    return int(site.show(host, "drops")["daemon"].get(reason, 0))


def test_node_outside_registers_and_its_packets_take_the_whole_way(site: Site) -> None:
    at(site, "open", OPEN)
    # The agents' bindings are there before the reply that tells the node of them.
    location = until(lambda: _known_location(site), what="a location; " + site.log("mn")[-1000:])
    assert (location["location"], location["through"], location["agent"]) == ("outside", "proxy", MIPP_PUB)
    assert until(lambda: site.ping() == 3, what=f"ping; drops {site.show('mipp', 'drops')}")
    packets = site.show("mipp", "counters")["kernel"]["packets"]
    assert all(packets[row] >= 3 for row in ("node_to_gateway", "gateway_to_node", "home_agent_to_gateway"))


def _known_location(site: Site) -> dict[str, str] | None:
    location: dict[str, str] = site.show("mn", "location")
    return location if location["location"] != "unknown" else None


def test_home_agent_answers_arp_for_the_absent_node(site: Site) -> None:
    at(site, "open", OPEN)
    ping = site.run("cnhome", "ping", "-q", "-c", "3", "-i", "0.05", "-W", "1", HOME, check=False)
    shown = site.run("cnhome", "ip", "neigh", "show", HOME).stdout
    assert _mac(site, "ha", "home") in shown, ping.stdout


def _mac(site: Site, host: str, interface: str) -> str:
    return site.run(host, "ip", "-br", "link", "show", "dev", interface).stdout.split()[2]


def test_killed_proxy_moves_no_packet_and_has_its_bindings_again(site: Site) -> None:
    at(site, "open", OPEN)
    site.kill("mipp")
    assert site.ping(10) == 10
    site.start("mipp")
    assert site.bindings("mipp") == [(HOME, OPEN)]
    assert site.ping(5) == 5


def test_restart_interrupts_no_running_ping(site: Site) -> None:
    at(site, "open", OPEN)
    with site.spawn(
        "ping", "mn", ["ping", "-q", "-i", "0.02", "-c", "100", "-W", "1", "-I", HOME, "192.0.2.50"]
    ) as ping:
        for host in ("mipp", "ha"):
            time.sleep(0.3)
            site.kill(host)
            site.start(host)
        assert ping.stdout is not None
        answer = ping.stdout.read().decode()
    site.processes.pop("ping")
    assert " 0% packet loss" in answer, answer


def test_tables_of_another_layout_are_replaced_from_the_store_under_a_running_ping(site: Site) -> None:
    at(site, "open", OPEN)
    keys = str(site.directory / "keys.yml")
    before = site.show("mipp", "counters")["kernel"]["packets"]["node_to_gateway"]
    with site.spawn(
        "ping", "mn", ["ping", "-q", "-i", "0.02", "-c", "250", "-W", "1", "-I", HOME, "192.0.2.50"]
    ) as ping:
        for host in ("mipp", "ha"):
            file = str(site.directory / f"{host}.yml")
            identity = Map(site.pins(host) / "maps" / "object_identity")
            identity.put(bytes(4), layouts.OBJECT_IDENTITY.pack(object=bytes(32), layout=b"\1" * 32))
            refused = site.mobileip(host, "load", file, "--keys", keys, check=False)
            assert refused.returncode == 1
            assert f"runs; stop it first: systemctl stop mobileip@{host}" in refused.stderr
            site.kill(host)
            assert site.mobileip(host, "load", file, "--keys", keys).stdout.startswith("loaded")
            assert site.mobileip(host, "load", file).stdout.startswith("already loaded")
            site.start(host)
        assert ping.stdout is not None
        answer = ping.stdout.read().decode()
    site.processes.pop("ping")
    assert " 0% packet loss" in answer, answer
    assert site.show("mipp", "counters")["kernel"]["packets"]["node_to_gateway"] < before + 250, "the tables are new"
    assert site.bindings("mipp") == [(HOME, OPEN)]


def test_a_table_that_comes_with_an_upgrade_is_filled_before_the_new_programs_take_over(site: Site) -> None:
    at(site, "open", OPEN)
    keys = str(site.directory / "keys.yml")
    file = upgrade(site, "mipp", "passes")
    refused = site.mobileip("mipp", "load", file, "--keys", keys, check=False)
    assert "the daemon of mipp runs; stop it first" in refused.stderr
    with site.spawn("ping", "mn", ["ping", "-i", "0.02", "-I", HOME, "192.0.2.50"]) as ping:
        for host, table in (("mipp", "passes"), ("ha", "bindings"), ("mn", "passes")):
            file = upgrade(site, host, table)
            site.kill(host)
            refused = site.mobileip(host, "load", file, check=False)
            assert (refused.returncode, "no keys file" in refused.stderr) == (1, True), refused.stderr
            assert site.mobileip(host, "load", file, "--keys", keys).stdout.startswith("loaded")
            if host != "mn":  # which lets nothing out before it has registered
                site.start(host)
        time.sleep(0.3)
        ping.send_signal(signal.SIGINT)
        assert ping.stdout is not None
        answers = re.findall(r"icmp_seq=(\d+) ttl", ping.stdout.read().decode())
    site.processes.pop("ping")
    assert len(answers) > 50
    strangers = sorted(Counter(map(int, answers)) - Counter(range(1, int(answers[-1]) + 1)))
    lost = sorted(set(range(1, int(answers[-1]) + 1)) - set(map(int, answers)))
    assert (lost, strangers) == ([], []), "what was on its way at the end aside"
    site.start("mn")
    until(lambda: site.ping(1) == 1, what=f"the node has registered: {site.log('mn')[-2000:]}")
    assert site.bindings("mipp") == [(HOME, OPEN)]


def upgrade(site: Site, host: str, table: str) -> str:
    """A host's configuration with other programs, as far as `load` can see, and one table more. The file's name.

    The programs that are attached go on with the table that they have.
    """
    file = site.directory / f"{host}.yml"
    configuration = json.loads(file.read_text())
    new = site.directory / f"{host}-upgrade" / "mobileip.bpf.o"
    if not new.exists():
        shutil.copytree(Path(configuration["bpf_object"]).parent, new.parent)
    with new.open("ab") as code:
        code.write(b"\0")
    file.write_text(json.dumps({**configuration, "bpf_object": str(new)}))
    (site.pins(host) / "maps" / table).unlink(missing_ok=True)
    return str(file)


def test_bindings_are_shown_with_their_counters(site: Site) -> None:
    at(site, "open", OPEN)
    assert site.ping(5) == 5
    for host in ("mipp", "ha"):
        file = str(site.directory / f"{host}.sock")
        (row,) = json.loads(site.mobileip(host, "show", "bindings", "--counters", "--json", "--socket", file).stdout)
        assert row["to_node_packets"] >= 5
        assert row["to_node_bytes"] > row["to_node_packets"] * 60
        assert "to_node_packets" not in site.show(host, "bindings")[0]


def test_captured_request_is_refused_also_after_kill_and_restart(site: Site) -> None:
    captured = capture_request(site)
    before = site.show("mipp", "bindings")
    site.kill("mipp")
    site.start("mipp")
    send(site, "inet", [captured], MIPP_PUB)
    until(lambda: dropped(site, "denied_133") == 1, what=f"a refusal; drops {site.show('mipp', 'drops')}")
    after = site.show("mipp", "bindings")
    assert [row["expires"] for row in after] == [row["expires"] for row in before]
    assert [row["source"] for row in after] == [row["source"] for row in before]


def capture_request(site: Site) -> bytes:
    """The request that the node sends when it comes back to the open network, as the wire has it."""
    reader = (
        "import socket\n"
        "channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))\n"
        "channel.bind(('open', 0x0800)); channel.settimeout(10); print('ready', flush=True)\n"
        "while True:\n"
        "    packet = channel.recv(2048)\n"
        "    if packet[9] == 17 and packet[20:24] == bytes.fromhex('01b201b2') and packet[28] == 1:\n"
        "        print(packet[28:].hex(), flush=True); break\n"
    )
    site.move("fa")
    registered(site, FOREIGN_AGENT)
    with site.spawn("capture", "inet", [sys.executable, "-c", reader]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        at(site, "open", OPEN)
        captured = bytes.fromhex(process.stdout.readline().decode())
    site.processes.pop("capture")
    return captured


def test_truncated_oversized_and_random_datagrams_are_dropped_and_counted(site: Site) -> None:
    at(site, "open", OPEN)
    request = bytes.fromhex("0122012cc0000245cb00710ac633640aee00000000000000")
    dice = random.Random(434)
    payloads = [b"", *(request[:length] for length in range(1, 24)), b"\x01" + bytes(9000)]
    payloads += [bytes([dice.choice((1, 3, 4, 9))]) + dice.randbytes(dice.randrange(400)) for _ in range(500)]
    before = sum(site.show("mipp", "drops")["daemon"].values())
    send(site, "inet", payloads, MIPP_PUB)
    send(site, "inner", payloads, "192.0.2.40")
    until(lambda: dropped(site, "oversized") and dropped(site, "malformed", "ha"),
          what=f"drops; {site.show('mipp', 'drops')} {site.show('ha', 'drops')}")  # fmt: skip
    kernel = sum(site.show("mipp", "drops")["kernel"].values())
    assert sum(site.show("mipp", "drops")["daemon"].values()) - before + kernel >= len(payloads) - 5
    for host in ("mipp", "ha"):
        assert dropped(site, "internal_error", host) == 0, site.log(host)
        assert site.processes[host].poll() is None
    assert site.bindings("mipp") == [(HOME, OPEN)]


def test_oversized_datagrams_come_in_fragments_and_are_dropped_and_counted_by_every_party(site: Site) -> None:
    at(site, "open", OPEN)
    payloads = [kind + bytes(size - 1) for size in (4097, 9000, 65000) for kind in (b"\x01", b"\x03")]
    for host, source, address in (
        ("mipp", "inet", MIPP_PUB),
        ("ha", "inner", "192.0.2.40"),
        ("fa", "inet", FOREIGN_AGENT),
        ("mn", "inet", OPEN),
    ):
        before = {reason: dropped(site, reason, host) for reason in ("oversized", "internal_error")}
        # A home agent gets no replies at all, the proxy none from outside: these are dropped before their size matters.
        others = sum(dropped(site, reason, host) for reason in ("unknown_message", "reply_not_from_inside"))
        send(site, source, payloads, address)

        def counted(host: str = host, before: int = before["oversized"] + others) -> bool:
            reasons = ("oversized", "unknown_message", "reply_not_from_inside")
            return sum(dropped(site, reason, host) for reason in reasons) - before == len(payloads)

        until(counted, what=f"drops of {host}: {site.show(host, 'drops')}")
        assert dropped(site, "oversized", host) - before["oversized"] >= 3
        assert dropped(site, "internal_error", host) == before["internal_error"]
    assert site.ping() == 3


def test_tunnel_data_counts_once_whole_or_in_pieces(site: Site) -> None:
    at(site, "open", OPEN)

    def counted(start: str) -> int:
        return sum(count for reason, count in site.show("mipp", "drops")["daemon"].items() if reason.startswith(start))

    def both() -> tuple[int, int]:
        return counted("tunnel_data_not_forwarded"), counted("reassembled_dropped_")

    whole, pieces = both()
    inner = bytes(IP(src=HOME, dst=GATEWAY, proto=50) / Raw(bytes(3000)))
    send(site, "mipp", [b"\x04\x04\0\0" + inner[:100]], MIPP_PUB)  # by the loopback interface, past all programs
    until(lambda: both() == (whole + 1, pieces), what=str(site.show("mipp", "drops")))
    send(site, "inet", [b"\x04\x04\0\0" + inner], MIPP_PUB)  # of somebody who has no binding
    until(lambda: both()[1] == pieces + 1, what=str(site.show("mipp", "drops")))
    assert both() == (whole + 1, pieces + 1)


def test_malformed_agent_discovery_is_dropped_and_counted(site: Site) -> None:
    at(site, "open", OPEN)
    script = (
        "import socket, sys\n"
        "channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n"
        "channel.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 0))\n"
    )
    for host, source, address, message, reason in (
        ("mn", "inet", OPEN, "0900000000000003", "malformed_advertisement"),  # a wrong checksum
        ("fa", "inet", FOREIGN_AGENT, "0a07f5f800000000", "malformed_solicitation"),  # a code that is none
    ):
        before = dropped(site, reason, host)
        site.run(source, sys.executable, "-c", script, address, message)
        until(lambda: dropped(site, reason, host) == before + 1, what=f"drops of {host}: {site.show(host, 'drops')}")  # noqa: B023 - called at once


def test_node_roams_through_the_foreign_agent_home_and_back(site: Site) -> None:
    at(site, "fa", FOREIGN_AGENT)
    assert until(lambda: site.ping() == 3, what=f"ping; fa {site.show('fa', 'drops')}, {site.show('mipp', 'drops')}")
    assert [row["home_address"] for row in site.show("fa", "bindings")] == [HOME]
    site.move("home")
    site.park(True)
    try:
        until(lambda: not site.bindings("ha") and not site.bindings("mipp"), what=f"deregistration; {site.log('mn')}")
        until(lambda: site.show("mn", "location")["location"] == "home", what=f"home; {site.log('mn')[-1000:]}")
        assert until(lambda: site.ping() == 3, what="ping from home")
        assert site.ping(to="192.0.2.80") == 3
    finally:
        site.park(False)
    site.move("open")
    registered(site, OPEN)
    assert until(lambda: site.ping() == 3, what="ping from outside again")


def test_show_and_decode_speak_to_people(site: Site) -> None:
    at(site, "open", OPEN)
    control = str(site.directory / "mipp.sock")
    table = site.mobileip("mipp", "show", "bindings", "--socket", control).stdout
    assert HOME in table
    assert OPEN in table
    assert "pure Python" in site.mobileip("mipp", "show", "status", "--socket", control).stdout
    assert not any(secret in table for secret in ("00112233", "0f1e2d3c"))


def test_control_socket_is_for_owner_and_group_only(site: Site) -> None:
    assert (site.directory / "mipp.sock").stat().st_mode & 0o777 == 0o660


def test_hangup_reads_the_configuration_again_and_refuses_a_bad_one(site: Site) -> None:
    file = site.directory / "mipp.yml"
    good = file.read_text()
    pid = site.processes["mipp"].pid
    started = site.show("mipp", "status")["started"]
    file.write_text(good.replace('"role"', '"rule"'))
    os.kill(pid, signal.SIGHUP)
    until(lambda: "reload_refused" in site.log("mipp"), what="a refusal in the log")
    assert site.show("mipp", "status")["started"] == started
    file.write_text(good)
    os.kill(pid, signal.SIGHUP)
    until(lambda: _started(site) not in (None, started), what=f"a new start; {site.log('mipp')[-1500:]}")
    assert site.processes["mipp"].pid == pid
    assert len(site.bindings("mipp")) == 1


def _started(site: Site) -> float | None:
    from mobileip.runtime.control import ControlError

    try:
        return float(site.show("mipp", "status")["started"])
    except (ControlError, OSError):
        return None


def arp_repetition(site: Site) -> list[str]:
    """Milliseconds and times, on the interface that moves."""
    return [
        site.run("mn", "sysctl", "-n", f"net.ipv4.neigh.eth0.{name}").stdout.strip()
        for name in ("retrans_time_ms", "mcast_solicit")
    ]


def test_the_nodes_haste_with_arp_ends_with_its_daemon_even_after_one_that_died(site: Site) -> None:
    at(site, "open", OPEN)
    hasty = ["100", "30"]
    assert arp_repetition(site) == hasty
    site.kill("mn")
    assert arp_repetition(site) == hasty, "nobody was there to do it"
    for found, left in ((hasty, ["1000", "3"]), (["700", "4"], ["700", "4"])):
        site.run("mn", "ip", "ntable", "change", "name", "arp_cache", "dev", "eth0", "retrans", found[0],
                 "mcast_probes", found[1])  # fmt: skip
        site.start("mn")
        assert arp_repetition(site) == hasty
        site.processes["mn"].terminate()
        assert site.processes.pop("mn").wait(5) == 0
        assert arp_repetition(site) == left
    site.start("mn")
    until(lambda: site.ping() == 3, what=f"the node is back; {site.log('mn')[-1000:]}")


def test_term_stops_the_daemon_and_no_packet(site: Site) -> None:
    at(site, "open", OPEN)
    process = site.processes.pop("mipp")
    process.terminate()
    assert process.wait(5) == 0
    assert site.ping(5) == 5
    assert not Path(site.directory / "mipp.sock").exists()
    site.start("mipp")
