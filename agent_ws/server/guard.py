"""Who may talk to the server at all: the exact Origin and Host check, and the owner's name.

The one rule: nothing passes because it looks similar. An origin is compared as a whole, a host name as a whole.

Without lists the page's own host is the only origin, and the only names are `localhost` and IP addresses: a foreign
domain that was pointed at this machine (DNS rebinding) comes with its own name. A request without an Origin is not
from a page of another site, unless the browser says it is (`Sec-Fetch-Site`), as it does for images and links.
"""

import ipaddress
import logging
import secrets
from hashlib import sha256
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings import Settings

logger = logging.getLogger("agent_ws")

COOKIE = "agent_ws_owner"
COOKIE_AGE_S = 365 * 24 * 3600
PROBES = ("/healthz", "/readyz")
"""Asked by machines that address us in their own ways, and tell nothing."""


class Guard:
    """ASGI middleware: answers 403 to what must not pass, before anything else sees it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._host(headers) or self._origin(headers, secure=scope["scheme"] in ("https", "wss"))
        if refusal is None:
            await self._app(scope, receive, send)
            return
        logger.warning("refused %s %s: %s", scope["type"], scope["path"], refusal)
        await refuse(scope, receive, send, 403, "forbidden", refusal)

    def _host(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        name = _hostname(host)
        if self._settings.hosts:
            if name in self._settings.hosts:
                return None
            return f"expected a Host in the list of hosts, got {host[:100]!r}: allow it with --host-name"
        if name == "localhost" or _is_address(name):
            return None
        return f"expected Host to be localhost or an IP address, got {host[:100]!r}: allow it with --host-name"

    def _origin(self, headers: Headers, *, secure: bool) -> str | None:
        origins = headers.getlist("origin")
        if not origins:
            site = headers.get("sec-fetch-site", "none")
            return (
                None if site in ("none", "same-origin") else f"expected a request from our own pages, got {site[:20]!r}"
            )
        origin = origins[0] if len(origins) == 1 else ""
        if self._settings.origins:
            allowed = origin in self._settings.origins
        else:
            schemes = ("https",) if secure else ("http", "https")
            allowed = any(origin == f"{scheme}://{headers.get('host', '')}" for scheme in schemes)
        return None if allowed else f"expected an allowed Origin, got {origin[:100]!r}: allow it with --origin"


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    """Answer a request, or a WebSocket handshake, with an HTTP error."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # the server makes it a 403
        return
    await JSONResponse({"error": {"code": code, "message": message}}, status)(scope, receive, send)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Owner:
    """Who a request comes from: a browser by its cookie, anyone else by nothing until a token says so."""

    def __init__(self, headers: Headers, *, secure: bool) -> None:
        sent = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        self._secret = sent.value if sent is not None and len(sent.value) >= 22 else secrets.token_urlsafe(16)  # noqa: PLR2004
        self._known = sent is not None and self._secret == sent.value
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
        return cls(Headers(scope=scope), secure=scope["scheme"] in ("https", "wss"))
