"""What the lab raises when it cannot go on."""

from __future__ import annotations


class LabError(Exception):
    """Carries a message for a person: what failed, on what, and what to do."""
