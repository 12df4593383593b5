"""Whoever watches a run: lines on the terminal, whatever pytest captures meanwhile."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from pytest_containerpolicy.reports.text import printable

if TYPE_CHECKING:
    import pytest


class Watcher:
    """The terminal of a run. Threads may share it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._writing = threading.Lock()

    def write(self, text: str) -> None:
        """Show a line, where there is a terminal to show it on."""
        plugins = self._config.pluginmanager
        reporter, capture = (
            plugins.get_plugin("terminalreporter"),
            plugins.get_plugin("capturemanager"),
        )
        if reporter is None:
            return
        uncaptured = capture.global_and_fixture_disabled() if capture else nullcontext()
        with self._writing, uncaptured:
            reporter.ensure_newline()
            reporter.write_line(printable(text))
