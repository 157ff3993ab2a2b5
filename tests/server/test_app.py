"""What the application does around its agent and its page."""

from types import TracebackType
from typing import Self

import httpx2
import pytest
from helpers import drained, serving

from agent_ws import Turn, build_app
from agent_ws.testing.client import Refused, connect, running


class Holder:
    """An agent that holds something while the server runs."""

    def __init__(self) -> None:
        self.course: list[str] = []

    async def __aenter__(self) -> Self:
        self.course.append("entered")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.course.append("left")

    async def __call__(self, turn: Turn) -> None:
        self.course.append("asked")
        try:
            await turn.wait_steered()
        finally:
            self.course.append("stopped")


@pytest.mark.virtual
async def test_an_agent_that_holds_something_gives_it_back_when_its_runs_are_over() -> None:
    agent = Holder()
    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await client.until("start")
        await drained(client, 1)
    assert agent.course == ["entered", "asked", "stopped", "left"]


async def test_the_page_brings_the_cookie_so_that_all_it_does_has_one_owner() -> None:
    app = build_app(Holder())
    async with (
        running(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as browser,
    ):
        page = await browser.get("/")
        assert page.status_code == 200
        assert page.headers["set-cookie"].startswith("agent_ws_owner=")
        assert "set-cookie" not in (await browser.get("/")).headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/ws", 404, "not_found"),
        ("POST", "/api/agent/stream/", 404, "not_found"),
        ("GET", "/assets/nowhere.js", 404, "not_found"),
        ("PUT", "/api/agent/stream", 405, "method_not_allowed"),
        ("GET", "/api/agent/interrupt", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
    ],
)
async def test_an_unknown_path_or_method_has_a_code(method: str, path: str, status: int, code: str) -> None:
    app = build_app(Holder())
    transport = httpx2.ASGITransport(app)
    async with running(app), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        answer = await browser.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert ("allow" in answer.headers) is (status == 405)


async def test_a_websocket_at_an_unknown_path_is_refused_before_the_upgrade() -> None:
    app = build_app(Holder())
    async with running(app):
        with pytest.raises(Refused, match="404"):
            async with connect(app, path="/nowhere"):
                pass
