"""From a configuration file to a running daemon, and to loaded programs."""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mobileip.config import (
    Config,
    ConfigError,
    ForeignAgentConfig,
    HomeAgentConfig,
    Loaded,
    MobileNodeConfig,
    ProxyConfig,
    load_config,
)
from mobileip.forwarding import loader, one_box, xdp
from mobileip.forwarding.entries import ANY, NodePath
from mobileip.forwarding.tables import MobileNodeTables
from mobileip.runtime.control import ControlError, ask
from mobileip.runtime.daemon import Daemon
from mobileip.runtime.foreign_agent import ForeignAgentParty
from mobileip.runtime.home_agent import HomeAgentParty
from mobileip.runtime.interfaces import StartError, index_of, mtu_of
from mobileip.runtime.journal import log
from mobileip.runtime.mobile_node import MobileNodeParty
from mobileip.runtime.party import Party
from mobileip.runtime.proxy import ProxyParty
from mobileip.runtime.rtnetlink import Rtnetlink
from mobileip.runtime.settings import passes
from mobileip.store.sqlite import SqliteStore

_HOST_FORWARDS = Path("/proc/sys/net/ipv4/ip_forward")
SERVICE_USER = "mobileip"
"""Who gets the pinned tables, where there is such a user: the daemon runs as this one."""


def party_of(loaded: Loaded) -> Party:
    """The party that a configuration describes. Opens the pinned tables; raises OSError if they are not loaded."""
    if loaded.keys is None and any(True for _ in loaded.config.associations()):
        raise StartError("no keys file: name it with --keys, or start the daemon with the systemd credential `keys`")
    match loaded.config:
        case ProxyConfig() as proxy:
            return ProxyParty(loaded, proxy)
        case HomeAgentConfig() as home_agent:
            return HomeAgentParty(loaded, home_agent)
        case ForeignAgentConfig() as foreign_agent:
            return ForeignAgentParty(loaded, foreign_agent)
        case MobileNodeConfig() as mobile_node:
            return MobileNodeParty(loaded, mobile_node)


def run(file: Path, keys_file: Path | None) -> bool:
    """Run until told to stop; True: start again with the configuration as it is now. Raises what starting raises."""
    gc.disable()  # what is made until the daemon serves stays; it sees to the collector from then on
    loaded = load_config(file, keys_file)
    party = party_of(loaded)
    store = SqliteStore(loaded.paths.state) if party.durable else None

    def reload() -> bool:
        try:
            load_config(file, keys_file)
        except ConfigError as exc:
            for problem in exc.problems:
                log("error", "reload_refused", problem=problem)
            return False
        return True

    daemon = Daemon(loaded.instance, party, store, configuration=partial(loaded.config.model_dump, mode="json"))
    try:
        return asyncio.run(daemon.run(loaded.paths.control_socket, reload))
    finally:
        if store is not None:
            store.close()


def attachments(config: Config) -> list[loader.Attachment]:
    """Which programs this party attaches where. Raises `StartError` for an interface that is not there."""
    match config:
        case ProxyConfig():
            index_of(config.mipp_pub.interface, "mipp_pub.interface")
            index_of(config.mipp_priv.interface, "mipp_priv.interface")
            wire = None if config.one_box is None else config.one_box.proxy_interface  # `load` makes it
            return loader.proxy_attachments(config.mipp_pub.interface, config.mipp_priv.interface, wire)
        case HomeAgentConfig():
            index_of(config.interface, "interface")
            for number, link in enumerate(config.home_links):
                index_of(link.interface, f"home_links[{number}].interface")
            return loader.home_agent_attachments(config.interface, [link.interface for link in config.home_links])
        case ForeignAgentConfig():
            index_of(config.uplink.interface, "uplink.interface")
            index_of(config.link.interface, "link.interface")
            return loader.foreign_agent_attachments(config.uplink.interface, config.link.interface)
        case MobileNodeConfig():
            index_of(config.interface, "interface")
            return loader.mobile_node_attachments(config.interface)


