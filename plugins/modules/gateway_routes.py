#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Keep a gateway's private routes to the home networks in the running kernel."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_routes
short_description: Route home networks through the MIP Proxy without an IGP noticing
version_added: 1.0.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - On a Linux VPN gateway, routes each home network through MIPP-Pub in a routing table of its own, and leads two
    kinds of packets there by policy rules. ESP and IKE from VPNGW-Pub to nodes, and clear packets from a
    home network to a home network (a node's, for a host in a mobility subnet).
  - A routing daemon that redistributes kernel routes reads the main table only, so it does not announce these.
  - Routes and rules that carry O(protocol) are this module's. Those that are not asked for are removed; all others are
    left alone, and one that is in the way is an error.
  - Changes the running kernel only. The role P(mobileip.vpn.vpn_gateway#role) keeps the same in a file for the next
    boot.
options:
  state:
    description: Whether routes and rules shall be there. V(absent) removes all that carry O(protocol).
    type: str
    choices: [present, absent]
    default: present
  home_networks:
    description: Prefixes of the home networks, host bits zero.
    type: list
    elements: str
    required: true
  via:
    description:
      - MIPP-Pub, an address on the link of O(interface).
      - Left out, packets go into O(interface) as they are. That is the wire to a proxy on the same host (one box).
    type: str
    default: ""
  interface:
    description: Interface towards MIPP-Pub; in one box, the gateway's end of the wire.
    type: str
    required: true
  source:
    description: VPNGW-Pub, the source of ESP and IKE to nodes.
    type: str
    required: true
  proxy:
    description:
      - One box. MIPP-Pub, which is an address of this host. What the proxy says to a node at home goes by the main
        table. A rule of preference 210 keeps it from the route into strongSwan's TUN that a node with an SA has.
      - Left out, there is no such rule.
    type: str
    default: ""
  table:
    description: Number of the private routing table.
    type: int
    default: 434
  preference:
    description:
      - Preference of the rules; the next number is used, too. After strongSwan's own (220), so that what an SA takes
        goes into it, and before the rule that leads to the main table.
    type: int
    default: 434
  protocol:
    description: Protocol number that marks routes and rules as this module's.
    type: int
    default: 143
  leak_guard:
    description:
      - V(false) puts the routes into the main table, without rules. Then B(a routing daemon announces them), the
        intranet sends what is for the home networks to this gateway, and other VPN users'
        packets for them go to the proxy.
      - For a test that wants to see the leak.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description:
      - Tells what it would change, by the same plan.
      - Where pyroute2 is not installed yet, it plans for an empty kernel.
  diff_mode:
    support: full
    description: Shows the routes and rules that carry O(protocol), before and after.
  idempotent:
    support: full
    description: What is there is not applied again.
requirements:
  - pyroute2 0.7 or later on the host (Debian, python3-pyroute2)
"""

EXAMPLES = r"""
- name: Route the home network through the proxy
  mobileip.vpn.gateway_routes:
    home_networks: [192.0.2.64/27]
    via: 203.0.113.10
    interface: eth0
    source: 203.0.113.20

- name: Route the home network into the wire to a proxy on the same host
  mobileip.vpn.gateway_routes:
    home_networks: [192.0.2.64/27]
    interface: mip0
    source: 203.0.113.20
    proxy: 203.0.113.10

- name: Take the routes away
  mobileip.vpn.gateway_routes:
    home_networks: [192.0.2.64/27]
    via: 203.0.113.10
    interface: eth0
    source: 203.0.113.20
    state: absent
"""

RETURN = r"""
steps:
  description: What was changed, or would be in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample:
    - add route 192.0.2.64/27 via 203.0.113.10 dev eth0 table 434 proto 143
    - "add rule 434: from 203.0.113.20/32 to 192.0.2.64/27 lookup 434 proto 143"
routes:
  description: Routes of this module's after the run.
  returned: success
  type: list
  elements: str
  sample: [route 192.0.2.64/27 via 203.0.113.10 dev eth0 table 434 proto 143]
rules:
  description: Rules of this module's after the run.
  returned: success
  type: list
  elements: str
  sample: ["rule 434: from 203.0.113.20/32 to 192.0.2.64/27 lookup 434 proto 143"]
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mobileip.vpn.plugins.module_utils.kernel_routing import IMPORT_ERROR, KernelRouting
from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import (
    Routing,
    RoutingError,
    Wish,
    check,
    ours,
    plan,
    wanted,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "home_networks": {"type": "list", "elements": "str", "required": True},
    "via": {"type": "str", "default": ""},
    "interface": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "proxy": {"type": "str", "default": ""},
    "table": {"type": "int", "default": 434},
    "preference": {"type": "int", "default": 434},
    "protocol": {"type": "int", "default": 143},
    "leak_guard": {"type": "bool", "default": True},
}


def wish_of(module: AnsibleModule) -> Wish:
    """Return what the task asks for. Raises `RoutingError` on a value that cannot be."""
    given = dict(module.params)
    networks = tuple(given.pop("home_networks"))
    wish = Wish(home_networks=networks, present=given.pop("state") == "present", **given)
    check(wish)
    return wish


def read(module: AnsibleModule) -> Routing:
    """Return what the kernel has now; nothing, in check mode on a host that has no pyroute2 yet."""
    if IMPORT_ERROR is None:
        with KernelRouting() as kernel:
            return kernel.read()
    if not module.check_mode:
        module.fail_json(msg=missing_required_lib("pyroute2"), exception=IMPORT_ERROR)
    module.warn("pyroute2 is not installed yet, so the kernel cannot be read: planned as if it had no routes of ours")
    return Routing()


def apply(module: AnsibleModule, want: Routing, protocol: int) -> tuple[Routing, list[str]]:
    """Plan, and change the kernel unless in check mode; returns what was there of ours, and the steps."""
    seen = read(module)
    steps = plan(seen, want, protocol)
    if steps and not module.check_mode:
        with KernelRouting() as kernel:
            kernel.apply(steps, want)
    return ours(seen, protocol), [str(step) for step in steps]


def main() -> None:
    """Read, plan, apply, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        wish = wish_of(module)
        want = wanted(wish)
        have, steps = apply(module, want, wish.protocol)
    except RoutingError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(
        changed=bool(steps),
        steps=steps,
        routes=[str(route) for route in want.routes],
        rules=[str(rule) for rule in want.rules],
        diff={"before": have.text, "after": want.text},
    )


if __name__ == "__main__":
    main()
