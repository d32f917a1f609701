"""Configuration to settings, as far as keys and trust go."""

from __future__ import annotations

from mobileip import config as written
from mobileip.config.shared import Association, SurrogateReplay
from mobileip.config.trust import AnsweringParty
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.rate_limit import Allowance, ReplyAllowances
from mobileip.registration.replay import NonceCheck, ReplayMode, ReplayPolicy
from mobileip.registration.security import associations_of
from mobileip.wire.authentication import Algorithm, ReplayStyle, SecurityAssociation


def association_of(loaded: written.Loaded, association: Association) -> SecurityAssociation:
    """A security association with its key."""
    key, algorithm = loaded.key(association), Algorithm(association.algorithm)
    if isinstance(association, written.SecurityAssociation):
        return SecurityAssociation(association.spi, key, algorithm, ReplayStyle(association.replay))
    return SecurityAssociation(association.spi, key, algorithm)


def optional_association(loaded: written.Loaded, association: Association | None) -> SecurityAssociation | None:
    """The same for one that may not be there."""
    return None if association is None else association_of(loaded, association)


def gate_policy(loaded: written.Loaded, config: AnsweringParty, replay: written.Replay) -> GatePolicy:
    """What proxy and home agent check of a request."""
    limits = config.reply_limits
    return GatePolicy(
        replay=_replay_policy(replay),
        foreign_agents={
            agent.address: associations_of(*(association_of(loaded, one) for one in agent.security_associations))
            for agent in config.foreign_agents
        },
        reply_on_failed_authentication=config.auth.fail_reply == 131,
        strict_reserved_bits=config.strict_reserved_bits,
        vendors=frozenset((one.vendor, one.type) for one in config.vendor_extensions),
        allowances=ReplyAllowances(
            Allowance(limits.rate, limits.burst), {one.network: Allowance(one.rate, one.burst) for one in limits.known}
        ),
    )


def home_agent_replies(loaded: written.Loaded, config: written.ProxyConfig) -> HomeAgentReplies:
    """What the proxy believes of home agents."""
    leg = config.haleg
    return HomeAgentReplies(
        fa_ha={one.home_agent: association_of(loaded, one) for one in leg.fa_ha_sa},
        relay_unauthenticated_denials=leg.unauthenticated_denials == "relay",
        bind_other_acceptances=leg.other_acceptances == "bind",
    )


def _replay_policy(replay: written.Replay) -> ReplayPolicy:
    if not isinstance(replay, SurrogateReplay):
        return ReplayPolicy(window=replay.window)
    return ReplayPolicy(
        window=replay.window,
        mode=ReplayMode(replay.mode),
        nonce_check=NonceCheck(replay.nonce_check),
        learn_clock=replay.learn_home_agent_clock,
    )
