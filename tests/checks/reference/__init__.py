"""Pages of docs/reference that are made from the code, and what the others are held to."""

from __future__ import annotations

from tests.checks.reference import document
from tests.checks.step import CHECKOUT

CONFIGURATION = CHECKOUT / "docs" / "reference" / "configuration.md"
SHOWN = CHECKOUT / "docs" / "reference" / "show.md"


def write() -> None:
    """Writes docs/reference/configuration.md anew."""
    CONFIGURATION.write_text(document.render(), encoding="utf-8")
