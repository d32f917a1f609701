"""The lab's hosts as the roaming session and the scenarios' tests use them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import hosts, names, topology, wires
from lab.__main__ import restart
from lab.commands import in_namespace, run

from .session import SessionError

RUN_SECONDS = 60.0


class LabHosts:
    """Runs commands on the lab's hosts, moves nodes, and knows the addresses. Everything raises `LabError` aloud.

    In one box `vpngw` is the proxy's host, with the gateway's addresses.
    """

    def __init__(self) -> None:
        self.lab = topology.load()

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the local command that runs `argv` on `host`."""
        return hosts.inside(self.lab.host(host), list(argv))

    def run(self, host: str, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `argv` on `host` to its end. Raises `SessionError` with what it said when it fails and `check` is set."""
        done = subprocess.run(
            self.command(host, argv), capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode != 0:
            said = (done.stderr + done.stdout).strip()[-1500:]
            raise SessionError(f"{host}: exit status {done.returncode} from {' '.join(argv)[:300]}: {said}")
        return done

    def capture_command(self, segment: str, argv: Sequence[str]) -> list[str]:
        """Return the local command that runs `argv` where the bridge of `segment` is, or one box's wire."""
        wire = self.lab.wire
        here = names.of_host(wire.host) if wire is not None and segment == wire.interface else names.WIRES
        return in_namespace(here, argv)

    def bridge(self, segment: str) -> str:
        """Return the interface name of the bridge of `segment`."""
        return segment

    def handed_over_on(self, side: str) -> str:
        """Return where proxy and gateway hand packets to each other, pub or priv: their segment, or one box's wire."""
        return self.lab.wire.interface if self.lab.wire else self.lab.port("vpngw", side).segment

    def move(self, host: str, network: str) -> None:
        """Pull the plug of `host`, plug it into `network`, configure its interface at once."""
        wires.move(self.lab.host(host), network)

    def restart(self, host: str) -> None:
        """Reboot `host`."""
        restart(self.lab.host(host), hard=False)

    def address(self, host: str, port: str) -> str:
        """Return the address of a fixed port."""
        address = self.lab.port(host, port).address
        if address is None:
            raise SessionError(f"topology.yml: {host} has no port {port} with an address")
        return str(address.ip)

    def mac(self, host: str, port: str) -> str:
        """Return the MAC address of a port."""
        return names.mac_of(self.lab.host(host).name, port)

    def care_of(self, host: str, network: str) -> str:
        """Return the address that a node has on `network`."""
        address = self.lab.host(host).attachments[network].address
        if address is None:
            raise SessionError(f"topology.yml: {host} has no address of its own on {network}")
        return str(address.ip)

    def home_address(self, host: str) -> str:
        """Return MN-Perm of a node."""
        return self.care_of(host, "home")

    def network(self, segment: str) -> str:
        """Return the prefix of a segment."""
        return str(self.lab.segments[segment])

    def ospf_router_id(self, host: str) -> str:
        """Return the router id of a host that speaks OSPF."""
        frr = self.lab.host(host).frr
        if frr is None:
            raise SessionError(f"topology.yml: {host} runs no FRR")
        return str(frr.router_id)

    def wait_until(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until `holds()`; a `SessionError` inside it means not yet. Raises `SessionError` naming `what`."""
        deadline, last = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except SessionError as exc:
                last = f" ({exc})"
            time.sleep(0.2)
        raise SessionError(f"not within {seconds:g} s: {what}{last}")

    def location(self, node: str) -> dict[str, object]:
        """Return what `mobileip show location` says on a node."""
        done = self.run(node, ["/opt/mobileip/bin/mobileip", "show", "location", "--json", "-i", "node"])
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def ensure_at(self, node: str, network: str) -> None:
        """Have `node` on `network`, registered; moves it only when it is elsewhere."""
        if wires.network_of(self.lab.host(node)) != network:
            self.move(node, network)
        address = self.lab.host(node).attachments[network].address
        settled = "home" if network == "home" else "bound"

        def registered() -> bool:
            found = self.location(node)
            return found["state"] == settled and (address is None or found["care_of_address"] == str(address.ip))

        self.wait_until(f"{node} is registered on {network}", registered, 15)

    def wait_for_sa(self, node: str) -> None:
        """Wait until the node holds an established SA to the gateway."""

        def established() -> bool:
            return "INSTALLED" in self.run(node, ["swanctl", "--list-sas"]).stdout

        self.wait_until(f"{node} has an SA", established, 20)

    def forget_sas(self, *ends: str) -> None:
        """Have strongSwan start anew on `ends`, so that no SA is left of an earlier session."""
        for host in ends:
            self.run(host, ["systemctl", "restart", "strongswan.service"])

    def firewall_drops(self, host: str) -> int:
        """Return how many packets the firewall of `host` has dropped at its default deny and its anti-spoof rules."""
        rules = json.loads(self.run(host, ["nft", "-j", "list", "table", "inet", "mobileip_dmz"]).stdout)["nftables"]
        packets = 0
        for item in rules:
            statements = item.get("rule", {}).get("expr", [])
            if any("drop" in statement for statement in statements):
                packets += sum(int(s["counter"]["packets"]) for s in statements if isinstance(s.get("counter"), dict))
        return packets

    def payloads(self, capture: Path, display_filter: str) -> list[bytes]:
        """Return the UDP payloads of the frames in `capture` that `display_filter` selects."""
        text = run(
            ["tshark", "-n", "-r", str(capture), "-Y", display_filter, "-T", "fields", "-e", "udp.payload"],
            accept=(0, 2),
        )
        return [bytes.fromhex(line.split(",")[0]) for line in text.splitlines() if line]

    def send_udp(self, host: str, payload: bytes, address: str, port: int) -> None:
        """Send one datagram from `host`."""
        program = (
            "import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
            "s.sendto(bytes.fromhex(sys.argv[1]),(sys.argv[2],int(sys.argv[3])))"
        )
        self.run(host, ["python3", "-c", program, payload.hex(), address, str(port)])

    def versions(self) -> dict[str, str]:
        """Return the versions of what a session's result depends on."""
        asked = {
            "kernel": ["uname", "-r"],
            "strongswan": ["swanctl", "--version"],
            "mobileip": ["/opt/mobileip/bin/mobileip", "--version"],
            "python": ["python3", "--version"],
        }
        found = {name: self.run("mn", argv).stdout.strip().splitlines()[0] for name, argv in asked.items()}
        ansible = run(["ansible-playbook", "--version"]).splitlines()[0]
        return {**found, "ansible": ansible}
