"""Says at the end what the schedules did: a random test that tried nothing passes too."""

import pytest
from chaos import STATS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if STATS:
        terminalreporter.write_sep("-", "random schedules")
        terminalreporter.write_line(", ".join(f"{count} {what}" for what, count in STATS.most_common()))
