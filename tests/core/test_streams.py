"""Where text may be cut, as a table and as a law; and what becomes of a source that is cut, held or given up."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop import run
from steps import SteppedVirtualLoop

from agent_ws.errors import AgentError, RunError
from agent_ws.events import Status
from agent_ws.streams import HELD, ChunkMode, boundary, buffered, chunked, timed

tries = settings(deadline=None, max_examples=60)
"""A busy machine must not fail them, and all of them together take seconds."""

CUTS: list[tuple[ChunkMode, str, str]] = [
    ("token", "", ""),
    ("token", "hal", "hal"),
    ("word", "", ""),
    ("word", "hal", ""),
    ("word", "half ", "half "),
    ("word", "half a", "half "),
    ("word", "half a\n\n", "half a\n\n"),
    ("word", "one two  thr", "one two  "),
    ("word", " ", " "),
    ("word", "tab\there", "tab\t"),
    ("sentence", "No end", ""),
    ("sentence", "An end.", ""),
    ("sentence", "An end. ", "An end. "),
    ("sentence", "An end. Another", "An end. "),
    ("sentence", "Really?! Yes", "Really?! "),
    ("sentence", 'She said "no." Then', 'She said "no." '),
    ("sentence", "Pi is 3.14 or so", ""),
    ("sentence", "See a.b.c for", ""),
    ("sentence", "a line\nanother", "a line\n"),
    ("sentence", "これは文です。次の", "これは文です。"),
    ("sentence", "「はい。」次", "「はい。」"),
    ("sentence", "Wait… what", "Wait… "),
]


@pytest.mark.parametrize(("mode", "text", "through"), CUTS, ids=lambda value: repr(value)[:40])
def test_cut(mode: ChunkMode, text: str, through: str) -> None:
    assert text[: boundary(text, mode)] == through


@tries
@given(st.text(alphabet="ab .!?\n。”é", max_size=40), st.sampled_from(["token", "word", "sentence"]))
def test_a_cut_lies_in_the_text_and_what_is_left_has_none(text: str, mode: ChunkMode) -> None:
    cut = boundary(text, mode)
    assert 0 <= cut <= len(text)
    assert boundary(text[cut:], mode) == 0


# Combinators: what comes out, when, and what is left when they are closed

Item = str | Status
FIRST_DUE = 0.5


class Source:
    """Plays a script: a number is a wait in seconds, an exception is raised, everything else is yielded."""

    def __init__(self, *script: float | Item | Exception) -> None:
        self.script = script
        self.closed = 0
        self.pulled = 0
        self.by: set[asyncio.Task[Any] | None] = set()
        """The tasks that it ran in."""

    async def __aiter__(self) -> AsyncGenerator[Item]:
        self.by.add(asyncio.current_task())
        try:
            for step in self.script:
                if isinstance(step, int | float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    self.pulled += 1
                    yield step
                self.by.add(asyncio.current_task())
        finally:
            self.by.add(asyncio.current_task())
            self.closed += 1
            await asyncio.sleep(0)  # a connection is not closed in no time
            self.by.add(asyncio.current_task())


Combinator = Callable[[Source], AsyncGenerator[Item]]


def words(source: Source) -> AsyncGenerator[Item]:
    return chunked(source, "word")


def joined(source: Source) -> AsyncGenerator[Item]:
    return buffered(source, count=6, seconds=FIRST_DUE)


def limited(source: Source) -> AsyncGenerator[Item]:
    return timed(source, first=5, silence=5, total=60)


def all_of_them(source: Source) -> AsyncGenerator[Item]:
    return timed(buffered(chunked(source, "word"), count=6, seconds=FIRST_DUE), first=5, silence=5, total=60)


COMBINATORS: tuple[Combinator, ...] = (words, joined, limited, all_of_them)
each = pytest.mark.parametrize("combine", COMBINATORS)


async def collect(items: AsyncGenerator[Item]) -> list[tuple[float, Item]]:
    """Everything, with the moment at which it came."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with aclosing(items):
        return [(round(clock() - began, 6), item) async for item in items]


def flat(items: Sequence[Item]) -> list[Item]:
    """Each character, each event: what is left when the cuts are forgotten."""
    return [piece for item in items for piece in (item if isinstance(item, str) else [item])]


NEWS = Status("working", "search")


