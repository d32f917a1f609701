"""Which numbers the proxy's own verdicts have (draft 2.4.1, AMB-2).

The draft's 200 to 206 were given to others later (RFC 5944 6.4, RFC 6521 10). So a deployment whose nodes know the
RFCs only may have the nearest code of theirs instead; what it says is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.unreachable import unreachable_code
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension
from mobileip.wire.typed_extensions import DynamicHomeAgent

_RFC: Mapping[Code, Code] = {
    # Not 136: with it a node would ask again at the address in the reply, which is ours.
    Code.MISSING_HOME_AGENT_PARAMETER: Code.POORLY_FORMED_REQUEST,
    Code.NONZERO_HOME_AGENT_PARAMETER_REQUIRED: Code.ADMINISTRATIVELY_PROHIBITED,
    Code.MISSING_NAI: Code.FA_MISSING_NAI,
    Code.MISSING_HOME_ADDRESS: Code.FA_MISSING_HOME_ADDRESS,
    Code.MISSING_HOME_AGENT: Code.FA_MISSING_HOME_AGENT,
    Code.ASSIGNED_HOME_AGENT: Code.REDIRECT_HOME_AGENT,
}


class CodeProfile(StrEnum):
    """Whose numbers: the draft's, or those of the RFCs."""

    DRAFT = "draft"
    RFC = "rfc"

    def code(self, code: Code) -> Code:
        """The number of a verdict that the draft calls `code`."""
        return code if self is CodeProfile.DRAFT else _RFC.get(code, code)

    def unreachable(self, icmp_code: int) -> Code:
        """The number for a home agent that an ICMP error with this code says is not reached (D-2.4.1-c, AMB-14)."""
        return Code.HOME_AGENT_UNREACHABLE if self is CodeProfile.DRAFT else unreachable_code(icmp_code)

    def redirection(self, home_agent: IPv4Address) -> tuple[Extension, ...]:
        """What says beside 143 where to go (RFC 4433 3.4); with 206 the HA Parameter extension alone does."""
        return () if self is CodeProfile.DRAFT else (DynamicHomeAgent(home_agent, redirected=True).extension(),)
