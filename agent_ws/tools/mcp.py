"""Tools from an MCP server, by the official library. Needs the extra `mcp`.

The one rule: the connection, and the process behind it, belong to one task from beginning to end, and to nothing else:
when it breaks, the calls fail and say so, and neither a run nor the server goes down with it.

A call that is stopped, or out of time, is cancelled at the MCP server too. Whether that listens is its own business.
"""

import asyncio
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, cast

from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.types import (
    CONNECTION_CLOSED,
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcp.types import Tool as Offered
from msgspec import json

from ..errors import AgentWsError, ToolError
from ..journal import note
from ..tasks import Tasks, wait_out
from ..turn import ToolCall, Turn
from .base import OnInterrupt, Tool, Work

START = 30.0
"""Seconds in which an MCP server has to start and to say what it has. Some are installed by their command."""
STOP = 8.0
"""Seconds in which its process has to be gone: the library closes its input, and 2 s later terminates it, and 2 s later
kills it.
"""
PAGES = 100
"""Of a list of tools that are asked for."""


class McpTools:
    """A source of tools, for an agent's `tools`; or `async with McpTools(...) as tools:`, a list of `Tool`.

    command: starts a server that is spoken to by its standard input and output; it gets `env` besides the little that
    the library lets through, and its standard error is ours. url: one that runs already (Streamable HTTP). connect:
    makes a client of your own, with authentication for example. One of the three.

    prefix: put before each name, where servers have tools of the same name. timeout, on_interrupt, needs_approval: see
    `Tool`; the last is called with the tool's name and the input.

    After a connection broke, the call that finds it so fails, and the next ones find a new one. What tools there are is
    asked once.
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        *,
        url: str = "",
        connect: Callable[[], Client] | None = None,
        env: Mapping[str, str] | None = None,
        prefix: str = "",
        timeout: float | None = None,
        on_interrupt: OnInterrupt = "cancel",
        needs_approval: bool | Callable[[str, dict[str, Any]], bool] = False,
    ) -> None:
        if sum(map(bool, (command, url, connect))) != 1 or isinstance(command, str):
            raise ValueError("expected a command as a list of words, or a url, or connect, and only one of them")
        if command:
            words = StdioServerParameters(
                command=command[0],
                args=list(command[1:]),
                env=None if env is None else dict(env),
            )
            self._connect: Callable[[], Client] = lambda: Client(stdio_client(words, errlog=sys.stderr))
        else:
            self._connect = connect or partial(Client, url)
        self._name = command[0] if command else "the one that was given"
        self._prefix = prefix
        self._timeout = timeout
        self._on_interrupt: OnInterrupt = on_interrupt
        self._needs_approval = needs_approval
        self._tasks = Tasks()
        self._keeper: asyncio.Task[None] | None = None
        self._client: Client | None = None
        """While there is a connection."""
        self._offered: list[Offered] = []
        self._opening = False
        self._leaving = False
        self._broken = asyncio.Event()
        """The connection is not wanted any more."""
        # It logs what it can't read, with what a server wrote. To see that, give the logger a level of its own.
        library = logging.getLogger("mcp")
        if library.level == logging.NOTSET:
            library.setLevel(logging.CRITICAL)

    async def __aenter__(self) -> list[Tool]:
        """Connect. Raises `AgentWsError` where that does not succeed."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving = False
        keeper = self._keeper = self._tasks.spawn(self._keep(ready), "MCP server")
        try:
            await asyncio.wait({ready, keeper}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._leave(keeper)
            raise
        if not ready.done():
            raise AgentWsError(
                f"expected an MCP server ({self._name}) that starts and lists its tools within {START:g} s, and got "
                "none: see the line above this, and try the command or the url by itself"
            )
        return [self._tool(offered) for offered in self._offered]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            await self._leave(self._keeper)

    async def _leave(self, keeper: asyncio.Task[None]) -> None:
        """Have the connection closed, also where this is cancelled meanwhile."""
        self._leaving = True
        self._broken.set()
        if self._opening:
            keeper.cancel()  # never while it closes: there the library could leave its process behind
        try:
            await asyncio.wait({keeper}, timeout=STOP)
        except asyncio.CancelledError:
            await wait_out(keeper, STOP)
            raise
        finally:
            keeper.cancel()

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        """Hold the connection, and make a new one when a call has found it broken."""
        while not self._leaving:
            try:
                await self._hold(ready)
            except Exception as error:  # noqa: BLE001 - whatever the library comes up with
                note(logging.WARNING, "the connection to an MCP server failed", error=_innermost(error))
                if not ready.done():
                    return
                await self._broken.wait()

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        """Connect, and return when the connection is not wanted any more."""
        self._opening = True
        try:
            async with asyncio.timeout(START) as limit, self._connect() as client:
                offered = await _offered(client)
                limit.reschedule(None)
                self._opening = False
                if not ready.done():
                    self._offered = offered
                    ready.set_result(None)
                self._client = client
                if not self._leaving:
                    self._broken.clear()
                await self._broken.wait()
        finally:
            self._client, self._opening = None, False

    def _tool(self, offered: Offered) -> Tool:
        name = re.sub("[^a-zA-Z0-9_-]", "_", self._prefix + offered.name)[:64]
        wants = self._needs_approval
        return _McpTool(
            name,
            offered.description or offered.title or "",
            offered.input_schema,
            call=partial(self._call, offered.name),
            timeout=self._timeout,
            on_interrupt=self._on_interrupt,
            needs_approval=partial(wants, offered.name) if callable(wants) else wants,
        )

    async def _call(self, name: str, input: dict[str, Any]) -> CallToolResult:
        client = self._client
        if client is None:
            self._broken.set()
            raise ToolError("[the tool's server is not there, and is started again: it did not run]")
        try:
            return await client.call_tool(name, input)
        except MCPError as error:
            if error.code != CONNECTION_CLOSED:
                raise ToolError(error.message) from None
            if self._client is client:
                self._client = None
                self._broken.set()
            raise ToolError("[the connection to the tool's server broke: it may have run]") from None


class _McpTool(Tool):
    def __init__(self, *told: Any, call: Callable[[dict[str, Any]], Awaitable[CallToolResult]], **options: Any) -> None:
        super().__init__(*told, **options)
        self._call = call

    def bind(self, input: dict[str, Any]) -> Work:
        async def work(_: Turn, call: ToolCall) -> str:
            result = await self._call(input)
            if result.is_error:
                call.outcome = "error"
            if not result.content and result.structured_content is not None:
                return json.encode(result.structured_content).decode()
            return "\n".join(map(_said, result.content))

        return work


def _said(block: ContentBlock) -> str:
    """A piece of a result as text."""
    match block:
        case TextContent(text=text) | EmbeddedResource(resource=TextResourceContents(text=text)):
            return text
        case ImageContent(mime_type=kind, data=data) | AudioContent(mime_type=kind, data=data):
            return f"[{kind}, {len(data) * 3 // 4} bytes, which can't be shown here]"
        case ResourceLink(uri=uri):
            return f"[{uri}]"
        case EmbeddedResource(resource=resource):
            return f"[{resource.uri}, which can't be shown here]"


async def _offered(client: Client) -> list[Offered]:
    offered: list[Offered] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        offered += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return offered


def _innermost(error: Exception) -> BaseException:
    """What a group that a task group made is about."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    return found
