"""What a user may write into `/etc/mobileip/INSTANCE.yml`, and what is said when it is wrong.

One file configures one party; its `role` chooses the schema. The file holds no secret: a security association names
its key, and the keys file (`name: hex`, root only) holds it. Loading has three steps, and each reports every error
that it finds, with file, line, key, value and expectation:

1. YAML to plain data, remembering the line of every key (`source`);
2. the schema of the role: types, ranges, unknown keys (`schema`, and `proxy`, `home_agent`, `foreign_agent`,
   `mobile_node` over `shared` and `values`);
3. what no single field can know: overlaps, addresses that must differ, key names (`findings` of each role).

Field descriptions are the expectation that an error prints, so they are written for the person who reads that error.
"""

from mobileip.config.foreign_agent import ForeignAgentConfig
from mobileip.config.hap import HapForm
from mobileip.config.home_agent import HomeAgentConfig
from mobileip.config.keys import default_keys_file, load_keys
from mobileip.config.load import PIN_ROOT, Loaded, Paths, control_socket_of, load_config, summary
from mobileip.config.mobile_node import MobileNodeConfig
from mobileip.config.problems import ConfigError, Problem
from mobileip.config.proxy import Admission, AdmissionLimit, ProxyConfig, ProxyMobileNode
from mobileip.config.schema import Config
from mobileip.config.shared import (
    DEFAULT_BPF_OBJECT,
    AgentNat,
    Association,
    Encapsulations,
    Replay,
    SecurityAssociation,
)

__all__ = [
    "DEFAULT_BPF_OBJECT",
    "PIN_ROOT",
    "Admission",
    "AdmissionLimit",
    "AgentNat",
    "Association",
    "Config",
    "ConfigError",
    "Encapsulations",
    "ForeignAgentConfig",
    "HapForm",
    "HomeAgentConfig",
    "Loaded",
    "MobileNodeConfig",
    "Paths",
    "Problem",
    "ProxyConfig",
    "ProxyMobileNode",
    "Replay",
    "SecurityAssociation",
    "control_socket_of",
    "default_keys_file",
    "load_config",
    "load_keys",
    "summary",
]
