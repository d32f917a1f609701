"""Write what each task of a run changed, or says that it would change, to the file named by RECORD_CHANGES."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record_changes
type: notification
short_description: Record which tasks changed which hosts
description:
  - Appends one JSON object a run to the file that the environment variable RECORD_CHANGES names.
  - Tests compare the run in check mode with the run that follows it; with C(--diff) also what both show.
requirements:
  - enabled in callbacks_enabled
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    """Collects (host, task) pairs with a change; silent tasks (`changed_when: false`) never appear."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._started = time.time()
        self._changed: set[tuple[str, str]] = set()
        self._failed: set[tuple[str, str]] = set()
        self._shown: list[tuple[str, str, list[Any]]] = []
        self._playbook = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).name

    def v2_runner_on_ok(self, result: Any) -> None:
        said = result.result if hasattr(result, "result") else result._result
        if said.get("changed"):
            place = self._place(result)
            self._changed.add(place)
            items = [item for item in said.get("results", [said]) if isinstance(item, dict)]
            diffs = [item["diff"] for item in items if item.get("changed") and item.get("diff")]
            self._shown.append((*place, [part for diff in diffs for part in self._parts(diff)]))

    @staticmethod
    def _parts(diff: Any) -> list[dict[str, Any]]:
        """What a user sees of a difference, without the names of temporary files in its headings."""
        parts = diff if isinstance(diff, list) else [diff]
        shown = [{key: part[key] for key in ("before", "after", "prepared") if key in part} for part in parts]
        return [part for part in shown if part and part.get("before") != part.get("after", object())]

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._failed.add(self._place(result))

    @staticmethod
    def _place(result: Any) -> tuple[str, str]:
        host = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        return host.get_name(), task.get_name()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        path = os.environ.get("RECORD_CHANGES")
        if not path:
            return
        record = {
            "started": self._started,
            "playbook": self._playbook,
            "check": bool(context.CLIARGS.get("check")),
            "changed": sorted(self._changed),
            "failed": sorted(self._failed),
            "shown": self._shown,
        }
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
