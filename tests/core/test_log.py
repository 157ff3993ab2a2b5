"""The log: what was read never changes, and which cursors it honours."""

import asyncio

import pytest

from agent_ws.events import Content, Event, Start, Thinking
from agent_ws.log import GROWTH, Epoch, Log, Mismatch, Position


def text(log: Log, data: str, run: str = "r1", agent: str | None = None, section: str | None = None) -> None:
    log.append_text(Content, run, data, agent, section)


def contents(log: Log) -> list[str]:
    return [event.data for event in log.read(0) if isinstance(event, Content | Thinking)]


def test_append_gives_each_event_its_place() -> None:
    log = Log("e1")
    assert log.tail == 0
    assert [log.append(Start(run=run)).seq for run in "abc"] == [1, 2, 3]
    assert [(event.seq, event.run) for event in log.read(0)] == [(1, "a"), (2, "b"), (3, "c")]
    assert log.tail == 3


def test_read_takes_what_is_after_and_at_most_limit() -> None:
    log = Log("e1", [Start(seq=seq) for seq in range(1, 6)])
    assert [event.seq for event in log.read(3)] == [4, 5]
    assert [event.seq for event in log.read(1, 2)] == [2, 3]
    assert log.read(5) == []
    assert log.read(99) == []


def test_text_that_nobody_read_grows() -> None:
    log = Log("e1")
    for data in "abc":
        text(log, data)
    assert contents(log) == ["abc"]
    assert log.tail == 1


def test_text_that_was_read_is_frozen() -> None:
    log = Log("e1")
    text(log, "a")
    [read] = log.read(0)
    text(log, "b")
    text(log, "c")
    assert read == Content("a", seq=1, run="r1")
    assert contents(log) == ["a", "bc"]


def test_a_position_that_was_handed_out_freezes_too() -> None:
    log = Log("e1")
    text(log, "a")
    assert log.position == Position("e1", 1)
    text(log, "b")
    assert contents(log) == ["a", "b"]


def test_reading_a_part_freezes_only_that_part() -> None:
    log = Log("e1")
    log.append(Start())
    text(log, "a")
    log.read(0, 1)
    text(log, "b")
    assert contents(log) == ["ab"]


def test_what_a_store_had_is_frozen() -> None:
    log = Log("e2", [Content("a", seq=1, run="r1")], [Epoch("e1", 1)])
    text(log, "b")
    assert contents(log) == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("r2", None, None), id="another run"),
        pytest.param(("r1", "bob", None), id="another agent"),
        pytest.param(("r1", None, "s1"), id="another section"),
    ],
)
def test_text_of_another_origin_is_another_event(other: tuple[str, str | None, str | None]) -> None:
    log = Log("e1")
    text(log, "a")
    text(log, "b", *other)
    assert contents(log) == ["a", "b"]


def test_reasoning_and_answer_do_not_mix() -> None:
    log = Log("e1")
    text(log, "a")
    log.append_text(Thinking, "r1", "b", None, None)
    text(log, "c")
    assert contents(log) == ["a", "b", "c"]


