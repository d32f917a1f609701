"""What `mobileip show pending` says at the proxy: whose request waits for which home agent, and since when."""

from __future__ import annotations

from dataclasses import replace

from mobileip.registration.proxy import Proxy
from mobileip.runtime.listing import request_row
from mobileip.wire.typed_extensions import UdpTunnelRequest
from tests.unit.registration.parties import NAT, NOW, PROXY, REQUEST, from_home_agent, from_node, reply_to


def test_show_pending_lists_who_waits_for_whom_D_2_6_5_a() -> None:
    proxy = Proxy(replace(PROXY, source_ports=(20434,)))
    request = replace(REQUEST, extensions=(*REQUEST.extensions, UdpTunnelRequest().extension()))
    proxy.feed(from_node(request, NAT), NOW)
    assert [request_row(one, NOW + 1.5) for one in proxy.waiting] == [
        {
            "home_address": "192.0.2.69",
            "nai": None,
            "care_of_address": "198.51.100.10",
            "home_agent": "192.0.2.40",
            "source": "198.51.100.40:40434",
            "asked_from": "192.0.2.10:20434",
            "lifetime": 60,
            "waiting": 1.5,
        }
    ]
    assert proxy.pending == 1
    proxy.feed(from_home_agent(reply_to(request)), NOW + 2)
    assert proxy.waiting == ()
