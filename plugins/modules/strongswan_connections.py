#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Have a running strongSwan take the connections, pools, secrets and keys of certain files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: strongswan_connections
short_description: Load certain files of connections into a running strongSwan
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Loads the connections, pools, pre-shared keys and passwords in O(paths) by VICI, each by itself, with certificates
    and private keys that they name, and unloads what an earlier call has loaded and the files no longer say.
  - Nothing of others is loaded, unloaded or forgotten, and no SA is touched. C(swanctl --load-all --clear) does more.
    It reads every file, unloads what other programs have loaded, and forgets private keys whose passphrase somebody has
    typed in.
  - For a handler. That something is loaded is always a change.
options:
  paths:
    description: Files in the notation of C(swanctl.conf). One that is not there says nothing.
    type: list
    elements: path
    default: [/etc/swanctl/conf.d/mobileip.conf, /etc/swanctl/conf.d/mobileip-secrets.conf]
  socket:
    description: Where charon listens for VICI.
    type: path
    default: /run/charon.vici
attributes:
  check_mode:
    support: full
    description: Loads nothing.
  diff_mode:
    support: none
    description: The files' own tasks show what changes.
  idempotent:
    support: none
    description: Loads again.
notes:
  - Certificates and private keys are looked for as C(swanctl) does, in C(x509), C(x509ca) and C(private) beside the
    folder of the first of O(paths). A private key must have no passphrase.
  - Charon keeps a certificate that it once had until it ends. No connection uses it any more.
"""

EXAMPLES = r"""
- name: Load connections and secrets
  mobileip.vpn.strongswan_connections:
"""

RETURN = r"""
loaded:
  description: Names of what the files say, by kind.
  returned: success
  type: dict
  sample: {connections: [laptop], pools: [laptop], secrets: [ike-laptop]}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import ConfError
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_load import PATHS, load, sections
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import SOCKET, Session, ViciError

ARGUMENTS = {
    "paths": {"type": "list", "elements": "path", "default": list(PATHS)},
    "socket": {"type": "path", "default": SOCKET},
}


def main() -> None:
    """Read, load, report names."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    paths = [Path(path) for path in module.params["paths"]]
    try:
        names = {kind: sorted(found) for kind, found in sections(paths).items()}
        if not module.check_mode:
            with Session(module.params["socket"]) as session:
                load(paths, session)
    except (ConfError, ViciError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=True, loaded=names)


if __name__ == "__main__":
    main()
