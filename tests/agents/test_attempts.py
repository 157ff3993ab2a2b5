"""What is tried again, when, and what of a failed attempt can be seen then: nothing."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from agent_ws.attempts import Retry, Rung, asked_to_wait, climb, resilient
from agent_ws.errors import AgentError, RunError
from agent_ws.events import Content, Done, Error, Event, Interrupted, Settled, Status, Thinking, ToolResult
from agent_ws.fold import runs
from agent_ws.history import Text, history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.turn import Agent, Turn, drive

pytestmark = pytest.mark.virtual

EVEN = Retry(random=lambda: 0.5)
BUSY = RunError("Busy.", code="provider_error")
BAD = RunError("Bad.", code="provider_error", retry=False)


async def settled(session: Session) -> list[Event]:
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


LONG = Timeouts(orphan=1000)


async def ask(agent: Agent, timeouts: Timeouts = LONG) -> list[Event]:
    """One question in a session of its own: its log."""
    async with Sessions(agent, Settings(timeouts=timeouts)) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        return await settled(session)


def told(events: list[Event]) -> list[tuple[str, str, int]]:
    return [(event.state, event.detail, event.attempt) for event in events if isinstance(event, Status)]


def seen(events: list[Event]) -> str:
    """The answer as the screen has it at the end."""
    (view,) = runs(events)
    return view.text()


def ending(events: list[Event]) -> Event:
    (view,) = runs(events)
    assert view.ending is not None
    return view.ending


class Player:
    """A rung that fails with what it was given, one attempt after the other, and then succeeds."""

    def __init__(self, turn: Turn, name: str, *failures: RunError, whole: RunError | str | None = None) -> None:
        self.turn = turn
        self.at: list[float] = []
        """When it was asked, in seconds since the loop began."""
        self._failures = list(failures)
        self._whole = whole
        self.rung: Rung[str] = Rung(name, self.attempt, None if whole is None else self.complete)

    async def attempt(self) -> str:
        self.at.append(asyncio.get_running_loop().time())
        self.turn.content(f"{self.rung.name}{len(self.at)} ")
        self.turn.thinking("hm")
        self.turn.begin_tool("search")
        if self._failures:
            raise self._failures.pop(0)
        return self.rung.name

    async def complete(self) -> str:
        self.turn.content("whole")
        if isinstance(self._whole, RunError):
            raise self._whole
        return "whole"


def climbing(
    retry: Retry, make: Callable[[Turn], list[Player]], played: list[Player], got: list[str] | None = None
) -> Agent:
    async def agent(turn: Turn) -> None:
        played.extend(make(turn))
        answer = await climb(turn, [player.rung for player in played], retry)
        if got is not None:
            got.append(answer)

    return agent


# When


PAUSES: dict[str, tuple[Retry, list[tuple[int, RunError]], list[float | None]]] = {
    "it doubles up to the cap, all of it by chance": (
        Retry(attempts=9, random=lambda: 0.5),
        [(n, BUSY) for n in (1, 2, 3, 4, 5, 6)],
        [0.25, 0.5, 1.0, 2.0, 4.0, 4.0],
    ),
    "nothing is possible": (Retry(random=lambda: 0.0), [(1, BUSY), (2, BUSY)], [0.0, 0.0]),
    "the last attempt has none": (EVEN, [(3, BUSY), (4, BUSY)], [None, None]),
    "what won't pass has none": (EVEN, [(1, BAD), (1, AgentError("No."))], [None, None]),
    "what the provider asks for comes on top": (
        EVEN,
        [(1, RunError("", code="provider_error", wait=7.0)), (1, RunError("", code="provider_error", wait=30.0))],
        [7.25, 30.25],
    ),
    "more than our patience has none": (EVEN, [(1, RunError("", code="provider_error", wait=30.1))], [None]),
    "the code says whether it may pass": (
        EVEN,
        [(1, RunError("", code="silence_timeout")), (1, RunError("", code="bad_event"))],
        [0.25, None],
    ),
}


@pytest.mark.parametrize(("retry", "failures", "pauses"), PAUSES.values(), ids=PAUSES)
def test_pauses(retry: Retry, failures: list[tuple[int, RunError]], pauses: list[float | None]) -> None:
    assert [retry.pause(number, failure) for number, failure in failures] == pauses


def test_the_pause_is_drawn_anew_each_time() -> None:
    assert len({Retry().pause(1, BUSY) for _ in range(50)}) > 1


def test_no_attempt_is_no_setting() -> None:
    with pytest.raises(ValueError, match="at least 1 attempt, got 0"):
        Retry(attempts=0)


WAITS: dict[str, tuple[dict[str, str], float | None]] = {
    "it doesn't say": ({}, None),
    "seconds": ({"retry-after": "7"}, 7.0),
    "parts of them": ({"retry-after": "0.25"}, 0.25),
    "milliseconds, which are finer": ({"retry-after": "1", "retry-after-ms": "250"}, 0.25),
    "a moment that has passed": ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    "one without a zone": ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
    "nonsense": ({"retry-after": "soon", "retry-after-ms": "-1"}, None),
    "a number that is none": ({"retry-after": "nan"}, None),
}


@pytest.mark.parametrize(("headers", "wait"), WAITS.values(), ids=WAITS)
def test_what_a_provider_asks_for(headers: dict[str, str], wait: float | None) -> None:
    assert asked_to_wait(headers) == wait


def test_a_moment_to_come_is_so_many_seconds_away() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 58 <= (asked_to_wait({"retry-after": moment}) or 0) <= 60


# The ladder


async def test_it_tries_again_after_the_pauses_and_shows_only_what_succeeded() -> None:
    played: list[Player] = []
    got: list[str] = []
    events = await ask(climbing(EVEN, lambda turn: [Player(turn, "a", BUSY, BUSY)], played, got))
    assert got == ["a"]
    assert played[0].at == [0.0, 0.25, 0.75]
    assert [state for state in told(events) if state[0] != "reset"] == [
        ("retrying", "Busy.", 2),
        ("retrying", "Busy.", 3),
    ]
    assert seen(events) == "a3 "
    assert sum(len(event.data) for event in events if isinstance(event, Thinking)) - sum(
        event.thinking for event in events if isinstance(event, Status)
    ) == len("hm")
    assert [event.outcome for event in events if isinstance(event, ToolResult)] == [
        "withdrawn",
        "withdrawn",
        "interrupted",
    ]
    assert history(events)[1].parts[0] == Text("a3 ")


async def test_the_next_is_asked_when_one_is_given_up() -> None:
    played: list[Player] = []
    events = await ask(
        climbing(
            EVEN, lambda turn: [Player(turn, "a", BUSY, BUSY, BUSY), Player(turn, "b", BAD), Player(turn, "c")], played
        )
    )
    assert [len(player.at) for player in played] == [3, 1, 1]
    assert [state for state in told(events) if state[0] == "fallback"] == [("fallback", "b", 0), ("fallback", "c", 0)]
    assert seen(events) == "c1 "
    assert isinstance(ending(events), Done)


async def test_a_provider_that_asks_for_too_long_is_left_at_once() -> None:
    played: list[Player] = []
    slow = RunError("Limited.", code="provider_error", wait=31.0)
    await ask(climbing(EVEN, lambda turn: [Player(turn, "a", slow, whole="w"), Player(turn, "b")], played))
    assert [player.at for player in played] == [[0.0], [0.0]]


async def test_at_the_end_the_answer_comes_in_one_piece_from_the_first_for_which_there_is_hope() -> None:
    played: list[Player] = []
    got: list[str] = []
    retry = Retry(attempts=1)
    events = await ask(
        climbing(
            retry,
            lambda turn: [
                Player(turn, "a", BAD, whole="w"),
                Player(turn, "b", BUSY, whole="w"),
                Player(turn, "c", BUSY, whole="w"),
            ],
            played,
            got,
        )
    )
    assert got == ["whole"]
    assert told(events)[-1] == ("degraded", "b", 0)
    assert seen(events) == "whole"
    done = ending(events)
    assert isinstance(done, Done)
    assert not done.streamed


@pytest.mark.parametrize(
    ("retry", "whole", "code", "text"),
    [
        (EVEN, RunError("Broken.", code="provider_timeout"), "provider_timeout", "whole"),
        (EVEN, None, "provider_error", "a3 "),
        (Retry(whole=0.0), "w", "provider_error", "a3 "),
    ],
    ids=["it fails as well", "it can't", "it isn't wanted"],
)
async def test_the_last_error_is_the_runs_and_what_was_shown_last_stays(
    retry: Retry, whole: RunError | str | None, code: str, text: str
) -> None:
    played: list[Player] = []
    events = await ask(climbing(retry, lambda turn: [Player(turn, "a", BUSY, BUSY, BUSY, whole=whole)], played))
    error = ending(events)
    assert isinstance(error, Error)
    assert error.code == code
    assert seen(events) == text
    assert history(events)[1].text == text


async def test_without_anyone_to_ask_it_says_so() -> None:
    error = ending(await ask(climbing(EVEN, lambda _: [], [])))
    assert isinstance(error, Error)
    assert "at least one that can be asked" in error.message


# Limits of time


async def _silent(turn: Turn) -> None:
    del turn
    await asyncio.sleep(1000)


async def _stalls(turn: Turn) -> None:
    turn.content("a")
    await asyncio.sleep(10)
    turn.content("b")
    await asyncio.sleep(1000)


async def _endless(turn: Turn) -> None:
    while True:
        turn.content("a")
        await asyncio.sleep(1)


async def _asks(turn: Turn) -> None:
    await turn.ask("question", "?", timeout=200)
    await asyncio.sleep(1000)


async def _works(turn: Turn) -> None:
    async with turn.tool("dig", timeout=100):
        await asyncio.sleep(90)
    await asyncio.sleep(1000)


LATE: dict[str, tuple[Agent, float, str]] = {
    "before the first event": (_silent, 45.0, "first_event_timeout"),
    "between two": (_stalls, 55.0, "silence_timeout"),
    "as a whole": (_endless, 300.0, "run_timeout"),
    "not while the user is asked": (_asks, 245.0, "silence_timeout"),
    "not while a tool runs": (_works, 135.0, "silence_timeout"),
}


@pytest.mark.parametrize(("agent", "after", "code"), LATE.values(), ids=LATE)
async def test_each_limit_of_an_attempt_has_its_code(agent: Agent, after: float, code: str) -> None:
    events = await ask(resilient(agent, retry=Retry(attempts=1)))
    error = ending(events)
    assert isinstance(error, Error)
    assert (error.code, asyncio.get_running_loop().time()) == (code, after)


async def test_the_runs_own_limits_leave_time_for_another_attempt() -> None:
    asked: list[float] = []

    async def agent(turn: Turn) -> None:
        asked.append(asyncio.get_running_loop().time())
        match len(asked):
            case 1 | 2:
                await asyncio.sleep(1000)
            case 3:
                turn.content("a")
                await asyncio.sleep(1000)
            case _:
                raise RunError("Limited.", code="provider_error", wait=16.0)

    retry = replace(EVEN, attempts=9)
    events = await ask(resilient(agent, failing(), retry=retry), Timeouts(first_event=32.0, silence=20.0))
    assert asked == [0.0, 24.25, 39.75, 55.75]
    assert seen(events) == "a!"
    assert asyncio.get_running_loop().time() == 55.75, "a pause that would end the run is none"


async def test_the_silence_behind_an_early_event_is_noticed_in_time() -> None:
    events = await ask(resilient(_stalls, retry=Retry(attempts=1, first=100.0, silence=20.0)))
    error = ending(events)
    assert isinstance(error, Error)
    assert (error.code, asyncio.get_running_loop().time()) == ("silence_timeout", 30.0)


async def test_a_time_limit_of_the_attempts_own_is_none_of_ours() -> None:
    async def attempt() -> None:
        raise TimeoutError

    async def agent(turn: Turn) -> None:
        with pytest.raises(TimeoutError):
            await climb(turn, [Rung("a", attempt)], EVEN)
        turn.content("here")

    assert seen(await ask(agent)).endswith("here")


async def test_the_limits_end_with_the_attempt() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def agent(turn: Turn) -> None:
        await drive(resilient(failing()), turn)
        async with turn.tool("dig", timeout=500):
            await asyncio.sleep(400)

    events = await ask(agent)
    assert isinstance(ending(events), Done)
    assert not complaints


async def test_a_late_attempt_is_made_again() -> None:
    asked: list[float] = []

    async def agent(turn: Turn) -> None:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 1:
            await asyncio.sleep(1000)
        turn.content("here")

    events = await ask(resilient(agent, retry=EVEN))
    assert asked == [0.0, 45.25]
    assert seen(events) == "here"


# Any agent


def failing(*failures: Exception, text: str = "a") -> Agent:
    """A generator that says something and fails, then something that stays."""
    left = list(failures)

    async def flaky(turn: Turn) -> AsyncGenerator[str]:
        del turn
        yield text
        if left:
            raise left.pop(0)
        yield "!"

    return flaky


async def test_any_agent_is_tried_again_and_then_the_next_one() -> None:
    events = await ask(
        resilient(failing(ConnectionError("secret"), BUSY, ValueError()), failing(BAD), failing(), retry=EVEN)
    )
    assert [state for state in told(events) if state[0] != "reset"] == [
        ("retrying", "The agent failed (ConnectionError).", 2),
        ("retrying", "Busy.", 3),
        ("fallback", "flaky", 0),
        ("fallback", "flaky", 0),
    ]
    assert seen(events) == "a!"


async def test_the_last_failure_is_raised_as_it_was() -> None:
    async def agent(turn: Turn) -> None:
        with pytest.raises(KeyError, match="mine"):
            await drive(resilient(failing(KeyError("mine")), retry=Retry(attempts=1)), turn)
        turn.content("here")

    assert seen(await ask(agent)).endswith("here")


async def _digs(turn: Turn) -> None:
    turn.content("a")
    async with turn.tool("dig"):
        pass
    raise BUSY


async def _listens(turn: Turn) -> None:
    turn.content("a")
    await turn.wait_steered()
    raise BUSY


@pytest.mark.parametrize("agent", [_digs, _listens], ids=["a tool has run", "what the user said was taken"])
async def test_what_can_not_be_taken_back_is_not_made_again(agent: Callable[[Turn], Awaitable[None]]) -> None:
    async with Sessions(resilient(agent, failing(), retry=EVEN), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await session.say("and?", when_busy="steer")
        events = await settled(session)
    assert not any(state in ("retrying", "fallback") for state, _, _ in told(events))
    errors = [event for event in events if isinstance(event, Error)]
    assert errors[0].message == "Busy."
    assert next(event.data for event in events if isinstance(event, Content)) == "a"


async def test_a_stop_in_a_pause_ends_it_at_once() -> None:
    async with Sessions(
        resilient(failing(BUSY, BUSY), retry=Retry(base=8.0, random=lambda: 1.0)), Settings()
    ) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await asyncio.sleep(1)
        session.interrupt()
        events = await settled(session)
    assert isinstance(ending(events), Interrupted)
    (receipt,) = [event for event in events if isinstance(event, Settled)]
    assert (receipt.task, receipt.stop_ms, receipt.chars) == ("cancelled", 0, 0)
    assert asyncio.get_running_loop().time() == 1.0
