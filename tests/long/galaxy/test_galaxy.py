"""What Galaxy, its documentation site and ansible-builder say of the tarball: nothing against it."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checks import collection
from tests.checks.galaxy import documentation, tools
from tests.checks.step import CHECKOUT

pytestmark = pytest.mark.timeout(900)

# Stricter than the community's Galaxy, which lints nothing. Its flake8 stays off, as there: it takes the YAML files
# that document filters and tests for Python. Ruff judges the Python files by the same rules.
IMPORTER = {
    "GALAXY_IMPORTER_RUN_ANSIBLE_DOC": "true",
    "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "true",
    "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
    "GALAXY_IMPORTER_CHECK_CHANGELOG": "true",
    "GALAXY_IMPORTER_REQUIRE_V1_OR_GREATER": "true",
}
VERSION = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
# By the kind of content, the files that document it.
DOCUMENTED = {
    "module": "plugins/modules/*.py",
    "filter": "plugins/filter/*.yml",
    "test": "plugins/test/*.yml",
    "role": "roles/*/meta",
}


@dataclass(frozen=True)
class Delivered:
    """The tarball as a user gets it, and where it was installed, an empty path."""

    tarball: Path
    installed: Path


def names(kind: str) -> set[str]:
    """What the collection has of a kind of content."""
    found = CHECKOUT.glob(DOCUMENTED[kind])
    return {path.parent.name if kind == "role" else path.stem for path in found}


@pytest.fixture(scope="module")
def delivered() -> Delivered:
    return Delivered(collection.fresh(), collection.INSTALLED)


@pytest.fixture(scope="module")
def imported(delivered: Delivered, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the importer said, and what Galaxy would show."""
    directory = tmp_path_factory.mktemp("importer")
    environment = {**IMPORTER, "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": str(directory / "tmp")}
    said = tools.run(
        "python", "-m", "galaxy_importer.main", str(delivered.tarball), directory=directory, environment=environment
    )
    assert said.returncode == 0, said.stdout
    return said.stdout, json.loads((directory / "importer_result.json").read_text(encoding="utf-8"))


def test_galaxys_importer_has_no_finding(imported: tuple[str, dict[str, Any]]) -> None:
    said, _ = imported
    assert "ansible-lint run complete" in said
    assert "Getting doc strings via ansible-doc" in said
    assert re.findall(r"^(?:WARNING|ERROR|CRITICAL).*", said, re.MULTILINE) == []


def test_galaxy_shows_the_documentation_of_every_plugin_and_role(imported: tuple[str, dict[str, Any]]) -> None:
    _, result = imported
    shown = {(one["content_type"], one["content_name"]): one for one in result["docs_blob"]["contents"]}
    documented = {key for key, one in shown.items() if one["doc_strings"] or one["readme_html"]}
    assert {(kind, name) for kind in DOCUMENTED for name in names(kind)} - documented == set()
    assert result["requires_ansible"] == ">=2.19.0"


def test_the_documentation_site_has_nothing_against_the_documentation(delivered: Delivered) -> None:
    assert documentation.lint(delivered.installed) == ""


def test_every_plugin_and_role_has_a_page(delivered: Delivered, tmp_path: Path) -> None:
    pages = tmp_path / "html"
    documentation.write(delivered.installed, pages)
    found = {path.stem for path in pages.glob("*.html")}
    assert {f"{name}_{kind}" for kind in DOCUMENTED for name in names(kind)} <= found


@pytest.fixture(scope="module")
def context(delivered: Delivered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an execution environment is built from, as ansible-builder makes it from the delivered files."""
    directory = tmp_path_factory.mktemp("environment")
    shutil.copy2(delivered.tarball, directory)
    shutil.copy2(delivered.installed / "execution-environment.yml", directory)
    made = tools.run("ansible-builder", "create", "--context", "context", "--verbosity", "3", directory=directory)
    assert made.returncode == 0, made.stdout
    return directory / "context"


def test_an_execution_environment_gets_this_version_of_the_collection(context: Path) -> None:
    (asked,) = yaml.safe_load((context / "_build" / "requirements.yml").read_text(encoding="utf-8"))["collections"]
    assert asked == {"name": f"collection/mobileip-vpn-{VERSION}.tar.gz", "type": "file"}
    with tarfile.open(context / "_build" / asked["name"]) as tarball:
        manifest = tarball.extractfile("MANIFEST.json")
        assert manifest is not None
        assert json.load(manifest)["collection_info"]["version"] == VERSION


def test_its_requirements_can_be_had(context: Path, delivered: Delivered) -> None:
    containerfile = (context / "Containerfile").read_text(encoding="utf-8")
    core = re.findall(r'^ARG ANSIBLE_INSTALL_REFS="(.*)"$', containerfile, re.MULTILINE)[0].split()
    said = tools.run("ansible-builder", "introspect", str(delivered.installed.parents[2]), directory=context)
    assert said.returncode == 0, said.stdout
    found = yaml.safe_load(said.stdout.partition("---")[2])
    python = [one.partition("#")[0].strip() for one in found["python"]]
    assert python == [line for line in lines("requirements.txt") if line]
    resolved = tools.run("pip", "install", "--dry-run", "--ignore-installed", *core, *python, directory=context)
    assert resolved.returncode == 0, resolved.stdout
    would = resolved.stdout.rpartition("Would install")[2]
    assert all(re.search(rf"\b{name}-\d", would) for name in ("ansible-core", "ansible-runner", "setuptools")), would


def test_its_system_packages_are_this_controllers_too(delivered: Delivered) -> None:
    said = tools.run("bindep", "--brief", "--file", "bindep.txt", directory=delivered.installed)
    assert said.stdout.split() == []
    assert said.returncode == 0
    listed = tools.run("bindep", "--list_all", "newline", "--file", "bindep.txt", directory=delivered.installed)
    assert {"clang", "libbpf-dev", "openssh-client"} <= set(listed.stdout.split())


def lines(name: str) -> list[str]:
    """The lines of a file of the checkout without comments."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_tarball_holds_what_the_collection_needs_and_nothing_else(delivered: Delivered) -> None:
    with tarfile.open(delivered.tarball) as tarball:
        inside = {member.name for member in tarball if member.isfile()}
    top = {name.partition("/")[0] for name in inside}
    assert top == {
        *("CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
        *("bindep.txt", "execution-environment.yml", "requirements.txt"),
        *("changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "roles", "templates"),
    }
    for role in names("role"):
        needed = {"README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"}
        assert {f"roles/{role}/{name}" for name in needed} <= inside
    assert [name for name in inside if name.endswith((".pyc", ".o", ".pcap", "/secrets.yml"))] == []
