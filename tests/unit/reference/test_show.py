"""docs/reference/show.md explains every counter, every reason of a drop and every field, and no others."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mobileip.cli import TOPICS
from mobileip.registration.mobile_node import NodeStatus
from tests.checks.reference import SHOWN, shown

PAGE = SHOWN.read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    level = title.partition(" ")[0]
    _, found, rest = PAGE.partition(f"\n{title}\n")
    assert found, f"no heading {title!r}"
    return rest.partition(f"\n{level} ")[0]


def test_every_counter_of_the_daemon_is_explained() -> None:
    counters = section("## show drops, show counters").partition("### Packets that the kernel passed on")[0]
    assert shown.rows_of(counters) == shown.daemon_counters()


def test_every_reason_for_which_the_kernel_drops_is_explained() -> None:
    assert shown.rows_of(section("### Packets that the kernel dropped")) == shown.kernel_reasons()


def test_everything_that_the_kernel_does_with_packets_is_explained() -> None:
    assert shown.rows_of(section("### Packets that the kernel passed on")) == shown.kernel_outcomes()


def test_every_topic_of_show_has_its_section() -> None:
    titles = [line for line in PAGE.splitlines() if line.startswith("## show")]
    assert {word.rstrip(",") for title in titles for word in title.split() if word not in ("##", "show")} == set(TOPICS)


def test_fields_of_status_and_bindings_are_those_of_the_code() -> None:
    status = section("## show status")
    assert shown.rows_of(status) == {
        *shown.fields_of("runtime/daemon.py", "status"),
        *shown.fields_of("runtime/proxy.py", "describe"),
    }
    bindings = section("## show bindings")
    assert shown.rows_of(bindings) == shown.fields_of("runtime/listing.py", "binding_row")


def test_fields_of_the_nodes_location_are_those_of_the_code() -> None:
    known = {field.name for field in fields(NodeStatus)}
    assert shown.rows_of(section("## show location")) == known | {"path", "sa"}


@pytest.mark.parametrize(
    ("title", "module", "function"),
    [
        ("## show status", "runtime/home_agent.py", "describe"),
        ("## show status", "runtime/foreign_agent.py", "describe"),
        ("## show bindings", "runtime/listing.py", "visitor_row"),
        ("## show pending", "runtime/listing.py", "pending_row"),
    ],
)
def test_fields_that_stand_in_the_text_are_all_there(title: str, module: str, function: str) -> None:
    text = section(title)
    assert [name for name in sorted(shown.fields_of(module, function)) if f"`{name}`" not in text] == []
