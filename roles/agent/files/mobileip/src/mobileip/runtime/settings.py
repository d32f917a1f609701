"""Configuration to settings: what a person wrote, as the state machines and the forwarding tables want it."""

from __future__ import annotations

import math
from ipaddress import IPv4Address

from mobileip import config as written
from mobileip.config.values import protocol_and_port
from mobileip.forwarding.broadcast import BroadcastDomain
from mobileip.forwarding.entries import ForeignAgentForwarding, HomeAgentForwarding, Passes
from mobileip.registration.address_pool import AddressRange
from mobileip.registration.admission import AdmissionPolicy, Limit
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.extension_policy import Treatment
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings, KnownNode
from mobileip.registration.home_addresses import HomeLink, HomeNode
from mobileip.registration.home_agent import HomeAgentSettings, ParameterInReply, ReverseTunnel
from mobileip.registration.location import LocationMode
from mobileip.registration.nat import NatPolicy
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.registration.proxy_settings import (
    DecapsulatesBit,
    DeregisterAll,
    OnLocalFailure,
    ProxyNode,
    ProxySettings,
    WhenInside,
    WhichReplies,
)
from mobileip.registration.trusted_networks import TrustedNetworks, Untrusted
from mobileip.runtime.interfaces import index_of
from mobileip.runtime.trust import association_of, gate_policy, home_agent_replies, optional_association
from mobileip.wire.address import address
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.codes import Code
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.typed_extensions import HomeAgentParameterEncoding, HomeAgentParameterFormat


def _quick(value: IPv4Address) -> IPv4Address:
    """What tables are keyed by, as what comes from the wire is made."""
    return address(int(value))


def _nat(nat: written.AgentNat) -> NatPolicy:
    return NatPolicy(
        keepalive=nat.keepalive,
        max_lifetime=nat.max_lifetime,
        allowed=nat.allowed,
        forced_allowed=nat.forced_allowed,
    )


def _granted(encapsulations: written.Encapsulations) -> frozenset[Encapsulation]:
    """IP in IP, and in UDP what RFC 3519 has by itself, are granted always (`nat` switches UDP off)."""
    return frozenset({Encapsulation.IPIP, Encapsulation.UDP, *map(Encapsulation, encapsulations.granted)})


def _asked(config: written.MobileNodeConfig) -> frozenset[Encapsulation]:
    """IP in IP, what is asked for, and the same in UDP. Merged segments of clear TCP do not fit next header 55."""
    asked = {Encapsulation.IPIP, Encapsulation.UDP, Encapsulation(config.encapsulation)}
    if config.encapsulation == "gre":
        asked.add(Encapsulation.UDP_GRE)
    elif config.encapsulation == "minimal" and config.encapsulate != "all":
        asked.add(Encapsulation.UDP_MINIMAL)
    return frozenset(asked)


def _gateway_of(config: written.ProxyConfig, node: written.ProxyMobileNode) -> IPv4Address:
    gateway = config.gateway_of(node)
    if gateway is None:  # the configuration's checks exclude it
        raise ValueError(f"node {node.home_address or node.nai}: no VPN gateway serves it")
    return gateway.vpngw_pub


def _hap_format(form: written.HapForm) -> HomeAgentParameterFormat:
    encoding = HomeAgentParameterEncoding(form.encoding)
    return HomeAgentParameterFormat(form.number, form.subtype, encoding, form.vendor or 0, form.vendor_type)


def _limit(limit: written.AdmissionLimit) -> Limit:
    return Limit(limit.max_bindings or None, limit.max_per_second or None)


def _admission(admission: written.Admission) -> AdmissionPolicy:
    return AdmissionPolicy(_limit(admission), {one.network: _limit(one) for one in admission.home_networks})


