"""A shutdown in the middle of a thousand answers: everybody is told, nothing is lost, and it is over in time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from processes import DEADLINE, Server
from wire import Net, RawWebSocket

from agent_ws.events import Interrupted, Settled
from agent_ws.fold import merge
from agent_ws.stores import open_store
from agent_ws.testing.invariants import Copy

CLIENTS = 1_000
LIMIT = 0.3 + 5
"""What `crowd` says, and `timeouts.close`."""
AT_ONCE = 50


class Follower:
    """One client, and what it holds."""

    def __init__(self) -> None:
        self.copy = Copy()
        self.session: dict[str, Any] = {}
        self.code = 0
        self._socket: RawWebSocket | None = None

    async def begin(self, net: Net) -> None:
        """Say something, and see the answer begin."""
        socket = self._socket = await net.websocket()
        socket.send('{"message": "go"}')
        while self._take(await socket.frame()) != "content":
            pass

    async def end(self) -> None:
        """Receive to the close."""
        assert self._socket is not None
        while (got := await self._socket.receive())[0] == 1:
            self._take(json.loads(got[1]))
        self.code = int.from_bytes(got[1][:2]) if got[0] == 8 else -got[0]
        self._socket.cut()

    async def resume(self, net: Net) -> list[str]:
        """Come back with the cursor. The types of what comes up to the answer to a ping."""
        socket = await net.websocket()
        proof = {"session": self.session["session"], "token": self.session["token"]}
        socket.send(json.dumps({"type": "hello", **proof, **self.copy.come_back()}))
        socket.send('{"type": "ping"}')
        types: list[str] = []
        while not types or types[-1] != "pong":
            types.append((await socket.frame())["type"])
        socket.cut()
        return types

    def _take(self, frame: dict[str, Any]) -> str:
        self.copy.take(frame)
        if frame["type"] == "session":
            self.session = frame
        return frame["type"]


async def each(clients: Iterable[Follower], do: Callable[[Follower], Awaitable[Any]]) -> None:
    """Do it for all of them, some at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(client: Follower) -> None:
        async with room:
            await do(client)

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(one(client))


async def holds_exactly_the_log(clients: Iterable[Follower], name: str) -> None:
    store = open_store(name)
    await store.open()
    try:
        for client in clients:
            saved = await store.load(client.session["session"])
            assert saved is not None
            assert merge(saved.events) == merge(client.copy.events)
    finally:
        await store.close()


async def test_a_thousand_answers_are_told_and_kept(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/test.db"
    server = await Server.start("crowd.py", store)
    net = Net(await server.port())
    clients = [Follower() for _ in range(CLIENTS)]
    try:
        await each(clients, lambda client: client.begin(net))
        server.terminate()
        ending = asyncio.create_task(server.exit(LIMIT + DEADLINE))
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.end())
        assert await ending == 0, server.output
        took = asyncio.get_running_loop().time() - began
    finally:
        net.close()
        await server.kill()
    assert {client.code for client in clients} == {4503}
    assert took < LIMIT + 3, "a busy machine aside, its limits are the sum of its time limits"
    for word in ("Traceback", "destroyed", "Error", "did not leave"):
        assert word not in server.output
    for client in clients:
        interrupted, settled = client.copy.events[-2:]
        assert isinstance(interrupted, Interrupted)
        assert isinstance(settled, Settled)
        assert (interrupted.reason, settled.task) == ("shutdown", "cancelled")

    await holds_exactly_the_log(clients, store)
    server = await Server.start("crowd.py", store)
    net = Net(await server.port())

    async def same(client: Follower) -> None:
        assert await client.resume(net) == ["session", "pong"], "it lacks nothing, and nothing was taken back"

    try:
        await each(clients, same)
    finally:
        net.close()
        await server.kill()
