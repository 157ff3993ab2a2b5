"""The gateway as a part of another application."""

import contextlib
import re
from collections.abc import AsyncGenerator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from agent_ws import Turn, build_app
from agent_ws.server.app import PAGE
from agent_ws.testing.client import running


async def agent(turn: Turn) -> str:
    return turn.message


def mounting(*, whole: bool) -> Starlette:
    """An application that has ours below `/chat`. `whole`: it runs our lifespan, as it has to."""
    inner = build_app(agent)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with inner.router.lifespan_context(inner) if whole else contextlib.nullcontext():
            yield

    return Starlette(routes=[Mount("/chat", inner)], lifespan=lifespan)


def asking(app: Starlette) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


async def test_it_works_below_a_path() -> None:
    app = mounting(whole=True)
    async with running(app), asking(app) as http:
        answer = await http.post("/chat/api/agent/stream", json={"message": "hi"})
        assert '"content":"hi"' in answer.text
        page = await http.get("/chat/", headers={"sec-fetch-site": "cross-site"})  # a link from elsewhere
        assert page.status_code == 200
        for name in re.findall(r'(?:href|src)="([^":]+)"', page.text):
            assert (await http.get(str(page.url.join(name)))).status_code == 200
        assert (await http.get("/chat/readyz", headers={"host": "10.0.0.7.probe"})).status_code == 200


def test_the_page_connects_beside_itself() -> None:
    built = (PAGE / "assets" / "chat.js").read_text()
    assert re.search(r"new URL\([\"'`]\.[\"'`], ?document\.baseURI\)", built)
    assert re.search(r"new URL\([\"'`]api/agent/ticket[\"'`], ?document\.baseURI\)", built)


@pytest.mark.parametrize("ask", [{"message": "hi"}, {"session": "x"}])
async def test_without_its_lifespan_it_answers_with_an_error_and_is_not_ready(ask: dict[str, str]) -> None:
    app = mounting(whole=False)
    async with running(app), asking(app) as http:
        assert (await http.get("/chat/readyz")).status_code == 503
        answer = await http.post("/chat/api/agent/stream", json=ask)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
