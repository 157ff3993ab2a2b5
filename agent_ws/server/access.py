"""Who a connection is: by a login where the server has one, else by a browser's cookie or nothing.

The one rule: every request passes the `Admission`, which refuses what needs a login and has none. Behind it,
`Visitor.of` says who it is, and nothing else does. A visitor whose login has ended is told so in the same step.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import FrameError
from ..journal import note
from ..sessions import new_id
from ..settings import Settings
from .guard import PAGE, PROBES, Owner, path_of, refuse
from .login import Identity, Login
from .tickets import Tickets
from .tokens import Tokens

ASSETS = "/assets/"
WEBSOCKET = "/ws"
SUBPROTOCOL = "agent-ws.ticket."
SECRETS = ("token", "ticket")
"""What no address may have."""
AGAIN_S = 60.0
"""The longest that a visitor's timer waits before it looks at the clock again: clocks are set, and a loop's timers take
no year 9999.
"""
KEY = "agent_ws.visitor"


def unauthorized() -> FrameError:
    """The one answer to everybody who may not come in, whatever is wrong with the login."""
    return FrameError("expected a login that is valid, got none or another", code="unauthorized")


class Visitor:
    """Who one connection is, for as long as it lasts."""

    def __init__(self, access: "Access", scope: Scope) -> None:
        self._access = access
        self._identity: Identity | None = None
        self._end: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False
        """Its login has."""
        self.origin = Headers(scope=scope).get("origin")
        anonymous = None if access.required else Owner.of(scope)
        self.headers = [] if anonymous is None else anonymous.headers
        """To be set in the answer."""
        self.owner = None if anonymous is None else anonymous.name
        """Whose sessions it may use, as they are stored; None: nobody's, it has not logged in."""
        self._anonymous = anonymous is not None

    @classmethod
    def of(cls, scope: Scope) -> "Visitor":
        """Who a connection is that has passed the door."""
        return scope[KEY]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._access.leave(self)
        self._disarm()

    @property
    def identity(self) -> Identity | None:
        """Its login."""
        return self._identity

    def token(self, token: str | None) -> str | None:
        """A session's token where such tokens count: where there is no login."""
        return token if self._anonymous else None

    def on_end(self, end: Callable[[], None]) -> None:
        """Call `end` at the moment when the login ends; at once, where it has. It must be quick and must not raise."""
        self._end = end
        if self.ended:
            end()

    def check(self) -> str:
        """Its `owner`. Raises `FrameError` with `unauthorized` where there is no login, or none any more."""
        if self.owner is None or self.ended:
            raise unauthorized()
        return self.owner

    def log_in(self, identity: Identity) -> None:
        """It is `identity` now, until that ends: its expiry may be another than before."""
        self._identity = identity
        self.owner = f"login:{identity.owner}"
        self._disarm()
        self._look()

    def redeem(self, ticket: str | None) -> None:
        """Log in by the first frame. Raises `FrameError` with `unauthorized`, also where it was logged in before."""
        if self._anonymous or (ticket is None and self.owner is not None):
            return
        identity = None if ticket is None else self._access.redeem(ticket, self.origin)
        if identity is None or self.owner is not None:
            raise unauthorized()
        self._access.enter(self, identity)

    def end(self) -> None:
        """Its login has ended."""
        self._disarm()
        if not self.ended:
            self.ended = True
            if self._end is not None:
                self._end()

    def _look(self) -> None:
        if self._identity is None or self._identity.expires is None:
            return
        left = self._identity.expires - self._access.wall()
        if left <= 0:
            note(logging.INFO, "a login has expired: its connection ends")
            self.end()
            return
        self._timer = asyncio.get_running_loop().call_later(min(left, AGAIN_S), self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Access:
    """The login of one server, and the visitors who came in by it."""

    def __init__(
        self, settings: Settings, login: Login | None = None, *, wall: Callable[[], float] = time.time
    ) -> None:
        if settings.tokens and login is not None:
            raise ValueError("expected one login, got a tokens file and a check: let the check read what it needs")
        limits = settings.limits
        self._tokens = Tokens(settings.tokens, limits.tokens_bytes) if settings.tokens else None
        self._login = login or self._tokens
        self._times = settings.timeouts
        self._tickets = Tickets(
            settings.timeouts.ticket,
            each=limits.tickets_each,
            total=limits.tickets,
            clock=lambda: asyncio.get_running_loop().time(),
            new_id=new_id,
        )
        self.wall = wall
        self._inside: set[Visitor] = set()
        self._asking: dict[int, list[Callable[[Identity], bool]]] = {}
        """The checks that are under way, and what was revoked since each began: it may have looked before."""
        self._asked = 0

    @property
    def required(self) -> bool:
        """Whether the server has a login."""
        return self._login is not None

    async def identify(self, scope: Scope) -> Identity | None:
        """Whose login a request or handshake brought; None: it brought none.

        Raises `FrameError` with `unauthorized` for one that doesn't count, and with `internal_error` where that can't
        be found out.
        """
        headers = Headers(scope=scope)
        tickets = [name[len(SUBPROTOCOL) :] for name in scope.get("subprotocols", ()) if name.startswith(SUBPROTOCOL)]
        if tickets:
            identity = self.redeem(tickets[0], headers.get("origin"))
            if identity is None or len(tickets) > 1 or "authorization" in headers:
                raise unauthorized()
            return identity
        identity = await self._ask(HTTPConnection(scope))
        if identity is None and "authorization" in headers:
            raise unauthorized()
        return identity

    async def _ask(self, connection: HTTPConnection) -> Identity | None:
        if self._login is None:
            return None
        self._asked += 1
        key = self._asked
        revoked = self._asking[key] = []
        limit = asyncio.timeout(self._times.login)
        try:
            async with limit:
                identity = cast("object", await self._login(connection))
            if not isinstance(identity, Identity | None):
                raise TypeError(type(identity).__name__)  # noqa: TRY301 - a bug of the check's like any other
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code must not end the server
            if limit.expired():
                note(logging.ERROR, "the login was expected to answer in time and did not", seconds=self._times.login)
            else:
                note(logging.ERROR, "the login failed", error=error)
            raise FrameError("The login could not be checked: come back.", code="internal_error") from None
        finally:
            del self._asking[key]
        if identity is None or self._is_over(identity) or any(ended(identity) for ended in revoked):
            return None
        return identity

    def _is_over(self, identity: Identity) -> bool:
        return identity.expires is not None and identity.expires <= self.wall()

    def enter(self, visitor: Visitor, identity: Identity) -> None:
        """A visitor has come in by a login, until `leave`."""
        self._inside.add(visitor)
        visitor.log_in(identity)

    def leave(self, visitor: Visitor) -> None:
        """A connection is over."""
        self._inside.discard(visitor)

    def issue(self, visitor: Visitor) -> str:
        """A ticket for who is logged in. Raises `FrameError` with `unauthorized`."""
        visitor.check()
        if visitor.identity is None:
            raise unauthorized()
        return self._tickets.issue(visitor.identity, visitor.origin)

    def redeem(self, ticket: str, origin: str | None) -> Identity | None:
        """Use a ticket up."""
        identity = self._tickets.redeem(ticket, origin)
        if identity is not None and self._tokens is not None:
            identity = self._tokens.current(identity)
        return None if identity is None or self._is_over(identity) else identity

    def revoke(self, ended: Callable[[Identity], bool]) -> int:
        """End what came in by these logins. Returns how many connections there were."""
        self._tickets.drop(ended)
        for revoked in self._asking.values():
            revoked.append(ended)
        found = [visitor for visitor in self._inside if visitor.identity is not None and ended(visitor.identity)]
        for visitor in found:
            visitor.end()
        if found:
            note(logging.INFO, "a login was revoked: its connections end", count=len(found))
        return len(found)

    async def watch(self) -> None:
        """Look after the tokens file, for ever."""
        tokens = self._tokens
        while tokens is not None:
            await asyncio.sleep(self._times.look)
            if tokens.look():
                self.revoke(lambda identity: tokens.current(identity) is None)
                for visitor in tuple(self._inside):
                    if visitor.identity is not None and (now := tokens.current(visitor.identity)) is not None:
                        visitor.log_in(now)


class Admission:
    """ASGI middleware behind the guard: lets in who needs no login or has one, and notes who it is."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or path_of(scope) in PROBES:
            await self._app(scope, receive, send)
            return
        with Visitor(self._access, scope) as visitor:
            try:
                await self._admit(visitor, scope)
            except FrameError as error:
                note(logging.WARNING, "refused a request", error=error, kind=scope["type"])
                await refuse(scope, receive, send, error.status, error.code, str(error))
                return
            scope[KEY] = visitor
            await self._app(scope, receive, send)

    async def _admit(self, visitor: Visitor, scope: Scope) -> None:
        """Raise `FrameError`, or let it in."""
        path = path_of(scope)
        if scope["query_string"] and not QueryParams(scope["query_string"]).keys().isdisjoint(SECRETS):
            raise FrameError("expected the token as `Authorization: Bearer`: an address is written to logs")
        if not self._access.required or path == PAGE or path.startswith(ASSETS):
            return
        identity = await self._access.identify(scope)
        if identity is not None:
            self._access.enter(visitor, identity)
        elif scope["type"] != "websocket" or path != WEBSOCKET:
            raise unauthorized()