def test_growth_has_an_end() -> None:
    log = Log("e1")
    for _ in range(3):
        text(log, "x" * (GROWTH // 2))
    assert [len(data) for data in contents(log)] == [GROWTH, GROWTH // 2]


def loaded(events: int, *epochs: tuple[str, int], now: str) -> Log:
    """A log of `events` events that was loaded with these incarnations, and is now `now`."""
    log = Log(now, [Start(seq=seq) for seq in range(1, events + 1)], [Epoch(*epoch) for epoch in epochs])
    for _ in range(3):
        log.append(Start())
    return log


OLD = loaded(20, ("first", 1), ("second", 11), now="third")
"""Events 1 to 10 are of the first incarnation, 11 to 20 of the second, 21 to 23 of the third: longer than any cursor
that a client of the first can have."""

CURSORS: dict[str, tuple[Position, Mismatch | None]] = {
    "the start": (Position("third", 0), None),
    "inside": (Position("third", 22), None),
    "the end": (Position("third", 23), None),
    "beyond the end": (Position("third", 24), "ahead"),
    "an incarnation that never was": (Position("zeroth", 0), "epoch"),
    "an incarnation that never was, though the log is longer": (Position("zeroth", 5), "epoch"),
    "an older incarnation's start": (Position("first", 0), None),
    "an older incarnation's last event": (Position("first", 10), None),
    "events that never reached the store, though the log is longer": (Position("first", 11), "ahead"),
    "far ahead of the store, though the log is longer": (Position("first", 22), "ahead"),
    "the second incarnation, before it began": (Position("second", 3), None),
    "the second incarnation's last event": (Position("second", 20), None),
    "the second incarnation's, lost": (Position("second", 21), "ahead"),
    "below the start": (Position("third", -1), "ahead"),
    "a part below nothing": (Position("third", 3, -1), "ahead"),
    "a part of an event that never was": (Position("third", 23, 1), "ahead"),
    "a part of an older incarnation's lost event": (Position("first", 10, 1), "ahead"),
    "a part of an event that is no text": (Position("third", 3, 1), "ahead"),
}


@pytest.mark.parametrize("name", CURSORS)
def test_check(name: str) -> None:
    cursor, answer = CURSORS[name]
    assert OLD.check(cursor) == answer


@pytest.mark.parametrize(("part", "answer"), [(0, None), (1, None), (4, None), (5, "ahead"), (6, "ahead")])
def test_check_of_a_part_needs_that_much_text(part: int, answer: Mismatch | None) -> None:
    log = Log("e1", [Start(seq=1), Content("fives", seq=2), Content("more", seq=3)])
    assert log.check(Position("e1", 1, part)) == answer


def test_an_incarnation_that_wrote_nothing_vouches_for_those_before_it() -> None:
    log = loaded(10, ("first", 1), ("empty", 11), now="now")
    assert log.check(Position("empty", 10)) is None
    assert log.check(Position("empty", 11)) == "ahead"


@pytest.mark.virtual
async def test_wait_returns_at_once_where_there_is_more_and_else_on_the_next_append() -> None:
    log = Log("e1")
    log.append(Start())
    await log.wait(0)
    waiting = [asyncio.create_task(log.wait(1)) for _ in range(3)]
    await asyncio.sleep(1)
    waiting[0].cancel()  # takes no other waiter with it
    await asyncio.sleep(1)
    assert [task.done() for task in waiting] == [True, False, False]
    log.append(Start())
    await asyncio.gather(*waiting[1:])


def test_a_watcher_is_called_for_each_new_event_until_it_ends() -> None:
    log = Log("e1")
    seen: list[int] = []

    def changed() -> None:
        seen.append(log.tail)

    log.watch(changed)
    log.append(Start())
    text(log, "a")
    text(log, "b")  # grows an event whose watchers have not looked yet
    log.read(0)
    text(log, "c")
    log.unwatch(changed)
    log.append(Start())
    assert seen == [1, 2, 3]


def test_events_are_frozen() -> None:
    event: Event = Log("e1").append(Start())
    with pytest.raises(AttributeError):
        event.seq = 7  # pyright: ignore[reportAttributeAccessIssue] - that is the point


def test_after_is_the_last_event_for_who_lacks_only_that() -> None:
    log = Log("e1", [Start(seq=1, run="r1")])
    assert log.after(1) is None
    assert log.after(0) == Start(seq=1, run="r1")
    text(log, "a")
    text(log, "b")
    assert log.after(0) is None, "there are two"
    assert log.after(1) == Content("ab", seq=2, run="r1")
    text(log, "c")
    assert contents(log) == ["ab", "c"], "what was shown is frozen"


def test_text_grows_until_somebody_looks_and_no_longer() -> None:
    log = Log("e1")
    assert not log.grows
    text(log, "a")
    assert log.grows
    log.read(0, 1)
    assert not log.grows
    text(log, "b")
    text(log, "c")
    assert log.read(0, 1)[0].seq == 1, "who reads less than all of it"
    assert log.grows
    text(log, "d")
    assert contents(log) == ["a", "bcd"]
    text(log, "x" * (GROWTH + 1))
    assert not log.grows
    log.append(Start(run="r2"))
    assert not log.grows
