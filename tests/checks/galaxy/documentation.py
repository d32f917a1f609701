"""The pages of all plugins and roles, as Ansible's documentation site shows them.

`python -m tests.checks.galaxy.documentation`, or `make docs`, writes them below build/docs/html.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.checks import collection
from tests.checks.galaxy import tools
from tests.checks.step import CHECKOUT

PAGES = CHECKOUT / "build" / "docs" / "html"
_CONFIGURATION = """\
project = "mobileip.vpn"
extensions = ["sphinx_antsibull_ext"]
html_theme = "alabaster"
# Labels of Ansible's own documentation, which is not read here; those of the collection antsibull-docs has checked.
suppress_warnings = ["ref.ref"]
"""


def lint(installed: Path) -> str:
    """What antsibull-docs has to say against the documentation of an installed collection: nothing, if all is well."""
    done = tools.run(
        *("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."),
        directory=installed,
    )
    return done.stdout if done.returncode or done.stdout.strip() else ""


def write(installed: Path, pages: Path = PAGES) -> None:
    """Writes the pages of an installed collection anew. A warning is an error: `CalledProcessError`."""
    source = pages.parent / "source"
    for directory in (source, pages):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    root = installed.parents[2]
    _succeed(
        *("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"),
        *("--no-add-antsibull-docs-version", "--dest-dir", str(source), "mobileip.vpn"),
        root=root,
    )
    (source / "conf.py").write_text(_CONFIGURATION, encoding="utf-8")
    _succeed("sphinx-build", "-q", "-n", "-W", "--keep-going", str(source), str(pages), root=root)


def _succeed(*command: str, root: Path) -> None:
    done = tools.run(*command, directory=root, environment={"ANSIBLE_COLLECTIONS_PATH": str(root)})
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)


if __name__ == "__main__":
    collection.fresh()
    write(collection.INSTALLED)
    print(f"Written: {PAGES.relative_to(CHECKOUT)}/index.html")
