"""`python -m tests.checks.reference`: writes docs/reference/configuration.md anew, as `make reference` does."""

from __future__ import annotations

from tests.checks.reference import write

if __name__ == "__main__":
    write()
