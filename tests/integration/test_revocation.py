"""Revocation between the daemons (RFC 3543): an operator's word at the home agent or the proxy goes the whole way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.integration.site import HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

OPEN = "198.51.100.10"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as site:
        yield site


def counted(site: Site, host: str, what: str) -> int:
    return int(site.show(host, "counters")["daemon"].get(what, 0))


def bound(site: Site) -> None:
    until(
        lambda: site.bindings("mipp") == [(HOME, OPEN)] and site.bindings("ha") == [(HOME, "192.0.2.10")],
        what=f"bindings; {site.log('mipp')[-1500:]} {site.log('mn')[-1500:]}",
    )


@pytest.mark.parametrize("where", ["ha", "mipp"])
def test_revoked_registration_ends_everywhere_and_the_node_registers_anew_R3543_3_3_d_and_R3543_3_3_a(
    site: Site, where: str
) -> None:
    bound(site)
    hosts = ("ha", "mipp", "mn") if where == "ha" else ("mipp", "mn")
    before = {host: counted(site, host, "registered" if host == "ha" else "request_relayed") for host in ("ha", "mipp")}
    acknowledged = {host: counted(site, host, "revocation_acknowledged") for host in hosts[:-1]}
    said = site.mobileip(where, "revoke", HOME, "--socket", str(site.directory / f"{where}.sock")).stdout
    assert said == f"{HOME}: 1 bindings end, 1 of them by a revocation\n"
    for host in hosts[:-1]:
        until(lambda: counted(site, host, "revocation_acknowledged") == acknowledged[host] + 1,  # noqa: B023 - called at once
              what=f"an acknowledgement at {host}: {site.show(host, 'counters')}; {site.log(host)[-999:]}")  # fmt: skip
    until(
        lambda: counted(site, "mipp", "request_relayed") > before["mipp"], what=f"a request; {site.log('mn')[-1500:]}"
    )
    bound(site)
    assert "registration_revoked" in site.log("mn")
    assert until(lambda: site.ping() == 3, what="ping")


def test_operator_who_names_nobody_is_told_so(site: Site) -> None:
    bound(site)
    socket = str(site.directory / "mipp.sock")
    for name, said in (("192.0.2.70", "has no binding here"), ("laptop", "name the home address")):
        result = site.mobileip("mipp", "revoke", name, "--socket", socket, check=False)
        assert result.returncode == 1
        assert said in result.stderr
