"""The real server on a real socket, in the test's own loop: an agent waits for the test at a gate."""

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stdout
from typing import Any

from wire import DEADLINE_S, Net

from agent_ws import Agent, Settings
from agent_ws.server.gateway import Gateway
from agent_ws.server.serve import Server, make_server
from agent_ws.session import Session


class Site(Net):
    """A server that runs, and the ways to it."""

    def __init__(self, server: Server, gateway: Gateway) -> None:
        super().__init__(server.servers[0].sockets[0].getsockname()[1])
        self.server = server
        self.gateway = gateway

    async def session(self, frame: dict[str, Any]) -> Session:
        """What is behind a `session` frame that brought its token."""
        return await self.gateway.sessions.find(frame["session"], owner=None, token=frame["token"])


MakeSite = Callable[..., Awaitable[Site]]


def gateway_of(server: Server) -> Gateway:
    app: Any = server.config.app
    return app.state.gateway


@asynccontextmanager
async def serving(agent: Agent, **settings: Any) -> AsyncGenerator[Site]:
    """uvicorn as `make_server` sets it up, without its main loop, which only looks now and then whether to stop."""
    server = make_server(agent, Settings(**settings), host="127.0.0.1", port=0)
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    with redirect_stdout(io.StringIO()):  # it says where it serves
        await server.startup()
    site = Site(server, gateway_of(server))
    try:
        yield site
    finally:
        site.close()
        for listener in server.servers:
            listener.close()
        async with asyncio.timeout(DEADLINE_S):
            await server.lifespan.shutdown()
            while server.server_state.tasks:
                await asyncio.wait(tuple(server.server_state.tasks))
