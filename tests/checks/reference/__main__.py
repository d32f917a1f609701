"""`python -m tests.checks.reference`: writes pages of docs/reference anew, as `make reference` does."""

from __future__ import annotations

from tests.checks.reference import write

if __name__ == "__main__":
    write()
