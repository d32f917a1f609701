"""VPN clients without Mobile IP, of real strongSwan, on the hosts of the lab: what a move costs them.

The client is the mobile node's host, its daemon stopped; its SA goes straight to VPNGW-Pub, with UDP encapsulation,
from whatever address it has. Its inner address comes from the gateway. With MOBIKE it tells the gateway its new
address; a plain IKE client begins anew as soon as charon notices the move. It gives up the old SA first: as charon is
shipped it would ask for a second inner address and, with one address for one identity, get none.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum

from roaming.lab_hosts import LabHosts

INNER, TARGET = "192.0.2.225", "192.0.2.20"
"""The client's address, of a range that the gateway owns, and VPNGW-Priv: who answers its probe."""
_FILE = "/etc/swanctl/conf.d/rival.conf"
_SETTINGS = "/etc/strongswan.d/rival.conf"
_NODE = """connections {{
  rival {{
    version = 2
    remote_addrs = {gateway}
    vips = 0.0.0.0
    mobike = {mobike}
    encap = yes
    keyingtries = 0
    local {{
      auth = psk
      id = rival@home.example
    }}
    remote {{
      auth = psk
      id = vpngw.example
    }}
    children {{
      rival {{
        remote_ts = {target}/32
      }}
    }}
  }}
}}
secrets {{
  ike-rival {{
    id-gateway = vpngw.example
    secret = "{secret}"
  }}
}}
"""
_GATEWAY = """connections {{
  rival {{
    version = 2
    local_addrs = {gateway}
    mobike = {mobike}
    encap = yes
    unique = replace
    pools = rival
    local {{
      auth = psk
      id = vpngw.example
    }}
    remote {{
      auth = psk
      id = rival@home.example
    }}
    children {{
      rival {{
        local_ts = {target}/32
      }}
    }}
  }}
}}
pools {{
  rival {{
    addrs = {inner}/32
  }}
}}
secrets {{
  ike-rival {{
    id-node = rival@home.example
    secret = "{secret}"
  }}
}}
"""


class Rival(Enum):
    """A kind of client; the value is strongSwan's `mobike`."""

    MOBIKE = "yes"
    PLAIN = "no"


@contextmanager
def client(hosts: LabHosts, rival: Rival) -> Iterator[None]:
    """The client with an SA to the gateway, in the open network; afterwards the mobile node's daemon again."""
    gateway = hosts.address("vpngw", "pub")
    facts = {
        "gateway": gateway,
        "mobike": rival.value,
        "target": TARGET,
        "inner": INNER,
        "secret": secrets.token_hex(16),
    }
    with ExitStack() as stack:

        def do(host: str, command: str, undo: str | None = None) -> None:
            if undo is not None:
                stack.callback(hosts.run, host, ["sh", "-c", undo], check=False)
            hosts.run(host, ["sh", "-ec", command])

        do("mn", "systemctl stop mobileip@node.service", "systemctl start mobileip@node.service")
        # As the node's daemon has it while it runs: no move of the client's waits a second for a lost request.
        arp = "ip ntable change name arp_cache dev eth0"
        do("mn", f"{arp} retrans 100 mcast_probes 30", f"{arp} retrans 1000 mcast_probes 3")
        for match in (f"ip daddr {gateway} udp dport", f"ip saddr {gateway} udp sport"):
            do("outer_fw", f"nft insert rule inet mobileip_dmz forward {match} '{{ 500, 4500 }}' accept")
        stack.callback(hosts.run, "outer_fw", ["systemctl", "restart", "mobileip-dmz-firewall.service"], check=False)
        for host, text in (("vpngw", _GATEWAY), ("mn", _NODE)):
            forget = (
                f"rm -f {_FILE}; swanctl --terminate --ike rival --force --timeout -1; swanctl --load-all --noprompt"
            )
            do(host, f"cat >{_FILE} <<'END'\n{text.format(**facts)}END\nswanctl --load-all --noprompt", forget)
        do("mn", f"ip address add {INNER}/32 dev lo", f"ip address del {INNER}/32 dev lo")
        if rival is Rival.PLAIN:
            settings = f"echo 'charon-systemd {{ make_before_break = no }}' >{_SETTINGS}; swanctl --reload-settings"
            do("mn", settings, f"rm -f {_SETTINGS}; swanctl --reload-settings")
        hosts.move("mn", "open")
        do("mn", "swanctl --initiate --child rival --timeout 20")
        yield
