"""No secret leaves by the log or by a frame that is not meant for it, however a run or a request ends."""

import asyncio
import gc
import json
import logging
import traceback
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from live import MakeSite, Site
from wire import NDJSON, STREAM, RawWebSocket, eventually

from agent_ws import AgentError, Limits, Timeouts, ToolStart, Turn
from agent_ws.server.serve import set_up_logging

TEXT = "canary-message-51"
ID = "canary-id-52"
KEY = "sk-ant-canary-53"
TOOL = "canary-tool-54"
RAISED = "canary-raised-55"
ANSWER = "canary-answer-56"
COOKIE = "canary-cookie-57-xxxxx"
TOKEN = "canary-token-58"
REASON = "canary-reason-59"
REPLY = "canary-reply-60"
LOGIN = "canary-login-61"
WRONG = "canary-wrong-62"
OWNER = "canary-owner-63@example.org"
SECRETS = (TEXT, ID, KEY, TOOL, RAISED, ANSWER, COOKIE, TOKEN, REASON, REPLY, LOGIN, WRONG, OWNER)
OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets", "httpx2", "anthropic")


class Log(logging.Handler):
    """All records of the process, formatted with their tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.secrets: list[str] = list(SECRETS)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)} {record.args!r}")

    def leaks(self) -> list[str]:
        return [line for line in self.lines if any(secret in line for secret in self.secrets)]


@pytest.fixture
def log() -> Iterator[Log]:
    """Logging as `serve` sets it up, and more of ours than it shows."""
    names = ("agent_ws", *OTHERS, "")
    levels = {name: logging.getLogger(name).level for name in names}
    handler, root = Log(), logging.getLogger()
    root.addHandler(handler)
    set_up_logging()
    root.setLevel(logging.INFO)
    logging.getLogger("agent_ws").setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


async def agent(turn: Turn) -> None:
    """What a turn can hold and do, by what its message says."""
    turn.content(ANSWER)
    if "ask" in turn.message:
        await turn.ask("question", TOOL)
    if "tool" in turn.message:
        async with turn.tool("search", {"key": KEY}) as call:
            call.output = TOOL
            if "fail" in turn.message:
                raise RuntimeError(f"{RAISED} {KEY}")
    if "event" in turn.message:
        turn.write(ToolStart("t1", "x", {("not", "JSON"): RAISED}))
    if "late" in turn.message:
        try:
            await turn.wait_steered()
        finally:
            raise RuntimeError(RAISED)
    if "exit" in turn.message:
        raise SystemExit(RAISED)
    if "group" in turn.message:
        raise ExceptionGroup(RAISED, [ValueError(KEY)])
    if "cause" in turn.message:
        try:
            await failing(turn)
        except ValueError as error:
            raise OSError(RAISED) from error
    if "own" in turn.message:
        raise AgentError("The calendar is not connected.") from ValueError(RAISED)
    if "parts" in turn.message:
        await turn.together(one=failing, two=failing)


async def failing(_: Turn) -> None:
    raise ValueError(f"{RAISED} {KEY}")


async def say(site: Site, text: str, **fields: Any) -> list[dict[str, Any]]:
    response = await site.post(STREAM, {"message": f"{TEXT} {text}", "id": ID, **fields}, NDJSON)
    return [frame async for frame in response.lines()]


async def connected(site: Site, **fields: Any) -> RawWebSocket:
    socket = await site.websocket({"cookie": f"agent_ws_owner={COOKIE}"})
    socket.send(json.dumps({"type": "hello", **fields}))
    return socket


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tool fail", "The agent failed (RuntimeError)."),
        ("exit", "The agent failed (SystemExit)."),
        ("group", "The agent failed (ExceptionGroup)."),
        ("cause", "The agent failed (OSError)."),
        ("own", "The calendar is not connected."),
        ("event", "expected ToolStart to hold what JSON can say, got TypeError"),
    ],
)
async def test_an_agent_that_raises_shows_its_type_and_no_more(
    make_site: MakeSite, log: Log, text: str, error: str
) -> None:
    site = await make_site(agent)
    frames = await say(site, text)
    ending = frames[-2]
    assert (ending["type"], ending["message"]) == ("error", error)
    assert RAISED not in json.dumps(frames)
    assert log.leaks() == []
    assert len(log.lines) == (0 if text in ("own", "event") else 1)


async def test_one_of_several_agents_that_raises_shows_its_type_and_no_more(make_site: MakeSite, log: Log) -> None:
    site = await make_site(agent)
    frames = await say(site, "parts")
    failed = [frame["detail"] for frame in frames if frame.get("state") == "failed"]
    assert failed == ["The agent failed (ValueError)."] * 2
    assert RAISED not in json.dumps(frames)
    assert KEY not in json.dumps(frames)
    assert log.leaks() == []


async def test_a_conversation_with_all_there_is_leaves_nothing_in_the_log(make_site: MakeSite, log: Log) -> None:
    site = await make_site(agent, limits=Limits(queued=1))
    socket = await connected(site)
    session = await socket.until("session")
    log.secrets += [session["token"]]
    proof = {"session": session["session"], "token": session["token"]}
    socket.send(json.dumps({"message": f"{TEXT} ask tool late", "id": ID}))
    request = (await socket.until("request"))["request"]
    socket.send(json.dumps({"type": "reply", "request": request, "data": {"password": REPLY}}))
    await socket.until("tool_result")
    for policy, code in (("queue", "accepted"), ("queue", "rejected"), ("reject", "rejected")):
        socket.send(json.dumps({"message": TEXT, "id": f"{ID}{policy}{code}", "when_busy": policy}))
        await socket.until(code)
    for path in (STREAM, "/api/agent/interrupt", "/api/agent/reply"):
        body = {"message": TEXT, "reason": REASON, "request": ID, "data": REPLY, "session": ID, "token": TOKEN}
        await (await site.post(path, body, {"authorization": f"Bearer {TOKEN}"})).body()
    for target in (f"?message={TEXT}&token={TOKEN}", f"?message={TEXT}&session={ID}", f"?message={TEXT}"):
        response = await site.get(STREAM + target, {"cookie": f"agent_ws_owner={COOKIE}", "last-event-id": ID})
        await response.body()
    socket.send(json.dumps({"type": "interrupt", "reason": REASON, "seen": 1}))
    await socket.until("settled")
    answer = await site.post("/api/agent/interrupt", proof | {"reason": REASON})
    assert answer.status == 200
    for bad in (TEXT, f'{{"type": "{TEXT}"}}', f'{{"message": 1, "x": "{TEXT}"}}', f'{{"message": "{TEXT}", "id": 1}}'):
        socket.send(bad)
    socket.send(b"binary " + TEXT.encode())
    wrong = await connected(site, session=ID, token=TOKEN, ticket=KEY)
    assert await wrong.close_code() == 4404
    socket.cut()
    await eventually(lambda: not site.server.server_state.tasks)
    assert log.leaks() == []
    assert any("bad frame" in line for line in log.lines)  # it does log, and we do see it


async def test_what_breaks_http_or_websocket_is_not_quoted_in_the_log(make_site: MakeSite, log: Log) -> None:
    site = await make_site(agent)
    for data in (f"{TEXT} / HTTP/1.1\r\n\r\n", f"GET /{TEXT} HTTP/1.1\r\n{TOKEN}\r\n\r\n"):
        reader, writer = await site.dial()
        writer.write(data.encode())
        assert b"400" in await reader.readline()
    socket = await site.websocket({"cookie": f"agent_ws_owner={COOKIE}"})
    socket.send(TEXT.encode() + b"\xff", opcode=1)
    assert await socket.close_code() == 1007
    assert len([line for line in log.lines if "1007" in line or "UTF-8" in line]) == 1
    socket = await site.websocket({"cookie": f"agent_ws_owner={COOKIE}"})
    socket.send(TEXT, opcode=3)
    assert await socket.close_code() == 1002
    assert log.leaks() == []
    assert len(log.lines) >= 4


async def test_no_credential_is_in_the_log_nor_in_an_answer(make_site: MakeSite, log: Log, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    line = f"{OWNER} sha256:{sha256(LOGIN.encode()).hexdigest()}\n"
    tokens.write_text(line)
    site = await make_site(agent, tokens=str(tokens), timeouts=Timeouts(look=0.01))
    answers: list[bytes] = []
    mine, wrong = {"authorization": f"Bearer {LOGIN}"}, {"authorization": f"Bearer {WRONG}"}
    ticket = (await (await site.post("/api/agent/ticket", b"", mine)).json())["ticket"]
    log.secrets += [ticket, *line.split()]
    for fields in ({}, mine, wrong, {"authorization": f"Basic {WRONG}"}, mine | {"authorization ": WRONG}):
        for path in (STREAM, "/api/agent/interrupt", "/api/agent/ticket", f"{STREAM}?token={WRONG}", "/nowhere"):
            answer = await site.post(path, {"session": ID, "token": WRONG, "message": TEXT}, fields)
            if "/ticket" not in path or answer.status != 200:
                answers.append(await answer.body())
        for offered in (f"agent-ws.ticket.{WRONG}", f"agent-ws.ticket.{ticket}", f"agent-ws.ticket.{ticket}"):
            subprotocols = {"sec-websocket-protocol": f"agent-ws.v1.json, {offered}"}
            _, handshake = await site.shake_hands(fields | subprotocols)
            assert WRONG not in str(handshake.fields)
            assert ticket not in str(handshake.fields)
            if handshake.status != 101:
                answers.append(await handshake.body())
    socket = await site.websocket()
    socket.send(json.dumps({"type": "hello", "ticket": WRONG, "token": LOGIN}))
    answers.append(json.dumps(await socket.frame()).encode())
    socket = await site.websocket(mine)
    socket.send(json.dumps({"type": "hello", "token": LOGIN}))
    answers.append(json.dumps(await socket.frame()).encode())
    assert b'"token"' not in answers[-1]
    tokens.write_text(f"{line}{OWNER} {LOGIN}\n")  # what people do
    await eventually(lambda: any("line 2" in line for line in log.lines))
    tokens.write_text("")
    assert await socket.close_code() == 4401
    secrets = [secret.encode() for secret in (LOGIN, WRONG, ticket, OWNER)]
    assert not [answer for answer in answers if any(secret in answer for secret in secrets)]
    assert log.leaks() == []
    assert len(log.lines) > 20


async def test_a_shutdown_in_mid_answer_leaves_nothing_in_the_log(make_site: MakeSite, log: Log) -> None:
    site = await make_site(agent, timeouts=Timeouts(drain=0.01))
    socket = await connected(site)
    socket.send(json.dumps({"message": f"{TEXT} late"}))
    await socket.until("content")
    await site.gateway.drain()
    assert await socket.close_code() == 4503
    assert log.leaks() == []
    assert any("draining" in line for line in log.lines)


async def test_a_session_is_told_its_token_once_and_only_its_maker(make_site: MakeSite) -> None:
    site = await make_site(agent)
    socket = await connected(site)
    session = await socket.until("session")
    token = session["token"]
    for _ in range(2):
        back = await connected(site, session=session["session"], token=token)
        again = await back.until("session")
        assert "token" not in again
        back.send(json.dumps({"message": TEXT}))
        shown = [again]
        while shown[-1]["type"] != "settled":
            shown.append(await back.frame())
        assert token not in json.dumps(shown)
    response = await site.post(STREAM, {"session": session["session"], "token": token}, NDJSON)
    assert token.encode() not in await response.body()
    core = await site.session(session)
    assert token not in repr(core.record)


async def test_what_others_say_below_a_warning_is_not_logged(log: Log) -> None:
    for name in ("uvicorn.error", "websockets", "websockets.server", "httpx2", "anthropic"):
        logging.getLogger(name).info("GET /?message=%s", TEXT)
        logging.getLogger(name).debug("< TEXT %s", TEXT)
    assert log.lines == []
    logging.getLogger("uvicorn.error").warning("something")
    assert len(log.lines) == 1


async def test_at_any_level_nothing_of_a_bug_or_a_task_gets_into_the_log(make_site: MakeSite, log: Log) -> None:
    """Everything that logs exceptions of anybody's: uvicorn, asyncio, our own tasks."""
    for name in ("", *OTHERS[:3], "asyncio", "agent_ws"):
        if name != "uvicorn.error":  # which `serve` holds at warnings: below it there are addresses
            logging.getLogger(name).setLevel(logging.DEBUG)

    async def lost(turn: Turn) -> None:
        def forgotten() -> None:
            raise RuntimeError(f"{RAISED} {turn.message} {KEY}")

        asyncio.get_running_loop().call_soon(forgotten)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError(f"{RAISED} {KEY}"))
        del future
        task = asyncio.create_task(failing(turn), name=f"{KEY}")
        await asyncio.wait({task})
        del task
        gc.collect()
        turn.content(ANSWER)

    site = await make_site(lost)
    await say(site, "go", session=None)
    await eventually(lambda: len(log.lines) >= 3)
    app: Any = vars(site.server.config)["app"]

    async def broken(*_: Any) -> None:
        raise RuntimeError(f"{RAISED} {KEY}")

    app.middleware_stack = broken
    response = await site.get("/", {"cookie": f"agent_ws_owner={COOKIE}", "x-key": KEY})
    assert response.status == 500
    assert log.leaks() == []
    told = "\n".join(log.lines)
    for kind in ("RuntimeError", "ValueError", "test_logs.py:"):
        assert kind in told, "what and where is told"


def test_a_start_that_fails_is_told_without_its_text(log: Log) -> None:
    error = OSError(f"{RAISED}\n{KEY}: x")
    trace = ["Traceback (most recent call last):\n", '  File "x.py", line 1, in y\n    secret = {KEY!r}\n']
    logging.getLogger("uvicorn.error").error("".join([*trace, *traceback.format_exception_only(error)]))
    (line,) = log.lines
    assert "OSError: File" in line
    assert log.leaks() == []
