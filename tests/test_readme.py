"""What README.md shows works as it is printed."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent_ws import build_app
from agent_ws.testing.client import Closed, connect, running
from agent_ws.tools import Asked, Tool, use_all
from agent_ws.turn import Agent, Turn

pytestmark = pytest.mark.virtual

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALLEST, RICHER, TOOL, _, LOGIN = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def agent_of(block: str) -> Agent:
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - our own page
    return names["agent"]


async def test_the_smallest_agent_says_what_it_says() -> None:
    app = build_app(agent_of(SMALLEST))
    async with running(app), connect(app) as client:
        await client.send({"message": "Hello agent"})
        await client.until("done")
        assert client.text() == "You said: Hello agent "
        assert len([line for line in SMALLEST.splitlines() if line]) == 5


async def test_the_richer_agent_asks_and_acts() -> None:
    app = build_app(agent_of(RICHER))
    async with running(app), connect(app) as client:
        await client.send({"message": "report.txt"})
        asked = await client.until("request")
        await client.send({"type": "message", "data": "Quickly", "when_busy": "steer"})
        await client.send({"type": "reply", "request": asked["request"], "data": {"approved": True}})
        await client.until("done")
        assert client.text() == "Deleted 3 files.And yes, I heard: Quickly"
        types = [event["type"] for event in client.events]
        assert {"thinking", "tool_start", "tool_result", "resolved", "section_start", "section_end"} <= set(types)
        await client.send({"message": "again"})
        asked = await client.until("request")
        await client.send({"type": "reply", "request": asked["request"], "data": {"approved": False}})
        assert (await client.until("content"))["data"] == "Nothing was deleted."


async def test_the_tool_is_asked_for_and_deletes_no_root() -> None:
    names: dict[str, Any] = {}
    exec(TOOL, names)  # noqa: S102 - our own page
    tool: Tool = names["delete"]
    assert tool.schema["properties"] == {"path": {"type": "string", "description": "Which one, from the root."}}

    async def agent(turn: Turn) -> str:
        calls = [Asked(turn.begin_tool("delete"), "delete", {"path": path}) for path in ("/a", "/")]
        return " ".join(output.output for output in await use_all(turn, {"delete": tool}, calls))

    app = build_app(agent)
    async with running(app), connect(app) as client:
        await client.send({"message": "go"})
        for _ in range(2):
            asked = await client.until("request")
            await client.send({"type": "reply", "request": asked["request"], "data": {"approved": True}})
        await client.until("done")
        assert client.text() == "/a is gone. That is everything: name one file."


async def test_the_check_lets_in_who_is_logged_in_and_nobody_else() -> None:
    names: dict[str, Any] = {}
    exec(LOGIN, names)  # noqa: S102 - our own page
    app = names["app"]
    (session,) = names["LOGGED_IN"]
    async with running(app):
        async with connect(app, headers={"cookie": f"session={session}"}) as client:
            await client.send({"message": "Hello agent"})
            await client.until("done")
            assert client.text() == "You said: Hello agent"
            assert app.state.gateway.revoke("alice") == 1
            with pytest.raises(Closed, match="4401 unauthorized"):
                await client.until("settled", run="none such")
        async with connect(app, headers={"cookie": "session=x"}) as client:
            await client.send({"message": "Hello agent"})
            with pytest.raises(Closed, match="4401 unauthorized"):
                await client.until("done")


async def test_the_commands_that_it_names_are_there() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
