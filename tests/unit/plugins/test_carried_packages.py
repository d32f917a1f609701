"""Packages that the controller carries: what apt's words mean, and what is installed of them."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.mobileip.vpn.plugins.modules.carried_packages import lacking, lines, present, spoilt

FETCHER = Path(__file__).parents[3] / "roles" / "package" / "files" / "fetch_packages.py"
INDICES = """\
Debian|Debian|http://mirror.example/debian|bookworm|/usr/share/keyrings/debian-archive-keyring.gpg
Debian|Debian|http://mirror.example/debian|bookworm-updates|$(SIGNED_BY)
Debian|Debian|http://mirror.example/debian|bookworm-backports|$(SIGNED_BY)
Debian|Debian-Security|http://mirror.example/security|bookworm-security|$(SIGNED_BY)
Docker|Docker CE|https://mirror.example/docker|bookworm|$(SIGNED_BY)
"""
PACKAGES = [
    {"name": "libnftables1", "version": "1.1.3-1", "file": "libnftables1_1.1.3-1_amd64.deb", "sha256": "0" * 64},
    {"name": "nftables", "version": "1.1.3-1", "file": "nftables_1.1.3-1_amd64.deb", "sha256": "0" * 64},
]


@pytest.fixture(scope="module")
def fetcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_packages", FETCHER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_controllers_archives_are_read_for_the_hosts_release(fetcher: ModuleType) -> None:
    assert fetcher.repositories_of(INDICES, "debian", "bookworm", "trixie") == [
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main",
    ]


def test_a_controller_of_another_distribution_has_no_archive_for_the_host(fetcher: ModuleType) -> None:
    assert fetcher.repositories_of(INDICES, "ubuntu", "bookworm", "noble") == []


def test_what_apt_would_unpack_is_named_by_its_file(fetcher: ModuleType) -> None:
    said = (
        "Inst libgmp10:arm64 (2:6.3.0+dfsg-3 Debian:13.5/stable [arm64])\n"
        "Inst libc6 [2.41-12] (2.41-12+deb13u5 Debian:13.5/stable [amd64]) []\n"
        "Conf libc6 (2.41-12+deb13u5 Debian:13.5/stable [amd64])\n"
    )
    assert fetcher.simulated(said) == [
        {"name": "libgmp10", "version": "2:6.3.0+dfsg-3", "file": "libgmp10_2%3a6.3.0+dfsg-3_arm64.deb"},
        {"name": "libc6", "version": "2.41-12+deb13u5", "file": "libc6_2.41-12+deb13u5_amd64.deb"},
    ]


def test_what_would_remove_a_package_is_refused(fetcher: ModuleType) -> None:
    with pytest.raises(fetcher.FetchFailedError, match="package_names: installing them would remove iptables"):
        fetcher.simulated("Remv iptables [1.8.11-2]\nInst nftables (1.1.3-1 Debian:13.5/stable [amd64])\n")


def test_only_what_dpkg_calls_installed_is_there() -> None:
    listed = "installed\tlibnftables1\t1.1.3-1\nconfig-files\tnftables\t1.1.3-1\n"
    there = present(listed)
    assert [package["name"] for package in lacking(PACKAGES, there)] == ["nftables"]
    assert lines(PACKAGES, there) == "libnftables1=1.1.3-1\n"


def test_another_version_is_an_upgrade() -> None:
    assert lacking(PACKAGES, {"libnftables1": "1.1.2-1", "nftables": "1.1.3-1"}) == PACKAGES[:1]


def test_files_that_are_missing_or_changed_are_named(tmp_path: Path) -> None:
    good, changed = dict(PACKAGES[0]), PACKAGES[1]
    (tmp_path / good["file"]).write_bytes(b"package")
    (tmp_path / changed["file"]).write_bytes(b"another")
    good["sha256"] = hashlib.sha256(b"package").hexdigest()
    assert spoilt(tmp_path, [good, changed]) == [
        f"{tmp_path / changed['file']}: is not what was fetched (expected the SHA-256 {'0' * 64})"
    ]
    assert spoilt(tmp_path / "nowhere", [good]) == [f"{tmp_path / 'nowhere' / good['file']}: not there"]
