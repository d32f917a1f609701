"""New code, and new tables, under a running stream of packets: none is lost."""

from __future__ import annotations

import shutil
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from mobileip.forwarding import layouts, loader
from mobileip.forwarding.build import SOURCE, build_both
from mobileip.forwarding.entries import Encapsulation, ProxyBinding, Tunnel
from mobileip.forwarding.inspection import describe
from mobileip.forwarding.tables import ProxyTables
from mobileip.forwarding.xdp import Attach
from tests.forwarding import test_namespaces
from tests.forwarding.conftest import PATIENCE
from tests.forwarding.test_loader import attached
from tests.forwarding.test_namespaces import (
    CARE_OF,
    ESP,
    HOME,
    HOME_AGENT,
    VPNGW_PUB,
    Site,
    exchange_esp,
    ip,
    later,
    proxy_forwarding,
    raw_socket,
)

pytestmark = pytest.mark.namespaces
site = test_namespaces.site
ATTACHMENTS = loader.proxy_attachments("pub", "priv")
HOOKS = (Attach.TC, Attach.NATIVE)
_NUMBER = struct.Struct("!8sI")


class Stream:
    """Numbered ESP from the node to the gateway and back, one a millisecond each way, fewer where it is slow."""

    def __init__(self, site: Site) -> None:
        node = site.hosts["node"].run(raw_socket, ESP, HOME)
        gateway = site.hosts["gateway"].run(raw_socket, ESP, VPNGW_PUB)
        self._ways = [(node, gateway, VPNGW_PUB, b"to-gatew"), (gateway, node, HOME, b"to-node-")]
        self.sent = [0, 0]
        self.came: list[list[int]] = [[], []]
        self._stop = threading.Event()
        targets = (self._send, self._take)
        self._threads = [threading.Thread(target=target, args=(way,)) for way in (0, 1) for target in targets]

    def _send(self, way: int) -> None:
        source, _, to, marker = self._ways[way]
        while not self._stop.wait(0.001 * PATIENCE):
            source.sendto(_NUMBER.pack(marker, self.sent[way]) + bytes(64), (to, 0))
            self.sent[way] += 1

    def _take(self, way: int) -> None:
        _, sink, _, marker = self._ways[way]
        sink.settimeout(1.0)
        while True:
            try:
                packet = sink.recv(2048)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            if marker in packet:
                self.came[way].append(_NUMBER.unpack_from(packet, packet.index(marker))[1])

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        for end in self._ways[0][:2]:
            end.close()


@contextmanager
def streaming(site: Site) -> Iterator[Stream]:
    """A stream while the block runs; afterwards every packet must have come, once.

    Where code or tables change, one that tc had to carry may be overtaken by the next, which XDP has sent on.
    """
    site.move(Encapsulation.UDP)
    exchange_esp(site, b"resolve")  # next hops, at all hosts
    site.proxy().delete(ip(VPNGW_PUB), ip(HOME))
    site.move(Encapsulation.UDP)  # with counters at 0
    stream = Stream(site)
    stream.start()
    try:
        time.sleep(0.3)
        yield stream
        time.sleep(0.3)
    finally:
        stream.finish()
    for sent, came in zip(stream.sent, stream.came, strict=True):
        assert sent > 300
        assert sorted(came) == list(range(sent))


