"""L2TP over IPsec transport in a guest: its kernel has ESP and PPP. The role's files here, the how-to page's there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.guest.machine import Guest
from tests.integration.site import HOME
from tests.long.variants.ground import ROOT, SECRET, Variant, gateway_variables, write

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None, reason="needs root, qemu-system-x86_64"
    ),
]
L2TP = Variant({"vpn_gateway_backend": "kernel", "vpn_gateway_l2tp": True, "vpn_gateway_l2tp_address": "192.0.2.20"})


def blocks() -> list[str]:
    """What the page has a node write, in its order."""
    page = (ROOT / "docs/how-to/l2tp.md").read_text(encoding="utf-8")
    _, *found = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(found) == 3
    return [block.replace("the node's key", SECRET) for block in found]


def lay(directory: Path) -> None:
    """Write the hosts' files below `directory`."""
    shutil.rmtree(directory, ignore_errors=True)
    variables: dict[str, Any] = gateway_variables(L2TP)
    write(directory / "gw", "vpn_gateway", variables)
    known = DataLoader().load_from_file(str(ROOT / "roles/vpn_gateway/defaults/main.yml"))
    templar = Templar(loader=DataLoader(), variables={"ansible_managed": "", **known, **variables})
    for template, name in (("firewall/gateway-guard.nft.j2", "guard.nft"), ("routes/gateway-routes.batch.j2", None)):
        text = (ROOT / "templates" / template).read_text(encoding="utf-8")
        file = directory / (name or Path(template).stem)
        file.write_text(str(templar.template(trust_as_template(text))), encoding="utf-8")
    connections, links, options = blocks()
    other = options.replace(HOME, "192.0.2.70") + "debug\nlogfile /run/ppp.log\n"
    written = {
        "swanctl/conf.d/vpngw.conf": connections,
        "xl2tpd/vpngw.conf": links,
        "xl2tpd/other.conf": links.replace("vpngw.options", "other.options"),
        "ppp/vpngw.options": options,
        "ppp/other.options": other,
    }
    for path, text in written.items():
        file = directory / "mn/etc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What the guest says, by name."""
    directory = ROOT / "build/variants/l2tp"
    lay(directory)
    script = str(ROOT / "tests/long/variants/l2tp.sh")
    done = Guest().run("variants-l2tp", ["bash", script, str(directory)], minutes=8)
    assert done.status == 0, done.output
    return dict(line.split("=", 1) for line in done.output.splitlines() if re.match(r"[a-z_0-9]+=", line))


def test_the_inner_address_is_the_home_address_and_the_intranet_answers(said: dict[str, str]) -> None:
    assert (said["address"], said["pings"]) == (HOME, "5")
    assert said["route"].startswith(f"{HOME} dev ppp0")


def test_the_node_moves_under_one_sa_and_one_link(said: dict[str, str]) -> None:
    assert len(said["spis"].split(",")) == 2
    assert said["spis_after"] == said["spis"]
    assert said["links"] == "same"
    assert (said["pings_at_40"], said["pings_at_10"]) == ("5", "5")
    # Of 150 in 30 s; each move takes two commands, a second of a busy guest's.
    assert int(said["lost"]) <= 20
    assert int(said["esp"]) > 40
    assert said["other"] == "", "neither IKE nor anything in clear"


def test_what_no_sa_or_link_may_carry_is_refused(said: dict[str, str]) -> None:
    assert (said["refused_name"], said["refused_destination"], said["refused_clear"]) == ("3", "3", "1")


def test_another_inner_address_is_refused(said: dict[str, str]) -> None:
    assert int(said["other_asked"]) > 0
    assert said["other_routes"] == "0"
