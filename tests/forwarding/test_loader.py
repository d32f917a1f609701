"""Loading: twice is once, new code keeps the tables, and what cannot be done is said before anything changes."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mobileip.forwarding import layouts, loader, needs
from mobileip.forwarding._libbpf import Map, Program
from mobileip.forwarding.build import SOURCE, build
from mobileip.forwarding.entries import ProxyBinding, Tunnel
from mobileip.forwarding.tables import ProxyTables
from tests.forwarding.conftest import PATIENCE, Namespace

pytestmark = pytest.mark.namespaces
ATTACHMENTS = loader.proxy_attachments("pub", "priv")
BINDING = ProxyBinding(
    IPv4Address("203.0.113.20"),
    IPv4Address("192.0.2.69"),
    IPv4Address("192.0.2.40"),
    (Tunnel(IPv4Address("198.51.100.10"), time.time() + 300),),
)


@pytest.fixture
def host(namespace: Namespace) -> Namespace:
    namespace.shell("ip link add pub type veth peer name p\nip link add priv type veth peer name q")
    return namespace


def attached(host: Namespace) -> str:
    return host.shell("tc filter show dev pub ingress; tc filter show dev priv ingress")


def test_this_kernel_lacks_nothing(needs_root: None) -> None:
    assert needs.probe() == []


def test_loading_the_same_object_again_changes_nothing(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    before = attached(host)
    assert before.count("mobileip:proxy_p") == 2
    assert host.run(loader.is_loaded, bpf_object, pin_dir, ATTACHMENTS)
    assert not host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    assert attached(host) == before
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_a_filter_that_somebody_removed_comes_back(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    before = attached(host)
    host.shell("tc qdisc del dev pub clsact")
    assert not host.run(loader.is_loaded, bpf_object, pin_dir, ATTACHMENTS)
    assert host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    assert attached(host) == before
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_new_code_takes_the_old_ones_place_and_keeps_the_tables(
    host: Namespace, bpf_object: Path, pin_dir: Path, tmp_path: Path
) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    ProxyTables(pin_dir).put(BINDING)
    table = Map(pin_dir / "maps" / "bindings").id
    program = Program(pin_dir / "programs" / "proxy_pub").id
    copy = shutil.copytree(SOURCE.parent, tmp_path / "bpf")
    text = (copy / "rewrite.h").read_text(encoding="utf-8")
    (copy / "rewrite.h").write_text(text.replace("#define TUNNEL_TTL 64", "#define TUNNEL_TTL 63"), encoding="utf-8")
    other = build(tmp_path / "other.bpf.o", copy / SOURCE.name)
    assert host.run(loader.load, other, pin_dir, ATTACHMENTS)
    assert Map(pin_dir / "maps" / "bindings").id == table
    assert Program(pin_dir / "programs" / "proxy_pub").id != program
    assert attached(host).count("handle 0x1") == 2
    assert f":{Program(pin_dir / 'programs' / 'proxy_pub').id} " in attached(host)
    assert [binding.home_address for binding in ProxyTables(pin_dir).bindings()] == [BINDING.home_address]
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_tables_of_another_layout_are_refused_and_left_alone(
    host: Namespace, bpf_object: Path, pin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    before = attached(host)
    monkeypatch.setattr(layouts, "fingerprint", lambda: b"\1" * 32)
    with pytest.raises(loader.LayoutDiffers, match="so nothing was changed"):
        host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    assert attached(host) == before
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_unload_leaves_nothing_and_spares_what_others_attached(
    host: Namespace, bpf_object: Path, pin_dir: Path
) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS)
    other = pin_dir / "programs" / "proxy_priv"
    host.shell(f"tc filter add dev pub ingress prio 7 bpf direct-action object-pinned {other}")
    host.run(loader.unload, pin_dir, ATTACHMENTS)
    assert not pin_dir.exists()
    assert "pref 434" not in attached(host)
    assert "pref 7" in attached(host)
    assert "clsact" not in host.shell("tc qdisc show dev priv")


@pytest.mark.parametrize(
    ("attachment", "complaint"),
    [
        (loader.Attachment("nowhere", loader.Direction.INGRESS, "proxy_pub"), "interface nowhere: not found"),
        (
            loader.Attachment("pub", loader.Direction.INGRESS, "proxy_pug"),
            "program proxy_pug .* expected one of fa_link",
        ),
    ],
)
def test_what_cannot_be_attached_is_named(
    host: Namespace, bpf_object: Path, pin_dir: Path, attachment: loader.Attachment, complaint: str
) -> None:
    with pytest.raises(loader.LoadError, match=complaint):
        host.run(loader.load, bpf_object, pin_dir, [attachment])
    loader.unload(pin_dir, [])


def test_a_directory_outside_a_bpffs_is_refused(needs_root: None, bpf_object: Path, tmp_path: Path) -> None:
    with pytest.raises(loader.LoadError, match="not in a bpffs; mount one"):
        loader.load(bpf_object, tmp_path / "pins", [])
    assert not (tmp_path / "pins").exists()


def test_a_file_that_is_no_object_is_refused(needs_root: None, pin_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "x.o").write_bytes(b"no object")
    with pytest.raises(loader.LoadError, match=r"x\.o: .*expected a BPF object"):
        loader.load(tmp_path / "x.o", pin_dir, [], programs=["proxy_pub"])
    loader.unload(pin_dir, [])


def helpers_called(path: Path) -> set[int]:
    """Numbers of the kernel's helpers that an object calls: the instructions of all its sections with code."""
    elf = path.read_bytes()
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    found = set()
    for number in range(count):
        flags, start, length = struct.unpack_from("<8xQ8xQQ", elf, table + number * size)
        if flags & 4:  # SHF_EXECINSTR
            found |= {imm for code, registers, _, imm in struct.iter_unpack("<BBhi", elf[start : start + length])
                      if code == 0x85 and registers == 0}  # fmt: skip
    return found


