"""The oldest and the newest ansible-core that we claim: everything loads, is documented, and judges hosts alike."""

from __future__ import annotations

import json
import re

import pytest

from lab import names
from tests.controller.conftest import Oldest
from tests.controller.said import INVENTORIES, Core, checked

pytestmark = pytest.mark.timeout(1200)

CHECKOUT = names.CHECKOUT
PLAYBOOKS = sorted(path.name for path in (CHECKOUT / "playbooks").glob("*.yml"))
ROLES = sorted(path.parent.name for path in (CHECKOUT / "roles").glob("*/meta"))
PLUGINS = {
    "module": sorted(path.stem for path in (CHECKOUT / "plugins" / "modules").glob("*.py")),
    "test": sorted(path.stem for path in (CHECKOUT / "plugins" / "test").glob("*.yml")),
    "filter": sorted(path.stem for path in (CHECKOUT / "plugins" / "filter").glob("*.yml")),
}
# Where the play runs is no host of the example: each role names what is wrong there, before it would change anything.
REFUSALS = {
    "mipp": "mip_proxy_pub.interface: pub is no interface of this host",
    "ha": "home_agent_interface: core is no interface of this host",
    "fa": "foreign_agent_uplink.interface: uplink is no interface of this host",
    "vpngw": "vpn_gateway_pub_interface: this host has no interface pub",
    "outer_fw": "This host has no interface outside",
}
KEYS = {"mn": "5a" * 32, "mn2": "5b" * 32}
HERE = {
    "site_secrets": dict.fromkeys(("proxy", "home_agent", "direct", "ike"), KEYS),
    "ansible_connection": "local",
    "ansible_python_interpreter": "/usr/bin/python3",
}


def test_the_oldest_is_the_one_that_we_claim(oldest: Oldest) -> None:
    assert f"[core {oldest.version}]" in checked(oldest, "ansible", "--version")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_syntax_of_every_playbook(core: Core, playbook: str) -> None:
    checked(core, "ansible-playbook", *INVENTORIES, "--syntax-check", f"playbooks/{playbook}")


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_documented(core: Core, role: str) -> None:
    said = json.loads(checked(core, "ansible-doc", "--json", "--type", "role", f"mobileip.vpn.{role}"))
    assert said[f"mobileip.vpn.{role}"]["entry_points"]["main"]["options"]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in PLUGINS.items() for name in found])
def test_every_plugin_is_documented_without_a_warning(core: Core, kind: str, name: str) -> None:
    done = core.run("ansible-doc", "--json", "--type", kind, f"mobileip.vpn.{name}", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[f"mobileip.vpn.{name}"]["doc"]["short_description"]


@pytest.mark.parametrize("host", REFUSALS)
def test_preflight_in_check_mode_says_what_is_wrong_with_this_host(core: Core, host: str) -> None:
    done = core.run(
        *("ansible-playbook", "-i", "inventories/two_box", "playbooks/preflight.yml", "--check", "--diff"),
        *("--limit", host, "--extra-vars", json.dumps(HERE)),
        timeout=120,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert REFUSALS[host] in " ".join(done.stdout.split()), done.stdout[-4000:]
    assert re.search(rf"^{host} .*changed=0 .*failed=1", done.stdout, re.MULTILINE)


def test_arguments_are_validated_before_anything_else(core: Core) -> None:
    more = HERE | {"mip_proxy_node_keys": "5a" * 32}
    done = core.run(
        *("ansible-playbook", "-i", "inventories/two_box", "playbooks/preflight.yml", "--limit", "mipp"),
        *("--extra-vars", json.dumps(more)),
        timeout=120,
    )
    said = " ".join(done.stdout.replace("''", "'").split())
    assert "argument 'mip_proxy_node_keys' is of type str and we were unable to convert to dict" in said
    assert "5a5a5a5a" not in done.stdout + done.stderr


def test_the_plugins_pass_their_tests(core: Core) -> None:
    # The kernel is the same for every ansible-core.
    options = ("-q", "-p", "no:cacheprovider", "-m", "not namespaces")
    said = checked(core, "python", "-m", "pytest", *options, "tests/unit/plugins", timeout=900)
    assert re.search(r"^\d{3} passed", said.splitlines()[-1]), said[-500:]
