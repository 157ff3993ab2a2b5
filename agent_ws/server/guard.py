"""Who may talk to the server at all: the exact Origin and Host check, and the owner's name.

The one rule: nothing passes because it looks similar. An origin is compared as a whole, a host name as a whole.

Without lists the page's own host is the only origin, and the only names are `localhost` and IP addresses: a foreign
domain that was pointed at this machine (DNS rebinding) comes with its own name. A request without an Origin is not
from a page of another site, unless the browser says it is (`Sec-Fetch-Site`), as it does for images and links. Only
the page itself may be linked to: it is the same for everybody, and can't be framed.
"""

import ipaddress
import logging
import re
import secrets
from collections.abc import Awaitable
from hashlib import sha256
from math import ceil

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import CODES, FrameError
from ..journal import note
from ..settings import Settings

COOKIE = "agent_ws_owner"
COOKIE_AGE_S = 365 * 24 * 3600
SECRET = re.compile(r"[A-Za-z0-9_-]{22}")
"""A cookie's value as we make it: 128 bits. Another one was made by somebody else."""
PROBES = ("/healthz", "/readyz")
"""Asked by machines that address us in their own ways, and tell nothing."""
PAGE = "/"
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+))(?::[0-9]{1,5})?")
"""A Host header (RFC 9110, 7.2): an address in brackets or a name, and a port."""
COME_BACK = (429, 503)
"""Statuses that say when to come back."""
UNAUTHORIZED = CODES["unauthorized"].status
SHOWN = 100
"""Characters of a refused header that are told: enough to find the right option."""


class Guard:
    """ASGI middleware: answers 403 to what must not pass, before anything else sees it. No coroutine of its own, which
    a WebSocket would hold as long as it lasts.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = frozenset(settings.origins)
        self._hosts = frozenset(name.lower() for name in settings.hosts)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or path_of(scope) in PROBES:
            return self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is None:
            return self._app(scope, receive, send)
        note(logging.WARNING, "refused a request", error=FrameError(refusal, code="forbidden"), kind=scope["type"])
        return refuse(scope, receive, send, 403, "forbidden", refusal)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._knows(host):
            expected = "in the list of hosts" if self._hosts else "to be localhost or an IP address"
            return f"expected Host {expected}, got {host[:SHOWN]!r}: allow it with --host-name"
        if origins:
            origin = origins[0] if len(origins) == 1 else ""
            if not self._allows(origin, host, secure=_is_secure(scope)):
                return f"expected an allowed Origin, got {origin[:SHOWN]!r}: allow it with --origin"
            return None
        sites = headers.getlist("sec-fetch-site")
        if path_of(scope) != PAGE and not {"none", "same-origin"}.issuperset(sites):
            return "expected a request from our own pages, got one from another site's"
        return None

    def _knows(self, host: str) -> bool:
        match = HOST.fullmatch(host)
        if match is None:
            return False
        address, name = match.groups()
        name = (address or name).lower()
        if self._hosts:
            return name in self._hosts
        return name == "localhost" or _is_address(name, version=6 if address else 4)

    def _allows(self, origin: str, host: str, *, secure: bool) -> bool:
        if self._origins:
            return origin in self._origins
        # A proxy in front may speak https where we speak http; never the other way round.
        return origin == f"https://{host}" or (origin == f"http://{host}" and not secure)


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str, *, wait: float = 1.0
) -> None:
    """Answer a request, or a WebSocket handshake, with an HTTP error. `wait`: seconds, where it may be tried again."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # the server makes it a 403
        return
    await failure(status, code, message, wait)(scope, receive, send)


def failure(status: int, code: str, message: str, wait: float = 1.0) -> JSONResponse:
    """An HTTP error, as PROTOCOL.md has it."""
    headers = {"retry-after": str(ceil(wait))} if status in COME_BACK else {}
    if status == UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def path_of(scope: Scope) -> str:
    """The path as our routes have it: an application that we are mounted in has taken its part."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


def _is_secure(scope: Scope) -> bool:
    return scope["scheme"] in ("https", "wss")


def _is_address(name: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(name).version == version
    except ValueError:
        return False


class Owner:
    """Who a request comes from where there is no login: a browser by its cookie, anyone else by nothing until a token
    says so.
    """

    def __init__(self, headers: Headers, *, secure: bool) -> None:
        sent = _cookie(headers)
        self._known = sent is not None
        self._secret = sent or secrets.token_urlsafe(16)
        self._secure = secure
        self.name = f"cookie:{sha256(self._secret.encode()).hexdigest()[:32]}"
        """What is stored with a session: not enough to make the cookie from."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response's headers: the cookie, where the client had none."""
        if self._known:
            return []
        secure = "; Secure" if self._secure else ""
        cookie = f"{COOKIE}={self._secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_AGE_S}{secure}"
        return [(b"set-cookie", cookie.encode())]

    @classmethod
    def of(cls, scope: Scope) -> "Owner":
        """The owner that an ASGI request names."""
        return cls(Headers(scope=scope), secure=_is_secure(scope))


def _cookie(headers: Headers) -> str | None:
    """Our cookie. Its neighbours may be of any form: on localhost they are those of all servers on the machine, and
    the standard library's parser stops, or raises, at the first that it doesn't like.
    """
    for pair in ";".join(headers.getlist("cookie")).split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and SECRET.fullmatch(value):
            return value
    return None
