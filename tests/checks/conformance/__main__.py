"""`python -m tests.checks.conformance`: judges every rule by the junit files there are, and lists what is wanting.

Writes build/conformance/report.json and docs/conformance.md, as `make conformance` does, without running anything.
"""

from __future__ import annotations

from tests.checks.conformance import judge, write_document
from tests.checks.conformance.report import wanting

if __name__ == "__main__":
    write_document()
    found = judge()
    for verdict in wanting(found.verdicts):
        print(f"{verdict.result:9} {verdict.id:18} {','.join(verdict.who):12} {verdict.text}")
    print(found.figures)
