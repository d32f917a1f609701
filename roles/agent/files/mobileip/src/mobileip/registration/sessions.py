"""What each node has at the proxy: its bindings, and the home address that a node known by its NAI was assigned.

Every change is returned as actions, in the order of the design: durable, then in the kernel; what is announced comes
behind. The home agent has one binding for a node, so none of the node's bindings here outlives it (AMB-8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Bind, ForgetBinding, Level, Log, PersistBinding, Unbind
from mobileip.registration.admission import Admission
from mobileip.registration.bindings import Binding, BindingTable, NodeKey
from mobileip.registration.events import TunnelPortLearned
from mobileip.registration.pending import PendingList
from mobileip.registration.proxy_settings import ProxyNode


class Sessions:
    """The proxy's binding list (draft 2.6.6), by node."""

    def __init__(self, nodes: Mapping[NodeKey, ProxyNode], admission: Admission) -> None:
        self._nodes = nodes
        self._admission = admission
        self._gateways = {node.gateway for node in nodes}
        self._table = BindingTable()
        self._assigned: dict[NodeKey, IPv4Address] = {}  # home addresses of nodes known by NAI
        self._holders: dict[NodeKey, NodeKey] = {}  # the same the other way round, by gateway and home address

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def of_node(self, node: NodeKey) -> list[Binding]:
        """All bindings of a node, oldest first."""
        home_address = node.name if isinstance(node.name, IPv4Address) else self._assigned.get(node)
        return [] if home_address is None else self._table.of_node(home_address, node.gateway)

    def holder(self, gateway: IPv4Address | None, home_address: IPv4Address) -> NodeKey | None:
        """Whose home address it is: the node's that is configured with it, or that has it now."""
        key = NodeKey(gateway, home_address)
        return key if key in self._nodes else self._holders.get(key)

    def of_home_address(self, home_address: IPv4Address) -> list[Binding]:
        """All bindings of a home address, behind whichever gateway."""
        return [binding for gateway in self._gateways for binding in self._table.of_node(home_address, gateway)]

    def end(self, binding: Binding) -> list[Action]:
        """End one binding before its time."""
        self._remove(binding)
        return [ForgetBinding(binding.key), Unbind(binding.key)]

    def next_expiry(self) -> float | None:
        """When the next binding expires (Unix seconds), None if none ever does."""
        return self._table.next_expiry()

    def restore(self, binding: Binding, now: float) -> list[Action]:
        """Take up a binding that was durable, unless it is over or its node is gone."""
        by_address, by_nai = (NodeKey(binding.gateway, name) for name in (binding.home_address, binding.nai or ""))
        node = by_nai if by_nai in self._nodes else by_address
        # An address that was assigned may have become another node's own since.
        taken = node is by_nai and by_address in self._nodes
        if binding.expires <= now or taken or node not in self._nodes:
            return [ForgetBinding(binding.key), Unbind(binding.key)]
        self._put(node, binding)
        return [Bind(binding)]

    def bind(self, node: NodeKey, binding: Binding, beside: bool) -> list[Action]:
        """Beside the others (D-2.6.2-a), else instead of all that were there before it (D-2.6.2-f).

        If one that was registered later has overtaken it, what that one's reply said of the home agent counts.
        """
        others = [
            other
            for other in self.of_node(node)
            if other.care_of_address != binding.care_of_address or other.home_address != binding.home_address
        ]
        if not others:
            self._put(node, binding)
            return [PersistBinding(binding), Bind(binding)]
        stay = [other for other in others if self._stays(other, binding, beside)]
        latest = max(stay, key=lambda other: other.registered, default=binding)
        if latest.registered > binding.registered:
            until = latest.home_agent_expires
            binding = replace(binding, home_agent_expires=until, expires=min(binding.expires, until))
        actions: list[Action] = []
        replaced = []
        for other in others:
            if other in stay:
                continue
            actions.append(ForgetBinding(other.key))
            if other.home_address == binding.home_address:
                replaced.append(other.key)  # it goes with `Bind`, so that a move opens no gap
            else:
                actions.append(Unbind(other.key))
            self._remove(other)
        actions += self._follow_home_agent(stay, binding.home_agent_expires, binding.registered)
        self._put(node, binding)
        return [*actions, PersistBinding(binding), Bind(binding, tuple(replaced))]

    def retire(
        self,
        node: NodeKey,
        home_agent_expires: float,
        asked_at: float,
        is_over: Callable[[Binding], bool] = lambda _: True,
    ) -> list[Action]:
        """End some of a node's bindings, or all; the home agent has the node's binding until `home_agent_expires`.

        It was asked at `asked_at`: what has been registered since is none of this.
        """
        actions: list[Action] = []
        stay: list[Binding] = []
        for binding in self.of_node(node):
            if binding.registered <= asked_at and is_over(binding):
                actions += self.end(binding)
            else:
                stay.append(binding)
        return actions + self._follow_home_agent(stay, home_agent_expires, asked_at)

    def expire(self, now: float) -> list[Action]:
        """End what is over. In silence: nobody is told of an expiry (RFC 5944 3.8)."""
        actions: list[Action] = []
        for binding in self._table.expire(now):
            self._admission.removed(binding.home_address)
            self._release(binding)
            fields: dict[str, str | int | float | bool] = {
                "home_address": str(binding.home_address),
                "care_of_address": str(binding.care_of_address),
                "home_agent": str(binding.home_agent),
            }
            actions += [ForgetBinding(binding.key), Unbind(binding.key), Log(Level.INFO, "binding_expired", fields)]
        return actions

    def learn_port(self, event: TunnelPortLearned) -> list[Action]:
        """RFC 3519 4.4, R flag: the first keepalive says the port; the address must be the request's. Once."""
        for binding in self._table.of_node(event.home_address, event.gateway):
            whole = binding.learn(event.endpoint)
            if whole is not None:
                self._table.put(whole)
                return [PersistBinding(whole), Bind(whole)]
        return []

    @staticmethod
    def _stays(other: Binding, binding: Binding, beside: bool) -> bool:
        """A binding at another home agent is not refreshed with this one, so it does not stay beside it."""
        if (other.home_address, other.home_agent) != (binding.home_address, binding.home_agent):
            return False
        return beside or other.registered > binding.registered

    def _follow_home_agent(self, bindings: Iterable[Binding], expires: float, asked_at: float) -> list[Action]:
        actions: list[Action] = []
        for binding in bindings:
            if binding.registered > asked_at:
                continue
            kept = replace(binding, home_agent_expires=expires, expires=min(binding.expires, expires))
            self._table.put(kept)
            actions.append(PersistBinding(kept))
            if kept.expires != binding.expires:
                actions.append(Bind(kept))
        return actions

    def _put(self, node: NodeKey, binding: Binding) -> None:
        if self._table.put(binding):
            self._admission.added(binding.home_address)
        if not isinstance(node.name, IPv4Address):
            self._assigned[node] = binding.home_address
            self._holders[NodeKey(binding.gateway, binding.home_address)] = node

    def _remove(self, binding: Binding) -> None:
        self._table.remove(binding.key)
        self._admission.removed(binding.home_address)
        self._release(binding)

    def _release(self, binding: Binding) -> None:
        """The last binding of an assigned home address gives it back."""
        if not self._table.of_node(binding.home_address, binding.gateway):
            node = self._holders.pop(NodeKey(binding.gateway, binding.home_address), None)
            if node is not None:
                del self._assigned[node]


@dataclass(frozen=True, slots=True)
class ProxyLists:
    """The proxy's lists (draft 2.2, 2.6.6): requests that wait for a reply; bindings, and how many there may be."""

    pending: PendingList
    sessions: Sessions
    admission: Admission
