from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.recording import Recorder


def pytest_configure(config: pytest.Config) -> None:
    if directory := os.environ.get("RECORD_EMITTED"):
        config.pluginmanager.register(Recorder(Path(directory)))
