"""The process: uvicorn around the gateway, and an orderly end.

The one rule: the process ends within its limits, whatever a client or an agent does.

uvicorn closes every connection the moment it is told to stop, so a signal drains the gateway first.
"""

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from msgspec.structs import replace

from ..journal import note
from ..settings import Settings
from ..turn import Agent
from .app import build_app
from .logs import set_up_logging
from .protocols import StallingHttp, StallingWebSocket

if sys.platform != "win32":
    import resource

GC_THRESHOLDS = (20_000, 20, 20)
"""Python's own look at all that lives every 70,000 objects, which with a thousand streams holds the loop for 10 ms. A
smaller first one would let more of what is just under way grow old, and then only a look at everything frees it.
"""
GC_LEFT = 256
"""Clients that have left until what they leave behind in cycles is collected; or as many as there are, if that is more:
a look at all of thousands holds the loop for a quarter of a second.
"""
UNTIL_CUT = 0.2
"""The part of `timeouts.close` in which connections may end by themselves after the drain."""


class Server(uvicorn.Server):
    """uvicorn, which drains the gateway before it stops. A second signal stops at once."""

    def __init__(self, config: uvicorn.Config, app: Any) -> None:
        super().__init__(config)
        self._gateway = app.state.gateway
        self.stopping = threading.Event()
        """Set by the first signal."""
        self._drain: asyncio.Task[None] | None = None
        self._patience = app.state.gateway.settings.timeouts.close * UNTIL_CUT
        self._collected = 0
        """How many clients had left when it was last collected."""

    async def main_loop(self) -> None:
        # What was made until now is never garbage: nobody has to look at it again.
        thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            await super().main_loop()
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        if self.stopping.is_set():
            self.force_exit = self.should_exit = True
        self.stopping.set()

    async def on_tick(self, counter: int) -> bool:
        self._gateway.house.beat(asyncio.get_running_loop().time())
        gateway = self._gateway
        if gateway.left - self._collected >= max(GC_LEFT, gateway.present):
            self._collected = gateway.left
            gc.collect()
        if self.stopping.is_set() and self._drain is None:
            # Its parent is this server, which stops ticking only when it is done.
            self._drain = asyncio.create_task(self._gateway.drain(), name="drain")
            self._drain.add_done_callback(lambda _: setattr(self, "should_exit", True))
        return await super().on_tick(counter)

    async def _wait_tasks_to_complete(self) -> None:
        """Wait for who is left, then cut them off: uvicorn would cancel what serves them, and log that as bugs."""
        try:
            async with asyncio.timeout(self._patience):
                await super()._wait_tasks_to_complete()
        except TimeoutError:
            left = len(self.server_state.connections)
            note(logging.WARNING, "cut off connections that took too long to end", count=left)
            for connection in tuple(self.server_state.connections):
                connection.transport.abort()
            await super()._wait_tasks_to_complete()

    def _log_started_message(self, listeners: Any) -> None:
        """Say where it serves, in a form that a program can read too."""
        host, port = listeners[0].getsockname()[:2]
        print(f"agent-ws serves on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C stops it)", flush=True)  # noqa: T201


def make_server(agent: Agent, settings: Settings, *, host: str, port: int) -> Server:
    """A server that is ready to run. `port` 0 takes a free one."""
    app = build_app(agent, settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=StallingHttp,
        ws=StallingWebSocket,
        ws_max_size=settings.limits.message_bytes,
        ws_per_message_deflate=False,  # small frames cost more to deflate than to send, and it takes 35 KiB a client
        timeout_graceful_shutdown=max(1, round(settings.timeouts.close * 2 * UNTIL_CUT)),
        access_log=False,  # its line has the query string, which may hold a message
        log_config=None,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
    )
    return Server(config, app)


def room(connections: int, soft: int, hard: int) -> tuple[int, int]:
    """How many of `connections` a process can have, and the soft limit of descriptors for it, by the system's limits.

    As many descriptors as connections are left for what the agents connect to: beyond that nothing works, not even to
    open the store. A limit of -1 is none.
    """
    if soft < 0:
        return connections, soft
    soft = max(soft, 2 * connections if hard < 0 else min(2 * connections, hard))
    return max(1, min(connections, soft // 2)), soft


def fitted(settings: Settings) -> Settings:
    """`settings` with no more connections than the system allows. Raises the process's soft limit, where it may."""
    if sys.platform == "win32":
        return settings
    wanted = settings.limits.connections
    old, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections, soft = room(wanted, old, hard)
    if soft != old:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):  # a system that allows less than it says
            connections, _ = room(wanted, old, old)
    if connections < wanted:
        note(
            logging.WARNING,
            "the system's limit of open files leaves no room for more connections: raise it (ulimit -n)",
            count=connections,
            limit=wanted,
        )
    return replace(settings, limits=replace(settings.limits, connections=connections))


def serve(agent: Agent, settings: Settings, *, host: str, port: int) -> int:
    """Serve until a signal, then end in order. Returns the exit status: 0, or 1 where the end was cut short."""
    set_up_logging()
    server = make_server(agent, fitted(settings), host=host, port=port)
    served = threading.Event()

    def hurry() -> None:
        """End the process when an agent holds the loop, a task or a thread beyond the limits: Python would wait for
        it for ever.
        """
        server.stopping.wait()
        if not served.wait(settings.timeouts.drain + settings.timeouts.close):
            note(logging.WARNING, "the shutdown took too long and was cut short: an agent does not let go")
            os._exit(1)
        time.sleep(settings.timeouts.grace)
        os._exit(_status(server))

    threading.Thread(target=hurry, name="hurry", daemon=True).start()
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        try:
            runner.run(server.serve())
        finally:
            served.set()
    return _status(server)


def _status(server: Server) -> int:
    """0 for an orderly end, 1 where a second signal cut it short."""
    return 1 if server.force_exit else 0
