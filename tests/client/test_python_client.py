"""The Python client around its core: the real server in the same loop, virtual time, links that are cut."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from random import Random
from typing import Any

import pytest
from helpers import serving
from links import Held, Links, cancelled, read_until, text
from starlette.applications import Starlette

from agent_ws import Turn
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.client import Client, Closed, Open, Unanswered, Waiting, connect
from agent_ws.client.actions import Error, Event, Outcome, Session, State
from agent_ws.client.client import HELD
from agent_ws.events import Content, Done, Interrupted, Request, Settled, Start, User
from agent_ws.frames import Accepted, Continue, Hello, Interrupt, Pause, Rejected, Say
from agent_ws.settings import Settings

pytestmark = pytest.mark.virtual


async def log_of(app: Starlette, client: Client) -> list[Any]:
    session = await app.state.gateway.sessions.find(client.session, owner=None, token=client.token)
    return session.log.read(0)


async def slowly(_: Turn) -> AsyncGenerator[str]:
    for n in range(40):
        yield f"{n} "
        await asyncio.sleep(0.1)


async def test_a_message_is_answered() -> None:
    async with serving(Scripted(["One ", "two."])) as app, Links(app).client() as client:
        events = [event async for event in client.answer("Hello")]
        assert [type(event) for event in events if not isinstance(event, Content)] == [User, Start, Done]
        assert text(events) == "One two."
        again = [event async for event in client.answer("And?")]
        assert isinstance(again[0], User)
        assert again[0].data == "And?"


async def test_iterating_goes_on_where_the_last_loop_stopped() -> None:
    held = Held()
    async with serving(Scripted(["One ", "two."])) as app, Links(app).client() as client:
        outcome = await client.send("Hello", id="c1")
        assert isinstance(outcome, Accepted)
        assert (await read_until(client, User, held)).id == "c1"
        assert (await read_until(client, Done, held)).run == outcome.run
        await read_until(client, Settled, held)
        held.check(await log_of(app, client))


async def test_everything_that_happens_is_told_in_its_order() -> None:
    async with serving(Scripted(["Hi"])) as app, Links(app).client() as client:
        client.send("Hello")
        client.reply("none", None)
        told: list[type] = []
        async for notice in client.notices():
            if not told or told[-1] is not type(notice):
                told.append(type(notice))
            if {Outcome, Error, Event} <= set(told):
                break
        assert told[:3] == [State, Session, State]


@pytest.mark.virtual(seeds=12)
async def test_cuts_at_any_time_lose_and_double_nothing(request: pytest.FixtureRequest) -> None:
    dice = Random(request.node.name)
    held = Held()
    async with serving(slowly) as app:
        links = Links(app)

        async def cut() -> None:
            while True:
                await asyncio.sleep(dice.random() * 2)
                links.broken = dice.random() < 0.3
                links.made[-1].deaf = True  # the server hears, and is not heard
                await asyncio.sleep(dice.random() * 0.2)
                links.made[-1].cut()

        async with links.client(random=dice.random, when_busy="queue", chunk="word") as client:
            cutting = asyncio.create_task(cut())
            outcomes = [client.send(f"m{n}", id=f"m{n}") for n in range(3)]
            for _ in range(3):
                await read_until(client, Settled, held)
            await cancelled(cutting)
            assert [type(await sent) for sent in outcomes] == [Accepted] * 3
            held.check(await log_of(app, client))
        assert links.attempts > 5
        assert text(held.copy.events) == "".join(f"{n} " for n in range(40)) * 3
        assert sum(isinstance(event, User) for event in held.copy.events) == 3


@pytest.mark.parametrize("named", [True, False])
async def test_a_stop_that_nobody_heard_is_heard_after_the_return(*, named: bool) -> None:
    async with serving(Scripted(["Half", Gate(), " and the rest"])) as app:
        links = Links(app)
        async with links.client() as client:
            client.send("Hello")
            run = (await read_until(client, Content)).run
            links.broken = True
            links.made[-1].cut()
            client.interrupt(run if named else None, seen=2, reason="barge_in")
            links.broken = False
            ended = await read_until(client, Interrupted)
            assert (ended.run, ended.seen, ended.reason) == (run, 2, "barge_in")
            client.send("Next")
            assert (await read_until(client, Start)).run != run
            await read_until(client, Content)  # the Stop is not said again to what began since


async def test_a_request_is_answered() -> None:
    async def asks(turn: Turn) -> str:
        return "Yes." if (await turn.ask("approval", "Go on?"))["approved"] else "No."

    async with serving(asks) as app, Links(app).client() as client:
        client.send("Hello")
        client.reply((await read_until(client, Request)).request, {"approved": True})
        assert (await read_until(client, Content)).data == "Yes."


# Who can't come in, and who is sent away


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    async with serving(Scripted([])) as app:
        links = Links(app)
        links.broken = True
        with pytest.raises(Closed, match="nobody is there") as told:
            await links.client().__aenter__()
        assert (told.value.code, links.attempts) == (1006, 1)


async def test_a_server_that_comes_within_the_patience_is_waited_for() -> None:
    async with serving(Scripted(["Hi"])) as app:
        links = Links(app)
        links.broken = True
        asyncio.get_running_loop().call_later(3, setattr, links, "broken", False)  # noqa: FBT003 - setattr's own
        async with links.client(patience=20) as client:
            assert isinstance(client.state, Open)
        links.broken, links.attempts = True, 0
        with pytest.raises(Closed):
            await links.client(patience=5).__aenter__()
        assert links.attempts > 2


async def test_a_session_of_somebody_else_is_told() -> None:
    async with serving(Scripted([])) as app:
        with pytest.raises(Closed, match="session_not_found") as told:
            await Links(app).client(session="none", token="none").__aenter__()
        assert told.value.code == 4404


async def test_a_client_that_is_sent_away_says_so_to_all_who_wait() -> None:
    async with serving(Scripted(["Half", Gate()])) as app:
        links = Links(app)
        async with links.client() as client:
            sent = client.send("Hello")
            await read_until(client, Content)
            await sent
            links.made[-1].deaf = True
            waits = client.send("And?")
            links.made[-1].cut(4401, "unauthorized")
            for _ in range(2):
                with pytest.raises(Closed, match="unauthorized"):
                    await read_until(client, Done)
            with pytest.raises(Closed):
                await waits
            for say in (lambda: client.send("x"), client.interrupt, client.pause, lambda: client.reply("r", 1)):
                with pytest.raises(Closed):
                    say()
            assert [frame.data for frame in client.pending] == ["And?"]
        async with links.client(session=client.session, token=client.token, outbox=client.pending) as back:
            assert {(await read_until(back, User)).data, (await read_until(back, User)).data} == {"Hello", "And?"}


async def test_leaving_says_what_was_said_and_the_run_goes_on() -> None:
    async with serving(slowly) as app:
        links = Links(app)
        async with links.client() as client:
            sent = client.send("Hello")
        assert [type(frame) for frame in links.made[-1].said] == [Hello, Say]
        with pytest.raises(Closed):
            await sent
        assert [event async for event in client] == []
        async with links.client(session=client.session, token=client.token) as back:
            await read_until(back, Done)


async def test_a_waiting_client_can_be_left() -> None:
    async with serving(Scripted([])) as app:
        links = Links(app)
        async with links.client() as client:
            links.broken = True
            links.made[-1].cut()
            await asyncio.sleep(1)
            assert isinstance(client.state, Waiting)
        attempts = links.attempts
        await asyncio.sleep(100)
        assert links.attempts == attempts


async def test_a_nudge_does_not_wait_for_the_back_off() -> None:
    async with serving(Scripted([])) as app:
        links = Links(app)
        async with links.client() as client:
            links.made[-1].cut()
            assert isinstance(client.state, Waiting)
            client.nudge()
            assert not isinstance(client.state, Waiting)


# Who reads slowly


async def flood(_: Turn) -> AsyncGenerator[str]:
    for n in range(3 * HELD):
        yield f"{n} "
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("cut", [False, True])
async def test_who_does_not_read_is_not_sent_more_and_loses_nothing(*, cut: bool) -> None:
    held = Held()
    async with serving(flood) as app:
        links = Links(app)
        async with links.client() as client:
            await client.send("Hello")
            session = await app.state.gateway.sessions.find(client.session, owner=None, token=client.token)
            await asyncio.sleep(60)  # the answer takes half of that
            assert not session.busy
            assert Pause() in links.made[-1].said
            if cut:
                links.made[-1].cut()
                await asyncio.sleep(20)
                assert Pause() in links.made[-1].said
            await read_until(client, Settled, held)
            held.check(session.log.read(0))
            assert len(held.copy.events) < 2 * HELD, "the server merged what it held"
            assert Continue() in links.made[-1].said


async def test_a_persons_pause_is_not_ended_by_reading() -> None:
    async with serving(flood) as app:
        links = Links(app)
        async with links.client() as client:
            await client.send("Hello")
            await asyncio.sleep(20)
            client.pause()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(50):
                    await read_until(client, Settled)
            client.continue_()
            await read_until(client, Settled)


async def test_a_stop_lets_the_events_go_on_for_good() -> None:
    async with serving(flood) as app:
        links = Links(app)
        async with links.client() as client:
            client.send("Hello")
            await read_until(client, Content)
            client.pause()
            client.interrupt()
            await read_until(client, Settled)
            client.send("Again")
            await asyncio.sleep(60)  # nobody reads, so the events are held; reading lets them go on
            assert links.made[-1].said.count(Pause()) == 2
            await read_until(client, Settled)


async def test_a_server_that_is_gone_for_days_fills_nothing() -> None:
    async with serving(Scripted(["Hi"])) as app:
        links = Links(app)
        async with links.client() as client:
            links.broken = True
            links.made[-1].cut()
            await asyncio.sleep(86_400)
            assert links.attempts > 1000
            client.send("Hello")
            links.broken = False
            told = 0
            async for notice in client.notices():
                told += 1
                if isinstance(notice, Outcome):
                    break
            assert told < 20


# What can't be said


WRONG: dict[str, Callable[[Client], Any]] = {
    "a long id": lambda client: client.send("x", id="y" * 65),
    "no text": lambda client: client.send("\udc80"),
    "a negative number": lambda client: client.interrupt(seen=-1),
    "a long reason": lambda client: client.interrupt(reason="y" * 65),
    "a big number": lambda client: client.reply("q", 2**60),
    "a long request": lambda client: client.reply("q" * 65, None),
    "a long run": lambda client: client.pause("r" * 65),
}


@pytest.mark.parametrize("say", WRONG.values(), ids=WRONG)
async def test_what_no_server_reads_is_never_said(say: Callable[[Client], Any]) -> None:
    async with serving(Scripted([])) as app:
        links = Links(app)
        async with links.client() as client:
            with pytest.raises(ValueError, match=" "):
                say(client)
            assert len(links.made[-1].said) == 1
            assert client.pending == ()


@pytest.mark.parametrize("options", [{"buffer_chars": 10**6}, {"chunk": "letter"}, {"session": ""}, {"bearer": "a\nb"}])
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected") as told:
        connect("http://127.0.0.1", **options)
    assert "a\nb" not in str(told.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "", "http://"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a server's URL"):
        connect(url)


async def test_a_refused_message_ends_its_answer() -> None:
    async with serving(Scripted([])) as app, Links(app).client() as client:
        with pytest.raises(Unanswered, match="expected a message with text") as told:
            _ = [event async for event in client.answer(" ")]
        assert told.value.code == "empty_message"
        assert isinstance(await client.send(""), Rejected)


async def test_a_message_is_taken_back() -> None:
    async with serving(slowly) as app:
        links = Links(app)
        async with links.client() as client:
            links.broken = True
            links.made[-1].cut()
            answer = client.answer("Hello", id="c1")
            client.withdraw("c1")
            with pytest.raises(Unanswered, match="taken back"):
                _ = [event async for event in answer]
            assert client.pending == ()


async def test_a_part_is_stopped_by_its_name() -> None:
    async with serving(Scripted([])) as app:
        links = Links(app)
        async with links.client() as client:
            client.interrupt("r1", section="s1", redo=True)
            assert Interrupt("r1", section="s1", redo=True) in links.made[-1].said


async def test_the_servers_limit_is_kept_here() -> None:
    async with serving(Scripted([]), Settings()) as app, Links(app).client() as client:
        outcome = await client.send("x" * 70_000)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "message_too_big"
