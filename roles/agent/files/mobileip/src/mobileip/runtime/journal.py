"""Logs for the journal: one event a line, `event key=value ...`. Callers pass names and addresses, never keys."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

LOGGER = logging.getLogger("mobileip")

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def _value(value: object) -> str:
    text = str(value)
    if text == "" or any(character in text for character in ' "=\n\r\t\\') or not text.isprintable():
        return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    return text


def line(event: str, fields: Mapping[str, object]) -> str:
    """One log line. What came from the network is escaped: no peer writes a second line into the journal."""
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def log(level: str, event: str, /, **fields: object) -> None:
    """Log `event` with its fields; `level` is a name such as "info"."""
    number = _LEVELS.get(level.lower(), logging.INFO)
    if LOGGER.isEnabledFor(number):
        LOGGER.log(number, "%s", line(event, fields))


class _JournalFormatter(logging.Formatter):
    """sd-daemon(3): the priority in front of the line."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{text}" for text in super().format(record).splitlines())


def configure(level: str = "info") -> None:
    """Send the program's log to standard error, in the journal's form where the journal reads it."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(_LEVELS.get(level.lower(), logging.INFO))
    LOGGER.propagate = False