@pytest.mark.virtual
@each
@tries
@given(
    st.lists(
        st.one_of(st.text("ab .\n🙂", min_size=1, max_size=9), st.just(NEWS), st.sampled_from([0.0, 0.2])), max_size=12
    )
)
def test_nothing_is_lost_doubled_or_moved(combine: Combinator, script: list[float | Item]) -> None:
    source = Source(*script)
    got = run(collect(combine(source)))
    assert flat([item for _, item in got]) == flat([item for item in script if not isinstance(item, int | float)])
    assert source.closed == 1
    assert all(item != "" for _, item in got)


@pytest.mark.virtual
@each
async def test_an_error_comes_behind_what_came_before_it(combine: Combinator) -> None:
    got: list[Item] = []

    async def read() -> None:
        async with aclosing(combine(Source("one t", "wo", NEWS, "th", AgentError("broke")))) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(AgentError, match="broke"):
        await read()
    assert flat(got) == flat(["one two", NEWS, "th"])


@pytest.mark.virtual
async def test_words_and_sentences_come_whole() -> None:
    source = Source("Hel", "lo wor", "ld. A", NEWS, "nd more")
    assert [item for _, item in await collect(chunked(source, "word"))] == [
        "Hello ",
        "world. ",
        "A",
        NEWS,
        "nd ",
        "more",
    ]
    assert [i for _, i in await collect(chunked(source, "sentence"))] == ["Hello world. ", "A", NEWS, "nd more"]


@pytest.mark.virtual
async def test_a_word_without_an_end_is_not_held_for_ever() -> None:
    got = await collect(chunked(Source("x" * HELD, "x", "y"), "word"))
    assert [len(item) for _, item in got if isinstance(item, str)] == [HELD + 1, 1]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("script", "got"),
    [
        (("ab", "cd", "ef", "gh"), [(0.0, "abcdef"), (0.0, "gh")]),  # the count
        (("ab", 0.3, "c", 0.3, "d", 1.0), [(0.5, "abc"), (1.1, "d")]),  # the time, from the first on
        (("abcdef", 1.0, "a", 0.2, "b", 9.0), [(0.0, "abcdef"), (1.5, "ab")]),  # anew behind the count
        (("ab", 9.0, "cd"), [(0.5, "ab"), (9.0, "cd")]),  # the end waits for nothing
        (("ab", 0.2, NEWS, "c", 0.1), [(0.2, "ab"), (0.2, NEWS), (0.3, "c")]),  # nor what is no text
        (("abcdefghij",), [(0.0, "abcdefghij")]),  # one that is longer is not cut
        ((1.0, NEWS), [(1.0, NEWS)]),
        ((), []),
    ],
)
async def test_text_is_joined_up_to_a_count_and_for_a_time(
    script: tuple[float | Item, ...], got: list[tuple[float, Item]]
) -> None:
    assert await collect(joined(Source(*script))) == got


@pytest.mark.virtual
async def test_a_reader_that_takes_its_time_is_not_read_ahead_of() -> None:
    source = Source(*("abc" for _ in range(100)))
    async with aclosing(joined(source)) as items:
        assert await anext(items) == "abcabc"
        await asyncio.sleep(100)
        assert source.pulled <= 5, "what it got, what makes the next, and one behind it"


@pytest.mark.virtual
async def test_text_that_came_while_the_reader_was_away_is_as_old_as_it_is() -> None:
    clock = asyncio.get_running_loop().time
    async with aclosing(joined(Source("abcdef", 0.1, "a", 0.4, "b", 9.0))) as items:
        assert await anext(items) == "abcdef"
        await asyncio.sleep(0.55)
        assert await anext(items) == "ab"
        assert clock() == 0.1 + FIRST_DUE


LATE: list[tuple[tuple[float | Item, ...], str, float]] = [
    ((5.5, "a"), "first_event_timeout", 5.0),
    (("a", 4.9, "b", 5.1, "c"), "silence_timeout", 9.9),
    (("a", *(part for _ in range(20) for part in (4.0, "b"))), "run_timeout", 60.0),
]


@pytest.mark.virtual
@pytest.mark.parametrize(("script", "code", "at"), LATE)
async def test_what_is_late_is_closed_and_said_with_its_code(
    script: tuple[float | Item, ...], code: str, at: float
) -> None:
    source, clock = Source(*script), asyncio.get_running_loop().time
    with pytest.raises(RunError) as caught:
        await collect(limited(source))
    assert (caught.value.code, clock(), source.closed) == (code, at, 1)
    assert "expected" in str(caught.value)


