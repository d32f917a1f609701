"""A proxy with very many nodes, without a configuration file of as many lines: started by the bench in place of
`mobileip run`. Everything else is the daemon's own: machine, store, kernel tables, sockets.

usage: million.py CONFIGURATION KEYS NODES
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from mobileip.config import ProxyConfig, load_config
from mobileip.registration.actions import PersistBinding
from mobileip.registration.bindings import Binding, Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode
from mobileip.runtime import journal
from mobileip.runtime.daemon import Daemon
from mobileip.runtime.proxy import ProxyParty
from mobileip.runtime.settings import proxy_settings
from mobileip.store.sqlite import SqliteStore
from mobileip.wire.address import address
from mobileip.wire.authentication import SecurityAssociation
from tests.bench.registration.bed import CARE_OF_BASE, GATEWAY, HOME_BASE, key


def node(number: int) -> ProxyNode:
    """Node `number` as `load.c` knows it."""
    return ProxyNode(
        home_address=address(HOME_BASE + number),
        gateway=address(int(IPv4Address(GATEWAY))),
        node_associations=(SecurityAssociation(2001, key("node", number)),),
        home_agent_association=SecurityAssociation(3001, key("home", number)),
    )


def binding(number: int, now: float) -> Binding:
    """What it has registered before."""
    care_of = address(CARE_OF_BASE + number)
    return Binding(
        home_address=address(HOME_BASE + number),
        home_agent=address(int(IPv4Address("192.0.2.40"))),
        care_of_address=care_of,
        source=Endpoint(care_of, 434),
        interface="pub",
        encapsulation=Encapsulation.IPIP,
        flags=0x22,
        identification=0,
        granted=65534,
        expires=math.floor(now) + 65534.0,
        gateway=address(int(IPv4Address(GATEWAY))),
        spi=2001,
        registered=now,
        home_agent_expires=now + 65534.0,
    )


def main() -> None:
    """Fill the store, then run."""
    file, keys, nodes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    journal.configure()
    loaded = load_config(file, keys)
    assert isinstance(loaded.config, ProxyConfig)
    now = time.time()
    store = SqliteStore(loaded.paths.state)
    for start in range(0, nodes, 50_000):
        store.commit([PersistBinding(binding(number, now)) for number in range(start, min(nodes, start + 50_000))])
        store.fold(50_000)
    party = ProxyParty(loaded, loaded.config)
    party.machine = Proxy(
        replace(proxy_settings(loaded, loaded.config), nodes=tuple(node(number) for number in range(nodes)))
    )
    asyncio.run(Daemon(loaded.instance, party, store).run(loaded.paths.control_socket))


if __name__ == "__main__":
    main()
