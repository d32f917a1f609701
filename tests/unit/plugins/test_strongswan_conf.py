"""What strongSwan's files say, and what of it a running charon does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import (
    Charon,
    ConfError,
    lacking,
    overridden,
    read,
    taken,
    value_of,
)

STARTED = 1000.0
# As Debian ships it.
MAIN = """
# strongswan.conf
charon {
	load_modular = yes
	plugins {
		include strongswan.d/charon/*.conf
	}
}
include strongswan.d/*.conf
"""
FARP = "farp {\n    # Whether to load the plugin.\n    load = yes\n}\n"
OURS = """
charon-systemd {
  install_routes = no
  plugins {
    farp { load = no }
    kernel-libipsec {
      load = yes
      raw_esp = yes
    }
    socket-default {
      fwmark = 0x42   # its mark
    }
  }
}
"""
SITE = OURS.replace("charon-systemd", "charon").replace("no\n", "0\n").replace("= yes", '= "true"')
HAS = Charon(STARTED, frozenset({"kernel-libipsec", "socket-default"}))


class Files:
    """A folder with strongSwan's files, and when they were written."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "strongswan.conf"
        self.own = folder / "strongswan.d" / "mobileip.conf"
        self.written: dict[Path, float] = {}
        (folder / "strongswan.d" / "charon").mkdir(parents=True)
        self.write("strongswan.conf", MAIN)
        self.write("strongswan.d/charon/farp.conf", FARP)

    def write(self, name: str, text: str, at: float = STARTED - 1) -> None:
        path = self.root.parent / name
        path.write_text(text, encoding="utf-8")
        self.written[path] = at

    def lacking(self, content: str = OURS, charon: Charon = HAS) -> list[str]:
        return list(lacking(self.root, self.own, content, charon, self.written))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_files_are_read_as_strongswan_reads_them(files: Files) -> None:
    files.write("strongswan.d/mobileip.conf", OURS)
    found = {key: value.text for key, value in read(files.root, {}).items()}
    assert found == {
        "charon.load_modular": "yes",
        "charon.plugins.farp.load": "yes",
        "charon-systemd.install_routes": "no",
        "charon-systemd.plugins.farp.load": "no",
        "charon-systemd.plugins.kernel-libipsec.load": "yes",
        "charon-systemd.plugins.kernel-libipsec.raw_esp": "yes",
        "charon-systemd.plugins.socket-default.fwmark": "0x42",
    }


def test_what_the_own_section_does_not_say_is_what_charon_s_says(files: Files) -> None:
    settings = read(files.root, {files.own: OURS})
    farp, modular = value_of(settings, "plugins.farp.load"), value_of(settings, "load_modular")
    assert farp is not None
    assert (farp.text, farp.path) == ("no", files.own)
    assert modular is not None
    assert modular.path == files.root
    assert value_of(settings, "threads") is None


@pytest.mark.parametrize("text", ["charon { threads }", "charon {\n}\n}", "= yes"])
def test_what_is_no_configuration_is_refused_with_its_file(files: Files, text: str) -> None:
    files.write("strongswan.d/site.conf", text)
    with pytest.raises(ConfError, match=r"strongswan\.d/site\.conf"):
        read(files.root, {})


def test_charon_that_started_without_them_lacks_all_options_that_are_not_its_defaults(files: Files) -> None:
    assert files.lacking(charon=Charon(STARTED, frozenset({"farp", "socket-default"}))) == [
        "install_routes is yes, expected no",
        "plugins.farp.load is yes, expected no",
        "plugins.kernel-libipsec.load is no, expected yes",
        "plugins.kernel-libipsec.raw_esp is no, expected yes",
        "plugins.socket-default.fwmark is not set, expected 0x42",
    ]


def test_charon_that_started_with_ours_lacks_nothing_of_it(files: Files) -> None:
    files.write("strongswan.d/mobileip.conf", OURS)
    assert files.lacking() == []
    assert files.lacking(OURS.replace("0x42", "0x43")) == ["plugins.socket-default.fwmark is 0x42, expected 0x43"]


def test_option_that_goes_away_needs_a_restart_as_well(files: Files) -> None:
    files.write("strongswan.d/mobileip.conf", OURS)
    without = OURS.replace("fwmark = 0x42", "")
    assert files.lacking(without) == ["plugins.socket-default.fwmark is 0x42, expected not set"]


def test_file_of_ours_that_was_written_after_the_start_does_not_count(files: Files) -> None:
    files.write("strongswan.d/mobileip.conf", OURS, at=STARTED + 1)
    assert "install_routes is yes, expected no" in files.lacking()


def test_charon_that_its_owner_started_with_the_same_options_lacks_nothing(files: Files) -> None:
    files.write("strongswan.d/site.conf", SITE)
    assert files.lacking() == []
    files.write("strongswan.d/mobileip.conf", OURS, at=STARTED + 1)
    assert files.lacking() == []


def test_what_its_owner_wrote_after_the_start_is_not_known_to_run(files: Files) -> None:
    files.write("strongswan.d/site.conf", SITE, at=STARTED + 1)
    path = files.root.parent / "strongswan.d/site.conf"
    assert f"install_routes is no in {path}, which was written after strongSwan had started" in files.lacking()


def test_file_that_is_read_later_overrides_ours(files: Files) -> None:
    files.write("strongswan.d/site.conf", "charon-systemd {\n install_routes = yes\n}\n")
    site = files.root.parent / "strongswan.d/site.conf"
    assert list(overridden(files.root, files.own, OURS)) == [
        f"charon-systemd.install_routes = yes in {site}, expected no or nothing there"
    ]
    files.write("strongswan.d/site.conf", SITE)
    assert list(overridden(files.root, files.own, OURS)) == []


def test_section_that_somebody_else_has_is_taken(files: Files) -> None:
    theirs = "connections {\n laptop {\n  version = 2\n }\n}\npools {\n users { addrs = 203.0.113.192/28 }\n}\n"
    files.write("swanctl.conf", "include conf.d/*.conf\n")
    (files.root.parent / "conf.d").mkdir()
    files.write("conf.d/site.conf", theirs)
    files.write("conf.d/mobileip.conf", theirs.replace("laptop", "tablet"))
    root, own = files.root.parent / "swanctl.conf", files.root.parent / "conf.d/mobileip.conf"
    asked = ["connections.laptop", "connections.lap", "connections.tablet", "pools.laptop"]
    assert list(taken(root, [own], asked)) == [f"connections.laptop in {root.parent / 'conf.d/site.conf'}"]
    assert list(taken(root.parent / "nothing.conf", [own], asked)) == []
