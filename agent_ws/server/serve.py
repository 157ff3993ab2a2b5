"""The process: uvicorn around the gateway, and an orderly end.

The one rule: the process ends within its limits, whatever a client or an agent does.

uvicorn closes every connection the moment it is told to stop, so a signal drains the gateway first. A client that
never reads blocks its writer for ever, so the protocols below cut it off. Both lean on uvicorn's insides;
`tests/server` guards each attribute that they use.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from asyncio import TimerHandle
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ..errors import CODES
from ..settings import Settings
from ..turn import Agent
from .app import build_app

if sys.platform == "linux":
    import fcntl
    import termios

logger = logging.getLogger("agent_ws")

SLOW_CLIENT = CODES["slow_client"].close or 4504


def _stall_of(config: uvicorn.Config) -> float:
    """The stall limit, which travels in the application's state: uvicorn makes its protocols itself."""
    return config.app.state.gateway.settings.timeouts.stall  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportFunctionMemberAccess, reportUnknownVariableType]


def _unread(transport: asyncio.Transport) -> int:
    """Bytes that the client has not taken, those in the kernel's buffer too: it is emptied in steps so big that a slow
    reader would seem to stand still between two.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a socket that is gone
            waiting = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            size += int.from_bytes(waiting, sys.byteorder)
    return size


class _Stalling(asyncio.Protocol):
    """What both protocols below share: a look at a full socket every stall limit. A client that takes anything in
    between is slow, and may be.
    """

    config: uvicorn.Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _stall: TimerHandle | None = None
    _left = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._left = _unread(self.transport)
        self._stall = self.loop.call_later(_stall_of(self.config), self._look)

    def _settle(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _look(self) -> None:
        if _unread(self.transport) < self._left:
            self._watch()
            return
        logger.warning("a client took nothing for %g s: closed", _stall_of(self.config))
        self._cut_off()

    def _cut_off(self) -> None:
        self.transport.abort()


class StallingWebSocket(_Stalling, WebSocketsSansIOProtocol):
    """A WebSocket whose client is told, then cut off, when it takes nothing from a full socket."""

    def _cut_off(self) -> None:
        if self.handshake_complete and not self.close_sent:
            # Behind what it has not read: if it reads on after all, it learns why and comes back.
            self.conn.send_close(SLOW_CLIENT, "slow_client")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": SLOW_CLIENT, "reason": "slow_client"})
        self._stall = self.loop.call_later(_stall_of(self.config), self.transport.abort)


class StallingHttp(_Stalling, HttpToolsProtocol):
    """An HTTP connection that is cut off when its client takes nothing from a full socket."""


class Server(uvicorn.Server):
    """uvicorn, which drains the gateway before it stops. A second signal stops at once."""

    def __init__(self, config: uvicorn.Config, app: Any) -> None:
        super().__init__(config)
        self._gateway = app.state.gateway
        self.stopping = threading.Event()
        """Set by the first signal."""
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        if self.stopping.is_set():
            self.force_exit = self.should_exit = True
        self.stopping.set()

    async def on_tick(self, counter: int) -> bool:
        if self.stopping.is_set() and self._drain is None:
            self._drain = asyncio.create_task(self._gateway.drain(), name="drain")
            self._drain.add_done_callback(lambda _: setattr(self, "should_exit", True))
        return await super().on_tick(counter)

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
        timeout_graceful_shutdown=max(1, round(settings.timeouts.close / 2)),
        access_log=False,  # its line has the query string, which may hold a message
        log_config=None,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
    )
    return Server(config, app)


class _NoStack(logging.Filter):
    """A store that can't be opened is no bug: its error says what to do. Starlette sends the whole stack with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        _, name, message = record.getMessage().rpartition("agent_ws.errors.StoreError: ")
        if name:
            record.msg, record.args = message.strip(), ()
        return True


def set_up_logging() -> None:
    """Write the log to stderr, and keep out of it what others would say about our clients."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("uvicorn.error", "websockets", "httpx2", "anthropic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # below it they log addresses, which may hold messages
    logging.getLogger("uvicorn.error").addFilter(_NoStack())


def serve(agent: Agent, settings: Settings, *, host: str, port: int) -> int:
    """Serve until a signal, then end in order. Returns the exit status."""
    set_up_logging()
    server = make_server(agent, settings, host=host, port=port)
    served = threading.Event()

    def hurry() -> None:
        """End the process when an agent holds the loop, a task or a thread beyond the limits: Python would wait for
        it for ever.
        """
        server.stopping.wait()
        if not served.wait(settings.timeouts.drain + settings.timeouts.close):
            logger.warning("the shutdown took too long and was cut short: an agent does not let go")
            os._exit(1)
        time.sleep(settings.timeouts.grace)
        os._exit(0)

    threading.Thread(target=hurry, name="hurry", daemon=True).start()
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        try:
            runner.run(server.serve())
        finally:
            served.set()
    return 0
