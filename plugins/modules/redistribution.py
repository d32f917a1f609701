#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Ask the routing daemons of a gateway whether a neighbour learns the route to the proxy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redistribution
short_description: Prove that no routing daemon announces the route to the MIP Proxy
version_added: 1.1.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Finds the routing daemons that run on a Linux VPN gateway, and asks each by its own client what it announces inside
    the home networks. FRR 8.4 or later is asked by C(vtysh), BIRD 2 by C(birdc). There may be none, or several.
  - Fails where a neighbour learns a route that leads to the proxy, naming route, daemon, protocol, the line that does
    it and what to do. Whatever the daemon announces besides is the site's, and returned as RV(others).
  - Fails, too, on a line that reads the private routing table (FRR C(ip import-table) and C(redistribute table-direct),
    BIRD C(kernel table) with C(learn)). It takes one line more to announce what is read.
  - Only looks. It reads the default VRF, and daemons in the network namespace in which it runs; one in a container
    that has the host's network is asked by the client in the container.
options:
  home_networks:
    description: Prefixes of the home networks, host bits zero.
    type: list
    elements: str
    required: true
  via:
    description:
      - MIPP-Pub. A route with this next hop leads to the proxy.
      - Left out, a route into O(interface) without a next hop does (one box).
    type: str
    default: ""
  interface:
    description: Interface towards MIPP-Pub; in one box, the gateway's end of the wire.
    type: str
    required: true
  table:
    description: Number of the private routing table.
    type: int
    default: 434
  protocol:
    description: Protocol number of the gateway's routes, see M(mobileip.vpn.gateway_routes).
    type: int
    default: 143
  leak_guard:
    description: Whether the routes are, or will be, in O(table); V(false) for the main table.
    type: bool
    default: true
  planned:
    description:
      - Before a roll-out. Routes of O(protocol) in the main table, which the roll-out takes away, are not held
        against a daemon; with O(leak_guard=false), a line that will announce them is.
    type: bool
    default: false
  daemons:
    description:
      - Which daemons are asked; each must run. An empty list asks none.
      - Left out, those are asked that run.
    type: list
    elements: str
    choices: [frr, bird]
  settle:
    description:
      - Seconds to wait for an announcement, while a daemon has a route to the proxy and announces none yet. OSPF takes
        up to 5 (RFC 2328, MinLSInterval).
      - Where no daemon has such a route, nothing is waited for.
    type: int
    default: 6
attributes:
  check_mode:
    support: full
    description: Looks in the same way.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
requirements:
  - root on the host, where a daemon runs
  - iproute2 on the host
"""

EXAMPLES = r"""
- name: Require that no neighbour learns the route to the proxy
  mobileip.vpn.redistribution:
    home_networks: [192.0.2.64/27]
    via: 203.0.113.10
    interface: eth0

- name: Ask FRR alone, and fail where it does not run
  mobileip.vpn.redistribution:
    home_networks: [192.0.2.64/27]
    via: 203.0.113.10
    interface: eth0
    daemons: [frr]

- name: Look before the routes are laid, in one box
  mobileip.vpn.redistribution:
    home_networks: [192.0.2.64/27]
    interface: mip0
    planned: true
"""

RETURN = r"""
said:
  description: The result in a sentence.
  returned: success
  type: str
  sample: No neighbour learns the way to the proxy. FRR was asked about OSPF, BGP.
daemons:
  description: The daemons that were asked.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Daemon and, where it is not the usual one, its instance.
      type: str
      sample: FRR
    protocols:
      description: Its protocols that could announce a route.
      type: list
      elements: str
      sample: [OSPF, BGP]
not_asked:
  description: Routing daemons that run here and were not asked; O(daemons) does not list them, or no client is known.
  returned: always
  type: list
  elements: str
  sample: [gobgpd]
leaks:
  description: What a neighbour learns or will learn and must not. Not empty means that the module has failed.
  returned: always
  type: list
  elements: dict
  contains:
    daemon:
      description: Daemon.
      type: str
      sample: FRR
    protocol:
      description: Protocol that announces; empty for a line that reads the private table.
      type: str
      sample: OSPF
    route:
      description: The route; empty for a line that reads the private table.
      type: str
      sample: 192.0.2.64/27 via 203.0.113.10 dev eth0
    line:
      description: The line of the daemon's configuration that does it, where it can be told.
      type: str
      sample: "router ospf: redistribute kernel"
held:
  description: Routes to the proxy that daemons have in their tables, announced or not.
  returned: always
  type: list
  elements: str
  sample: []
