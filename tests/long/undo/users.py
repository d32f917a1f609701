"""Two users of the gateway's that are no mobile nodes: they have SAs with it, and ping through them all the time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from roaming.lab_hosts import LabHosts

INTERVAL = "0.02"
GATEWAY = "203.0.113.20"
BEHIND = "192.0.2.1"
POOL = "203.0.113.192/28"
USERS = {"internet": "alice", "nat": "bob"}
SECRET = "users-of-this-gateway-0123456789"
# What an owner has set on a kernel without ESP; it happens to be what the role needs.
OPTIONS = """
charon-systemd {
  install_routes = no
  plugins {
    farp { load = no }
    forecast { load = no }
    kernel-libipsec {
      load = yes
      raw_esp = yes
      allow_peer_ts = yes
      fwmark = 0x42
    }
    kernel-netlink { fwmark = !0x42 }
    socket-default { fwmark = 0x42 }
  }
}
"""
CONNECTION = """
connections {{
  users {{
    version = 2
    mobike = no
    {addresses}
    local {{
      auth = psk
      id = {local}
    }}
    remote {{
      auth = psk
      {remote}
    }}
    children {{
      users {{
        {selectors}
      }}
    }}
  }}
}}
secrets {{
  ike-users {{
    secret = "{secret}"
  }}
}}
pools {{
  users {{ addrs = {pool} }}
}}
"""
REACHED = f"192.0.2.0/27,{POOL}"
NUMBERS = re.compile(r"\b(uniqueid|initiator-spi|responder-spi|spi-in|spi-out)=(\w+)")


def put(hosts: LabHosts, host: str, path: str, text: str) -> None:
    hosts.run(host, ["sh", "-c", 'printf "%s" "$2" >"$1"', "sh", path, text])


def strongswan(hosts: LabHosts, host: str, connection: str) -> None:
    """Install strongSwan on a host, and run it with one connection."""
    packages = "charon-systemd strongswan-swanctl libcharon-extra-plugins"
    install = f"apt-get -q update && apt-get -q -y --no-install-recommends install {packages}"
    hosts.run(host, ["sh", "-c", install])
    put(hosts, host, "/etc/strongswan.d/gateway.conf", OPTIONS)
    put(hosts, host, "/etc/swanctl/conf.d/users.conf", connection)
    hosts.run(host, ["systemctl", "restart", "strongswan.service"])
    hosts.run(host, ["swanctl", "--load-all", "--noprompt"])


class Ping:
    """A ping from a host that goes on until it is stopped, and what it has missed."""

    def __init__(self, hosts: LabHosts, host: str, address: str, output: Path) -> None:
        self._hosts, self._host, self._output = hosts, host, output
        script = 'echo $$ >/run/ping.pid; exec stdbuf -oL ping -n -i "$1" "$2"'
        with output.open("wb") as file:
            command = hosts.command(host, ["sh", "-c", script, "sh", INTERVAL, address])
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def answered(self) -> set[int]:
        """Return the numbers that were answered so far."""
        return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", self._output.read_text(encoding="ascii"))}

    def missed(self) -> list[int]:
        """Return those that were not, although a later one was."""
        seen = self.answered()
        return sorted(set(range(1, max(seen, default=1))) - seen)

    def stop(self) -> None:
        self._hosts.run(self._host, ["sh", "-c", "kill -INT $(cat /run/ping.pid)"], check=False)
        self._process.wait(timeout=20)


class Users:
    """The gateway's other users: their SAs, and their pings."""

    def __init__(self, hosts: LabHosts, pings: list[Ping]) -> None:
        self._hosts = hosts
        self._pings = pings
        self._sas = self.sas()
        self._charon = self.charon()

    def sas(self) -> list[tuple[str, str]]:
        """Return unique ids and SPIs of all SAs at the gateway."""
        listed = self._hosts.run("vpngw", ["swanctl", "--list-sas", "--raw", "--ike", "users"]).stdout
        return sorted(NUMBERS.findall(listed))

    def charon(self) -> str:
        """Return the process that serves them."""
        return self._hosts.run("vpngw", ["systemctl", "show", "--value", "-p", "MainPID", "strongswan.service"]).stdout

    def assert_undisturbed(self) -> None:
        """They have the SAs that they had, by the same charon, and no ping was lost."""
        progress = [len(ping.answered()) for ping in self._pings]
        self._hosts.wait_until(
            "pings go on",
            lambda: all(len(ping.answered()) > count for ping, count in zip(self._pings, progress, strict=True)),
            10,
        )
        assert [ping.missed() for ping in self._pings] == [[], []]
        assert self.sas() == self._sas
        assert self.charon() == self._charon


@contextmanager
def users_of_gateway(hosts: LabHosts, folder: Path) -> Iterator[Users]:
    """Give the gateway, and two hosts outside, strongSwan as their owners have it; yields the users with SAs and pings.

    One pings a host behind the gateway, the other the first one.
    """
    at_gateway = CONNECTION.format(
        addresses=f"local_addrs = {GATEWAY}\n    pools = users", local="gateway.example", remote="",
        selectors=f"local_ts = {REACHED}", secret=SECRET, pool=POOL,
    )  # fmt: skip
    strongswan(hosts, "vpngw", at_gateway)
    hosts.run("inner_fw", ["ip", "route", "add", POOL, "via", hosts.address("vpngw", "priv")])
    inner = {}
    for host, name in USERS.items():
        at_user = CONNECTION.format(
            addresses=f"remote_addrs = {GATEWAY}\n    vips = 0.0.0.0", local=f"{name}@users.example",
            remote="id = gateway.example", selectors=f"remote_ts = {REACHED}", secret=SECRET, pool="192.0.2.240/32",
        )  # fmt: skip
        strongswan(hosts, host, at_user)
        hosts.run(host, ["swanctl", "--initiate", "--child", "users"])
        said = hosts.run(host, ["swanctl", "--list-sas", "--raw"]).stdout
        inner[host] = re.findall(r"local-vips=\[([\d.]+)\]", said)[0]
    with ExitStack() as stack:
        pings = []
        for host, address in (("internet", BEHIND), ("nat", inner["internet"])):
            ping = Ping(hosts, host, address, folder / host)
            stack.callback(ping.stop)
            pings.append(ping)
        hosts.wait_until("pings are answered", lambda: all(len(ping.answered()) > 20 for ping in pings), 20)
        yield Users(hosts, pings)