def proxy_settings(loaded: written.Loaded, config: written.ProxyConfig) -> ProxySettings:
    """Settings of the proxy's machine."""
    return ProxySettings(
        public_address=_quick(config.mipp_pub.address),
        private_address=_quick(config.mipp_priv.address),
        public_interface=config.mipp_pub.interface,
        private_interface=config.mipp_priv.interface,
        nodes=tuple(
            ProxyNode(
                home_address=None if node.home_address is None else _quick(node.home_address),
                gateway=_quick(_gateway_of(config, node)),
                node_associations=(association_of(loaded, node.node_sa),),
                home_agent_association=association_of(loaded, node.home_agent_sa),
                home_agent=node.home_agent,
                nai=node.nai,
                aaa_association=optional_association(loaded, node.aaa_sa),
            )
            for node in config.mobile_nodes
        ),
        home_agents={_quick(agent.address): tuple(agent.home_networks) for agent in config.home_agents},
        home_agent_pool=tuple(agent.address for agent in config.home_agents if agent.assignable),
        default_home_agent=config.default_home_agent,
        gateway_networks={gateway.vpngw_pub: tuple(gateway.home_networks) for gateway in config.vpn_gateways},
        internal_prefixes=tuple(config.location.internal_prefixes),
        location_mode=LocationMode(config.location.mode),
        checks=gate_policy(loaded, config, config.replay),
        replies=home_agent_replies(loaded, config),
        pending_timeout=config.pending.timeout,
        pending_per_node=config.pending.max_per_node,
        source_ports=config.haleg.ports or (REGISTRATION_PORT,),
        unreachable_grace=config.icmp.grace / 1000,
        admission=_admission(config.admission),
        revocation_of_nodes=config.revocation.enabled,
        revocation_by_home_agents=config.revocation.home_agents,
        max_lifetime=config.max_lifetime,
        nat=_nat(config.nat),
        encapsulations=_granted(config.encapsulations),
        reverse_tunnel=config.mobility_delivery == "reverse_tunnel",
        broadcast=config.haleg.broadcast,
        decapsulates=DecapsulatesBit(config.haleg.d_bit),
        copy_encapsulation=config.haleg.copy_encapsulation_bits,
        home_agent_encapsulation=Encapsulation(config.haleg.encapsulation),
        copy_reserved_bits=config.haleg.copy_reserved_bits,
        deregister_all_care_of_address=DeregisterAll(config.haleg.dereg_all_coa),
        home_agent_parameter=tuple(_hap_format(form) for form in config.hap.forms),
        parameter_in_reply=WhichReplies(config.hap.in_reply),
        extensions={kind: Treatment(treatment) for kind, treatment in config.extensions.items()},
        simultaneous=config.simultaneous or 0,
        lifetime_jitter=config.lifetime_jitter / 100,
        when_inside=WhenInside(config.on_206),
        code_profile=CodeProfile(config.reply.code_profile),
        cannot_service_code=Code(config.reply.proxy_cannot_service_code),
        on_local_failure=OnLocalFailure(config.on_local_failure),
    )


def home_agent_settings(loaded: written.Loaded, config: written.HomeAgentConfig) -> HomeAgentSettings:
    """Settings of the home agent's machine."""
    trusted, dynamic = config.trusted_networks, config.dynamic_home_agent
    return HomeAgentSettings(
        address=config.address,
        home_links=tuple(
            HomeLink(
                interface=link.interface,
                network=link.network,
                pool=None if link.pool is None else AddressRange(link.pool.first, link.pool.last),
            )
            for link in config.home_links
        ),
        nodes=tuple(
            HomeNode(
                home_address=node.home_address,
                associations=tuple(association_of(loaded, association) for association in node.security_associations),
                nai=node.nai,
                aaa=optional_association(loaded, node.aaa_sa),
            )
            for node in config.mobile_nodes
        ),
        checks=gate_policy(loaded, config, config.replay),
        revocation=config.revocation.enabled,
        max_lifetime=config.max_lifetime,
        simultaneous=config.simultaneous or 1,
        reverse_tunnel=ReverseTunnel(config.reverse_tunnel),
        nat=_nat(config.nat),
        encapsulations=_granted(config.encapsulations),
        home_agent_parameter=tuple(_hap_format(form) for form in config.hap.forms),
        parameter_in_reply=ParameterInReply(config.hap.in_reply),
        trusted=TrustedNetworks(tuple(trusted.networks), frozenset(trusted.proxies), Untrusted(trusted.untrusted)),
        dynamic_home_agent=dynamic.accept,
        redirect=dynamic.redirect,
    )


def home_agent_forwarding(config: written.HomeAgentConfig) -> HomeAgentForwarding:
    """Settings of the home agent's programs."""
    return HomeAgentForwarding(address=config.address)


def passes(config: written.ProxyConfig | written.MobileNodeConfig) -> Passes:
    """What travels between nodes and VPN gateways."""
    listed = [protocol_and_port(text) for text in config.passes]
    return Passes(
        protocols=frozenset(protocol for protocol, port in listed if protocol is not None and port is None),
        ports=frozenset((protocol, port) for protocol, port in listed if protocol is not None and port is not None),
    )


