"""A running server whose tokens file changes."""

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from live import MakeSite, Site
from wire import NDJSON, STREAM, RawWebSocket, eventually

from agent_ws import Timeouts, Turn
from agent_ws.agents.scripted import Gate

ONE, TWO = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}


def line(owner: str, token: str, expires: str = "") -> str:
    return f"{owner} sha256:{sha256(token.encode()).hexdigest()} {expires}\n"


def seconds_from_now(seconds: float) -> str:
    """A time, as a line has it."""
    micros = f"{seconds + time.time():.6f}".partition(".")[2]
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{micros}Z", time.gmtime(seconds + time.time()))


class Office:
    """Where the file is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(line("alice", "one"))

    def write(self, *lines: str) -> None:
        self.path.write_text("".join(lines))

    async def site(self, make_site: MakeSite, agent: Any) -> Site:
        return await make_site(agent, tokens=str(self.path), timeouts=Timeouts(look=0.01))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "tokens")


async def agent(turn: Turn) -> str:
    return turn.message


async def status(site: Site, fields: dict[str, str]) -> int:
    return (await site.post(STREAM, {"message": "x"}, fields)).status


async def connected(site: Site, fields: dict[str, str], **hello: Any) -> tuple[RawWebSocket, dict[str, Any]]:
    socket = await site.websocket(fields)
    socket.send(json.dumps({"type": "hello", **hello}))
    return socket, await socket.until("session")


async def test_the_page_and_the_probes_need_no_login_and_nothing_sets_a_cookie(
    make_site: MakeSite, office: Office
) -> None:
    site = await office.site(make_site, agent)
    for path in ("/", "/assets/chat.js", "/healthz", "/readyz"):
        answer = await site.get(path)
        assert (answer.status, answer.header("set-cookie")) == (200, "")
    for path in ("/assets", "/assets/../api/agent/stream", "/asset", "//", "/index.html", "/%2e"):
        assert (await site.get(path)).status in (401, 404)
    assert (await site.get(f"{STREAM}?message=x")).status == 401
    answer = await site.post(STREAM, {"message": "x"}, ONE)
    assert (answer.status, answer.header("set-cookie")) == (200, "")
    _, handshake = await site.shake_hands(ONE)
    assert (handshake.status, handshake.header("set-cookie")) == (101, "")


async def test_a_line_that_went_ends_what_came_in_by_it(make_site: MakeSite, office: Office) -> None:
    gate = Gate()

    async def waiting(turn: Turn) -> None:
        turn.content("early ")
        await gate.wait()
        turn.content("late")

    office.write(line("alice", "one"), line("alice", "two"))
    site = await office.site(make_site, waiting)
    socket, session = await connected(site, ONE)
    other, _ = await connected(site, TWO, session=session["session"])
    stream = await site.post(STREAM, {"message": "hi", "session": session["session"]}, ONE | NDJSON)
    ticket = (await (await site.post("/api/agent/ticket", b"", ONE)).json())["ticket"]
    await other.until("content")
    office.write(line("alice", "two"))
    assert (await socket.until("error"))["code"] == "unauthorized"
    assert await socket.close_code() == 4401
    frames = [frame async for frame in stream.lines()]
    assert (frames[-1]["type"], frames[-1]["code"]) == ("error", "unauthorized")
    assert await status(site, ONE) == 401
    _, refused = await site.shake_hands(ONE)
    assert (refused.status, refused.header("www-authenticate")) == (401, "Bearer")
    _, refused = await site.shake_hands({"sec-websocket-protocol": f"agent-ws.v1.json, agent-ws.ticket.{ticket}"})
    assert refused.status == 401
    gate.set()
    assert (await other.until("content"))["data"] == "late"
    await other.until("done")


async def test_a_new_line_lets_in_and_another_owner_keeps_out(make_site: MakeSite, office: Office) -> None:
    site = await office.site(make_site, agent)
    assert (await status(site, ONE), await status(site, TWO)) == (200, 401)
    socket, _ = await connected(site, ONE)
    office.write(line("bob", "one"), line("bob", "two"))
    assert await socket.close_code() == 4401  # the token is bob's now, its connection was alice's
    assert (await status(site, ONE), await status(site, TWO)) == (200, 200)


async def test_a_broken_file_ends_nothing(
    make_site: MakeSite, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    site = await office.site(make_site, agent)
    socket, _ = await connected(site, ONE)
    office.write(line("bob", "two"), "alice one\n")
    await eventually(lambda: "line 2" in caplog.text)
    assert await status(site, ONE) == 200
    socket.send('{"type": "ping"}')
    await socket.until("pong")
    office.path.unlink()
    await eventually(lambda: "can't be read" in caplog.text)
    assert await status(site, ONE) == 200


async def test_a_line_that_expires_ends_what_came_in_by_it(make_site: MakeSite, office: Office) -> None:
    office.write(line("alice", "one", "9999-12-31"), line("bob", "two", seconds_from_now(3600)))
    site = await office.site(make_site, agent)
    socket, _ = await connected(site, ONE)
    kept, _ = await connected(site, TWO)
    office.write(line("alice", "one", seconds_from_now(0.2)), line("bob", "two"))
    assert (await socket.until("error"))["code"] == "unauthorized"
    assert await socket.close_code() == 4401
    assert await status(site, ONE) == 401
    kept.send('{"type": "ping"}')
    await kept.until("pong")


async def test_a_ticket_counts_for_as_long_as_its_line_says_now(make_site: MakeSite, office: Office) -> None:
    site = await office.site(make_site, agent)
    socket, _ = await connected(site, ONE)
    ticket = (await (await site.post("/api/agent/ticket", b"", ONE)).json())["ticket"]
    office.write(line("alice", "one", "2020-01-01"))
    assert await socket.close_code() == 4401
    _, refused = await site.shake_hands({"sec-websocket-protocol": f"agent-ws.v1.json, agent-ws.ticket.{ticket}"})
    assert refused.status == 401
