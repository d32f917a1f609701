"""Python packs the tables as the programs read them: compared with the object's own type information (BTF)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobileip.forwarding import layouts
from mobileip.forwarding.build import build

pytestmark = pytest.mark.skipif(
    shutil.which("clang") is None or shutil.which("bpftool") is None, reason="needs clang and bpftool"
)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    compiled = build(tmp_path_factory.mktemp("bpf") / "mobileip.bpf.o")
    dump = ["bpftool", "-j", "btf", "dump", "file", str(compiled)]
    done = subprocess.run(dump, check=True, capture_output=True, text=True, timeout=60)
    return list(json.loads(done.stdout)["types"])


@pytest.mark.parametrize("layout", layouts.ALL, ids=lambda layout: layout.name)
def test_each_struct_has_the_same_fields_at_the_same_offsets(
    layout: layouts.Layout, types: list[dict[str, Any]]
) -> None:
    (struct,) = [each for each in types if each["kind"] == "STRUCT" and each["name"] == layout.name]
    assert struct["size"] == layout.size
    assert {member["name"]: member["bits_offset"] // 8 for member in struct["members"]} == layout.offsets()


def test_pack_refuses_a_field_that_is_not_there() -> None:
    with pytest.raises(TypeError, match="no field colour"):
        layouts.GATEWAY.pack(colour=1)


def test_the_fingerprint_tells_layouts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    before = layouts.fingerprint()
    monkeypatch.setattr(layouts, "ALL", layouts.ALL[:-1])
    assert layouts.fingerprint() != before


def test_the_object_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a" / "x.o"), build(tmp_path / "b" / "x.o")
    assert first.read_bytes() == second.read_bytes()