def _by_spi(loaded: written.Loaded, association: written.Association | None) -> dict[int, SecurityAssociation]:
    return {} if association is None else {association.spi: association_of(loaded, association)}


def broadcast_domains(config: written.HomeAgentConfig) -> dict[str, BroadcastDomain]:
    """The home links whose broadcasts go to nodes, by interface; none where B is to be ignored."""
    if not config.broadcast.forward:
        return {}
    groups = frozenset(config.broadcast.multicast_groups)
    return {link.interface: BroadcastDomain(config.address, link.network, groups) for link in config.home_links}


def foreign_agent_settings(loaded: written.Loaded, config: written.ForeignAgentConfig) -> ForeignAgentSettings:
    """Settings of the foreign agent's machine."""
    advertisement = config.advertisement
    lifetime = advertisement.lifetime or max(1, round(3 * advertisement.interval))  # RFC 5944 2.3: three intervals
    return ForeignAgentSettings(
        uplink_interface=config.uplink.interface,
        care_of_address=config.uplink.care_of_address,
        link_interface=config.link.interface,
        link_address=config.link.address,
        advertisement_interval=advertisement.interval,
        advertisement_lifetime=lifetime,
        registration_lifetime=advertisement.registration_lifetime,
        nai=advertisement.nai,
        registration_required=advertisement.registration_required,
        challenge=ChallengeMode(config.challenge.mode),
        challenge_size=config.challenge.size,
        reverse_tunnelling=config.reverse_tunnelling,
        reverse_tunnel_required=config.reverse_tunnel_required,
        encapsulating_delivery=config.encapsulating_delivery,
        udp_tunnelling=config.udp_tunnelling,
        encapsulations=_granted(config.encapsulations),
        gre_key=config.encapsulations.gre_key,
        zero_home_address=config.zero_home_address,
        fa_error=config.fa_error,
        legacy=config.legacy,
        pending_timeout=config.pending.timeout,
        pending_per_node=config.pending.max_per_node,
        most_pending=config.pending.max,
        most_visitors=config.max_visitors,
        known_extensions=frozenset(config.known_extensions),
        vendor_extensions=frozenset((each.vendor, each.type) for each in config.vendor_extensions),
        allowed_home_agents=frozenset(config.allowed_home_agents),
        nodes=tuple(
            KnownNode(node.home_address, node.nai, _by_spi(loaded, node.foreign_sa), _by_spi(loaded, node.aaa_sa))
            for node in config.mobile_nodes
        ),
        home_agents={agent.address: _by_spi(loaded, agent.security_association) for agent in config.home_agents},
    )


def foreign_agent_forwarding(config: written.ForeignAgentConfig) -> ForeignAgentForwarding:
    """Settings of the foreign agent's programs."""
    return ForeignAgentForwarding(
        care_of=config.uplink.care_of_address,
        link_address=config.link.address,
        uplink_ifindex=index_of(config.uplink.interface, "uplink.interface"),
        link_ifindex=index_of(config.link.interface, "link.interface"),
    )


def mobile_node_settings(loaded: written.Loaded, config: written.MobileNodeConfig) -> MobileNodeSettings:
    """Settings of the mobile node's machine."""
    return MobileNodeSettings(
        home_address=config.home_address,
        home_agent=config.home_agent,
        mipp_pub=config.mipp_pub,
        proxy_association=association_of(loaded, config.proxy_sa),
        home_agent_association=association_of(loaded, config.home_agent_sa),
        lifetime=config.lifetime,
        keepalive=config.nat.keepalive,
        nai=config.nai.encode() if config.nai is not None else None,
        simultaneous=config.simultaneous,
        broadcasts=config.broadcasts,
        first_timeout=config.retry.first_timeout,
        longest_timeout=config.retry.longest_timeout,
        monitor=config.location.monitor,
        require_trusted_networks=config.location.require_tnc,
        trusted_agents=frozenset(config.trusted_agents.addresses),
        trusted_agent_nais=frozenset(nai.encode() for nai in config.trusted_agents.nais),
        agent_associations={shared.agent: association_of(loaded, shared) for shared in config.foreign_agent_sas},
        revocation=config.revocation.enabled,
        aaa_association=optional_association(loaded, config.aaa_sa),
        encapsulations=_asked(config),
        gre_key=config.gre_key,
        sa_keepalive=math.inf if config.sa is None else config.sa.keepalive_timeout or math.inf,
    )
