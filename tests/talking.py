"""A conversation with a bit of everything, over real sockets: what recordings are made of."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol
from wire import DEADLINE_S

from agent_ws import Turn


async def agent(turn: Turn) -> None:
    """Thinks, calls, asks, and never ends where it is told to hang."""
    turn.thinking("Hm.")
    async with turn.tool("find", {"name": turn.message}) as call:
        call.output = "3 files\n"
    for word in ("Hallo ", "wörld ", "\u2028", "😀 "):
        turn.content(word)
        await asyncio.sleep(0.01)
    if turn.message == "ask":
        await turn.ask("approval", "Delete 3 files?")
    if turn.message == "hang":
        await asyncio.Event().wait()


class Person:
    """One connection of somebody who does things."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.got: list[str | bytes] = []

    async def send(self, **frame: Any) -> None:
        binary = self.socket.subprotocol == "agent-ws.v1.msgpack"
        await self.socket.send(msgspec.msgpack.encode(frame) if binary else json.dumps(frame))

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await self.socket.recv()
                self.got.append(message)
                frame = json.loads(message) if isinstance(message, str) else msgspec.msgpack.decode(message)
                if frame["type"] == kind:
                    return frame

    async def closed(self) -> int | None:
        with pytest.raises(ConnectionClosed):
            await self.until("never")
        return self.socket.close_code


def dial(port: int, *subprotocols: str, **more: Any) -> connect:
    names = [Subprotocol(name) for name in subprotocols] or None
    return connect(f"ws://localhost:{port}/ws", subprotocols=names, proxy=None, open_timeout=DEADLINE_S, **more)


async def talk(port: int) -> None:
    """A bit of everything: two tabs on two subprotocols, a question, a Stop, a lost connection, a refusal, a close."""
    async with dial(port) as socket:
        one = Person(socket)
        await one.send(type="hello")
        session = await one.until("session")
        back = {"type": "hello", "session": session["session"], "token": session["token"]}
        async with dial(port, "agent-ws.v1.msgpack") as other:
            two = Person(other)
            await two.send(**back)
            await two.until("session")
            await one.send(type="message", data="ask", id="c1")
            request = await two.until("request")
            await one.until("request")
            await two.send(type="ping", data="7")
            await two.until("pong")
            await two.send(type="reply", request=request["request"], data={"approved": True})
            await two.until("settled")
            await one.until("settled")
        await one.send(type="message", data="hang", id="c2")
        start = await one.until("start")
        await one.until("content")
        await one.send(type="interrupt", run=start["run"], seen=3)
        settled = await one.until("settled")
        socket.transport.abort()
    async with dial(port) as socket:
        three = Person(socket)
        await three.send(**back, epoch=session["epoch"], after=settled["seq"])
        await three.until("session")
        await three.send(type="message", data="", id="c3")
        await three.until("rejected")
        await three.send(type="hello")
        assert await three.closed() == 4409
