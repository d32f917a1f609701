"""What is kept of files and installations, and how it comes back."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils import checkpoint_host
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import CheckpointError, Entry, State, Step
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint_host import Performer, Store

NAME = "20261123T145500Z"
SECRET = "badc0ffee0ddf00dbadc0ffee0ddf00d"


def state_of(*, files: list[Path] | None = None, tree: Path | None = None) -> State:
    return State(
        files=dict(checkpoint_host._files(map(str, files or []))),
        trees={str(tree): dict(checkpoint_host._tree(tree))} if tree else {},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "backups"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "opt"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "program").write_text("old", encoding="ascii")
    (root / "bin" / "program").chmod(0o755)
    (root / "bin" / "link").symlink_to("program")
    (root / "gone.txt").write_text("stays", encoding="ascii")
    return root


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_file_comes_back_with_content_and_mode_and_root_alone_reads_what_is_kept(store: Store, tmp_path: Path) -> None:
    key = tmp_path / "keys.yml"
    key.write_text(SECRET, encoding="ascii")
    key.chmod(0o600)
    then = state_of(files=[key])
    store.begin(then)
    store.keep(NAME)
    assert stat.S_IMODE(store.path(NAME).parent.stat().st_mode) == 0o700
    assert SECRET not in (store.path(NAME) / "state.json").read_text(encoding="utf-8")
    key.write_text("another", encoding="ascii")
    key.chmod(0o644)
    Performer(then, store.path(NAME)).perform(Step("restore", str(key)))
    assert state_of(files=[key]).files == then.files
    assert then.files[str(key)].mark == hashlib.sha256(SECRET.encode()).hexdigest()
    assert [path.name for path in tmp_path.iterdir() if "restored" in path.name] == []


def test_link_comes_back_as_a_link(store: Store, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    then = state_of(files=[link])
    store.begin(then)
    link.unlink()
    link.write_text("file", encoding="ascii")
    Performer(then, store.path("pending")).perform(Step("restore", str(link)))
    assert state_of(files=[link]).files == then.files


def test_installation_is_kept_by_links_and_comes_back_whole(store: Store, tree: Path) -> None:
    then = state_of(tree=tree)
    store.begin(then)
    kept = store.path("pending") / "trees" / "0"
    assert (kept / "bin" / "program").samefile(tree / "bin" / "program")
    # As an installer does: replaced, not written to; one file more, one less, another mode.
    (tree / "bin" / "new").write_text("new", encoding="ascii")
    (tree / "bin" / "new").rename(tree / "bin" / "program")
    (tree / "gone.txt").unlink()
    (tree / "lib").mkdir()
    (tree / "lib" / "more").write_text("more", encoding="ascii")
    (tree / "bin").chmod(0o700)
    assert state_of(tree=tree) != then
    Performer(then, store.path("pending")).perform(Step("restore", str(tree), ("tree",)))
    assert state_of(tree=tree) == then
    assert content(tree) == {"bin/program": "old", "bin/link": "old", "gone.txt": "stays"}


def test_installation_is_copied_where_no_link_can_be(store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    then = state_of(tree=tree)
    store.begin(then)
    (tree / "gone.txt").unlink()
    Performer(then, store.path("pending")).perform(Step("restore", str(tree), ("tree",)))
    assert state_of(tree=tree) == then


def test_kept_file_that_was_written_to_is_refused(store: Store, tree: Path) -> None:
    then = state_of(tree=tree)
    store.begin(then)
    (tree / "gone.txt").write_text("written to in place", encoding="ascii")
    with pytest.raises(CheckpointError, match=r"gone\.txt: what was kept of it has been written to since"):
        Performer(then, store.path("pending")).perform(Step("restore", str(tree), ("tree",)))


def test_begin_that_fails_leaves_the_pending_one_as_it_was(store: Store, tmp_path: Path) -> None:
    store.begin(State(packages=("old",)))
    gone = State(files={str(tmp_path / "gone"): Entry("file", 0o600, 0, 0, "aa")})
    with pytest.raises(FileNotFoundError):
        store.begin(gone)
    pending = store.load("pending")
    assert pending is not None
    assert pending.packages == ("old",)
    assert [path.name for path in store.path("pending").parent.iterdir()] == ["pending"]


def test_names_are_those_that_were_kept(store: Store) -> None:
    assert (store.names(), store.load(NAME)) == ([], None)
    store.begin(State())
    store.keep(NAME)
    store.begin(State())
    assert store.names() == [NAME]
    store.discard_all()
    assert (store.names(), store.load("pending")) == ([], None)


def test_broken_record_is_said_by_its_path(store: Store) -> None:
    store.begin(State())
    (store.path("pending") / "state.json").write_text("{", encoding="ascii")
    with pytest.raises(CheckpointError, match=r"pending/state\.json: cannot be used"):
        store.load("pending")


def test_folder_is_shared_while_it_holds_what_is_not_ours(tmp_path: Path) -> None:
    patterns = [f"{tmp_path}/mobileip_dmz.nft*"]
    assert not checkpoint_host._is_shared(tmp_path / "absent", patterns)
    (tmp_path / "mobileip_dmz.nft").touch()
    assert not checkpoint_host._is_shared(tmp_path, patterns)
    (tmp_path / "others.nft").touch()
    assert checkpoint_host._is_shared(tmp_path, patterns)


def test_shared_folder_goes_only_when_it_is_empty(tmp_path: Path) -> None:
    shared = tmp_path / "nftables.d"
    shared.mkdir()
    (shared / "others.nft").touch()
    step = Step("remove", f"{shared} if it is empty", ("empty", str(shared)))
    performer = Performer(State(), tmp_path)
    performer.perform(step)
    assert shared.is_dir()
    (shared / "others.nft").unlink()
    performer.perform(step)
    assert not shared.exists()


def test_simulation_of_the_package_manager_is_read() -> None:
    said = "Reading package lists...\nPurg libstrongswan [5.9]\nRemv charon-systemd [5.9]\nInst other\n"
    assert checkpoint_host._simulated(said) == ["libstrongswan", "charon-systemd"]


def test_mark_of_the_package_manager_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = tmp_path / "extended_states"
    monkeypatch.setattr(checkpoint_host, "_MARKS", marks)
    assert checkpoint_host._marks(["nftables"]) == {"nftables": "manual"}
    marks.write_text(
        "Package: nftables\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: procps\nArchitecture: amd64\nAuto-Installed: 0\n",
        encoding="ascii",
    )
    found = checkpoint_host._marks(["iproute2", "nftables", "procps"])
    assert found == {"iproute2": "manual", "nftables": "auto", "procps": "manual"}


def test_setting_of_an_interface_with_dots_in_its_name() -> None:
    assert str(checkpoint_host._setting_path("net.ipv4.conf.eth0.100.rp_filter")).endswith("/conf/eth0.100/rp_filter")
    assert str(checkpoint_host._setting_path("net.ipv4.ip_forward")) == "/proc/sys/net/ipv4/ip_forward"
