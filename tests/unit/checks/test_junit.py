from __future__ import annotations

from pathlib import Path

from tests.checks import junit
from tests.checks.junit import Case

LEFT_BY_PYTEST = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="2" failures="1" skipped="1" tests="5">
<testcase classname="tests.unit.test_a" name="test_right[1-x.y]" time="0.1"/>
<testcase classname="tests.unit.test_a.TestGroup" name="test_wrong" time="0.1">
<failure message="AssertionError: one&#10;assert 1 == 2">def test_wrong()...</failure></testcase>
<testcase classname="tests.unit.test_a" name="test_unset"><error message="no such host">trace</error></testcase>
<testcase classname="tests.unit.test_a" name="test_left"><skipped type="pytest.skip" message="no root"/></testcase>
<testcase classname="" name="tests.unit.test_b" time="0.0"><error message="collection failure">trace</error></testcase>
</testsuite></testsuites>
"""


def test_each_test_is_read_with_its_id_result_and_first_line_of_why(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(LEFT_BY_PYTEST, encoding="utf-8")
    cases = junit.read_all(tmp_path)["unit"]
    assert cases == [
        Case("tests/unit/test_a.py::test_right[1-x.y]", "passed"),
        Case("tests/unit/test_a.py::TestGroup::test_wrong", "failed", "AssertionError: one"),
        Case("tests/unit/test_a.py::test_unset", "failed", "no such host"),
        Case("tests/unit/test_a.py::test_left", "skipped", "no root"),
        Case("tests.unit.test_b", "failed", "collection failure"),
    ]
    assert cases[0].function == "tests/unit/test_a.py::test_right"


def test_a_step_that_left_no_file_has_no_tests(tmp_path: Path) -> None:
    assert junit.read(tmp_path / "unit.xml") == []
