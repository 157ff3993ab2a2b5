"""A bug of ours is answered as one: no traceback reaches a client, and the log has it."""

from typing import Any

import httpx2
import pytest

from agent_ws import Turn, build_app
from agent_ws.session import Session
from agent_ws.testing.client import Closed, connect, running

SECRET = "the bug's own words"


async def agent(turn: Turn) -> str:
    return turn.message


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def take(*_: Any, **__: Any) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(Session, "take", take)
    return monkeypatch


async def test_a_websocket_is_closed_with_4500_and_the_next_one_works(broken: pytest.MonkeyPatch) -> None:
    app = build_app(agent)
    async with running(app):
        frames: list[dict[str, Any]] = []
        codes: list[int] = []
        with pytest.RaisesGroup(ValueError):
            async with connect(app) as client:
                await client.send({"message": "hi"})
                with pytest.raises(Closed) as closed:
                    await client.until("done")
                codes.append(closed.value.code)
                frames += client.frames
        assert codes == [4500]
        assert SECRET not in str(frames)
        broken.undo()
        async with connect(app) as client:
            await client.send({"message": "hi"})
            await client.until("done")


async def test_a_request_is_answered_with_500_and_the_code(broken: pytest.MonkeyPatch) -> None:
    app = build_app(agent)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with running(app), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.post("/api/agent/stream", json={"message": "hi"})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert SECRET not in answer.text
        broken.undo()
