"""Pages of docs/reference that are made from the code, and what the others are held to."""

from __future__ import annotations

from tests.checks.reference import document, role_variables
from tests.checks.step import CHECKOUT

CONFIGURATION = CHECKOUT / "docs" / "reference" / "configuration.md"
VARIABLES = CHECKOUT / "docs" / "reference" / "variables.md"
SHOWN = CHECKOUT / "docs" / "reference" / "show.md"


def write() -> None:
    """Writes docs/reference/configuration.md and variables.md anew."""
    CONFIGURATION.write_text(document.render(), encoding="utf-8")
    VARIABLES.write_text(role_variables.render(), encoding="utf-8")
