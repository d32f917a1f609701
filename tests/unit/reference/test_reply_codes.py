"""docs/reference/reply-codes.md has every code there is, and the numbers of the profile `rfc`."""

from __future__ import annotations

import re

from mobileip.registration.code_profile import CodeProfile
from mobileip.wire.codes import Code
from tests.checks.step import CHECKOUT

PAGE = (CHECKOUT / "docs" / "reference" / "reply-codes.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| ([0-9, ]+) \|", re.MULTILINE)


def numbers(text: str) -> list[int]:
    """Those of a cell, in their order."""
    return [int(number) for number in re.findall(r"\d+", text)]


def test_every_code_stands_there_in_one_table_of_its_party() -> None:
    sections = PAGE.split("\n## ")[1:]
    by_section = [[code for row in _ROW.findall(text) for code in numbers(row)] for text in sections]
    assert set().union(*by_section) == set(Code)
    assert all(len(codes) == len(set(codes)) for codes in by_section)


def test_codes_of_the_rfc_profile_are_those_that_the_proxy_gives() -> None:
    rows = re.findall(r"^\| (20[0-9, ]+) \| ([0-9, ]+) \|", PAGE, re.MULTILINE)
    written = {numbers(codes)[0]: numbers(rfc) for codes, rfc in rows if len(numbers(codes)) == 1}
    written |= {code: [rfc] for codes, of in rows for code, rfc in zip(numbers(codes), numbers(of), strict=False)
                if len(numbers(codes)) > 1}  # fmt: skip
    given = {int(code): [int(CodeProfile.RFC.code(code))] for code in Code if code >= 200}
    given[Code.HOME_AGENT_UNREACHABLE] = sorted({int(CodeProfile.RFC.unreachable(icmp)) for icmp in range(16)})
    assert written == given
