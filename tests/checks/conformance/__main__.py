"""`python -m tests.checks.conformance`: judges every rule by the junit files there are, and lists what is wanting."""

from __future__ import annotations

import sys

from tests.checks.conformance import judge
from tests.checks.conformance.report import wanting

if __name__ == "__main__":
    found = judge()
    for verdict in wanting(found.verdicts):
        print(f"{verdict.result:9} {verdict.id:18} {','.join(verdict.who):12} {verdict.text}")
    print(found.figures)
    sys.exit(0)