def load(loaded: Loaded, with_keys: Callable[[], Loaded]) -> bool:
    """Load, pin and attach the programs of this party; True if anything changed. Raises `loader.LoadError`.

    In one box the wire between proxy and VPN gateway is made first.
    Tables that are new with this release, all of them where it has another layout, are filled from the store before its
    programs take over: proxy and home agent lose no packet, only counters if the layout differs. The others keep no
    bindings; their packets stop until the daemon has started and the nodes have registered again.
    That alone needs a daemon that is stopped, since what it wrote meanwhile would be missing (`StartError`), and the
    same configuration `with_keys`, which takes a while to read.
    From then on nothing leaves a mobile node in clear: where it is, only the daemon finds out.
    """
    paths, config = loaded.paths, loaded.config
    attached, wire = attachments(config), _wire(config)
    changed = wire is not None and one_box.lay(wire)

    def fill(pin_directory: Path) -> None:
        _refuse_running(loaded)
        _fill(with_keys(), pin_directory)

    load_programs = partial(
        loader.load, paths.bpf_object, paths.pin_directory, attached, owner=_owner(), attach=_attach(config)
    )
    try:
        changed |= load_programs(fill=fill)
    except loader.LayoutDiffers:
        _refuse_running(loaded)
        loader.migrate(paths.bpf_object, paths.pin_directory, attached, fill, owner=_owner(), attach=_attach(config))
        load_programs()
        changed = True
    if isinstance(config, MobileNodeConfig):
        tables = MobileNodeTables(paths.pin_directory)
        if tables.path() is None:
            tables.set_path(
                NodePath(config.home_address or ANY, gateways=tuple(config.vpn_gateways), passes=passes(config))
            )
            changed = True
    return changed


def _refuse_running(loaded: Loaded) -> None:
    with suppress(ControlError):
        ask(loaded.paths.control_socket, "status")
        name = loaded.instance
        raise StartError(f"the daemon of {name} runs; stop it first: systemctl stop mobileip@{name}")


def _fill(loaded: Loaded, pin_directory: Path) -> None:
    """Write the tables below a pin directory from configuration and store."""
    config = loaded.config.model_copy(update={"pin_directory": pin_directory})
    party = party_of(replace(loaded, config=config))
    if not party.durable or not loaded.paths.state.exists():  # made by root, the daemon could not write to it
        party.fill_tables([], time.time())
        return
    store = SqliteStore(loaded.paths.state)
    try:
        party.fill_tables(store.records(), time.time())
    finally:
        store.close()


def kept_apart(loaded: Loaded) -> str:
    """What was turned off on interfaces so that GRO merges no datagrams of a UDP tunnel; empty where nothing was."""
    return "; ".join(f"{feature} off on {name}" for name, feature in loader.kept_apart(loaded.paths.pin_directory))


def who_sees_packets_first(loaded: Loaded) -> str:
    """XDP or tc for each interface, and why; empty for a party that has tc's programs only."""
    return "; ".join(map(str, xdp.chosen(loaded.paths.pin_directory)))


def unload(loaded: Loaded) -> None:
    """Detach and unpin: from here on no packet is forwarded by us, and the kernel's bindings are gone.

    In one box the wire goes, too, and with it the gateway's routes into it; on a node lo forwards as the host does.
    """
    loader.unload(loaded.paths.pin_directory, attachments(loaded.config))
    wire = _wire(loaded.config)
    if wire is not None:
        one_box.remove(wire)
    if isinstance(loaded.config, MobileNodeConfig):
        kernel = Rtnetlink()
        try:
            kernel.forward_what_loops(forwards=_HOST_FORWARDS.read_text(encoding="ascii").strip() == "1")
        finally:
            kernel.close()


def _attach(config: Config) -> xdp.Attach:
    return xdp.Attach.TC if isinstance(config, MobileNodeConfig) else xdp.Attach(config.datapath.attach)


def _wire(config: Config) -> one_box.Wire | None:
    """One box: the wire between proxy and VPN gateway, for what either segment brings. None with two boxes."""
    if not isinstance(config, ProxyConfig) or config.one_box is None:
        return None
    mtu = max(mtu_of(side.interface) for side in (config.mipp_pub, config.mipp_priv))
    return one_box.Wire(config.one_box.gateway_interface, config.one_box.proxy_interface, mtu)


def _owner() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
