"""The fixture of the server's tests; what it makes is in `live`."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from live import MakeSite, Site, serving

from agent_ws import Agent


@pytest.fixture
async def make_site() -> AsyncGenerator[MakeSite]:
    """`await make_site(agent, **settings)`."""
    async with AsyncExitStack() as stack:

        async def make(agent: Agent, **settings: Any) -> Site:
            return await stack.enter_async_context(serving(agent, **settings))

        yield make