@pytest.mark.virtual
async def test_the_time_that_the_reader_takes_is_no_silence() -> None:
    async with aclosing(timed(Source("a", 1.0, "b"), first=5, silence=5)) as items:
        assert await anext(items) == "a"
        await asyncio.sleep(100)
        assert await anext(items) == "b"


@pytest.mark.virtual
async def test_one_that_never_waits_is_late_all_the_same() -> None:
    async def busy() -> AsyncGenerator[str]:
        for _ in range(100):
            yield "a"

    async def read() -> None:
        async with aclosing(timed(busy(), total=5)) as items:
            async for _ in items:
                await asyncio.sleep(1)

    with pytest.raises(RunError) as caught:
        await read()
    assert (caught.value.code, asyncio.get_running_loop().time()) == ("run_timeout", 5)


@pytest.mark.virtual
async def test_one_that_swallows_its_cancellation_is_late_all_the_same() -> None:
    async def stubborn() -> AsyncGenerator[str]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        yield "late"

    with pytest.raises(RunError) as caught:
        await collect(timed(stubborn(), first=1))
    assert caught.value.code == "first_event_timeout"


@pytest.mark.virtual
async def test_a_time_limit_of_the_sources_own_is_its_own() -> None:
    async def own() -> AsyncGenerator[str]:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)
        yield "never"

    with pytest.raises(TimeoutError):
        await collect(timed(own(), first=5))


@pytest.mark.virtual
@pytest.mark.parametrize("combine", [words, limited])
async def test_these_run_their_source_in_the_readers_task(combine: Combinator) -> None:
    source = Source("a b ", 0.1, "c")
    await collect(combine(source))
    assert source.by == {asyncio.current_task()}


@pytest.mark.virtual
@each
async def test_one_that_is_closed_has_closed_its_source_in_the_task_that_ran_it(combine: Combinator) -> None:
    source = Source("one two ", "three ", 1.0, "four ")
    before = asyncio.all_tasks()
    items = combine(source)
    await anext(items)
    await items.aclose()
    assert source.closed == 1
    assert len(source.by) == 1
    assert asyncio.all_tasks() == before


@each
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_cancellation_at_any_step_closes_the_source_and_leaves_no_task(
    combine: Combinator, seed: int | None, record_property: Callable[[str, object], None]
) -> None:
    """Swept: who reads is cancelled once at each step of the event loop, until it ends by itself before that."""

    async def cancelled_at(loop: SteppedVirtualLoop, step: int) -> bool:
        source = Source("one ", "two ", 0.1, "three ", NEWS, "four", 1.0, "five")
        reading = asyncio.create_task(collect(combine(source)))
        asked: list[bool] = []
        loop.steps.arm(step, lambda: asked.append(reading.cancel()))
        with suppress(asyncio.CancelledError):
            await reading
        assert reading.cancelled() is (asked == [True])
        assert source.closed == (1 if source.by else 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return loop.steps.disarm()

    steps = 0
    with asyncio.Runner(loop_factory=lambda: SteppedVirtualLoop(seed)) as runner:
        while runner.run(cancelled_at(cast("SteppedVirtualLoop", runner.get_loop()), steps)):
            steps += 1
            assert steps < 1000
    if seed is None:
        record_property("facts", f"{combine.__name__}: {steps} steps")
    assert steps > 5


@pytest.mark.virtual
async def test_who_cancels_twice_ends_a_source_that_takes_its_time() -> None:
    closed = asyncio.Event()

    async def slow_to_go() -> AsyncGenerator[str]:
        try:
            yield "a"
            await asyncio.sleep(100)
        finally:
            try:
                await asyncio.sleep(100)
            finally:
                closed.set()

    reading = asyncio.create_task(collect(buffered(slow_to_go(), count=6, seconds=FIRST_DUE)))
    await asyncio.sleep(1)
    reading.cancel()
    await asyncio.sleep(1)
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed.is_set()
    assert asyncio.get_running_loop().time() < 3


@pytest.mark.virtual
async def test_who_is_cancelled_while_it_closes_one_is_cancelled() -> None:
    async def slow_to_go() -> AsyncGenerator[str]:
        try:
            yield "a"
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(100)

    items = buffered(slow_to_go(), count=1, seconds=1)
    assert await anext(items) == "a"
    closing = asyncio.create_task(items.aclose())
    await asyncio.sleep(1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert asyncio.all_tasks() == {asyncio.current_task()}
