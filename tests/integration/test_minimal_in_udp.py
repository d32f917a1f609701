"""By minimal encapsulation in UDP no piece goes: over a path that is too short, the VPN's own packets have to fit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.site import CN, EVERY_WAY, HOME, Site
from tests.integration.test_encapsulations import OVERHEAD
from tests.integration.test_path_mtu import BYTES, ESP, SHORT, UNFIT, Way, long_ping, short_links, stream

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(not EVERY_WAY, reason="for every way only"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
    pytest.mark.timeout(300),
]


def unfit(site: Site) -> int:
    return int(site.show("mipp", "drops")["kernel"].get("unfit_for_minimal", 0))


@pytest.mark.parametrize("one_box", [False, True], ids=["two boxes", "one box"])
def test_minimal_in_udp_carries_no_piece_so_the_vpns_own_mtu_has_to_fit_R2004_3(one_box: bool, tmp_path: Path) -> None:
    """What the gateway's kernel cuts cannot go, and says so by its counter; nothing is cut where the VPN is narrow."""
    with short_links(Way(one_box, 1500, UNFIT), tmp_path) as site:
        for _ in range(3):
            assert not long_ping(site)
        assert unfit(site) >= 3
        for host in ("mn", site.gateway):
            site.run(host, "ip", "link", "set", "esp0", "mtu", str(SHORT - OVERHEAD[UNFIT] - ESP))
        before = unfit(site)
        assert long_ping(site)
        assert stream(site, "cn", CN, HOME) == BYTES
        assert stream(site, "mn", HOME, CN) == BYTES
        assert unfit(site) == before
