"""An agent behind a real socket, in this process and this event loop: what a scenario is played against where no
server is named.

The one rule: the server is the one that `agent-ws serve` runs, on a free port of this machine; only the process is
missing.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator

from ..server.serve import make_server
from ..settings import Settings
from ..turn import Agent

CLOSE_S = 10.0
"""For the end of what is still being served."""


@contextlib.asynccontextmanager
async def serving(agent: Agent, settings: Settings | None = None) -> AsyncGenerator[str]:
    """Serve inside the block. Yields the URL."""
    server = make_server(agent, settings or Settings(), host="127.0.0.1", port=0)
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    server.servers = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says where it serves
            await server.startup()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:  # also where it was cancelled while it started
        for listener in server.servers:
            listener.close()
        async with asyncio.timeout(CLOSE_S):
            await server.lifespan.shutdown()
            for connection in tuple(server.server_state.connections):
                connection.transport.abort()
            while server.server_state.tasks:
                await asyncio.wait(tuple(server.server_state.tasks))
