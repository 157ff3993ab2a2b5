"""The ASGI application: routes, and what every response has.

The one rule: everything is behind the guard and the login but the probes, and the page, which needs no login.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings import Settings
from ..stores import Store
from ..turn import Agent
from .access import WEBSOCKET, Admission, Visitor
from .door import Doorkeeper
from .gateway import Gateway
from .guard import Guard, failure, path_of, refuse
from .http import HttpEndpoints
from .login import Login
from .websocket import WebSocketEndpoint

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The page makes elements, never HTML out of text; the last line has the browser see to that."""
PAGE_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


PAGE = Path(__file__).parents[1] / "web"
"""What `web/chat` was built to, as it was committed."""


class _Assets(StaticFiles):
    """The page's files, with the page's headers."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # pyright: ignore[reportArgumentType] - passed on as they come
        response.headers.update(PAGE_HEADERS)
        return response


def build_app(
    agent: Agent, settings: Settings | None = None, *, store: Store | None = None, login: Login | None = None
) -> Starlette:
    """The gateway in front of `agent`, for any ASGI server. Its lifespan must be run: it opens the store.

    `store` is a driver of your own (`agent_ws.stores.Store`), not open yet; without it `settings.store` names one.
    `login` is a check of your own that says who a client is. Without it and without `settings.tokens` who can reach the
    server can use it. Raises `ValueError` for both at once, and for a tokens file that can't be read.

    `app.state.gateway` is the `Gateway`; call `await app.state.gateway.drain()` before the server closes its
    connections, as `agent-ws serve` does, to shut down without cutting answers; and `app.state.gateway.house.beat(now)`
    ten times a second with the loop's time, for the limits of idle and old connections and of the loop's lag.
    """
    settings = settings or Settings()
    gateway = Gateway(agent, settings, store, login)
    http = HttpEndpoints(gateway)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with gateway:
            yield

    async def page(request: Request) -> Response:
        # With the cookie, so that whatever the page does first, twice at once perhaps, has one owner.
        response = FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)
        response.raw_headers += Visitor.of(request.scope).headers
        return response

    async def bug(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": {"code": "internal_error", "message": "Our fault: the log says more."}}, 500)

    async def unserved(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for that
        known = {404: ("not_found", "another path"), 405: ("method_not_allowed", "another method")}
        code, expected = known.get(error.status_code, ("bad_frame", "another request"))
        answer = failure(error.status_code, code, f"expected {expected}, as PROTOCOL.md has it")
        answer.headers.update(error.headers or {})
        return answer

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ready = gateway.sessions.ready
        lag = {name: round(s * 1000, 1) for name, s in gateway.door.lag.lateness._asdict().items()}
        body = {"status": "ready" if ready else "not ready", "lag_ms": lag}
        return JSONResponse(body, 200 if ready else 503)

    middleware = [Middleware(Doorkeeper, door=gateway.door), Middleware(Guard, settings=settings)]
    if settings.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["authorization", "content-type", "last-event-id"],
                allow_credentials=True,
            )
        )
    endpoint = WebSocketEndpoint(gateway)
    middleware += [Middleware(Admission, access=gateway.access), Middleware(_ShortWay, endpoint=endpoint)]
    tickets = [Route("/api/agent/ticket", http.ticket, methods=["POST"])] if gateway.access.required else []
    app = Starlette(
        routes=[
            WebSocketRoute(WEBSOCKET, endpoint),
            Route("/api/agent/stream", _Stream(http), methods=["GET", "POST"]),
            Route("/api/agent/interrupt", http.interrupt, methods=["POST"]),
            Route("/api/agent/reply", http.reply, methods=["POST"]),
            Route("/api/agent/sessions", http.sessions, methods=["GET"]),
            Route("/api/agent/sessions/{session}", http.session, methods=["PATCH", "DELETE"]),
            *tickets,
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/", page),
            Mount("/assets", _Assets(directory=PAGE / "assets")),
        ],
        middleware=middleware,
        exception_handlers={Exception: bug, HTTPException: unserved},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path is known, or it is not
    app.router.default = nowhere
    app.state.gateway = gateway
    return app


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what no route knows, a WebSocket too."""
    await refuse(scope, receive, send, 404, "not_found", "expected another path, as PROTOCOL.md has it")


class _ShortWay:
    """ASGI middleware: leads a WebSocket to its endpoint past Starlette's router, which would hold six frames and
    closures for it, 2 KiB, as long as it lasts. The route is there all the same, for who lists the routes.
    """

    def __init__(self, app: ASGIApp, endpoint: ASGIApp) -> None:
        self._app = app
        self._endpoint = endpoint

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        known = scope["type"] == "websocket" and path_of(scope) == WEBSOCKET
        return (self._endpoint if known else self._app)(scope, receive, send)


class _Stream:
    """The stream as an ASGI application: Starlette takes an object for one, and a method for something else."""

    def __init__(self, http: HttpEndpoints) -> None:
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._http.stream(scope, receive, send)
