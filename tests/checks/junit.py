"""The files that pytest leaves about a run, `build/junit/STEP.xml`, read back as one line a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """One test of a run: its id as one would give it to pytest, its result, and why where it did not pass."""

    test: str
    result: Literal["passed", "failed", "skipped"]
    why: str = ""

    @property
    def function(self) -> str:
        """The id without what it was parametrised with."""
        return self.test.partition("[")[0]


def read(path: Path) -> list[Case]:
    """The tests of one file, in the order of the run; none where there is no file."""
    return list(_cases(path)) if path.exists() else []


def read_all(directory: Path) -> dict[str, list[Case]]:
    """The tests of every file in a directory, by the name of the step that left it."""
    return {path.stem: read(path) for path in sorted(directory.glob("*.xml"))}


def _cases(path: Path) -> Iterator[Case]:
    for case in ElementTree.parse(path).iter("testcase"):
        test = _id(case.get("classname", ""), case.get("name", ""))
        broken = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if broken is not None:
            yield Case(test, "failed", _first_line(broken))
        elif skipped is not None:
            yield Case(test, "skipped", _first_line(skipped))
        else:
            yield Case(test, "passed")


def _id(classname: str, name: str) -> str:
    """`tests.unit.test_x` and `test_y[1]` are tests/unit/test_x.py::test_y[1]."""
    parts = classname.split(".") if classname else []
    classes = [part for part in parts if part[:1].isupper()]
    module = "/".join(part for part in parts if part not in classes)
    return "::".join([f"{module}.py", *classes, name] if module else [name])


def _first_line(element: ElementTree.Element) -> str:
    said = (element.get("message") or element.text or "").strip()
    return said.splitlines()[0] if said else ""
