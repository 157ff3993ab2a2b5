"""The TypeScript client against the real server, through networks that break."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from live import Site, serving
from processes import Server
from remote import DEADLINE_S, Remote, remotes
from wire import eventually

from agent_ws import Turn
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.testing.proxy import Faults, Plan, Proxy


class Scene:
    """A server, the network before it, and clients at its other end."""

    def __init__(self, site: Site, proxy: Proxy, start: Callable[..., Any]) -> None:
        self.site = site
        self.proxy = proxy
        self.url = f"http://127.0.0.1:{proxy.port}"
        self._start = start

    async def start(self, **options: Any) -> Remote:
        return await self._start(self.url, **options)

    async def start_alone(self) -> Remote:
        """A client that is not connected yet."""
        return await self._start()

    def cut(self) -> None:
        for connection in self.proxy.connections:
            connection.reset()


Play = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def play(client: Path) -> Play:
    @asynccontextmanager
    async def playing(agent: Any, plan: Any = None, seed: int = 0, **settings: Any) -> AsyncGenerator[Scene]:
        # The clients go first: the server waits for its connections.
        async with (
            serving(agent, **settings) as site,
            Proxy("127.0.0.1", site.port, plan, seed=seed) as proxy,
            remotes(client) as start,
        ):
            yield Scene(site, proxy, start)

    return playing


async def log_of(scene: Scene, remote: Remote) -> list[Any]:
    return (await scene.site.session(remote.session)).log.read(0)


async def settled(scene: Scene, remote: Remote, runs: int = 1) -> None:
    """Wait until the client has the receipts of so many runs, and hold its copy against the log."""
    await remote.until(lambda: sum(f["type"] == "settled" for f in remote.frames) == runs)
    log = await log_of(scene, remote)
    remote.check(log, upto=log[-1].seq)


WIRES = pytest.mark.parametrize("wires", [["ws"], ["sse"]], ids=lambda wires: wires[0])


@WIRES
async def test_a_message_is_answered(play: Play, wires: list[str]) -> None:
    async with play(Scripted(["One ", "two."])) as scene:
        remote = await scene.start(wires=wires, random=0)
        remote.call("send", "Hello", {"id": "c1"})
        outcome = await remote.tells("outcome")
        assert (outcome["type"], outcome["id"]) == ("accepted", "c1")
        await settled(scene, remote)
        lines, texts = await remote.shows()
        assert texts == {outcome["run"]: "One two."}
        assert lines[1:] == ['  message c1 "Hello"', '  text "One two."']


@WIRES
async def test_a_stop_stops(play: Play, wires: list[str]) -> None:
    gate = Gate()
    async with play(Scripted(["Half", gate, " and the rest"])) as scene:
        remote = await scene.start(wires=wires, random=0)
        remote.call("send", "Hello")
        run = (await remote.has("content"))["run"]
        remote.call("interrupt", {"run": run, "seen": 2})
        ending = await remote.has("interrupted", run=run)
        assert ending["seen"] == 2
        await settled(scene, remote)
        assert 'text "Half" seen=2' in (await remote.shows())[0][2]


@WIRES
async def test_a_connection_that_is_cut_in_mid_answer_loses_nothing(play: Play, wires: list[str]) -> None:
    gate = Gate()
    async with play(Scripted([*"abcdef", gate, *"ghijkl"])) as scene:
        remote = await scene.start(wires=wires, random=0)
        remote.call("send", "Hello")
        await remote.has("content")
        scene.cut()
        await remote.was("waiting")
        gate.set()
        await settled(scene, remote)
        assert "".join(f["data"] for f in remote.frames if f["type"] == "content") == "abcdefghijkl"
        assert remote.resets == []


@WIRES
async def test_two_tabs_show_the_same(play: Play, wires: list[str]) -> None:
    gate = Gate()
    async with play(Scripted(["One ", gate, "two."])) as scene:
        first = await scene.start(wires=wires, random=0)
        first.call("send", "Hello")
        await first.has("content")
        second = await scene.start(wires=wires, session=first.session["session"], token=first.session["token"])
        await second.has("content")
        gate.set()
        await settled(scene, first)
        await second.has("settled")
        second.check(await log_of(scene, first))
        assert await first.shows() == await second.shows()


@WIRES
async def test_a_request_is_answered(play: Play, wires: list[str]) -> None:
    async def asks(turn: Turn) -> str:
        return "Yes." if (await turn.ask("approval", "Go on?"))["approved"] else "No."

    async with play(asks) as scene:
        remote = await scene.start(wires=wires, random=0)
        remote.call("send", "Hello")
        request = await remote.has("request")
        remote.call("reply", request["request"], {"approved": True})
        await settled(scene, remote)
        assert list((await remote.shows())[1].values()) == ["Yes."]
        remote.call("reply", request["request"], {"approved": False})
        assert (await remote.tells("error"))["code"] == "request_not_open"


@WIRES
async def test_a_paused_client_gets_the_rest_when_it_goes_on(play: Play, wires: list[str]) -> None:
    gate = Gate()
    async with play(Scripted(["One ", gate, "two."])) as scene:
        remote = await scene.start(wires=wires, random=0)
        remote.call("send", "Hello")
        run = (await remote.has("content"))["run"]
        remote.call("pause")
        remote.call("interrupt", {"run": "none"})  # its answer shows that the server has the pause
        await remote.tells("error")
        remote.call("pause")
        remote.call("reply", "none", None)
        await remote.tells("error")
        gate.set()
        session = await scene.site.session(remote.session)
        await eventually(lambda: not session.busy)
        assert not [f for f in remote.frames if f["type"] == "done"]
        remote.call("continue")
        await remote.has("done", run=run)
        await settled(scene, remote)


async def test_where_websockets_are_blocked_it_goes_on_by_fetch(play: Play) -> None:
    """As behind a proxy that knows HTTP only."""

    def plan(i: int, _: Random) -> Plan:
        return Plan(down=Faults(end="reset")) if i < 2 else Plan()

    async with play(Scripted(["One ", "two."]), plan) as scene:
        remote = await scene.start(random=0)
        remote.call("send", "Hello")
        await settled(scene, remote)
        assert [s["wire"] for s in remote.states if s["name"] == "connecting"] == ["ws", "ws", "sse"]
        assert list((await remote.shows())[1].values()) == ["One two."]


@WIRES
async def test_a_message_whose_answer_was_lost_is_said_again_and_run_once(play: Play, wires: list[str]) -> None:
    async with play(Scripted(["One ", "two."])) as scene:
        remote = await scene.start(wires=wires, random=0)
        await remote.is_("open")
        for connection in scene.proxy.connections:
            connection.down.hole()  # the server hears, and is not heard
        scene.proxy.plan = lambda _, __: Plan(down=Faults(end="reset"))
        remote.call("send", "Hello", {"id": "c1"})
        session = await scene.site.session(remote.session)
        await eventually(lambda: session.log.tail > 0)
        scene.cut()
        await remote.was("waiting")
        scene.proxy.plan = Plan()
        assert (await remote.tells("outcome"))["id"] == "c1"
        await settled(scene, remote)
        assert sum(f["type"] == "user" for f in remote.frames) == 1


async def words(_: Turn) -> AsyncGenerator[str]:
    for n in range(300):
        yield f"{n} "
        if n % 10 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
@WIRES
async def test_any_cuts_at_any_bytes_lose_and_double_nothing(play: Play, wires: list[str], seed: int) -> None:
    def plan(i: int, dice: Random) -> Plan:
        return Plan(down=Faults(end="reset", after=dice.randint(250, 1500), slices=64)) if i < 8 else Plan()

    async with play(words, plan, seed) as scene:
        remote = await scene.start(wires=wires, random=0)
        for n in range(3):
            remote.call("send", f"Hello {n}", {"id": f"c{n}", "when_busy": "queue"})
        await settled(scene, remote, runs=3)
        assert len(scene.proxy.connections) > 3
        assert sum(f["type"] == "user" for f in remote.frames) == 3
        expected = "".join(f"{n} " for n in range(300))
        assert list((await remote.shows())[1].values()) == [expected] * 3


async def test_one_answer_as_an_iterator_over_a_cut(play: Play) -> None:
    gate = Gate()
    async with play(Scripted(["One ", gate, "two."])) as scene:
        remote = await scene.start_alone()
        remote.call("answer", "Hello", url=scene.url, options={})
        await remote.has("content")
        scene.cut()
        gate.set()
        assert await remote.tells("text") == "One two."
        assert [f["type"] for f in remote.frames if f["type"] != "content"] == ["user", "start", "done"]


async def test_a_refused_message_ends_the_iterator(play: Play) -> None:
    async with play(Scripted([])) as scene:
        remote = await scene.start_alone()
        remote.call("answer", " ", url=scene.url, options={})
        assert "expected a message with text" in await remote.tells("failed")


@WIRES
async def test_a_login_comes_in_and_its_end_is_told(play: Play, wires: list[str], tmp_path: Path) -> None:
    gate = Gate()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    async with play(Scripted(["One ", gate, "two."]), tokens=str(tokens)) as scene:
        stranger = await scene.start(wires=wires, bearer="two")
        await stranger.is_("closed", code=4401)
        remote = await scene.start(wires=wires, bearer="one")
        remote.call("send", "Hello")
        await remote.has("content")
        assert remote.session["token"] is None
        scene.site.gateway.revoke("alice")
        await remote.is_("closed", code=4401)


@WIRES
async def test_sessions_are_listed_renamed_and_deleted_and_the_client_is_told(
    play: Play, wires: list[str], tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    async with play(Scripted(["One ", Gate()]), tokens=str(tokens)) as scene:
        remote = await scene.start(wires=wires, bearer="one")
        remote.call("send", "Hello\nthere")
        await remote.has("content")
        about = {"url": scene.url, "options": {"bearer": "one"}}
        other = await scene.start_alone()
        other.call("sessions", **about)
        [card] = (await other.tells("sessions"))["sessions"]
        session = remote.session["session"]
        assert (card["session"], card["title"], card["going"]) == (session, "Hello", True)
        other.call("rename", session, " Another  title", **about)
        assert await other.tells("rename") == "Another title"
        for _ in range(2):
            other.call("remove", session, **about)
            assert await other.tells("remove") is None
        await remote.is_("closed", code=4410)
        assert remote.frames[-1]["type"] in ("interrupted", "settled")
        other.call("sessions", url=scene.url, options={"bearer": "two"})
        assert "expected a login" in await other.tells("failed")


@pytest.mark.process
@WIRES
async def test_a_server_that_is_killed_and_comes_back(client: Path, wires: list[str], tmp_path: Path) -> None:
    port = "0"

    async def serve() -> Server:
        store = f"sqlite:{tmp_path}/test.db"
        return await Server.start("-m", "agent_ws", "serve", "acting:half", "--port", port, "--store", store)

    server = await serve()
    try:
        port = str(await server.port())
        async with remotes(client) as start:
            remote = await start(f"http://127.0.0.1:{port}", wires=wires)
            remote.call("send", "Hello")
            assert (await remote.tells("outcome"))["type"] == "accepted"
            await remote.until(lambda: "answer" in "".join(f.get("data", "") for f in remote.frames))
            await server.kill()
            await remote.was("waiting")
            server = await serve()
            assert (await remote.has("error"))["code"] == "lost"
            remote.call("send", "again")
            run = (await remote.has("done"))["run"]
            assert (await remote.shows())[1][run] == "Half of the answer"
    finally:
        await server.kill()


async def test_the_examples_of_the_readme(play: Play, client: Path) -> None:
    first, one, *_ = re.findall(r"```ts\n(.*?)```", (client / "README.md").read_text(), re.DOTALL)
    assert len(first.splitlines()) == 9
    async with play(Scripted(["You said ", "hello."])) as scene:
        for example, last in ((first, "ended You said hello."), (one, "done You said hello.")):
            script = example.replace("http://127.0.0.1:8000", scene.url)
            process = await asyncio.create_subprocess_exec(
                *("node", "--no-warnings", "--experimental-websocket", "--input-type=module", "--eval", script),
                cwd=client,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(DEADLINE_S):
                    while line := await process.stdout.readline():
                        if line.decode().strip() == last:
                            break
                assert line.decode().strip() == last
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
