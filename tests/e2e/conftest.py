"""The browser is started once; each test has a server of its own."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from browser import FLAGS, NAMES, PATIENCE_MS, MakeSite, Relay, Site, find_browser

from agent_ws import Agent, Settings
from agent_ws.server.serve import Server, make_server

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context() -> "AsyncGenerator[BrowserContext]":
    """One for all tests, which share nothing all the same: each has a port, so an origin, so a storage of its own."""
    api = pytest.importorskip("playwright.async_api", reason="the tests of the page need the package playwright")
    path = find_browser()
    if path is None:
        pytest.skip(f"the tests of the page need a browser: one of {', '.join(NAMES)} (Debian: apt install chromium)")
    api.expect.set_options(timeout=PATIENCE_MS)
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield await browser.new_context()
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def make_site(context: "BrowserContext") -> AsyncGenerator[MakeSite]:
    """`await make_site(agent, **settings)`. At the end no tab may have a fault that the test has not cleared."""
    async with contextlib.AsyncExitStack() as stack:
        sites: list[Site] = []

        async def make(agent: Agent, **settings: Any) -> Site:
            server = make_server(agent, Settings(**settings), host="127.0.0.1", port=0)
            serving = asyncio.create_task(server.serve())
            stack.push_async_callback(_stop, server, serving)
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            relay = await stack.enter_async_context(Relay(server.servers[0].sockets[0].getsockname()[1]))
            sites.append(Site(server, relay, context))
            return sites[-1]

        yield make
        faults = [fault for site in sites for tab in site.tabs for fault in tab.faults]
        for site in sites:
            for tab in site.tabs:
                await tab.page.close()
    assert faults == []


async def _stop(server: Server, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await serving
