"""What all tests share. The one rule: a test says by a mark which event loop it needs (see `loop`)."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from loop import VirtualLoop

# The published suites are no test files, and their assertions should explain themselves all the same.
pytest.register_assert_rewrite("agent_ws.testing")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual(seeds=None): runs in virtual time, once for each seed")


ORDER = (
    "core",
    "testing",
    "stores",
    "promises",
    "agents",
    "server",
    "schedules",
    "client",
    "load",
    "recordings",
    "terminal",
    "scenarios",
    "docs",
    "proofs",
    "process",
    "e2e",
)
"""The folders, fastest first: what is broken is told as early as may be."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.parent.name) if item.path.parent.name in ORDER else -1)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    mark = item.get_closest_marker("virtual")
    if mark is None:
        return {"asyncio": asyncio.new_event_loop}
    seeds: int | None = mark.kwargs.get("seeds")
    if seeds is None:
        return {"virtual": VirtualLoop}
    return {f"seed{seed}": partial(VirtualLoop, seed) for seed in range(seeds)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the random tests did, by the property `facts` that each of them records."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "facts":
                terminalreporter.write_sep("-", f"what {report.nodeid} met")
                terminalreporter.write_line(str(text))
