"""Who may come in at the moment: how many are there, how often one asks, and whether the process keeps up.

The one rule: who is refused costs little, is told when to come back, and is told nothing else. What is inside stays.

A socket is counted from its first moment (`protocols`), a request from its head on: a client behind a proxy is known
only by that. The first is `agent-ws serve`'s; the second works under any server.
"""

import asyncio
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..addresses import UNKNOWN, Addresses
from ..census import Census
from ..errors import Refused
from ..journal import note
from ..lag import Lag
from ..rates import Buckets, Rate
from ..settings import Settings
from .guard import PROBES, path_of, refuse

SPARE = 64
"""Sockets beyond the limits that are let in to be told so, and for the probes: else a full server would seem dead."""
STREAM = "/api/agent/stream"
INTERRUPT = "/api/agent/interrupt"
OVER = ""
"""The seat of a socket that is beyond the limits."""


class Door:
    """The counts of one gateway."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self.addresses = Addresses(settings.proxies)
        self.lag = Lag(settings.timeouts.lag)
        self._sockets = Census(limits.connections, limits.address_connections)
        self._over = 0
        self._requests = Census(limits.connections, limits.address_connections)
        rate = Rate(limits.frame_rate, limits.frame_burst)
        self._asked = Buckets(rate)
        # A bucket of their own: whatever else an address did, its Stop is heard.
        self._interrupts = Buckets(rate)
        self._sessions = Buckets(Rate(limits.session_rate, limits.session_burst))

    # Sockets

    def seat(self, peer: str) -> str | None:
        """Count a socket. Returns its seat, to be given back to `leave`: `OVER` where it may only be told that the
        limits are reached; None where there is no room even for that.
        """
        key = self.addresses.client(peer)
        if self._sockets.enter(key, shared=key == UNKNOWN or self.addresses.trusts(peer)) is None:
            return key
        if self._over >= SPARE:
            return None
        self._over += 1
        return OVER

    def leave(self, seat: str) -> None:
        """Count a socket no more."""
        if seat == OVER:
            self._over -= 1
        else:
            self._sockets.leave(seat)

    @property
    def sockets(self) -> int:
        """How many there are, within the limits."""
        return self._sockets.total

    @property
    def requests(self) -> int:
        """How many there are."""
        return self._requests.total

    # Requests

    def enter(self, scope: Scope, key: str) -> None:
        """Count a request, or a WebSocket, until `left`. Raises `Refused` where it can't be served now."""
        path = path_of(scope)
        if wait := self._take(self._interrupts if path == INTERRUPT else self._asked, key):
            raise Refused("Too many requests from your address: come back later.", code="rate_limited", wait=wait)
        if self.lag.refusing and (scope["type"] == "websocket" or path == STREAM):
            raise Refused("The server is too busy to begin anything new: come back.", code="overloaded")
        if scope["state"].get("over") or self._requests.enter(key, shared=key == UNKNOWN) is not None:
            raise Refused(
                "Too many connections, in all or from your address: come back later.", code="too_many_connections"
            )

    def left(self, key: str) -> None:
        """Count a request no more."""
        self._requests.leave(key)

    @property
    def remembered(self) -> int:
        """How many addresses have something to live down."""
        return max(len(self._asked), len(self._interrupts), len(self._sessions))

    def new_session(self, key: str) -> None:
        """Count a new session of an address's. Raises `Refused` where these were too many."""
        if wait := self._take(self._sessions, key):
            raise Refused(
                "Too many new sessions from your address: come back later.", code="too_many_sessions", wait=wait
            )

    def _take(self, buckets: Buckets, key: str) -> float:
        # Who have no address have none in common either.
        return 0.0 if key == UNKNOWN else buckets.take(key, asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """Forget the addresses that were quiet."""
        for buckets in (self._asked, self._interrupts, self._sessions):
            buckets.sweep(now)


class Doorkeeper:
    """ASGI middleware: asks the door, before anything else looks at a request. Leaves its address in the state."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door
        self._hinted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or path_of(scope) in PROBES:
            await self._app(scope, receive, send)
            return
        key = scope.setdefault("state", {})["address"] = self._address(scope)
        try:
            self._door.enter(scope, key)
        except Refused as error:
            await refuse(scope, receive, send, error.status, error.code, str(error), wait=error.wait)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._door.left(key)

    def _address(self, scope: Scope) -> str:
        client: tuple[str, int] | None = scope.get("client")
        peer, forwarded = client[0] if client else "", Headers(scope=scope).getlist("x-forwarded-for")
        if forwarded and not self._hinted and not self._door.addresses.trusts(peer):
            self._hinted = True
            note(
                logging.WARNING,
                "a client says that it asks for others, and is no trusted proxy: all they do counts as one address's. "
                "If it is a proxy of yours, name it with --proxy",
                address=self._door.addresses.client(peer),
            )
        return self._door.addresses.client(peer, forwarded)