others:
  description: What is announced inside the home networks and does not lead to the proxy.
  returned: always
  type: list
  elements: str
  sample: ["OSPF: 192.0.2.64/27"]
"""

import time
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError, Question, Reading
from ansible_collections.mobileip.vpn.plugins.module_utils.routing_daemons import (
    MUTE,
    Daemon,
    daemons,
    own_in_main,
    processes,
)

ARGUMENTS = {
    "home_networks": {"type": "list", "elements": "str", "required": True},
    "via": {"type": "str", "default": ""},
    "interface": {"type": "str", "required": True},
    "table": {"type": "int", "default": 434},
    "protocol": {"type": "int", "default": 143},
    "leak_guard": {"type": "bool", "default": True},
    "planned": {"type": "bool", "default": False},
    "daemons": {"type": "list", "elements": "str", "choices": ["frr", "bird"]},
    "settle": {"type": "int", "default": 6},
}
POLL_SECONDS = 0.5


def question_of(params: dict[str, Any]) -> Question:
    """Return what the task asks. Raises `DaemonError` on a value that cannot be."""
    try:
        networks = tuple(sorted({IPv4Network(value) for value in params["home_networks"]}))
    except (AddressValueError, NetmaskValueError, ValueError) as exc:
        raise DaemonError(f"home_networks: {exc}; expected networks such as 192.0.2.64/27") from None
    if not networks:
        raise DaemonError("home_networks: is empty; expected one prefix or more, such as 192.0.2.64/27")
    taken_away = params["planned"] and params["leak_guard"]
    return Question(
        home_networks=networks,
        moving=own_in_main(params["protocol"]) if taken_away else frozenset(),
        **{name: params[name] for name in ("via", "interface", "table", "protocol", "leak_guard", "planned")},
    )


def choose(found: list[Daemon], wanted: list[str] | None) -> list[Daemon]:
    """Return the daemons to ask. Raises `DaemonError` where one that was named does not run."""
    if wanted is None:
        return found
    for kind in wanted:
        if kind not in {daemon.kind for daemon in found}:
            running = ", ".join(map(str, found)) or "none"
            raise DaemonError(
                f"daemons: {kind} does not run here (running: {running}); expected it to. Start it, or do not list it"
            )
    return [daemon for daemon in found if daemon.kind in wanted]


def ask(asked: list[Daemon], question: Question, settle: float) -> list[Reading]:
    """Ask all, again and again for `settle` seconds while a route to the proxy is there and none announces it."""
    deadline = time.monotonic() + (0 if question.planned else settle)
    while True:
        readings = [daemon.read(question) for daemon in asked]
        undecided = any(reading.suspects for reading in readings) and not any(reading.leaks for reading in readings)
        if not undecided or time.monotonic() >= deadline:
            return readings
        time.sleep(POLL_SECONDS)


def sentence(readings: list[Reading], not_asked: list[str], named: bool) -> str:
    """Say what was found where nothing leaks."""
    beside = f" Not asked: {', '.join(not_asked)}." if not_asked else ""
    if not readings:
        none = "daemons is empty: none was asked." if named else "Neither FRR nor BIRD runs here: nothing to ask."
        return f"{none}{beside}"
    asked = "; ".join(f"{one.daemon} was asked about {', '.join(one.protocols) or 'no protocol'}" for one in readings)
    return f"No neighbour learns the way to the proxy. {asked}.{beside}"


def main() -> None:
    """Find, ask, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = module.params["daemons"]
    try:
        question = question_of(module.params)
        running = processes()
        found = daemons(running)
        asked = choose(found, wanted)
        readings = ask(asked, question, module.params["settle"])
    except DaemonError as exc:
        module.fail_json(msg=str(exc))
    not_asked = [str(daemon) for daemon in found if daemon not in asked]
    not_asked += sorted({process.name for process in running if process.name in MUTE})
    leaks = [leak for reading in readings for leak in reading.leaks]
    result = {
        "daemons": [{"name": reading.daemon, "protocols": list(reading.protocols)} for reading in readings],
        "not_asked": not_asked,
        "leaks": [
            {"daemon": leak.daemon, "protocol": leak.protocol, "route": leak.route, "line": leak.line} for leak in leaks
        ],
        "held": [route for reading in readings for route in reading.suspects],
        "others": [other for reading in readings for other in reading.others],
    }
    if leaks:
        module.fail_json(msg="\n".join(map(str, leaks)), **result)
    module.exit_json(changed=False, said=sentence(readings, not_asked, wanted is not None), **result)


if __name__ == "__main__":
    main()