def test_the_preflight_asks_for_every_helper_that_not_all_kernels_have(bpf_object: Path) -> None:
    asked = {number for number, _ in needs.HELPERS.values()}
    came_with_another = {68, 132}  # bpf_skb_load_bytes_relative with the FIB lookup, bpf_ringbuf_submit
    assert {number for number in helpers_called(bpf_object) if number >= min(asked)} == asked | came_with_another


def test_few_capabilities_are_enough(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    """All programs, without CAP_SYS_ADMIN and, where that is enough, CAP_PERFMON: the verifier is stricter then."""
    code = (
        "import sys; from mobileip.forwarding import loader, needs; print(needs.probe()); "
        "names = 'proxy_pub proxy_priv ha_core ha_home fa_uplink fa_link mn_ingress mn_egress "
        "restore_ethernet'.split(); "
        "print(loader.load(sys.argv[1], sys.argv[2], loader.proxy_attachments('pub', 'priv'), programs=names))"
    )
    version = tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])
    limit = "-all,+bpf,+net_admin" + (",+perfmon" if version < (6, 17) else "")
    command = ["setpriv", f"--bounding-set={limit}", f"--inh-caps={limit}", f"--ambient-caps={limit}", sys.executable]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [*command, "-c", code, str(bpf_object), str(pin_dir)]
    done = host.run(subprocess.run, arguments, env=environment, capture_output=True, text=True, timeout=60 * PATIENCE,
                    check=False)  # fmt: skip
    assert done.stdout == "[]\nTrue\n", done.stderr
    host.run(loader.unload, pin_dir, ATTACHMENTS)


def test_a_daemon_of_another_user_writes_the_tables(host: Namespace, bpf_object: Path, pin_dir: Path) -> None:
    host.run(loader.load, bpf_object, pin_dir, ATTACHMENTS, owner=(65534, 65534))
    code = (
        "import sys; from mobileip.forwarding.tables import ProxyTables; tables = ProxyTables(sys.argv[1]); "
        "print(len(tables.bindings()), tables.delete(*[__import__('ipaddress').IPv4Address(1)] * 2), "
        "sum(tables.counters().drops.values()))"
    )
    # May read everything, since the checkout may lie where another user may not look; may write nothing of others.
    capabilities = "-all,+bpf,+dac_read_search"
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={capabilities}"]
    user.append(f"--ambient-caps={capabilities}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["setpriv", *user, sys.executable, "-c", code, str(pin_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 False 0\n", "")
    host.run(loader.unload, pin_dir, ATTACHMENTS)
