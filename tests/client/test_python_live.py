"""The Python client against the real server on real sockets, through networks that break."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from links import Held, read_until, text
from live import Site, serving
from processes import Server
from wire import DEADLINE_S, Net, eventually

import agent_ws
from agent_ws import Turn
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.client import Client, Closed, Waiting
from agent_ws.events import Content, Done, Error, Interrupted, Settled, User
from agent_ws.frames import Accepted
from agent_ws.testing.proxy import Faults, Plan, Proxy


class Scene:
    """A server and the network before it."""

    def __init__(self, site: Site, proxy: Proxy) -> None:
        self.site = site
        self.proxy = proxy

    def client(self, **options: Any) -> Client:
        plain: dict[str, Any] = {"random": lambda: 0}
        return agent_ws.connect(f"http://127.0.0.1:{self.proxy.port}", **plain | options)

    def cut(self) -> None:
        for connection in self.proxy.connections:
            connection.reset()

    async def check(self, client: Client, held: Held) -> None:
        """The reader holds the whole log."""
        session = await self.site.session({"session": client.session, "token": client.token})
        held.check(session.log.read(0))


@asynccontextmanager
async def play(agent: Any, plan: Any = None, seed: int = 0, **settings: Any) -> AsyncGenerator[Scene]:
    async with (
        serving(agent, **settings) as site,
        Proxy("127.0.0.1", site.port, plan, seed=seed) as proxy,
        asyncio.timeout(DEADLINE_S * 2),
    ):
        yield Scene(site, proxy)


async def test_a_message_is_answered_and_a_stop_stops() -> None:
    gate = Gate()
    async with play(Scripted(["One ", "two."], ["Half", gate, " and the rest"])) as scene, scene.client() as client:
        assert text([event async for event in client.answer("Hello")]) == "One two."
        client.send("And?")
        run = (await read_until(client, Content)).run
        client.interrupt(run, seen=2)
        assert (await read_until(client, Interrupted)).seen == 2
        assert (await read_until(client, Settled)).task == "cancelled"


async def test_an_answer_goes_on() -> None:
    gate, script = Gate(), [["One tw"], ["o three."]]
    agent = Scripted([*script[0], gate], script[1])
    async with play(agent) as scene, scene.client() as client:
        client.send("Count")
        run = (await read_until(client, Content)).run
        client.interrupt(run)
        await read_until(client, Settled)
        assert text([event async for event in client.answer("", continues=run)]) == "o three."
        assert agent.turns[1].continues == "One tw"


async def test_a_connection_that_is_cut_in_mid_answer_loses_nothing() -> None:
    gate, held = Gate(), Held()
    async with play(Scripted([*"abcdef", gate, *"ghijkl"])) as scene, scene.client() as client:
        client.send("Hello")
        await read_until(client, Content, held)
        scene.cut()
        await eventually(lambda: isinstance(client.state, Waiting))
        gate.set()
        await read_until(client, Settled, held)
        await scene.check(client, held)
        assert text(held.copy.events) == "abcdefghijkl"
        assert held.copy.resets == []


async def test_a_message_whose_answer_was_lost_is_said_again_and_run_once() -> None:
    held = Held()
    async with play(Scripted(["One ", "two."])) as scene, scene.client() as client:
        for connection in scene.proxy.connections:
            connection.down.hole()  # the server hears, and is not heard
        scene.proxy.plan = lambda _, __: Plan(down=Faults(end="reset"))
        sent = client.send("Hello")
        session = await scene.site.session({"session": client.session, "token": client.token})
        await eventually(lambda: session.log.tail > 0)
        scene.cut()
        await eventually(lambda: isinstance(client.state, Waiting))
        scene.proxy.plan = Plan()
        assert isinstance(await sent, Accepted)
        await read_until(client, Settled, held)
        await scene.check(client, held)
        assert sum(isinstance(event, User) for event in held.copy.events) == 1


async def words(_: Turn) -> AsyncGenerator[str]:
    for n in range(300):
        yield f"{n} "
        if n % 10 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(6))
async def test_any_cuts_at_any_bytes_lose_and_double_nothing(seed: int) -> None:
    def plan(i: int, dice: Random) -> Plan:
        return Plan(down=Faults(end="reset", after=dice.randint(100, 1500), slices=64)) if i < 8 else Plan()

    held = Held()
    async with play(words, plan, seed) as scene, scene.client(patience=5) as client:
        outcomes = [client.send(f"Hello {n}", when_busy="queue") for n in range(3)]
        for _ in range(3):
            await read_until(client, Settled, held)
        await scene.check(client, held)
        assert len(scene.proxy.connections) > 3
        assert [type(await sent) for sent in outcomes] == [Accepted] * 3
        assert sum(isinstance(event, User) for event in held.copy.events) == 3
        assert text(held.copy.events) == "".join(f"{n} " for n in range(300)) * 3


async def test_a_stop_is_heard_through_a_link_that_breaks_as_it_is_said() -> None:
    async with play(Scripted(["Half", Gate()])) as scene, scene.client() as client:
        client.send("Hello")
        run = (await read_until(client, Content)).run
        scene.proxy.connections[-1].up.hole()
        client.interrupt(run)
        scene.cut()
        assert (await read_until(client, Interrupted)).run == run


async def test_leaving_takes_along_what_was_said() -> None:
    async with play(Scripted(["Half", Gate()])) as scene:
        async with scene.client() as client:
            client.send("Hello")
            await read_until(client, Content)
            client.interrupt()
        session = await scene.site.session({"session": client.session, "token": client.token})
        await eventually(lambda: isinstance(session.log.read(0)[-1], Settled))
        assert any(isinstance(event, Interrupted) for event in session.log.read(0))


async def test_a_dead_link_does_not_hold_the_leaving() -> None:
    async with play(Scripted(["Half", Gate()])) as scene:
        client = await scene.client().__aenter__()
        for connection in scene.proxy.connections:
            connection.hole()
        async with asyncio.timeout(5):
            await client.close()


async def test_a_login_comes_in_and_its_end_is_told(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    async with play(Scripted(["One ", Gate(), "two."]), tokens=str(tokens)) as scene:
        for wrong in ({"bearer": "two"}, {}):
            with pytest.raises(Closed, match="unauthorized") as told:
                await scene.client(**wrong).__aenter__()
            assert told.value.code == 4401
        async with scene.client(bearer="one") as client:
            client.send("Hello")
            await read_until(client, Content)
            assert client.token is None
            scene.site.gateway.revoke("alice")
            with pytest.raises(Closed, match="unauthorized"):
                await read_until(client, Done)
        async with scene.client(headers={"Authorization": "Bearer one"}, session=client.session) as back:
            await read_until(back, Content)


async def test_a_server_that_is_full_says_so() -> None:
    limits = agent_ws.Limits(connections=1)
    async with play(Scripted([]), limits=limits) as scene, scene.client():
        with pytest.raises(Closed, match="too_many_connections"):
            await scene.client().__aenter__()


@pytest.mark.parametrize("path", ["", "/", "/ws", "/?x=1"])
async def test_the_server_is_found_by_its_address(path: str) -> None:
    async with serving(Scripted(["Hi"])) as site:
        for scheme in ("http", "ws"):
            async with agent_ws.connect(f"{scheme}://127.0.0.1:{site.port}{path}") as client:
                assert client.session


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHi", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 302 Found\r\n\r\n"],
    ids=["nothing", "a page", "another protocol", "a redirect to nowhere"],
)
async def test_what_is_no_such_server_is_told(answer: bytes) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Closed):
            await agent_ws.connect(f"http://127.0.0.1:{port}").__aenter__()


async def test_a_port_where_nobody_is_is_told() -> None:
    net = Net(1)
    with pytest.raises(ConnectionError, match="Connect call failed"):
        await agent_ws.connect(f"http://127.0.0.1:{net.port}").__aenter__()


async def test_the_example_of_the_readme() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "agent_ws.connect" in block)
    async with play(Scripted(["One ", "two."])) as scene:
        script = example.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{scene.proxy.port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
        )
        assert (await process.communicate())[0] == b"One two."


@pytest.mark.process
async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    port = "0"

    async def serve() -> Server:
        store = f"sqlite:{tmp_path}/test.db"
        return await Server.start("-m", "agent_ws", "serve", "acting:half", "--port", port, "--store", store)

    server = await serve()
    try:
        port = str(await server.port())
        async with agent_ws.connect(f"http://127.0.0.1:{port}") as client, asyncio.timeout(30):
            assert isinstance(await client.send("Hello"), Accepted)
            while (await read_until(client, Content)).data != "answer":
                pass
            await server.kill()
            server = await serve()
            assert (await read_until(client, Error)).code == "lost"
            events = [event async for event in client.answer("again")]
            assert text(events) == "Half of the answer"
    finally:
        await server.kill()