@pytest.fixture(scope="module")
def other_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same programs but for one constant."""
    directory = tmp_path_factory.mktemp("other")
    copy = shutil.copytree(SOURCE.parent, directory / "bpf")
    text = (copy / "rewrite.h").read_text(encoding="utf-8")
    assert "#define TUNNEL_TTL 64" in text
    (copy / "rewrite.h").write_text(text.replace("#define TUNNEL_TTL 64", "#define TUNNEL_TTL 63"), encoding="utf-8")
    return build_both(directory / "other.bpf.o", copy)


@pytest.mark.parametrize("attach", HOOKS)
def test_new_code_under_a_stream_loses_no_packet(
    site: Site, bpf_object: Path, other_object: Path, attach: Attach
) -> None:
    pins = site.pin_dir("proxy")
    site.hosts["proxy"].run(loader.load, bpf_object, pins, ATTACHMENTS, attach=attach)
    with streaming(site) as stream:
        seen = set()
        for number in range(6):
            code = (other_object, bpf_object)[number % 2]
            assert site.hosts["proxy"].run(loader.load, code, pins, ATTACHMENTS, attach=attach)
            seen.add(attached(site.hosts["proxy"]))
            time.sleep(0.1)
        assert len(seen) == 6, "six times another program"
    counted = next(each for _, _, each in site.proxy().traffic())
    assert [counted.from_node.packets, counted.to_node.packets] == stream.sent, "the tables stayed"


def programs_in_force() -> list[str]:
    """Of the public interface of the namespace that asks."""
    with IPRoute() as netlink:
        return loader.filter_names(netlink, "pub", loader.Direction.INGRESS)


@pytest.mark.parametrize("attach", HOOKS)
def test_a_table_that_is_new_with_the_code_is_filled_before_that_takes_over(
    site: Site, bpf_object: Path, other_object: Path, attach: Attach
) -> None:
    pins, proxy, settings = site.pin_dir("proxy"), site.hosts["proxy"], proxy_forwarding(site)
    proxy.run(loader.load, bpf_object, pins, ATTACHMENTS, attach=attach)
    with streaming(site):
        before, former = attached(proxy), proxy.run(programs_in_force)
        (pins / "maps" / "passes").unlink()  # the code before had none, as far as the next load can see

        def fail(_: Path) -> None:
            raise OSError("the store is gone")

        with pytest.raises(OSError, match="the store is gone"):
            proxy.run(loader.load, other_object, pins, ATTACHMENTS, attach=attach, fill=fail)
        assert attached(proxy) == before
        filled: list[Path] = []

        def fill(directory: Path) -> None:
            assert programs_in_force() == former
            ProxyTables(directory).configure(settings)
            filled.append(directory)

        for _ in range(2):
            proxy.run(loader.load, other_object, pins, ATTACHMENTS, attach=attach, fill=fill)
        assert attached(proxy) != before
    assert filled == [pins], "once, and also where the table was made by a load that failed"


@pytest.fixture(scope="module")
def former_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object of a release whose tables were others: the entry of one was longer, one was not there."""
    directory = tmp_path_factory.mktemp("former")
    copy = shutil.copytree(SOURCE.parent, directory / "bpf")
    for name, old, new in (
        ("structs.h", "__u8 padding[3];", "__u8 padding[11];"),
        ("maps.h", "} error_turns SEC", "} turns SEC"),
        ("icmp.h", "&error_turns", "&turns"),
    ):
        text = (copy / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, (name, old)
        (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    return build_both(directory / "former.bpf.o", copy)


@pytest.mark.parametrize("attach", HOOKS)
def test_tables_of_another_layout_give_way_under_a_stream_and_no_packet_is_lost(
    site: Site, bpf_object: Path, former_object: Path, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins, proxy, settings = site.pin_dir("proxy"), site.hosts["proxy"], proxy_forwarding(site)
    proxy.run(loader.unload, pins, ATTACHMENTS)
    with monkeypatch.context() as former:
        former.setattr(layouts, "fingerprint", lambda: b"\1" * 32)
        proxy.run(loader.load, former_object, pins, ATTACHMENTS, attach=attach)
        ProxyTables(pins).configure(settings)
    with streaming(site):
        before = attached(proxy)
        with pytest.raises(loader.LayoutDiffers, match="so nothing was changed"):
            proxy.run(loader.load, bpf_object, pins, ATTACHMENTS)
        assert attached(proxy) == before

        def fill(directory: Path) -> None:
            tables = ProxyTables(directory)
            tables.configure(settings)
            tunnel = Tunnel(ip(CARE_OF), later(), Encapsulation.UDP, 434)
            tables.put(ProxyBinding(ip(VPNGW_PUB), ip(HOME), ip(HOME_AGENT), (tunnel,)))

        proxy.run(loader.migrate, bpf_object, pins, ATTACHMENTS, fill, attach=attach)
        assert attached(proxy) != before
        assert proxy.run(loader.is_loaded, bpf_object, pins, ATTACHMENTS)
    assert not pins.with_name(f"{pins.name}_new").exists()
    assert not pins.with_name(f"{pins.name}_old").exists()
    rows = proxy.run(describe, pins)["attachments"]
    assert all(row["is_current"] for row in rows)
    assert sum(row["hook"] == "XDP native" for row in rows) == (2 if attach is Attach.NATIVE else 0)


def test_what_cannot_be_filled_leaves_all_as_it_was(site: Site, bpf_object: Path) -> None:
    pins, proxy = site.pin_dir("proxy"), site.hosts["proxy"]

    def fill(_: Path) -> None:
        raise OSError("the store is gone")

    before = attached(proxy)
    with pytest.raises(OSError, match="the store is gone"):
        proxy.run(loader.migrate, bpf_object, pins, ATTACHMENTS, fill)
    assert attached(proxy) == before
    assert not pins.with_name(f"{pins.name}_new").exists()
    assert proxy.run(loader.is_loaded, bpf_object, pins, ATTACHMENTS)
