"""A page in a real browser, in front of a real server.

The server runs in the test's own loop, so an agent waits for the test by an `asyncio.Event`. A TCP relay between the
two is the network, which a test can cut.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, cast

from agent_ws.events import Event
from agent_ws.server.gateway import Gateway
from agent_ws.server.serve import Server

if TYPE_CHECKING:  # the package is not needed to find out that it is missing
    from playwright.async_api import BrowserContext, Locator, Page

PATIENCE_MS = 5_000
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # for containers, whose user is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str | None:
    """Where it is; None: there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Relay:
    """TCP between the browser and the server. `cut()` is a pulled cable: no closing frame, and nobody gets through."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.up = True
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        self.up = False
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, there}
        await asyncio.gather(self._pipe(reader, there), self._pipe(there_reader, writer))
        self._writers -= {writer, there}

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()


class Tab:
    """One page, and what went wrong in it."""

    def __init__(self, page: "Page", site: "Site") -> None:
        self.page = page
        self.site = site
        self.faults: list[str] = []
        page.on("console", lambda message: self._note(f"console {message.type}: {message.text}", message.type))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._request(request.url))
        page.set_default_timeout(PATIENCE_MS)

    async def open(self) -> "Tab":
        await self.page.goto(self.site.url)
        await self.words.wait_for()
        return self

    @property
    def words(self) -> "Locator":
        """The field to write in."""
        return self.page.get_by_label("Your message")

    @property
    def runs(self) -> "Locator":
        return self.page.locator("#log .run")

    @property
    def answer(self) -> "Locator":
        """The last answer."""
        return self.runs.last.locator("> .flow")

    @property
    def endings(self) -> "Locator":
        return self.runs.locator("> .ending")

    @property
    def state(self) -> "Locator":
        """The state of the connection, in words."""
        return self.page.locator("#state-text")

    def button(self, name: str) -> "Locator":
        return self.page.get_by_role("button", name=name, exact=True)

    async def say(self, text: str) -> None:
        await self.words.fill(text)
        await self.words.press("Enter")

    async def text(self) -> str:
        """The last answer, as it stands on the page."""
        return await self.answer.evaluate(
            "flow => [...flow.querySelectorAll('.content p')].map(p => p.textContent).join('')"
        )

    async def frame(self) -> None:
        """Return when the page has drawn what it knows."""
        await self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    async def log(self) -> list[Event]:
        """What the server holds of this page's session."""
        kept: dict[str, str] = await self.page.evaluate("JSON.parse(localStorage.getItem('agent-ws.session'))")
        gateway: Gateway = cast("Any", self.site.server.config.app).state.gateway
        session = await gateway.sessions.find(kept["session"], owner=None, token=kept["token"])
        return session.log.read(0)

    def _note(self, text: str, kind: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.site.url, "data:")):
            self.faults.append(f"left the origin: {url}")


class Site:
    """A server, its network and the tabs that look at it."""

    def __init__(self, server: Server, relay: Relay, context: "BrowserContext") -> None:
        self.server = server
        self.relay = relay
        self.url = f"http://127.0.0.1:{relay.port}/"
        self.tabs: list[Tab] = []
        self.context = context

    async def tab(self) -> Tab:
        tab = Tab(await self.context.new_page(), self)
        self.tabs.append(tab)
        return await tab.open()


MakeSite = Callable[..., Awaitable[Site]]
"""`await make_site(agent, **settings)`."""
