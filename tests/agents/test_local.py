"""A model in this process: it answers, one run at a time, and a Stop stops the engine itself."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tiny import model

from agent_ws.agents import resolve
from agent_ws.agents.local import BATCH, WAITING, Local
from agent_ws.events import Content, Done, Error, Event, Interrupted, Settled, Status
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.steps import SteppedLoop
from agent_ws.turn import Turn

LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 100_000, "seed": 1}
"""It goes on until it is stopped, or the context is full."""
SHORT: dict[str, Any] = {"ignore_eos": True, "max_tokens": 8, "seed": 1}


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(agent: Local, said: str = "hi") -> list[Event]:
    """One question in a session of its own: its log."""
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say(said)
        return await settled(session)


def words(events: Sequence[Event]) -> str:
    return "".join(event.data for event in events if isinstance(event, Content))


def receipt(events: Sequence[Event]) -> Settled:
    last = events[-1]
    assert isinstance(last, Settled)
    return last


def ending(events: Sequence[Event]) -> Done | Interrupted | Error:
    (one,) = (event for event in events if isinstance(event, Done | Interrupted | Error))
    return one


def engine(agent: Local) -> Any:
    return agent._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def counts(agent: Local) -> dict[str, float]:
    """What the engine counts."""
    return await asyncio.to_thread(engine(agent).metrics)


async def rests(agent: Local) -> float:
    """Tokens that the engine has made, once it does nothing. Fails after 5 s."""
    async with asyncio.timeout(5):
        while (counted := await counts(agent))["requests_processing"]:
            pass
    return counted["tokens_predicted_total"]


@pytest.fixture
async def endless() -> AsyncGenerator[Local]:
    async with Local(model(1 << 20), context=1 << 16, request=LONG) as agent:
        yield agent


async def test_it_answers_and_counts() -> None:
    async with Local(model(), "Be kind.", request=SHORT | {"max_tokens": 50}) as agent:
        events = await ask(agent)
    end = ending(events)
    assert isinstance(end, Done)
    assert end.stop_reason == "max_tokens"
    assert end.usage is not None
    assert end.usage.output_tokens == 50
    assert words(events)
    assert receipt(events).upstream_closed is True


async def test_a_stop_stops_the_engine(endless: Local) -> None:
    async with Sessions(endless, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        while len(words(session.log.read(0))) < 50:
            await session.log.wait(session.log.tail)
        assert (await counts(endless))["requests_processing"] == 1
        began = time.perf_counter()
        session.interrupt()
        told = receipt(await settled(session))
        took = time.perf_counter() - began
    made = await rests(endless)
    cpu = time.process_time()
    await asyncio.to_thread(time.sleep, 0.2)
    assert time.process_time() - cpu < 0.1, "the engine goes on"
    assert await rests(endless) == made
    assert made < 60_000
    assert (told.task, told.upstream_closed) == ("cancelled", True)
    assert told.stop_ms < 500
    print(f"stopped {1000 * took:.1f} ms after the interrupt, at {made:.0f} tokens")  # noqa: T201 - what was measured


async def test_a_stop_is_seen_while_a_long_prompt_is_read() -> None:
    async with Local(model(1 << 20), context=1 << 16, request=LONG) as agent, Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("x" * 50_000)
        while not any(isinstance(event, Status) for event in session.log.read(0)):
            await session.log.wait(session.log.tail)
        session.interrupt()
        events = await settled(session)
        read = (await counts(agent))["prompt_tokens_total"]
    assert not words(events)
    assert read < 50_000
    assert receipt(events).stop_ms < 900


async def test_a_prompt_of_one_batch_is_no_news() -> None:
    async with Local(model(), request=SHORT) as agent:
        assert not [event for event in await ask(agent) if isinstance(event, Status)]
        shown = [event for event in await ask(agent, "y" * BATCH * 3) if isinstance(event, Status)]
    assert shown


async def test_one_answers_at_a_time_and_the_others_wait_in_their_order(endless: Local) -> None:
    async with Sessions(endless, Settings()) as sessions:
        all_of_them = [(await sessions.create("me"))[0] for _ in range(4)]
        for session in all_of_them:
            await session.say("hi")
        for place, session in enumerate(all_of_them):
            while not words(session.log.read(0)):
                await session.log.wait(session.log.tail)
            assert (await counts(endless))["requests_processing"] == 1
            assert not any(words(later.log.read(0)) for later in all_of_them[place + 1 :])
            session.interrupt()
            waited = [event.detail for event in await settled(session) if isinstance(event, Status)]
            assert waited == ["The model is busy with another answer."] * (place > 0)


async def test_one_that_waits_can_be_stopped_and_too_many_are_refused(endless: Local) -> None:
    async with Sessions(endless, Settings()) as sessions:
        some = [(await sessions.create("me"))[0] for _ in range(WAITING + 2)]
        for session in some:
            await session.say("hi")
        refused = ending(await settled(some[-1]))
        assert isinstance(refused, Error)
        assert f"{WAITING} other answers wait" in refused.message
        some[1].interrupt()
        told = receipt(await settled(some[1]))
        assert (told.task, told.upstream_closed) == ("cancelled", None)
        for session in some:
            session.interrupt()
            await settled(session)


async def test_a_conversation_too_long_for_the_model_is_said() -> None:
    async with Local(model(), context=512, request=SHORT) as agent:
        end = ending(await ask(agent, "x" * 5000))
        assert isinstance(end, Error)
        assert "too long for the model" in end.message
        assert words(await ask(agent))


async def test_what_was_said_before_is_told_to_the_model() -> None:
    async with Local(model(), "Be kind.", request=SHORT) as agent, Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        used: list[int] = []
        for _ in range(2):
            await session.say("hello there")
            end = next(event for event in reversed(await settled(session)) if isinstance(event, Done))
            assert end.usage is not None
            used.append(end.usage.input_tokens + end.usage.cache_read_tokens)
    assert used[1] > used[0] + len("user: hello there")


async def test_one_of_several_is_stopped_alone(endless: Local) -> None:
    async def both(turn: Turn) -> None:
        await turn.together(left=endless, right=endless)

    async with Sessions(both, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        while not words(session.log.read(0)):
            await session.log.wait(session.log.tail)
        first = next(event.agent for event in session.log.read(0) if isinstance(event, Content))
        other = "right" if first == "left" else "left"
        session.stop_part("agent", str(first))
        while not any(isinstance(event, Content) and event.agent == other for event in session.log.read(0)):
            await session.log.wait(session.log.tail)
        session.interrupt()
        assert receipt(await settled(session)).task == "cancelled"


def test_a_stop_at_any_step_frees_the_engine(record_property: Callable[[str, object], None]) -> None:
    async def sweep() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        async with Local(model(), request=SHORT) as agent, Sessions(agent, Settings()) as sessions:
            before = asyncio.all_tasks()
            for k in range(500):
                session, _ = await sessions.create("me")
                session.take("go")
                loop.steps.arm(k, session.interrupt)
                told = receipt(await settled(session))
                stopped = loop.steps.disarm()
                assert told.upstream_closed is not False, f"after {k} steps"
                assert told.stop_ms < 900, f"after {k} steps"
                await rests(agent)
                assert not asyncio.all_tasks() - before, f"after {k} steps"
                await session.say("and?")
                assert isinstance([e for e in await settled(session) if isinstance(e, Done | Error)][-1], Done)
                if not stopped:
                    return k
        raise AssertionError("expected an end")

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        record_property("facts", f"the local model: stopped at each of {runner.run(sweep())} steps")


def threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - no directory of the project's


@pytest.mark.skipif(sys.platform != "linux", reason="it counts the threads where Linux lists them")
async def test_leaving_it_gives_its_threads_back() -> None:
    before = threads()
    async with Local(model(), request=SHORT) as agent:
        assert threads() > before + 1
        assert words(await ask(agent))
    assert threads() <= before + 1  # the executor's
    assert words(await ask(agent)), "expected it to be loaded again"
    await agent.aclose()


async def test_its_port_is_nobody_elses() -> None:
    async with Local(model(), request=SHORT) as agent:
        address: str = engine(agent)._server.listening_address  # noqa: SLF001
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(b"GET /slots HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()


def test_it_is_found_by_its_file() -> None:
    assert isinstance(resolve(str(model())), Local)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"PK\x03\x04", "begins with b'PK")])
def test_a_file_that_is_no_model_is_said_at_once(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        resolve(str(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Half a model."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(model().read_bytes()[:5000])
    return path


async def test_a_file_that_the_engine_does_not_take_is_said(path: Path) -> None:
    end = ending(await ask_unentered(Local(path)))
    assert isinstance(end, Error)
    assert "broken.gguf could not be loaded" in end.message


async def ask_unentered(agent: Local) -> list[Event]:
    async def plain(turn: Turn) -> None:
        await agent(turn)

    async with Sessions(plain, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        return await settled(session)


class Held:
    """An engine that is slow to let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.done = False

    def answer(self, body: object, take: Callable[[Any], bool]) -> None:
        assert body
        take({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
        assert self.free.wait(5)
        self.done = take({"choices": [{"delta": {"content": "b"}, "finish_reason": None}]})

    def close(self) -> None:
        pass


async def test_a_run_is_not_over_before_the_engine_is() -> None:
    agent, held = Local(model()), Held()
    agent._engine = cast("Any", held)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    async with Sessions(agent, Settings(timeouts=Timeouts(grace=0.02))) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        while not words(session.log.read(0)):
            await session.log.wait(session.log.tail)
        session.interrupt()
        asyncio.get_running_loop().call_later(0.1, held.free.set)  # cancelled again and again meanwhile
        events = await settled(session)
    assert held.done, "expected the engine to be told to stop, and to be waited for"
    assert words(events) == "a"
    assert (receipt(events).task, receipt(events).upstream_closed) == ("cancelled", True)
    assert receipt(events).stop_ms >= 80
