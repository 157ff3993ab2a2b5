"""Fixtures: servers that are killed and clients that are closed at the end, whatever happens."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from processes import HERE, Open, Serve, Server, Tab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.process)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncGenerator[Serve]:
    """Starts `agent-ws serve`, mostly `acting:NAME`, on one file for the whole test unless it says otherwise."""
    async with AsyncExitStack() as stack:

        async def start(agent: str, *options: str, store: str = f"sqlite:{tmp_path}/test.db") -> Server:
            name = agent if ":" in agent or agent.endswith(".gguf") else f"acting:{agent}"
            server = await Server.start(
                "-m", "agent_ws", "serve", name, "--port", "0", "--store", store, "--drain", "0.3", *options
            )
            stack.push_async_callback(server.kill)
            return server

        yield start


@pytest.fixture
async def open_tab() -> AsyncGenerator[Open]:
    """Connects a new client, and closes it at the end."""
    async with AsyncExitStack() as stack:

        async def open_(server: Server) -> Tab:
            tab = Tab(server)
            stack.push_async_callback(tab.leave)
            await tab.connect()
            return tab

        yield open_
