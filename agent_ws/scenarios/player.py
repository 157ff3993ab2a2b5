"""Plays a scenario against a server, step by step.

The one rule: it waits for what is expected and for nothing else, and what fails is told with the step's line, what was
expected, what came, and the last frames.

After each step every client's copy is held against the promises (`judge.py`), so a scenario checks more than it says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, assert_never

import httpx2
from msgspec import Struct

from ..testing.invariants import Broken
from .checks import check
from .client import Client, Frame, Got, told
from .files import Line, Script
from .http import Answer, Reading, ask, opened
from .patterns import matches
from .stage import Stage, Target
from .steps import (
    DEFAULT,
    Assert,
    Connect,
    Drop,
    Expect,
    Interrupt,
    Raw,
    Reconnect,
    Reply,
    Request,
    Restart,
    Send,
    Sleep,
    Slow,
    Step,
    Stream,
)
from .waiting import Failed, Order, come, promised, seek, until
from .wire import Answered, Socket, Unreachable

Result: TypeAlias = Literal["passed", "failed", "skipped"]
SUCCESS = {"least": 200, "most": 299}
"""What a status is like where a request says nothing of it."""


class Failure(Struct, frozen=True):
    """Why a scenario failed."""

    line: int
    message: str
    frames: tuple[str, ...] = ()
    """The last frames of the client it is about, sent (`->`) and received (`<-`)."""
    client: str = ""


class Outcome(Struct, frozen=True):
    """What became of a scenario."""

    script: Script
    result: Result
    seconds: float
    failure: Failure | None = None
    skipped: str = ""
    """Why it was not played."""


async def play(script: Script, target: Target) -> Outcome:
    """Play it. Returns what became of it; raises nothing but cancellation."""
    clock = asyncio.get_running_loop().time
    began = clock()
    if lacking := [need for need in script.head.needs if need not in target.has]:
        return Outcome(script, "skipped", 0.0, skipped=f"needs a server with {' and '.join(lacking)}")
    async with opened(target.http) as http:
        player = Player(script.steps, Stage(target, clock, script.head.within * target.patience), http)
        try:
            failure = await player.play()
        finally:
            await player.stage.leave()
    return Outcome(script, "passed" if failure is None else "failed", clock() - began, failure)


class Player:
    """Steps while they are played."""

    def __init__(self, steps: Sequence[Line], stage: Stage, http: httpx2.AsyncClient) -> None:
        self.stage = stage
        self._steps = steps
        self._http = http

    async def play(self) -> Failure | None:
        """Play all steps, up to the first that fails. Returns why it did."""
        for line in self._steps:
            if (failure := await self.play_one(line)) is not None:
                return failure
        return None

    async def play_one(self, line: Line) -> Failure | None:
        """Play a step, then judge every client's copy. Returns why it failed."""
        client = self.stage.clients.get(getattr(line.step, "by", ""))
        try:
            await self._step(line.step)
            for client in self.stage.clients.values():
                promised(client)
                client.judge.check()
        except Failed as failed:
            return _failure(line, str(failed), failed.client or client)
        except (Broken, Unreachable, LookupError, ValueError) as error:
            return _failure(line, str(error), client)
        return None

    async def _step(self, step: Step) -> None:
        stage = self.stage
        match step:
            case Connect():
                await self._connect(step)
            case Reconnect():
                await self._reconnect(step)
            case Stream():
                await self._stream(step)
            case Request():
                await self._request(step)
            case Send():
                client = stage.client(step.by)
                await come(stage, client, step.after)
                said = stage.fill(step.send)
                for _ in range(int(stage.fill(step.times))):
                    client.send({"type": "message", "data": said} if isinstance(said, str) else said)
                stage.keep(step.as_, said)
            case Raw():
                self._raw(step)
            case Expect():
                await self._expect(step)
            case Interrupt():
                client = stage.client(step.by)
                await come(stage, client, step.after)
                frame: Frame = {"type": "interrupt"} | (stage.fill(step.interrupt) or {})
                client.send(frame)
                stage.keep(step.as_, frame)
            case Reply():
                client = stage.client(step.by)
                if step.request is None:
                    await until(client, lambda: bool(client.request), "an open request of the agent's", stage.within)
                request = stage.fill(step.request or f"${step.by}.request")
                client.send({"type": "reply", "request": request, "data": stage.fill(step.reply)})
            case Drop():
                await self._drop(step)
            case Slow():
                _socket(stage.client(step.by)).pace(step.slow)
            case Sleep():
                await asyncio.sleep(step.sleep)
            case Restart():
                if stage.target.restart is None:
                    raise ValueError("expected a way to restart the server, got none: the scenario needs `restart`")
                await stage.target.restart(step.restart)
            case Assert():
                await check(stage, step)
            case _:
                assert_never(step)

    # Connections

    async def _connect(self, step: Connect) -> None:
        stage = self.stage
        client = await stage.enter(step.connect or DEFAULT)
        client.subprotocols = tuple(stage.fill(step.subprotocols))
        headers = stage.headers(step.headers, login=not step.anonymous)
        if not await self._open(client, stage.fill(step.path), headers, step.receive_buffer, opens=step.opens):
            return
        if step.hello is False:
            return
        owner = {} if step.to is None else stage.proof(step.to)
        client.session = dict(owner)  # a session that is not new brings no token
        client.send({"type": "hello"} | owner | (stage.fill(step.hello) if isinstance(step.hello, dict) else {}))
        if step.opens:
            await seek(client, {"type": "session"}, stage.within)

    async def _reconnect(self, step: Reconnect) -> None:
        stage = self.stage
        client = stage.client(step.reconnect or DEFAULT)
        if client.socket is not None and client.open:
            client.socket.reset()
        if step.back_to is not None:
            client.judge.back_to(int(stage.fill(step.back_to)))
        back = client.come_back(forget=step.forget)
        if step.subprotocols is not None:
            client.subprotocols = tuple(step.subprotocols)
        path = stage.fill(step.path)
        if not await self._open(client, path, stage.headers({}), step.receive_buffer, opens=step.opens):
            return
        hello: Frame = {"type": "hello"} | stage.proof(client.name) | back | stage.fill(step.hello)
        client.send({key: value for key, value in hello.items() if value is not None})
        if step.opens:
            await seek(client, {"type": "session"}, stage.within)

    async def _open(
        self, client: Client, path: str, headers: Mapping[str, str], buffer: int | None, *, opens: bool
    ) -> bool:
        """Whether there is a WebSocket now. Where none was to be had, the answer is a frame."""
        client.begin()
        sock = client.taker(self.stage.target.websocket + path)
        try:
            async with asyncio.timeout(self.stage.within):
                answer = await sock.open(subprotocols=client.subprotocols, headers=headers, receive_buffer=buffer)
        except TimeoutError:
            raise Failed(f"expected a handshake within {self.stage.within:g} s, got none", client) from None
        if not isinstance(answer, Answered):
            client.headers = sock.headers
            return True
        body = Answer(answer.status, answer.headers, answer.body.decode("utf-8", "replace")).json()
        client.refused({"type": "http", "status": answer.status} | (body if isinstance(body, dict) else {}))
        if opens:
            raise Failed(f"expected a WebSocket, got HTTP {answer.status}", client)
        return False

    async def _stream(self, step: Stream) -> None:
        stage = self.stage
        name = step.stream or DEFAULT
        client = stage.client(name) if step.resume else await stage.enter(name)
        body: Frame = stage.fill(step.body)
        headers = stage.headers(step.headers)
        owner = step.to or (name if step.resume else None)
        if owner is not None:
            proof = stage.proof(owner)
            body = {"session": proof["session"]} | body
            client.session = client.session or dict(proof)
            if "token" in proof:
                headers = {"authorization": f"Bearer {proof['token']}"} | headers
        if step.resume:
            back = client.come_back()
            headers, body = (
                ({"last-event-id": client.last_id} | headers, body) if step.accept == "sse" else (headers, back | body)
            )
        await client.leave()
        client.begin()
        if "message" in body and not step.resume:
            client.judge.of_one_run()
        client.sent({"type": f"{step.method} stream"} | body)
        client.feed = reading = Reading(self._http, client, step.accept)
        reading.start(step.method, "/api/agent/stream", body, headers)
        if step.opens:
            await seek(client, {"type": "session"}, stage.within)

    async def _drop(self, step: Drop) -> None:
        client = self.stage.client(step.by)
        await come(self.stage, client, step.after)
        if client.feed is not None:
            await client.feed.stop()
            client.over({"type": "closed", "code": 1006, "reason": ""})
            return
        sock = _socket(client)
        match step.drop:
            case "reset":
                sock.reset()
            case "half_open":
                sock.hole()
            case "close" | None:
                sock.close(step.code)
                what = "the server's part of the closing handshake"
                await until(client, lambda: not client.open, what, self.stage.within)

    # Frames and requests

    async def _request(self, step: Request) -> None:
        stage = self.stage
        method, path = step.request.split(" ", 1)
        headers = stage.headers(step.headers, login=not step.anonymous)
        answer = await ask(self._http, method, stage.fill(path), stage.fill(step.body), headers)
        stage.keep(step.as_, answer.known())
        status = SUCCESS if step.status is None else stage.fill(step.status)
        if not matches(status, answer.status):
            raise Failed(f"expected the status {step.status or '200 to 299'}, got {answer.status}: {answer.text[:300]}")
        if step.json is not None and not matches(stage.fill(step.json), answer.json()):
            raise Failed(f"expected an answer like {step.json}, got {answer.text[:300]}")
        for name, pattern in step.header.items():
            if not matches(stage.fill(pattern), answer.headers.get(name)):
                raise Failed(f"expected the header {name} like {pattern}, got {answer.headers.get(name)!r}")

    def _raw(self, step: Raw) -> None:
        client = self.stage.client(step.by)
        sock = _socket(client)
        text: str = self.stage.fill(step.raw)
        for _ in range(step.times):
            client.sent({"raw": text, "form": step.form, "repeat": step.repeat})
            if step.form == "text":
                sock.send(text * step.repeat)
            elif step.form == "binary":
                sock.send(bytes.fromhex(text) * step.repeat)
            else:
                sock.send_tcp(bytes.fromhex(text) * step.repeat)

    async def _expect(self, step: Expect) -> None:
        stage = self.stage
        client = stage.client(step.by)
        within = stage.within if step.within is None else step.within * stage.target.patience
        order = Order([], [stage.pattern(pattern) for pattern in step.none], step.at_most)
        got: Got | None = None
        for pattern in step.expect if isinstance(step.expect, tuple) else (step.expect,):
            got = await seek(client, stage.pattern(pattern), within, order)
        if got is not None:
            stage.keep(step.as_, got.frame, got.at)


def _socket(client: Client) -> Socket:
    if client.socket is None:
        raise ValueError("expected a WebSocket for this, got a client without one")
    return client.socket


def _failure(line: Line, message: str, client: Client | None) -> Failure:
    frames = tuple(told(client.log)) if client is not None else ()
    return Failure(line.line, message, frames, client.name if client is not None else "")
