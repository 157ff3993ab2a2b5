"""The stage of a scenario: its clients by name, what was kept, and the server that they talk to.

The one rule: a name means one thing. What `$name` stands for is asked for here and nowhere else.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from .client import Client, Frame
from .patterns import frame_pattern
from .steps import Need, Pattern
from .variables import fill


class Target(Struct, frozen=True, kw_only=True):
    """A server."""

    url: str
    """`http://127.0.0.1:8000`; `ws`, `wss` and `https` will do too."""
    token: str = ""
    """A login for all clients."""
    has: frozenset[Need] = frozenset({"open", "obedient"})
    """What it has of what scenarios may need."""
    patience: float = 1.0
    """By how much longer everything may take than the scenarios say: for a machine that is busy."""
    restart: Callable[[str], Awaitable[None]] | None = None
    """Kills or stops it, by the step's word, starts it again, and returns when it serves."""

    @property
    def http(self) -> str:
        """Where requests go."""
        parts = urlsplit(self.url)
        return f"{'https' if parts.scheme in ('https', 'wss') else 'http'}://{parts.netloc}{parts.path.rstrip('/')}"

    @property
    def websocket(self) -> str:
        """Where WebSockets go."""
        return "ws" + self.http.removeprefix("http")


class Stage:
    """What the steps of one scenario share."""

    def __init__(self, target: Target, clock: Callable[[], float], within: float) -> None:
        self.target = target
        self.clock = clock
        self.within = within
        """Seconds for what a step waits for, where it says nothing else."""
        self.clients: dict[str, Client] = {}
        self._kept: dict[str, tuple[Any, float]] = {}

    async def leave(self) -> None:
        """Cut everybody off."""
        for client in self.clients.values():
            await client.leave()

    async def enter(self, name: str) -> Client:
        """A new client; one of the same name has to go."""
        if name in self.clients:
            await self.clients[name].leave()
        client = self.clients[name] = Client(name, self.clock)
        return client

    def client(self, name: str) -> Client:
        """The client of this name. Raises `LookupError`."""
        if name not in self.clients:
            known = ", ".join(self.clients) or "none"
            raise LookupError(f"expected a client that was connected, got {name}; connected: {known}")
        return self.clients[name]

    def proof(self, name: str) -> Frame:
        """What shows that a session is this client's."""
        session = self.client(name).session
        if not session:
            raise LookupError(f"expected a client with a session, got {name}, which has none")
        return {key: session[key] for key in ("session", "token") if session.get(key) is not None}

    def headers(self, headers: Mapping[str, str], *, login: bool = True) -> dict[str, str]:
        """What a request of a client brings along. login: if the player has one."""
        own = {"authorization": f"Bearer {self.target.token}"} if login and self.target.token else {}
        return own | self.fill(dict(headers))

    def keep(self, name: str | None, value: Any, at: float | None = None) -> None:
        """Keep it under this name, and when it was."""
        if name is None:
            return
        if name in self.clients:
            raise ValueError(f"expected a name of its own, got {name}, which is a client's")
        self._kept[name] = (value, self.clock() if at is None else at)

    def when(self, name: str | None) -> float:
        """When it was kept; None: now."""
        if name is None:
            return self.clock()
        if name not in self._kept:
            raise LookupError(
                f"expected a name that was kept by `as`, got {name}; kept: {', '.join(self._kept) or 'none'}"
            )
        return self._kept[name][1]

    def pattern(self, pattern: Pattern) -> Frame:
        """A frame's pattern, with what its names stand for."""
        return frame_pattern(self.fill(pattern))

    def fill(self, value: Any) -> Any:
        """`value` with what its names stand for. Raises `LookupError`."""
        names = {name: kept for name, (kept, _) in self._kept.items()}
        clients = {name: client.known() for name, client in self.clients.items()}
        server = {"url": self.target.http, "host": urlsplit(self.target.http).netloc, "token": self.target.token}
        return fill(value, {"server": server} | names | clients)
